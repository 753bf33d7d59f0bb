# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Follows the store: takes watch events, fetches the nodes that they concern, posts notices.

It only fetches: which nodes, and which notices follow, is decided by the model (difference.py).
Events are noted as they are read (`event`), before any later reply; the rest is done by one trio
task (`run`), which fetches in batches what has changed since its last turn.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from xsfs.aio.deadline import StoreUnavailable
from xsfs.errors import NotFound, StoreError, XenStoreError
from xsfs.fs.inotify.bursts import Bursts
from xsfs.fs.inotify.lateness import Lateness
from xsfs.fs.model.notices import Doubt, Kind, Notice, Removal
from xsfs.fs.model.states import State
from xsfs.fs.turns import Turns

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline
    from xsfs.aio.watch import Watch
    from xsfs.fs.inotify.queue import NotificationQueue
    from xsfs.fs.model.difference import Difference
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.store.states import States
    from xsfs.protocol.conversation import Event

log = logging.getLogger(__name__)

SPECIALS = (b"@introduceDomain", b"@releaseDomain")

# How long an event may wait that is probably the echo of a change of our own, in seconds.
_ECHO_S = 0.02

# How long a request waits until its changes of other files have been announced, in seconds.
_SETTLE_S = 1.0

# For how long notices are posted before others run, in seconds: the replies that are left then are
# out of date, and the store is asked again.
_TURN_S = 0.004

# How long to wait before asking again when the store did not answer, in seconds.
_RETRY_S = 0.5


