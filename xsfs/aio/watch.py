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

    from xsfs.aio.reconnecting import Subscription
    from xsfs.aio.runtime import Event as Flag
    from xsfs.aio.runtime import Runtime
    from xsfs.protocol.conversation import Event

# How many events a watch keeps for a slow reader.
BUFFER = 16384


class Subscriptions(Protocol):
    """What a watch needs of the pipeline that it is set with."""

    @property
    def runtime(self) -> Runtime:
        """The loop that the pipeline runs on."""

    def new_token(self) -> bytes:
        """A token that no watch of the connection has."""

    async def subscribe(self, watch: Subscription) -> None:
        """Set a watch, also with each later connection."""

    async def unsubscribe(self, watch: Subscription) -> None:
        """Remove a watch."""

    async def renew(self, watch: Subscription) -> None:
        """Set a watch anew."""


class Watch:
    """Events for one path; an async iterator, used in an `async with` statement.

    Entering sets the watch, and may raise what any call does. The first event is the store's
    confirmation. When the connection was lost the watch is set again, and fires again. The
    iteration ends when the watch is closed. A reader that is too slow gets `EventsLost`, and may
    go on. Several tasks may read: each event goes to one of them.

    Args:
        pipeline: sets and removes the watch.
        path: a path, `@introduceDomain` or `@releaseDomain`.
        depth: how many levels below `path` count; only the newest daemons know it.
        deliver: replaces the iteration: called with each event as it is read, in the order of
            the stream, and whether it is the store's confirmation.
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
        """Remove the watch; no event of it is delivered any more."""
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
        # After a lost event all are dropped until the reader knows, so that none is out of order.
        if len(self._events) < BUFFER and not self._lost:
            self._events.append(event)
            self._wake()
        else:
            self._lost += 1

    def _end(self) -> None:
        """Let the iteration end after the events that have come."""
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
                raise EventsLost(f"{lost} events were dropped, as {BUFFER} before them were unread")
            if not self._is_open:
                raise StopAsyncIteration
            if self._arrived is None:
                self._arrived = self._pipeline.runtime.event()
            await self._arrived.wait()
        return self._events.popleft()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
