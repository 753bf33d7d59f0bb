# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The plumbing of the trio client: one connection, many requests in flight, reconnects.

For one trio loop; not thread-safe. `Pipeline.run` is the only reader of the connection, but
for calls that wait on the spot: events are delivered synchronously, in the order of the
stream, so that whoever compares an event with a reply sees them as the store sent them.
Cancellation is safe at any point: the stream goes on, and what a cancelled call would have
left behind (a transaction, a watch) is undone when its reply comes.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import trio

from xsfs import errors
from xsfs.aiolink import Batch, Link
from xsfs.connection import XenBusConnection, find
from xsfs.errors import StoreError, Timeout
from xsfs.patience import InTime, begin
from xsfs.protocol import requests
from xsfs.protocol.connection import Event, Reply
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.connection import Stream
    from xsfs.protocol.procedures import Procedure
    from xsfs.protocol.requests import Request

T = TypeVar("T")

log = logging.getLogger(__name__)

# How much is read, and so parsed, between two turns of the loop, in bytes.
_CHUNK = 1 << 16

# How many requests of one batch are in flight at most: another task's request waits behind
# no more than these. oxenstored stops reading at 1024 unread replies.
_WINDOW = 1000

# While so many replies are to come, let them gather for a moment (in seconds) before they are
# read: the loop would turn for a few of them each time. A socket holds some 50.
_BULK = 256
_GATHER_S = 1e-4

# How many packets go into one write: the store works on them while the next are made.
_PACKETS_A_WRITE = 250

# Requests that may be repeated when their reply was lost with the connection.
_REPEATABLE = frozenset(
    {
        Op.DIRECTORY,
        Op.DIRECTORY_PART,
        Op.READ,
        Op.GET_PERMS,
        Op.GET_DOMAIN_PATH,
        Op.IS_DOMAIN_INTRODUCED,
        Op.GET_FEATURE,
        Op.GET_QUOTA,
        # What it started is gone with the connection.
        Op.TRANSACTION_START,
    }
)

# Requests that leave something behind when nobody takes their reply.
_TO_BE_UNDONE = frozenset({Op.TRANSACTION_START, Op.WATCH})

# How long to wait before the next attempt to reach the store, in seconds: first, last.
_RETRY_S = (0.02, 0.25)

# How long a call waits for a store that has been away for the whole timeout already, in
# seconds: it is looked for at once, and for that this is enough.
_GRACE_S = 0.05

# Calls of so many requests wait for their replies on the spot, for so long; if the store took
# longer, so many calls after it do not.
_FEW = 64
_LINGER_MS = 1
_BUSY_CALLS = 16

# How often the stream is read before the loop serves others.
_READS = 64

# A transaction's id here is the store's (32 bits, xs_wire.h) and, above it, the connection's
# number: on the next connection the store gives the same ids again. An id without that
# number is sent as it is.
_TX_ID_BITS = 32


class Away(Timeout):
    """The store has been away for longer than the timeout, as the log says already."""


class Subscription(Protocol):
    """A watch, as far as the pipeline is concerned."""

    path: bytes
    token: bytes
    depth: int | None
    # Whether it has fired since it was set.
    fired: bool

    def take(self, event: Event) -> None:
        """Deliver an event."""


