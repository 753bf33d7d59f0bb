# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A connection that is made anew when it is lost, with the watches that were set.

For one event loop; not thread-safe. Its task is the only reader, but for calls that wait on the
spot: events are delivered synchronously, in the order of the stream, so that whoever compares
an event with a reply sees them as the store sent them. Not here: requests, and who waits for
them (pipeline.py).
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

# While so many replies are to come, let them gather for a moment (in seconds) before they are
# read: the loop would turn for a few of them each time. A socket holds some 50.
_BULK = 256
_GATHER_S = 1e-4

# How long to wait before the next attempt to reach the store, in seconds: first, last.
_RETRY_S = (0.02, 0.25)

# For how long the stream is read before the loop serves others, in seconds.
_TURN_S = 1e-3


class Subscription(Protocol):
    """A watch, as far as the connection is concerned."""

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
        timeout_s: how long a store may take to answer at first, in seconds.
        on_loss: called when the connection is lost, and with it all transactions; the next is
            yet to be made.
        on_reconnect: called when events may have been lost: all may have changed.
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
        # The open connection, also while it is yet to answer.
        self.stream: AsyncStream | None = None
        # When the connection was lost, by the runtime's clock.
        self.lost_s = -math.inf
        # The last stream's, also when it is lost.
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
    def runtime(self) -> Runtime:
        """That of the loop it was started on.

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
        """Whether the store can be asked now."""
        return self._runtime is not None and self._connected.is_set()

    async def start(self) -> None:
        """Connect, and keep the connection from now on.

        Raises:
            ConnectionError: the store cannot be reached, or this was started already.
            Timeout: it does not answer.
        """
        if self._runtime is not None:
            raise errors.ConnectionError(errno.EISCONN, "the client is running already")
        self._runtime = runtime.current()
        try:
            stream = await self._open()
            self._connected = self._runtime.event()
            self._wanted = self._runtime.event()
            # Set when the first attempt has come to its end, whichever.
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
        """Close the connection; whoever waits gets an error."""
        task, self._task = self._task, None
        if task is not None:
            await task.stop()
            self._connected.set()
        self._runtime = None

    async def connected(self) -> None:
        """Wait until the store can be asked.

        Raises:
            ConnectionError: the client was ended meanwhile.
        """
        await self._connected.wait()
        # Set at the end, too.
        assert self.runtime

    def want(self) -> None:
        """Try at once to reach the store, when it is away."""
        self._wanted.set()

    def give_up(self, error: errors.ConnectionError) -> None:
        """Let the connection be lost: it is of no use any more."""
        self._disconnected()
        if self.stream is not None:
            self.stream.fail(error)

    async def _run(self, stream: Stream | None) -> None:
        try:
            await self._keep(stream)
        except Exception as error:
            log.exception("%s: the connection is given up", self.endpoint.path)
            self._failure = errors.ConnectionError(errno.EPROTO, f"internal error: {error!r}")
        finally:
            self._settled.set()

    async def _keep(self, stream: Stream | None) -> None:
        """Serve the connection, and make it anew when it is lost, for ever."""
        delay_s, longest_s = _RETRY_S
        while True:
            epoch = self.epoch
            if stream is not None:
                failure = await self._serve(stream)
                if not self._settled.is_set():
                    self._failure = failure
                    return
            # One that takes connections and hangs up is as good as none.
            if self.epoch > epoch:
                delay_s = _RETRY_S[0]
            async with self.runtime.deadline(self.runtime.now() + delay_s):
                await self._wanted.wait()
            self._wanted = self.runtime.event()
            delay_s = min(delay_s * 2, longest_s)
            stream = await self._reopen()

    async def _open(self) -> Stream:
        if isinstance(self.endpoint, XenBusConnection):
            # The open of /dev/xen/xenbus may take its time.
            return await self.runtime.in_thread(partial(self.endpoint.open, self.timeout_s))
        return self.endpoint.open(0)

    async def _reopen(self) -> Stream | None:
        try:
            return await self._open()
        except errors.ConnectionError as error:
            log.debug("%s: %s", self.endpoint.path, error)
            return None

    async def _serve(self, opened: Stream) -> errors.ConnectionError | None:
        """One life of the connection, until it is lost; why it was."""
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
            log.warning("%s: connection lost (%s)", self.endpoint.path, stream.failure)
            self.on_loss()
        return stream.failure

    def _disconnected(self) -> None:
        """Whoever asks for something waits from now on."""
        if self._connected.is_set():
            self._connected = self.runtime.event()
            self.lost_s = self.runtime.now()

    def _resubscribe(self, stream: AsyncStream) -> Batch:
        """Set all watches again, and ask something that any store answers."""
        watches = self.subscriptions.values()
        for watch in watches:
            watch.fired = False
        again = [requests.watch(w.path, w.token, w.depth) for w in watches]
        greeting = Batch(len(again) + 1)
        stream.send([*again, requests.read(b"/")], 0, greeting)
        return greeting

    def _greeted(self, greeting: Batch) -> None:
        """The store has answered: let waiting calls go on."""
        for result in greeting.results[:-1]:
            if isinstance(result, StoreError):
                log.warning("%s: a watch was refused: %s", self.endpoint.path, result)
        self.epoch += 1
        self._connected.set()
        self._settled.set()
        if self.epoch > 1:
            log.warning("%s: connected again", self.endpoint.path)
            self.on_reconnect()

    async def _receive(self, stream: AsyncStream) -> None:
        """Wait for something, and take it and what comes meanwhile.

        The store sends each event by itself, and in a flood faster than the loop can wait
        for each: replies would queue behind the events that it keeps for us.

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
            # An event that was on its way when its watch was taken back.
            log.debug("event for no watch: %r", event)
            return
        try:
            watch.take(event)
        except Exception:
            # A fault of the receiver's costs it this event, not everybody the connection.
            log.exception("%r was not taken", event)
            self.on_reconnect()
