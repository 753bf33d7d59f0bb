# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Follows the store: takes watch events, asks what became of the nodes, hands out notices.

Events are recorded as they are read (`event`), before any later reply is; the rest is done by
one trio task (`run`), which looks at all that has changed since its last turn in one batch.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from xsfs.errors import NotFound, StoreError, XenStoreError
from xsfs.fs.events import Echoes, Mark, Notice, Planner
from xsfs.fs.tree import State
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsfs.aio import Watch
    from xsfs.fs.nodes import Node
    from xsfs.fs.notices import Courier
    from xsfs.fs.tree import Tree
    from xsfs.protocol.connection import Event

log = logging.getLogger(__name__)

_SPECIALS = (b"@introduceDomain", b"@releaseDomain")

# oxenstored holds events back when more than 1024 are queued; what follows a burst this long
# cannot be trusted, and everything is looked at again.
BURST = 1000
# A burst ends with a pause this long, in seconds.
_PAUSE_S = 0.05

# How long an event may wait that seems to be the echo of a change of our own, in seconds.
_ECHO_S = 0.02

# How long a request waits for what it changed elsewhere to be told, in seconds.
_SETTLE_S = 1.0

# How long to wait before asking again when the store did not answer, in seconds.
_RETRY_S = 0.5


class Follower:
    """The one place where watch events become notices."""

    def __init__(self, tree: Tree, courier: Courier) -> None:
        self.echoes = Echoes()
        self.counts: Counter[str] = Counter()
        self._tree = tree
        self._view = tree.table.view
        self._courier = courier
        self._planner = Planner(tree)
        # Known nodes to look at; and, by nearest known node, what is new below it.
        self._marks: dict[Node, Mark] = {}
        self._below: dict[Node, dict[tuple[bytes, ...], Mark]] = {}
        self._everything = False
        self._work = trio.Event()
        self._root_watch: Watch | None = None
        # No event is missed, as far as is known.
        self._listening = True
        self._burst = 0
        self._last_event_s = -1.0
        self._long_burst = trio.Event()
        self._echoed = trio.Event()
        # Those who wait until all that is known to have changed was looked at.
        self._settling: list[trio.Event] = []
        tree.suspect = self.suspect

    async def watch(self) -> None:
        """Set the watches: the mounted root's, and those for domains that come and go.

        Raises:
            StoreError: the store refused one.
        """
        client = self._tree.client
        self._root_watch = await client.watch(self._view.root.path, self.event)
        for path in _SPECIALS:
            try:
                await client.watch(path, self._special_event)
            except StoreError as error:
                log.info("no watch on %s: %s", path.decode(), error)

    # -- as events are read -------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """A watch event for the mounted subtree."""
        self.counts["events"] += 1
        now_s = trio.current_time()
        self._burst = self._burst + 1 if now_s - self._last_event_s < _PAUSE_S else 1
        self._last_event_s = now_s
        if self._burst == BURST:
            self._long_burst.set()
        echoes = self.echoes.outstanding(event.path, self._tree.client.answered)
        found = self._view.record(event.path, 0 if echoes else time.time_ns())
        if found is None:
            return
        node, rest = found
        if echoes:
            self.counts["echoes"] += 1
        while node.told is None and node.parent is not None:
            # Not told of, though known: as on its way to be created by ourselves.
            rest = [node.name, *rest]
            node = node.parent
        if not rest:
            if not echoes:
                self._courier.invalidate(node)
            self._marks.setdefault(node, Mark()).add(echoes)
        elif node.known:
            self._below.setdefault(node, {}).setdefault(tuple(rest), Mark()).add(echoes)
        else:
            return
        if echoes:
            self._echoed.set()
        else:
            self._work.set()

    def _special_event(self, event: Event) -> None:
        """A domain came or went; oxenstored removes a dead domain's nodes with no other event."""
        self.counts[event.path.decode()] += 1
        if event.path.startswith(b"@release"):
            self.distrust()

    def reconnected(self) -> None:
        """The store was away: all may have changed, and no echo of ours will come."""
        self.echoes.clear()
        self.distrust()

    def suspect(self, node: Node) -> None:
        """A known node was found to be gone, or other than told."""
        if node.view is self._view and node.told is not None:
            self._marks.setdefault(node, Mark())
            self._work.set()

    def distrust(self) -> None:
        """Events may have been lost: look at everything again."""
        self._view.distrust()
        self._everything = True
        self._work.set()

    def is_unchanged(self, node: Node, since: int) -> bool:
        """Whether nothing came for a node and all below it since the clock stood at `since`."""
        above: Node | None = node
        while above is not None:
            if above.changed > since:
                return False
            above = above.parent
        return self._listening and node.alive and node.below <= since

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
            await self._courier.settle()

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
            marks, self._marks = self._marks, {}
            below, self._below = self._below, {}
            settling, self._settling = self._settling, []
            if self._everything:
                self._everything = False
                self._courier.invalidate_all()
                for node in self._tree.table.known():
                    marks.setdefault(node, Mark())
            try:
                await self._look(marks, below)
            except XenStoreError as error:
                log.warning("cannot tell what changed: %s", error)
                self._everything = True
                self._work.set()
                await trio.sleep(_RETRY_S)
            for settled in settling:
                settled.set()
            self.echoes.expire(self._tree.client.answered)

    async def renew_after_bursts(self) -> None:
        """Set the watch anew after each long burst, for ever: what was held back is lost."""
        while True:
            await self._long_burst.wait()
            # Quiet is that no event comes: there is none to wait for.
            while (quiet_at_s := self._last_event_s + _PAUSE_S) > trio.current_time():  # noqa: ASYNC110
                await trio.sleep_until(quiet_at_s)
            self._long_burst = trio.Event()
            self.counts["renewals"] += 1
            client = self._tree.client
            self._listening = False
            try:
                if self._root_watch is not None:
                    await client.unwatch(self._root_watch)
                self._root_watch = await client.watch(self._view.root.path, self.event)
            except XenStoreError as error:
                log.warning("cannot set the watch anew: %s", error)
            self.distrust()
            self._listening = True

    async def _look(
        self, marks: dict[Node, Mark], below: dict[Node, dict[tuple[bytes, ...], Mark]]
    ) -> None:
        for node in list(marks):
            if node.directory and node.children:
                # It may have been removed and made anew with all below it.
                for known in node.subtree():
                    if known.told is not None:
                        marks.setdefault(known, Mark())
        for node in below:
            if node.told is not None and not node.told.directory:
                marks.setdefault(node, Mark())
        stamp = self._view.clock
        states = await self._states(
            [node.path for node in marks]
            + [
                path
                for node, rests in below.items()
                for rest in rests
                for path in _chain(node.path, rest)
            ]
        )
        notices: list[Notice] = []
        missing: list[tuple[Node, bytes]] = []
        for node, mark in marks.items():
            if node.path not in states:
                # We moved it meanwhile.
                self._marks[node] = mark
                self._work.set()
                continue
            state = states[node.path]
            notices += self._planner.changed(node, state, mark, stamp)
            if state is not None and node.names is not None and node not in below:
                missing += [(node, name) for name in state.names if name not in node.names]
        for node, rests in below.items():
            for rest, mark in rests.items():
                notices += self._walk(node, rest, mark, states, stamp)
        await self._deliver(notices)
        await self._discover(missing)

    async def _states(self, wanted: Iterable[bytes]) -> dict[bytes, State | None]:
        wanted = list(dict.fromkeys(wanted))
        states: dict[bytes, State | None] = {}
        for path, state in zip(wanted, await self._tree.fetch(self._view, wanted), strict=True):
            if isinstance(state, StoreError) and not isinstance(state, NotFound):
                raise state
            states[path] = state if isinstance(state, State) else None
        return states

    def _walk(
        self,
        node: Node,
        rest: tuple[bytes, ...],
        mark: Mark,
        states: dict[bytes, State | None],
        stamp: int,
    ) -> Iterable[Notice]:
        """An event named a path below `node`, none of it known: what is new on the way?"""
        for index, name in enumerate(rest):
            last = index == len(rest) - 1
            path = paths.join(node.path, name)
            if node.names is None or not node.alive or path not in states:
                return
            state = states[path]
            if state is None:
                if name in node.names:
                    yield from self._planner.vanished(
                        node, name, silent=last and mark.is_echo(None)
                    )
                elif not self._marked_again(node, rest[index:]) and mark.foreign:
                    yield from self._planner.flashed(node, name, directory=not last)
                return
            if name not in node.names:
                yield from self._planner.appeared(
                    node, name, state, mark if last else Mark(), stamp
                )
            elif last:
                yield from self._planner.touched(node, name, state, mark, stamp)
                return
            child = node.children.get(name) if node.children else None
            if child is None:
                return
            if child.told is not None and not child.told.directory:
                # Looked up as a file between its creation and this event.
                yield from self._planner.changed(child, state, Mark(), stamp)
            node = child

    def _marked_again(self, node: Node, rest: tuple[bytes, ...]) -> bool:
        return rest in self._below.get(node, {})

    async def _discover(self, missing: list[tuple[Node, bytes]]) -> None:
        """Children that no event announced, and all that is below them."""
        while missing:
            stamp = self._view.clock
            states = await self._states([paths.join(node.path, name) for node, name in missing])
            notices: list[Notice] = []
            below: list[tuple[Node, bytes]] = []
            for node, name in missing:
                state = states[paths.join(node.path, name)]
                if state is None:
                    continue
                notices += self._planner.appeared(node, name, state, Mark(), stamp)
                child = node.children.get(name) if node.children else None
                if child is not None and child.names is not None:
                    below += [(child, grandchild) for grandchild in state.names]
            await self._deliver(notices)
            missing = below

    async def _deliver(self, notices: list[Notice]) -> None:
        self.counts["notices"] += len(notices)
        for notice in notices:
            self._courier.post(notice)


def _chain(path: bytes, names: tuple[bytes, ...]) -> Iterable[bytes]:
    for name in names:
        path = paths.join(path, name)
        yield path
