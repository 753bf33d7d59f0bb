# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Follows the store: takes watch events, asks what became of the nodes, hands out notices.

Events are recorded as they are read (`event`), before any later reply is; the rest is done by
one trio task (`run`), which looks at what has changed since its last turn in batches. Between
its turns only paths are held: the node table may change meanwhile.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from xsfs.aio.pipeline import StoreUnavailable
from xsfs.errors import NotFound, StoreError, XenStoreError
from xsfs.fs.inotify.bursts import Bursts
from xsfs.fs.model.difference import Difference, Echoes, Kind, Mark, Notice
from xsfs.fs.model.nodes import State
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsfs.aio.client import Watch
    from xsfs.fs.inotify.queue import NotificationQueue
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.store.reads import Tree
    from xsfs.protocol.conversation import Event

log = logging.getLogger(__name__)

SPECIALS = (b"@introduceDomain", b"@releaseDomain")

# How many paths are looked at in one turn.
_TURN = 64

# How many paths may wait to be looked at; more are forgotten, and everything is looked at.
_MARKS_MAX = 65536

# How long an event may wait that seems to be the echo of a change of our own, in seconds.
_ECHO_S = 0.02

# How long a request waits for what it changed elsewhere to be told, in seconds.
_SETTLE_S = 1.0

# How long to wait before asking again when the store did not answer, in seconds.
_RETRY_S = 0.5


