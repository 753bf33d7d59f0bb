# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A connection that is restored when it is lost, with the watches that were set.

For one event loop; not thread-safe. Its task reads the stream, and so do calls that poll for their
own replies. Events are delivered synchronously, in the order of the stream: code that compares
events with replies sees them as the store sent them. Not here: requests, and waiting for their
results (pipeline.py).
"""

from __future__ import annotations

import errno
import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from xsfs import errors
from xsfs.aio import runtime
from xsfs.aio.batch import Batch
from xsfs.aio.stream import AsyncStream
from xsfs.client.endpoint import XenBusConnection
from xsfs.errors import StoreError, Timeout
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.aio.runtime import Runtime, Task
    from xsfs.client.channel import Channel
    from xsfs.client.endpoint import Endpoint, Stream
    from xsfs.protocol.conversation import Event

log = logging.getLogger(__name__)

# While so many replies are expected, let them gather for a moment (in seconds) before reading:
# else each pass of the loop would read but a few. A socket holds some 50.
_BULK = 256
_GATHER_S = 1e-4

# How long to wait before the next attempt to reach the store, in seconds: first, last.
_RETRY_S = (0.02, 0.25)

# For how long the stream is read before the loop serves others, in seconds.
_TURN_S = 1e-3


class Subscription(Protocol):
    """What the connection needs of a watch."""

    path: bytes
    token: bytes
    depth: int | None
    # Whether it has fired since it was set.
    fired: bool

    def take(self, event: Event) -> None:
        """Deliver an event."""


class ReconnectingConnection:
    """A connection to a XenStore.

    Args:
        endpoint: where the store is.
        timeout_s: how long the store may take for its first reply, in seconds.
        on_loss: called when the connection is lost, and with it all transactions, before the
            next attempt to connect.
        on_reconnect: called when events may have been lost: everything may have changed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_s: float,
        on_loss: Callable[[], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.on_loss = on_loss
        self.on_reconnect = on_reconnect
        # How many connections there have been. A transaction belongs to one of them.
        self.epoch = 0
        # By token.
        self.subscriptions: dict[bytes, Subscription] = {}
        # The open connection, also before its first reply.
        self.stream: AsyncStream | None = None
        # When the connection was lost, by the runtime's clock.
        self.lost_s = -math.inf
        # That of the last stream, kept when it is lost.
        self._channel: Channel[Batch] | None = None
        self._runtime: Runtime | None = None
        self._task: Task | None = None

    @property
    def sent(self) -> int:
        """The ordinal, on this connection, of the request that was sent last."""
        return 0 if self._channel is None else self._channel.sent

    @property
    def answered(self) -> int:
        """The ordinal, on this connection, of the request that was answered last."""
        return 0 if self._channel is None else self._channel.answered

    @property
    def delays_events(self) -> bool:
        """Whether an event may come after the reply to a later request."""
        return self._channel is not None and self._channel.delays_events

    @property
    def runtime(self) -> Runtime:
        """The primitives of the loop that it was started on.

        Raises:
            ConnectionError: it was not started, or is stopped.
        """
        if self._runtime is None:
            raise errors.ConnectionError(
                errno.ENOTCONN, "the client is not running: use it in an async with statement"
            )
        return self._runtime

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._runtime is not None and self._connected.is_set()

    async def start(self) -> None:
        """Connect, and from now on restore the connection when it is lost.

        Raises:
            ConnectionError: the store cannot be reached, or this was started already.
            Timeout: the store does not answer.
        """
        if self._runtime is not None:
            raise errors.ConnectionError(errno.EISCONN, "the client is running already")
        self._runtime = runtime.current()
        try:
            stream = await self._open()
            self._connected = self._runtime.event()
            self._wanted = self._runtime.event()
            # Set when the first attempt has succeeded or failed.
            self._settled = self._runtime.event()
            self._failure: errors.ConnectionError | None = None
            self._task = self._runtime.spawn(partial(self._run, stream))
            await self._settled.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the connection; tasks that wait for it get an error."""
        task, self._task = self._task, None
        if task is not None:
            await task.stop()
            self._connected.set()
        self._runtime = None

    async def connected(self) -> None:
        """Wait until requests can be sent.

        Raises:
            ConnectionError: the client was stopped meanwhile.
        """
        await self._connected.wait()
        # `stop` sets the event too; then this raises.
        _ = self.runtime

    def want(self) -> None:
        """Try at once to connect, if there is no connection."""
        self._wanted.set()

    def give_up(self, error: errors.ConnectionError) -> None:
        """Give up the connection, which is of no use any more."""
        self._disconnected()
        if self.stream is not None:
            self.stream.fail(error)

    async def _run(self, stream: Stream | None) -> None:
        try:
            await self._keep(stream)
        except Exception as error:
            log.exception("%s: no more connections: please report this", self.endpoint.path)
            self._failure = errors.ConnectionError(errno.EPROTO, f"internal error: {error!r}")
        finally:
            self._settled.set()

    async def _keep(self, stream: Stream | None) -> None:
        """The task: serve the connection, and restore it whenever it is lost."""
        delay_s, longest_s = _RETRY_S
        while True:
            epoch = self.epoch
            if stream is not None:
                failure = await self._serve(stream)
                if not self._settled.is_set():
                    self._failure = failure
                    return
            # Not for a store that accepts connections and hangs up before it answers.
            if self.epoch > epoch:
                delay_s = _RETRY_S[0]
            async with self.runtime.deadline(self.runtime.now() + delay_s):
                await self._wanted.wait()
            self._wanted = self.runtime.event()
            delay_s = min(delay_s * 2, longest_s)
            stream = await self._reopen()

    async def _open(self) -> Stream:
        if isinstance(self.endpoint, XenBusConnection):
            # The open of /dev/xen/xenbus can block.
            return await self.runtime.in_thread(partial(self.endpoint.open, self.timeout_s))
        return self.endpoint.open(0)

    async def _reopen(self) -> Stream | None:
        try:
            return await self._open()
        except errors.ConnectionError as error:
            log.debug("%s: %s", self.endpoint.path, error)
            return None

    async def _serve(self, opened: Stream) -> errors.ConnectionError | None:
        """Serve one connection until it is lost; returns the reason."""
        stream = self.stream = AsyncStream(opened, self.runtime)
        self._channel = stream.channel
        was_connected = False
        try:
            greeting = self._resubscribe(stream)
            deadline = self.runtime.deadline(self.runtime.now() + self.timeout_s)
            async with deadline:
                while greeting.left:
                    await self._receive(stream)
            if deadline.has_passed:
                raise Timeout(f"no answer in {self.timeout_s:g} s")
            self._greeted(greeting)
            was_connected = True
            while True:
                await self._receive(stream)
        except errors.ConnectionError as error:
            stream.fail(error)
        finally:
            self.stream = None
            self._disconnected()
            await stream.close()
        if was_connected:
            log.warning(
                "%s: connection lost (%s), trying to connect again",
                self.endpoint.path,
                stream.failure,
            )
            self.on_loss()
        return stream.failure

    def _disconnected(self) -> None:
        """Make new requests wait for the next connection."""
        if self._connected.is_set():
            self._connected = self.runtime.event()
            self.lost_s = self.runtime.now()

    def _resubscribe(self, stream: AsyncStream) -> Batch:
        """Set all watches again, and send a request that any store answers."""
        watches = self.subscriptions.values()
        for watch in watches:
            watch.fired = False
        again = [requests.watch(w.path, w.token, w.depth) for w in watches]
        greeting = Batch(len(again) + 1)
        stream.send([*again, requests.read(b"/")], 0, greeting)
        return greeting

    def _greeted(self, greeting: Batch) -> None:
        """The store has answered: let waiting requests continue."""
        for result in greeting.results[:-1]:
            if isinstance(result, StoreError):
                log.warning("%s: the store refused a watch: %s", self.endpoint.path, result)
        self.epoch += 1
        self._connected.set()
        self._settled.set()
        if self.epoch > 1:
            log.warning("%s: connected again", self.endpoint.path)
            self.on_reconnect()

    async def _receive(self, stream: AsyncStream) -> None:
        """Wait until there is something to read, and take all that comes for a moment.

        In a flood the store sends events, each by itself, faster than the loop can wait for
        each: without this, replies would queue behind the events in the store.

        Raises:
            ConnectionError: the connection is lost.
        """
        await stream.readable()
        if stream.channel.in_flight >= _BULK:
            # Not the loop's sleep: its clock is epoll's, which counts in milliseconds.
            time.sleep(_GATHER_S)  # noqa: ASYNC251
        until_s = time.monotonic() + _TURN_S
        while True:
            if stream.failure is not None:
                raise stream.failure
            stream.receive(self.deliver)
            if time.monotonic() > until_s or not stream.input.is_readable():
                return

    def deliver(self, event: Event) -> None:
        """Give an event to its watch."""
        watch = self.subscriptions.get(event.token)
        if watch is None:
            # The event was on its way when its watch was removed.
            log.debug("event for no watch: %r", event)
            return
        try:
            watch.take(event)
        except Exception:
            # An error of one receiver must not end the connection for all.
            log.exception("%r was not handled: please report this", event)
            self.on_reconnect()