class Pipeline:
    """A connection to a XenStore that is made anew when it is lost.

    Args:
        path: a unix socket, or a character device that speaks the wire protocol; looked for
            (see `xsfs.connection.find`) when absent.
        timeout_s: how long any call waits, in seconds; also for a lost store to come back.

    Raises:
        NoStore: there is no path, and no store is found.
    """

    def __init__(self, path: str | None = None, *, timeout_s: float = 10.0) -> None:
        self._way = find(path)
        self.path = self._way.path
        self.timeout_s = timeout_s
        # Ordinals on this connection: the request sent last, the request answered last.
        self.sent = 0
        self.answered = 0
        # How many connections there have been. A transaction belongs to one of them.
        self.epoch = 0
        # The connection is lost, and with it all transactions; the next is yet to be made.
        self.on_loss: Callable[[], None] = lambda: None
        # Events may have been lost: all may have changed.
        self.on_reconnect: Callable[[], None] = lambda: None
        self._subscriptions: dict[bytes, Subscription] = {}
        self._link: Link | None = None
        self._connected = trio.Event()
        # When the connection was lost, by trio's clock; and that somebody asks for the next.
        self._lost_s = -math.inf
        self._wanted = trio.Event()
        # How many calls are not to linger, as the store takes its time.
        self._busy = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    # -- the connection -----------------------------------------------------------------------

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
        if isinstance(self._way, XenBusConnection):
            # The open of /dev/xen/xenbus may take its time.
            return await trio.to_thread.run_sync(self._way.open, self.timeout_s)
        return self._way.open(0)

    async def _reopen(self) -> Stream | None:
        try:
            return await self._open()
        except errors.ConnectionError as error:
            log.debug("%s: %s", self.path, error)
            return None

    async def _serve(self, link: Link, scope: trio.CancelScope) -> None:
        """One life of the connection, until it is lost."""
        epoch = self.epoch
        self.sent = self.answered = 0
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send_rest)
                nursery.start_soon(self._greet)
                await self._receive(link)
                nursery.cancel_scope.cancel()
        except* (trio.ClosedResourceError, OSError) as group:
            link.failure = link.failure or _first(group)
        finally:
            self._link = None
            self._disconnected()
            link.close()
        if self.epoch > epoch:
            log.warning(
                "%s: connection lost (%s)", self.path, link.failure or "closed by the store"
            )
            self.on_loss()
        scope.cancel()

    def _disconnected(self) -> None:
        """Whoever asks for something waits from now on."""
        if self._connected.is_set():
            self._connected = trio.Event()
            self._lost_s = trio.current_time()

    async def _reach(self) -> None:
        """Wait for the store to come back.

        Raises:
            Away: it has been away for too long. Then nobody waits long any more: requests
                that wait for each other, as in one directory, would do so one by one.
        """
        if self._connected.is_set():
            return
        patience_s = self._lost_s + self.timeout_s - trio.current_time()
        if patience_s < _GRACE_S:
            patience_s = _GRACE_S
            self._wanted.set()
        with trio.move_on_after(patience_s):
            await self._connected.wait()
            return
        raise Away("the store is away")

    def is_lost(self, tx_id: int) -> bool:
        """Whether a transaction is gone with its connection."""
        return not self._connected.is_set() or tx_id >> _TX_ID_BITS != self.epoch

    async def _greet(self) -> None:
        """Set all watches again and hear the store, then let waiting calls go on."""
        watches = self._subscriptions.values()
        for watch in watches:
            watch.fired = False
        batch = [requests.watch(w.path, w.token, w.depth) for w in watches]
        *results, _ = await self._send([*batch, requests.read(b"/")], 0).wait()
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
        while link.failure is None and self._take_some(link):
            await trio.lowlevel.wait_readable(link.fd)
            if link.conversation.in_flight >= _BULK:
                # Not trio.sleep: its clock is epoll's, which counts in milliseconds.
                time.sleep(_GATHER_S)  # noqa: ASYNC251

    def _take_some(self, link: Link) -> bool:
        """Take what has come, and what comes meanwhile; False at the end of the stream.

        The store sends each event by itself, and in a flood faster than the loop can wait
        for each: replies would queue behind the events that it keeps for us.
        """
        for _ in range(_READS):
            if not self._take(link):
                return False
            if not link.is_readable_within(0):
                break
        return True

    def _take(self, link: Link) -> bool:
        """Take what has come, up to _CHUNK bytes; False at the end of the stream."""
        try:
            data = link.stream.receive(_CHUNK)
        except BlockingIOError:
            return True
        for item in link.conversation.receive(data):
            if isinstance(item, Reply):
                self.answered += 1
                batch, index = item.tag
                batch.settle(index, item.result)
            elif (watch := self._subscriptions.get(item.token)) is not None:
                self._deliver(watch, item)
            else:
                # An event that was on its way when its watch was taken back.
                log.debug("event for no watch: %r", item)
        return bool(data)

    def _deliver(self, watch: Subscription, event: Event) -> None:
        try:
            watch.take(event)
        except Exception:
            # A fault of the receiver's costs it this event, not everybody the connection.
            log.exception("%r was not taken", event)
            self.on_reconnect()

    def _linger(self, link: Link, sent: Batch) -> None:
        """Wait a moment for a few replies without leaving them to the loop.

        The store answers in less time than it takes to have the loop wait for it. When it
        does not, the next calls do not linger.
        """
        if self._busy:
            self._busy -= 1
            return
        # Events may come all the time before the replies do; meanwhile nobody else is served.
        deadline_s = time.monotonic() + _LINGER_MS / 1e3
        try:
            while sent.left:
                if time.monotonic() > deadline_s or not link.is_readable_within(_LINGER_MS):
                    self._busy = _BUSY_CALLS
                    return
                if not self._take(link):
                    return
        except OSError as error:
            self._give_up(link, error)

    def _give_up(self, link: Link, error: Exception) -> None:
        """Let the connection be lost: it is of no use any more."""
        self._disconnected()
        link.fail(error)

    # -- requests -----------------------------------------------------------------------------

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values.

        Raises:
            Timeout: not all were answered within `timeout_s`, or the store stayed away.
            ConnectionError: the connection was lost, and a request is not one to repeat; or
                the transaction is one of an earlier connection.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = None
        if self._link is not None and self._connected.is_set() and len(batch) <= _FEW:
            sent = self._send(batch, tx_id)
            self._linger(self._link, sent)
            if not sent.left:
                return sent.results
        with self.in_time():
            return await self._complete(batch, tx_id, sent)

    def in_time(self) -> InTime:
        """A block that ends with `Timeout` when it takes longer than `timeout_s`."""
        return InTime(self)

    def count_together(self, together: bool) -> None:
        """Whether `timeout_s` is for all that this task asks from now on, or for each call."""
        begin(self if together else None)

    @property
    def progress(self) -> tuple[int, int]:
        """What moves with each answer of the store."""
        return self.epoch, self.answered

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """What was begun when `progress` stood there has taken too long; what to raise."""
        error = Timeout(f"no answer in {self.timeout_s:g} s")
        link = self._link
        if link is not None and self.progress == before and not link.is_readable_within(0):
            # Not a word: what was sent shall not be done whenever the store wakes up.
            self._give_up(link, error)
        return error

    async def _complete(
        self, batch: Sequence[Request[object]], tx_id: int, sent: Batch | None
    ) -> list[object]:
        """Send what was not sent, window by window, and have all results."""
        repeatable = not tx_id and all(request.op in _REPEATABLE for request in batch)
        results: list[object] = []
        while len(results) < len(batch):
            if sent is None:
                await self._reach()
                start = len(results)
                sent = self._send(batch[start : start + _WINDOW], tx_id)
            try:
                results += await sent.wait()
            except errors.ConnectionError:
                if not repeatable:
                    raise
            sent = None
        return results

    def _send(self, window: Sequence[Request[object]], tx_id: int) -> Batch:
        link = self._link
        if link is None or tx_id >> _TX_ID_BITS not in (0, self.epoch):
            raise errors.ConnectionError(
                errno.ECONNRESET, "the transaction was lost with its connection"
            )
        tx_id &= (1 << _TX_ID_BITS) - 1
        sent = Batch(len(window))
        send = link.conversation.send
        packets = []
        for index, request in enumerate(window):
            if request.op in _TO_BE_UNDONE:
                request = self._undone_if_abandoned(request, sent)
            packets.append(send(request, tx_id, (sent, index)))
            if len(packets) == _PACKETS_A_WRITE:
                link.send(packets)
                packets = []
        if packets:
            link.send(packets)
        self.sent += len(window)
        return sent

    def _undone_if_abandoned(self, request: Request[object], sent: Batch) -> Request[object]:
        """The same request, with that undone which it brings about when nobody waits for it."""

        def decode(payload: bytes) -> object:
            result = request.decode(payload)
            if request.op == Op.TRANSACTION_START:
                result = self.epoch << _TX_ID_BITS | cast("int", result)
                undo = partial(self._tell, requests.transaction_end(False), result)
            else:
                path, token, *_ = request.payload.split(b"\0")
                undo = partial(self._tell, requests.unwatch(path, token))
            if sent.is_abandoned:
                undo()
            else:
                sent.undoings.append(undo)
            return result

        return request._replace(decode=decode)

    def _tell(self, request: Request[object], tx_id: int = 0) -> None:
        """Send a request whose reply nobody awaits; nothing when there is no connection."""
        if self._link is not None and tx_id >> _TX_ID_BITS in (0, self.epoch):
            self._send([request], tx_id)

    async def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Send one request and have its result.

        Raises:
            StoreError: the store refused it.
            Timeout, ConnectionError: as in `batch`.
        """
        (result,) = await self.batch([request], tx_id)
        if isinstance(result, StoreError):
            raise result
        return cast("T", result)

    async def perform(self, procedure: Procedure[T], tx_id: int = 0) -> T:
        """Run a procedure of several requests.

        Raises:
            StoreError: as the procedure says.
            Timeout, ConnectionError: as in `batch`.
        """
        try:
            wanted = next(procedure)
            while True:
                wanted = procedure.send(await self.batch(wanted, tx_id))
        except StopIteration as stop:
            return cast("T", stop.value)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
