# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The trio client's connection: made anew when it is lost, with the watches that were set.

For one trio loop; not thread-safe. `ReconnectingConnection.run` is the only reader, but for calls
that wait on the spot: events are delivered synchronously, in the order of the stream, so that
whoever compares an event with a reply sees them as the store sent them. Not here: requests,
and who waits for them (pipeline.py); what one connection holds (link.py).
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Protocol

import trio

from xsfs import errors
from xsfs.aio.link import Batch, Link
from xsfs.client.endpoint import Endpoint, XenBusConnection, find
from xsfs.errors import StoreError, Timeout
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.client.channel import Channel
    from xsfs.client.endpoint import Stream
    from xsfs.protocol.conversation import Event

log = logging.getLogger(__name__)

# While so many replies are to come, let them gather for a moment (in seconds) before they are
# read: the loop would turn for a few of them each time. A socket holds some 50.
_BULK = 256
_GATHER_S = 1e-4

# How long to wait before the next attempt to reach the store, in seconds: first, last.
_RETRY_S = (0.02, 0.25)

# How often the stream is read before the loop serves others.
_READS = 64


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
    """A connection to a XenStore that is made anew when it is lost.

    Args:
        path: a unix socket, or a character device that speaks the wire protocol, or an
            endpoint; looked for (see `xsfs.client.endpoint.find`) when absent.
        timeout_s: how long any call waits, in seconds; also for a lost store to come back.
        on_loss: called when the connection is lost, and with it all transactions; the next is
            yet to be made.
        on_reconnect: called when events may have been lost: all may have changed.

    Raises:
        NoStore: there is no path, and no store is found.
    """

    def __init__(
        self,
        path: str | Endpoint | None = None,
        *,
        timeout_s: float = 10.0,
        on_loss: Callable[[], None] = lambda: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoint = path if isinstance(path, Endpoint) else find(path)
        self.path = self._endpoint.path
        self.timeout_s = timeout_s
        # How many connections there have been. A transaction belongs to one of them.
        self.epoch = 0
        self.on_loss = on_loss
        self.on_reconnect = on_reconnect
        self._subscriptions: dict[bytes, Subscription] = {}
        self._link: Link | None = None
        # The last link's, also when it is lost.
        self._channel: Channel[Batch] | None = None
        self._connected = trio.Event()
        # When the connection was lost, by trio's clock; and that somebody asks for the next.
        self._lost_s = -math.inf
        self._wanted = trio.Event()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @property
    def sent(self) -> int:
        """The ordinal, on this connection, of the request that was sent last."""
        return 0 if self._channel is None else self._channel.sent

    @property
    def answered(self) -> int:
        """The ordinal, on this connection, of the request that was answered last."""
        return 0 if self._channel is None else self._channel.answered

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, tell that it is done, and serve for ever; a lost connection is made anew.

        Raises:
            ConnectionError: the first attempt to connect failed.
            Timeout: the store does not answer.
        """
        stream: Stream | None = await self._open()
        delay_s, longest_s = _RETRY_S
        while True:
            epoch = self.epoch
            if stream is not None:
                link = self._link = Link(stream)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve, link, nursery.cancel_scope)
                    with trio.move_on_after(self.timeout_s) as patience:
                        await self._connected.wait()
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                    if patience.cancelled_caught:
                        link.fail(Timeout(f"no answer in {self.timeout_s:g} s"))
                if not self.epoch:
                    raise link.failure or errors.ConnectionError("closed by the store")
            # One that takes connections and hangs up is as good as none.
            if self.epoch > epoch:
                delay_s = _RETRY_S[0]
            with trio.move_on_after(delay_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            delay_s = min(delay_s * 2, longest_s)
            stream = await self._reopen()

    async def _open(self) -> Stream:
        if isinstance(self._endpoint, XenBusConnection):
            # The open of /dev/xen/xenbus may take its time.
            return await trio.to_thread.run_sync(self._endpoint.open, self.timeout_s)
        return self._endpoint.open(0)

    async def _reopen(self) -> Stream | None:
        try:
            return await self._open()
        except errors.ConnectionError as error:
            log.debug("%s: %s", self.path, error)
            return None

    async def _serve(self, link: Link, scope: trio.CancelScope) -> None:
        """One life of the connection, until it is lost."""
        epoch = self.epoch
        self._channel = link.channel
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send_rest)
                nursery.start_soon(self._greet, link)
                await self._receive(link)
                nursery.cancel_scope.cancel()
        except* (trio.ClosedResourceError, OSError) as group:
            link.failure = link.failure or errors.first_of(group)
        finally:
            self._link = None
            self._disconnected()
            link.close()
        if self.epoch > epoch:
            log.warning("%s: connection lost (%s)", self.path, link.failure)
            self.on_loss()
        scope.cancel()

    def _disconnected(self) -> None:
        """Whoever asks for something waits from now on."""
        if self._connected.is_set():
            self._connected = trio.Event()
            self._lost_s = trio.current_time()

    async def _greet(self, link: Link) -> None:
        """Set all watches again and hear the store, then let waiting calls go on."""
        watches = self._subscriptions.values()
        for watch in watches:
            watch.fired = False
        again = [requests.watch(w.path, w.token, w.depth) for w in watches]
        hello = [*again, requests.read(b"/")]
        sent = Batch(len(hello))
        link.send(hello, 0, sent)
        *results, _ = await sent.wait()
        for result in results:
            if isinstance(result, StoreError):
                log.warning("%s: a watch was refused: %s", self.path, result)
        self.epoch += 1
        self._connected.set()
        if self.epoch > 1:
            log.warning("%s: connected again", self.path)
            self.on_reconnect()

    async def _receive(self, link: Link) -> None:
        """Take all that comes, until the stream ends."""
        while link.failure is None:
            self._take_some(link)
            await trio.lowlevel.wait_readable(link.fd)
            if link.channel.in_flight >= _BULK:
                # Not trio.sleep: its clock is epoll's, which counts in milliseconds.
                time.sleep(_GATHER_S)  # noqa: ASYNC251

    def _take_some(self, link: Link) -> None:
        """Take what has come, and what comes meanwhile.

        The store sends each event by itself, and in a flood faster than the loop can wait
        for each: replies would queue behind the events that it keeps for us.
        """
        for _ in range(_READS):
            link.receive(self._deliver)
            if not link.is_readable_within(0):
                break

    def _deliver(self, event: Event) -> None:
        watch = self._subscriptions.get(event.token)
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

    def _give_up(self, link: Link, error: Exception) -> None:
        """Let the connection be lost: it is of no use any more."""
        self._disconnected()
        link.fail(error)
