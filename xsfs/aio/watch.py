# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Watches of the asynchronous client, and the events that come from them.

For one event loop; not thread-safe.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from xsfs.errors import EventsLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from xsfs.aio.reconnecting import Subscription
    from xsfs.aio.runtime import Event as Flag
    from xsfs.aio.runtime import Runtime
    from xsfs.protocol.conversation import Event

# How many events a watch holds for a reader who does not keep up.
BUFFER = 16384


class Subscriptions(Protocol):
    """Who sets watches: a pipeline."""

    @property
    def runtime(self) -> Runtime:
        """Of the loop that it runs on."""

    def new_token(self) -> bytes:
        """A token that no watch of the connection has."""

    async def subscribe(self, watch: Subscription) -> None:
        """Set a watch, also with each later connection."""

    async def unsubscribe(self, watch: Subscription) -> None:
        """Take a watch back."""

    async def renew(self, watch: Subscription) -> None:
        """Set a watch anew."""


class Watch:
    """Events for one path; an async iterator, used in an `async with` statement.

    Entering sets the watch, and may raise what any call does. The first event is the store's
    confirmation. When the connection was lost the watch is set again, and fires again. The
    iteration ends when the watch is closed; who reads too slowly is told so by `EventsLost`,
    and may go on. Several tasks may read: each event goes to one of them.

    Args:
        pipeline: what sets and takes it back.
        path: a path, `@introduceDomain` or `@releaseDomain`.
        depth: how many levels below `path` count; only the newest daemons know it.
        deliver: called with each event as it is read, in the order of the stream, and whether
            it is the store's confirmation, in the place of the iteration.
    """

    def __init__(
        self,
        pipeline: Subscriptions,
        path: bytes,
        depth: int | None = None,
        deliver: Callable[[Event, bool], None] | None = None,
    ) -> None:
        self.path = path
        self.token = pipeline.new_token()
        self.depth = depth
        # Whether it has fired since it was set.
        self.fired = False
        self._deliver = self._keep if deliver is None else deliver
        self._pipeline = pipeline
        self._events: deque[Event] = deque()
        self._lost = 0
        self._is_open = False
        # Set when there is something for a reader.
        self._arrived: Flag | None = None

    async def open(self) -> Self:
        """Set the watch; the watch itself.

        Raises:
            StoreError: the store refused it.
            ConnectionError, Timeout: as any call.
        """
        self._is_open = True
        try:
            await self._pipeline.subscribe(self)
        except BaseException:
            self._end()
            raise
        return self

    async def close(self) -> None:
        """Take the watch back; no event of it is delivered any more."""
        if self._is_open:
            self._end()
            await self._pipeline.unsubscribe(self)

    async def renew(self) -> None:
        """Set the watch anew; what the store held back for it is lost.

        Raises:
            StoreError: the store refused it.
            ConnectionError, Timeout: it will be set with the next connection.
        """
        await self._pipeline.renew(self)

    def take(self, event: Event) -> None:
        """Deliver an event."""
        first, self.fired = not self.fired, True
        self._deliver(event, first)

    def _keep(self, event: Event, first: bool) -> None:
        # In order: after the first that is lost, all are, until the reader knows.
        if len(self._events) < BUFFER and not self._lost:
            self._events.append(event)
            self._wake()
        else:
            self._lost += 1

    def _end(self) -> None:
        """Let the iteration end, after what has come."""
        self._is_open = False
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._is_open:
            await self._pipeline.runtime.pause()
        while not self._events:
            if self._lost:
                lost, self._lost = self._lost, 0
                raise EventsLost(f"{lost} events came while {BUFFER} were unread")
            if not self._is_open:
                raise StopAsyncIteration
            if self._arrived is None:
                self._arrived = self._pipeline.runtime.event()
            await self._arrived.wait()
        return self._events.popleft()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