class Watcher:
    """The one place where watch events become notices."""

    def __init__(self, tree: Tree, queue: NotificationQueue) -> None:
        self.echoes = Echoes()
        self.counts: Counter[str] = Counter(
            events=0, notices=0, echoes=0, renewals=0, **{name.decode(): 0 for name in SPECIALS}
        )
        self._tree = tree
        self._view = tree.table.view
        self._queue = queue
        self._difference = Difference(tree.table)
        # What to look at, by path.
        self._marks: dict[bytes, Mark] = {}
        # What was announced as gone, and the view's clock then, while events from before may
        # still be in `_marks`.
        self._gone: dict[bytes, int] = {}
        self._everything = False
        self._work = trio.Event()
        self._root_watch: Watch | None = None
        # No event is missed, as far as is known.
        self._listening = True
        self._bursts = Bursts(tree.client)
        self._echoed = trio.Event()
        # Those who wait until all that is known to have changed was looked at.
        self._settling: list[trio.Event] = []

    async def watch(self) -> None:
        """Set the watches: the mounted root's, and those for domains that come and go.

        Raises:
            StoreError: the store refused one.
        """
        client = self._tree.client
        self._root_watch = await client.watch(self._view.root.path, self.event)
        for path in SPECIALS:
            try:
                await client.watch(path, self._special_event)
            except StoreError as error:
                log.info("no watch on %s: %s", path.decode(), error)

    # -- as events are read -------------------------------------------------------------------

    def event(self, event: Event, first: bool) -> None:
        """A watch event for the mounted subtree; the first is but the watch's confirmation."""
        if first:
            return
        self.counts["events"] += 1
        self._bursts.event()
        path = event.path
        echoes = self.echoes.outstanding(path, self._tree.client.answered)
        if self._view.record(path, 0 if echoes else time.time_ns()) is None:
            return
        route, rest = self._route(path)
        node = route[-1]
        if not (rest or node.watchable or node.children):
            # When somebody asks for it again, that is what watchers are told.
            node.announced = node.names = None
            return
        if rest and node.directory and not node.looked_up:
            # Whoever comes to watch it will be told of what is there by then.
            node.names = None
        if not self._concerns_anybody(route, rest):
            return
        if len(rest) > 1 and not echoes:
            # What is new there is looked at once, for all that comes below it.
            self._mark(paths.join(node.path, rest[0])).add_below(self._view.clock)
            self._work.set()
            return
        mark = self._mark(path)
        mark.add(echoes, self._view.clock)
        if echoes:
            self._echoed.set()
            return
        if not rest:
            self._queue.invalidate(node)
            for poller in node.pollers or ():
                poller.wake()
        self._work.set()

    def _route(self, path: bytes) -> tuple[list[Node], list[bytes]]:
        """The nodes on the way to `path` that watchers were told of; the names after those."""
        top = self._view.root
        names = path[len(top.name) :].strip(b"/").split(b"/") if path != top.name else []
        node, route = top, [top]
        for index, name in enumerate(names):
            child = node.children.get(name) if node.children else None
            if (
                child is None
                or child.announced is None
                or node.announced is None
                or not node.announced.directory
                or (node.names is not None and name not in node.names)
            ):
                return route, names[index:]
            route.append(child)
            node = child
        return route, []

    def _concerns_anybody(self, route: list[Node], rest: list[bytes]) -> bool:
        node = route[-1]
        if not rest:
            return True
        heard = node.looked_up if _is_listed(node) else node.watchable
        return heard or next(self._dubious(route[:-1]), None) is not None

    def _dubious(self, route: Iterable[Node]) -> Iterator[Node]:
        """Of these nodes, from the root down, those that may have been made anew unnoticed.

        An event for a node stands for its removal too, with all below it; when the node is
        there, what is below it has been made again, with events of its own. These name only
        the deepest node made: those on the way are new as well.
        """
        changed = -1
        for node in route:
            if changed > node.compared and node.watchable:
                yield node
            changed = max(changed, node.changed)

    def _mark(self, path: bytes) -> Mark:
        mark = self._marks.get(path)
        if mark is None:
            if len(self._marks) >= _MARKS_MAX:
                self._marks.clear()
                self.invalidate_all()
            mark = self._marks[path] = Mark()
        return mark

    def _special_event(self, event: Event, first: bool) -> None:
        """A domain came or went; oxenstored removes a dead domain's nodes with no other event."""
        if first:
            return
        self.counts[event.path.decode()] += 1
        self._queue.post(Notice(Kind.MODIFIED, self._view.root, event.path, None, False))
        if event.path.startswith(b"@release"):
            self.invalidate_all()

    def reconnected(self) -> None:
        """The store was away: all may have changed, and no echo of ours will come."""
        self.echoes.clear()
        self._bursts.reconnected()
        self.invalidate_all()

    def suspect(self, node: Node) -> None:
        """A known node was found to be gone, or other than told."""
        if node.view is self._view and node.announced is not None:
            self._mark(node.path)
            self._work.set()

    def invalidate_all(self) -> None:
        """Events may have been lost: look at everything again."""
        self._view.invalidate_all()
        self._everything = True
        self._work.set()

    def is_unchanged(self, node: Node, since: int) -> bool:
        """Whether nothing came for a node and all below it since the clock stood at `since`."""
        unchanged = node.subtree_changed <= since and not node.changed_since(since)
        return self._listening and node.alive and unchanged

    async def settle(self) -> None:
        """What we changed by no operation on its own file is seen by whoever asks from now on.

        Waits until the kernel and the watchers have been told of it, though not for long.
        """
        with trio.move_on_after(_SETTLE_S), suppress(XenStoreError):
            # Events for what the store has done come before the reply to what is asked then.
            await self._tree.client.read(self._view.root.path)
            settled = trio.Event()
            self._settling.append(settled)
            self._work.set()
            await settled.wait()
            await self._queue.settle()

    # -- in its own time ----------------------------------------------------------------------

    async def run(self) -> None:
        """Look at what changed, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_after_echoes)
            await self._run()

    async def _look_after_echoes(self) -> None:
        """What only seems to be our own doing can wait, and many of a kind be looked at once."""
        while True:
            await self._echoed.wait()
            await trio.sleep(_ECHO_S)
            self._echoed = trio.Event()
            self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            if self._everything:
                self._everything = False
                self._queue.invalidate_all()
                for node in self._tree.table.watchable():
                    self._marks.setdefault(node.path, Mark())
            try:
                while self._marks:
                    await self._queue.has_room()
                    await self._turn()
            except XenStoreError as error:
                if not isinstance(error, StoreUnavailable):
                    log.warning("cannot tell what changed: %s", error)
                self._everything = True
                self._work.set()
                await trio.sleep(_RETRY_S)
            self._gone.clear()
            if not self._marks:
                for settled in self._settling:
                    settled.set()
                self._settling.clear()
            self.echoes.expire(self._tree.client.answered)

    async def _turn(self) -> None:
        """Look at the paths that have waited longest."""
        turn = dict(itertools.islice(self._marks.items(), _TURN))
        for path in turn:
            del self._marks[path]
        stamp = self._view.clock
        asked = list(dict.fromkeys(itertools.chain.from_iterable(map(self._to_ask, turn))))
        try:
            states = await self._states(asked)
        except XenStoreError:
            for path, mark in turn.items():
                self._again(path, mark)
            raise
        refused = set(asked).difference(states)
        if len(self._gone) > _MARKS_MAX:
            self._gone.clear()
        for path, mark in turn.items():
            if refused and not refused.isdisjoint(self._to_ask(path)):
                continue
            for notice in self._plan(path, mark, states, stamp):
                self.counts["notices"] += 1
                if notice.kind is Kind.REMOVED:
                    gone = paths.join(notice.parent.path, notice.name)
                    self._gone[gone] = self._view.clock
                self._queue.post(notice)

    def _to_ask(self, path: bytes) -> Iterator[bytes]:
        """The paths whose states `_plan` needs."""
        route, rest = self._route(path)
        node = route.pop()
        for dubious in self._dubious(route):
            yield dubious.path
        if not rest or not _is_listed(node):
            yield node.path
        top = node.path
        for name in rest:
            top = paths.join(top, name)
            yield top

    async def _states(self, asked: list[bytes]) -> dict[bytes, State | None]:
        """What the store says of these paths, where it says anything; None for what is not there.

        Raises:
            XenStoreError: the store does not answer.
        """
        states: dict[bytes, State | None] = {}
        for path, state in zip(asked, await self._tree.fetch(self._view, asked), strict=True):
            if isinstance(state, State | NotFound):
                states[path] = state if isinstance(state, State) else None
            else:
                log.warning("cannot tell what changed at %s: %s", path.decode(), state)
        return states

    def _plan(
        self, path: bytes, mark: Mark, states: dict[bytes, State | None], stamp: int
    ) -> Iterator[Notice]:
        route, _ = self._route(path)
        for node in list(self._dubious(route[:-1])):
            if node.alive:
                if node.path not in states:
                    self._again(path, mark)
                    return
                yield from self._compare(node, states[node.path], Mark(), stamp)
        route, rest = self._route(path)
        node = route[-1]
        if not rest or not _is_listed(node):
            if node.path not in states:
                self._again(path, mark)
                return
            yield from self._compare(node, states[node.path], Mark() if rest else mark, stamp)
        if rest and node.alive:
            yield from self._walk(node, rest, path, mark, states, stamp)

    def _again(self, path: bytes, mark: Mark) -> None:
        """The node table changed while the store was asked: other questions are to be asked."""
        self._mark(path).merge(mark)

    def _compare(self, node: Node, state: State | None, mark: Mark, stamp: int) -> Iterator[Notice]:
        if node.parent is None and state is None:
            # The mounted root itself is not there: an empty directory.
            state = State(b"", [])
        if mark.is_echo(state):
            self.counts["echoes"] += 1
        yield from self._difference.changed(node, state, mark, stamp, trio.current_time())
        if state is not None and node.names is not None and node.looked_up:
            # Children that came without an event, or whose event has its turn yet.
            for name in set(state.names).difference(node.names):
                self._marks.setdefault(paths.join(node.path, name), Mark())

    def _walk(
        self,
        node: Node,
        rest: list[bytes],
        path: bytes,
        mark: Mark,
        states: dict[bytes, State | None],
        stamp: int,
    ) -> Iterator[Notice]:
        """An event named a path below `node`, none of it told of: what is new on the way?"""
        for index, name in enumerate(rest):
            last = index == len(rest) - 1
            here = paths.join(node.path, name)
            if here not in states:
                self._again(path, mark)
                return
            state = states[here]
            child = node.children.get(name) if node.children else None
            if not node.looked_up:
                # Whoever comes to watch it will be told of what is there by then.
                node.names = None
            if node.names is None:
                return
            if state is None:
                own = mark.is_echo(None)
                if own and last:
                    self.counts["echoes"] += 1
                elif name in node.names:
                    yield from self._difference.vanished(node, name)
                elif (
                    mark.foreign
                    and mark.clock > self._gone.get(here, -1)
                    and not (child is not None and child.pending)
                ):
                    yield from self._difference.transient(
                        node, name, directory=mark.below or not last
                    )
                return
            here_mark = mark if last else Mark()
            if last and mark.is_echo(state):
                self.counts["echoes"] += 1
            if name not in node.names:
                yield from self._difference.appeared(
                    node, name, state, here_mark, stamp, trio.current_time()
                )
            elif child is None or child.announced is None:
                yield from self._difference.touched(
                    node, name, state, here_mark, stamp, trio.current_time()
                )
            else:
                yield from self._compare(child, state, here_mark, stamp)
            child = node.children.get(name) if node.children else None
            if child is None:
                return
            if last and (mark.below or not mark.hit) and child.looked_up and not child.names:
                # What is below it came without an event, or with one that did not say what.
                for below in state.names:
                    self._marks.setdefault(paths.join(here, below), Mark())
            node = child

    async def renew_after_bursts(self) -> None:
        """Set the watch anew after each long burst, for ever: what was held back is lost."""
        while True:
            await self._bursts.over()
            self.counts["renewals"] += 1
            self._listening = False
            try:
                if self._root_watch is not None:
                    await self._tree.client.renew(self._root_watch)
            except XenStoreError as error:
                log.warning("cannot set the watch anew: %s", error)
            self.invalidate_all()
            self._listening = True


def _is_listed(node: Node) -> bool:
    """Whether watchers were told that it is a directory."""
    return node.announced is not None and node.announced.directory