class Watcher:
    """Passes watch events to the model, asks the store its questions, and posts its notices."""

    def __init__(
        self,
        client: Pipeline,
        table: NodeTable,
        states: States,
        difference: Difference,
        queue: NotificationQueue,
    ) -> None:
        self.counts: Counter[str] = Counter(
            renewals=0, unsteady_snapshots=0, **{name.decode(): 0 for name in SPECIALS}
        )
        # How many events there were in /local/domain/DOMID or below, by that name.
        self.domain_events: Counter[bytes] = Counter()
        self._client = client
        self._view = table.view
        self._states = states
        self._difference = difference
        self._queue = queue
        self._work = trio.Event()
        self._root_watch: Watch | None = None
        # Whether no event was missed, as far as is known.
        self._listening = True
        self._bursts = Bursts(client)
        self._lateness = Lateness(client)
        self._echoed = trio.Event()
        # Set when all events that came so far have been compared.
        self._settling: list[trio.Event] = []

    async def watch(self) -> None:
        """Set the watches: the mounted root's, and those for domains that come and go.

        Raises:
            StoreError: the store refused one.
        """
        client = self._client
        self._root_watch = await client.watch(self._view.root.path, deliver=self.event).open()
        for path in SPECIALS:
            try:
                await client.watch(path, deliver=self._special_event).open()
            except StoreError as error:
                log.info(
                    "the store refuses to watch %s (%s): its file never changes",
                    path.decode(),
                    error,
                )

    # -- as events are read -------------------------------------------------------------------

    def event(self, event: Event, first: bool) -> None:
        """Take a watch event for the mounted subtree; the first only confirms the watch."""
        if first:
            return
        self._bursts.event()
        if event.path.startswith(b"/local/domain/"):
            self.domain_events[event.path.split(b"/", 4)[3]] += 1
        node = self._difference.note(event.path, self._lateness.pass_answered(), time.time_ns())
        if node is not None:
            self._queue.invalidate(node)
            for poller in node.pollers or ():
                poller.wake(certain=True)
        self._arouse()

    def _arouse(self) -> None:
        """Wake the task that compares what waits."""
        if self._difference.is_urgent:
            self._work.set()
        elif self._difference.is_waiting:
            self._echoed.set()

    def _special_event(self, event: Event, first: bool) -> None:
        """Take an event of a domain; oxenstored removes a dead domain's nodes without others."""
        if first:
            return
        self.counts[event.path.decode()] += 1
        self._queue.post(Notice(Kind.MODIFIED, self._view.root, event.path, None, False))
        if event.path.startswith(b"@release"):
            self.invalidate_all()

    def reconnected(self) -> None:
        """The connection was lost: everything may have changed, and no echo will come."""
        self._bursts.reconnected()
        self._lateness.reconnected()
        self._difference.reconnected()
        self._arouse()

    def suspect(self, node: Node) -> None:
        """A node was found to be gone, or other than announced, with no event yet."""
        self._difference.suspect(node)
        self._arouse()

    def invalidate_all(self) -> None:
        """Events may have been lost: compare everything again."""
        self._difference.invalidate_all()
        self._arouse()

    def is_unchanged(self, node: Node, since: int) -> bool:
        """Whether no event came for a node or below it since the clock stood at `since`."""
        unchanged = node.subtree_event_at <= since and not node.has_event_since(since)
        return self._listening and node.alive and unchanged

    async def settle(self) -> None:
        """Wait until all changes so far have been announced, but at most `_SETTLE_S`.

        For changes that were made by an operation on another file, such as `.commit`.
        """
        with trio.move_on_after(_SETTLE_S), suppress(XenStoreError):
            # The reply to this request comes after the events of all changes so far.
            await self._client.read(self._view.root.path)
            settled = trio.Event()
            self._settling.append(settled)
            self._work.set()
            await settled.wait()
            await self._queue.settle()

    # -- the task -----------------------------------------------------------------------------

    async def run(self) -> None:
        """The task: compare what changed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._compare_echoes)
            nursery.start_soon(self._lateness.run)
            await self._run()

    async def _compare_echoes(self) -> None:
        """Let probable echoes wait for a moment, to compare many together."""
        while True:
            await self._echoed.wait()
            await trio.sleep(_ECHO_S)
            self._echoed = trio.Event()
            self._work.set()

    async def _run(self) -> None:
        difference = self._difference
        while True:
            await self._work.wait()
            self._work = trio.Event()
            try:
                while difference.is_waiting:
                    if difference.is_all_suspect:
                        await self._suspect_all()
                    await self._queue.has_room()
                    await self._turn()
            except XenStoreError as error:
                if not isinstance(error, StoreUnavailable):
                    log.warning("cannot read what changed, trying again: %s", error)
                self._arouse()
                await trio.sleep(_RETRY_S)
            else:
                for settled in self._settling:
                    settled.set()
                self._settling.clear()
            difference.echoes.expire(self._lateness.pass_answered())

    async def _suspect_all(self) -> None:
        turns = Turns()
        for _ in self._difference.suspect_all():
            await turns.over()
        await self._queue.invalidate_all()

    async def _turn(self) -> None:
        """Ask the store the model's questions, and post the notices that follow."""
        asked = self._difference.questions()
        states: dict[bytes, State | None] = {}
        try:
            replies = await self._states.fetch(self._view, asked)
        except XenStoreError:
            self._difference.unanswered()
            raise
        for path, state in zip(asked, replies, strict=True):
            if isinstance(state, State | NotFound):
                states[path] = state if isinstance(state, State) else None
            else:
                log.warning("cannot read what changed at %s: %s", path.decode(), state)
        turns = Turns(_TURN_S)
        in_doubt = False
        for step in self._difference.answers(states, trio.current_time()):
            match step:
                case Notice():
                    self._queue.post(step)
                case Doubt():
                    self._queue.close_entry(step.node)
                    in_doubt = True
                case Removal():
                    for notice in step.notices:
                        self._queue.post(notice)
                        if await turns.over():
                            self._difference.outdated()
        if in_doubt:
            await self._queue.dropped()

    async def renew_after_bursts(self) -> None:
        """The task: set the watch again after each long burst, as events may be held back."""
        while True:
            await self._bursts.over()
            self.counts["renewals"] += 1
            self._listening = False
            try:
                if self._root_watch is not None:
                    await self._root_watch.renew()
            except XenStoreError as error:
                log.warning("cannot set the watch again after a burst of events: %s", error)
            self.invalidate_all()
            self._listening = True
