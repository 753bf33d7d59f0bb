# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The trio client: one connection, many requests in flight, watches, reconnects.

For one trio loop; not thread-safe. `Client.run` is the only reader of the connection: it
delivers events synchronously, in the order of the stream, so that whoever compares an event
with a reply sees them as the store sent them.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
from collections import deque
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from xsfs import errors
from xsfs.errors import InvalidPayload, StoreError, Timeout, UnexpectedPacket, XenStoreError
from xsfs.protocol import procedures, requests
from xsfs.protocol.connection import Conversation, Event, Reply
from xsfs.protocol.packet import PAYLOAD_MAX, Op

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from xsfs.protocol.procedures import Procedure
    from xsfs.protocol.requests import Request

T = TypeVar("T")

log = logging.getLogger(__name__)

# How much is read, and so parsed, between two turns of the loop, in bytes.
_CHUNK = 1 << 16

# How many requests of one batch are in flight at most: another task's request waits behind
# no more than these. oxenstored stops reading at 1024 unread replies.
_WINDOW = 1000

# How many events a watch holds for a reader who does not keep up.
WATCH_BUFFER = 16384

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
    }
)

# How long to wait before the next attempt to reach the store, in seconds: first, last.
_RETRY_S = (0.02, 1.0)

# Calls of so many requests wait for their replies on the spot, for so long; if the store took
# longer, so many calls after it do not.
_FEW = 64
_LINGER_MS = 1
_BUSY_CALLS = 16

TRANSACTION_ATTEMPTS = 32


class _Batch:
    """Requests sent together, and the task that waits for all their results."""

    __slots__ = ("done", "left", "lost", "results")

    def __init__(self, size: int) -> None:
        self.results: list[object] = [None] * size
        self.left = size
        # The connection went before all were answered.
        self.lost = False
        self.done: trio.Event | None = None

    def settle(self, index: int, result: object) -> None:
        """One result has come."""
        self.results[index] = result
        self.left -= 1
        if not self.left and self.done is not None:
            self.done.set()

    def lose(self) -> None:
        """No more results will come."""
        self.lost = True
        if self.done is not None:
            self.done.set()

    async def wait(self) -> list[object]:
        """All results.

        Raises:
            ConnectionError: not all came.
        """
        if self.left and not self.lost:
            self.done = trio.Event()
            await self.done.wait()
        if self.lost:
            raise errors.ConnectionError("the connection to the store was lost")
        return self.results


class Client:
    """A connection to a XenStore, for trio.

    Args:
        path: a unix socket, or a character device that speaks the wire protocol.
        timeout_s: how long any call waits, in seconds; also for a lost store to come back.

    Use `async with trio.open_nursery() as nursery: await nursery.start(client.run)`.
    """

    def __init__(self, path: str, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self.timeout_s = timeout_s
        # Ordinals on this connection: the request sent last, the request answered last.
        self.sent = 0
        self.answered = 0
        # How many connections there have been. A transaction belongs to one of them.
        self.epoch = 0
        self.on_reconnect: Callable[[], None] = lambda: None
        # The connection is lost, and with it all transactions; the next is yet to be made.
        self.on_loss: Callable[[], None] = lambda: None
        self._fd = -1
        self._conversation: Conversation[tuple[_Batch, int]] = Conversation()
        self._outgoing = bytearray()
        self._readable = select.poll()
        # How many calls are not to linger, as the store takes its time.
        self._busy = 0
        self._failure: Exception | None = None
        self._more_to_send = trio.Event()
        self._connected = trio.Event()
        self._watches: dict[bytes, Watch] = {}
        self._next_token = 0

    def __repr__(self) -> str:
        return f"Client({self.path!r})"

    # -- the connection -----------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, tell that it is done, and serve for ever; a lost connection is made anew.

        Raises:
            OSError: the first attempt to connect failed.
        """
        fd = await _open(self.path)
        try:
            while True:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._connection, fd, nursery.cancel_scope)
                    fd = -1
                    await self._connected.wait()
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                fd = await self._reopen()
        finally:
            if fd >= 0:
                os.close(fd)

    async def _reopen(self) -> int:
        delay_s, longest_s = _RETRY_S
        while True:
            try:
                return await _open(self.path)
            except OSError as error:
                log.debug("%s: %s", self.path, error.strerror)
            await trio.sleep(delay_s)
            delay_s = min(delay_s * 2, longest_s)

    async def _connection(self, fd: int, scope: trio.CancelScope) -> None:
        """Life of one connection, until it is lost."""
        self._fd = fd
        self._failure = None
        self._readable.register(fd, select.POLLIN)
        self._conversation = Conversation()
        self._outgoing.clear()
        self.sent = self.answered = 0
        reason = "closed by the store"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_outgoing)
                nursery.start_soon(self._greet)
                await self._receive()
                nursery.cancel_scope.cancel()
        except* trio.ClosedResourceError:
            reason = str(self._failure)
        except* OSError as group:
            reason = str(group.exceptions[0])
        except* UnexpectedPacket as group:
            reason = str(group.exceptions[0])
        finally:
            self._fd = -1
            if self._connected.is_set():
                self._connected = trio.Event()
            for batch, _ in self._conversation.abandon():
                batch.lose()
            self._readable.unregister(fd)
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
        log.warning("%s: connection lost (%s)", self.path, reason)
        self.on_loss()
        scope.cancel()

    async def _greet(self) -> None:
        """Set all watches again, then let waiting calls go on."""
        watches = self._watches.values()
        for watch in watches:
            watch.fired = False
        await self._send([requests.watch(w.path, w.token, w.depth) for w in watches], 0).wait()
        self.epoch += 1
        self._connected.set()
        if self.epoch > 1:
            log.warning("%s: connected again", self.path)
            self.on_reconnect()

    async def _receive(self) -> None:
        """Take all that comes, until the stream ends."""
        while self._take():
            await trio.lowlevel.wait_readable(self._fd)

    def _take(self) -> bool:
        """Take what has come, up to _CHUNK bytes; False at the end of the stream."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return True
        for item in self._conversation.receive(data):
            if isinstance(item, Reply):
                self.answered += 1
                batch, index = item.tag
                batch.settle(index, item.result)
            elif (watch := self._watches.get(item.token)) is not None:
                watch.take(item)
            else:
                # An event that was on its way when its watch was taken back.
                log.debug("event for no watch: %r", item)
        return bool(data)

    def _linger(self, sent: _Batch) -> None:
        """Wait a moment for a few replies without leaving them to the loop.

        The store answers in less time than it takes to have the loop wait for it. When it
        does not, the next calls do not linger.
        """
        if self._busy:
            self._busy -= 1
            return
        try:
            while sent.left:
                if not self._readable.poll(_LINGER_MS):
                    self._busy = _BUSY_CALLS
                    return
                if not self._take():
                    return
        except (OSError, UnexpectedPacket) as error:
            # For the task that receives, to end the connection with.
            self._failure = error
            trio.lowlevel.notify_closing(self._fd)

    async def _send_outgoing(self) -> None:
        while True:
            while self._outgoing:
                await trio.lowlevel.wait_writable(self._fd)
                self._flush()
            self._more_to_send = trio.Event()
            await self._more_to_send.wait()

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._outgoing)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            # The reader sees the end of the connection, after what was still to be read.
            sent = len(self._outgoing)
        del self._outgoing[:sent]

    # -- requests -----------------------------------------------------------------------------

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values.

        Raises:
            Timeout: not all were answered within `timeout_s`, or the store stayed away.
            ConnectionError: the connection was lost, and a request is not one to repeat.
            InvalidPayload: a request is too long for a packet; none of them was sent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = None
        if self._connected.is_set() and len(batch) <= _FEW:
            sent = self._send(batch, tx_id)
            self._linger(sent)
            if not sent.left:
                return sent.results
        try:
            with trio.fail_after(self.timeout_s):
                return await self._complete(batch, tx_id, sent)
        except trio.TooSlowError:
            raise Timeout(f"no answer from {self.path} in {self.timeout_s:g} s") from None

    async def _complete(
        self, batch: Sequence[Request[object]], tx_id: int, sent: _Batch | None
    ) -> list[object]:
        """Send what was not sent, window by window, and have all results."""
        repeatable = not tx_id and all(request.op in _REPEATABLE for request in batch)
        epoch = self.epoch
        results: list[object] = []
        while len(results) < len(batch):
            await self._connected.wait()
            if tx_id and epoch != self.epoch:
                raise errors.ConnectionError("the transaction was lost with its connection")
            if sent is None:
                start = len(results)
                sent = self._send(batch[start : start + _WINDOW], tx_id)
            try:
                results += await sent.wait()
            except errors.ConnectionError:
                if not repeatable:
                    raise
            sent = None
        return results

    def _send(self, window: Sequence[Request[object]], tx_id: int) -> _Batch:
        for request in window:
            if len(request.payload) > PAYLOAD_MAX:
                # Before any of them is in flight.
                raise InvalidPayload(f"payload of {len(request.payload)} bytes")
        sent = _Batch(len(window))
        idle = not self._outgoing
        send = self._conversation.send
        for index, request in enumerate(window):
            self._outgoing += send(request, tx_id, (sent, index))
        self.sent += len(window)
        if idle:
            self._flush()
        if self._outgoing:
            self._more_to_send.set()
        return sent

    async def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Send one request and have its result.

        Raises:
            StoreError: the store refused it.
            Timeout, ConnectionError, InvalidPayload: as in `batch`.
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
        results: list[object] | None = None
        while True:
            try:
                wanted = next(procedure) if results is None else procedure.send(results)
            except StopIteration as stop:
                return cast("T", stop.value)
            results = await self.batch(wanted, tx_id)

    # -- transactions and watches -------------------------------------------------------------

    async def transaction(
        self, body: Callable[[int], Awaitable[T]], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(tx_id)` in a transaction and commit; start over when that conflicts.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.

        Raises:
            Conflict: other clients were in the way `attempts` times.
            StoreError, Timeout, ConnectionError: from the body or the commit.
        """
        for attempt in range(attempts):
            tx_id = await self.call(requests.transaction_start())
            epoch = self.epoch
            try:
                result = await body(tx_id)
            except BaseException:
                if epoch == self.epoch:
                    with trio.CancelScope(shield=True):
                        await self._abort(tx_id)
                raise
            try:
                await self.call(requests.transaction_end(True), tx_id)
            except StoreError as error:
                if error.errno != errno.EAGAIN or attempt == attempts - 1:
                    raise
                continue
            return result
        raise AssertionError("unreachable")

    async def _abort(self, tx_id: int) -> None:
        try:
            await self.call(requests.transaction_end(False), tx_id)
        except XenStoreError as error:
            log.debug("abort of transaction %d: %s", tx_id, error)

    async def watch(
        self,
        path: bytes,
        deliver: Callable[[Event, bool], None] | None = None,
        *,
        depth: int | None = None,
    ) -> Watch:
        """Have events for `path` and what is below it, until the watch is closed.

        The first event is the store's confirmation. The watch is set again, and fires again,
        when the connection was lost.

        Args:
            deliver: called with each event as it is read, in the order of the stream, and
                whether it is the store's confirmation; when absent, iterate over the watch.
            depth: how many levels below `path` count; only the newest daemons know it.

        Raises:
            StoreError: the store refused it.
        """
        self._next_token += 1
        watch = Watch(self, path, b"xsfs-%d" % self._next_token, depth, deliver)
        self._watches[watch.token] = watch
        try:
            await self.call(requests.watch(path, watch.token, depth))
        except BaseException:
            del self._watches[watch.token]
            raise
        return watch

    async def unwatch(self, watch: Watch) -> None:
        """Take a watch back; no event of it is delivered any more."""
        if self._watches.pop(watch.token, None) is not None:
            await self.call(requests.unwatch(watch.path, watch.token))

    # -- verbs --------------------------------------------------------------------------------

    async def read(self, path: bytes, tx_id: int = 0) -> bytes:
        """The value of a node, to the byte."""
        return await self.call(requests.read(path), tx_id)

    async def write(self, path: bytes, value: bytes, tx_id: int = 0) -> None:
        """Set the value of a node; creates it, and its parents."""
        await self.call(requests.write(path, value), tx_id)

    async def mkdir(self, path: bytes, tx_id: int = 0) -> None:
        """Create a node, and its parents; nothing happens if it exists."""
        await self.call(requests.mkdir(path), tx_id)

    async def delete(self, path: bytes, tx_id: int = 0) -> None:
        """Remove a node and all below it."""
        await self.call(requests.rm(path), tx_id)

    async def list(self, path: bytes, tx_id: int = 0) -> list[bytes]:
        """The names of all children."""
        return await self.perform(procedures.listing(path), tx_id)

    async def read_tree(self, path: bytes, tx_id: int = 0) -> dict[bytes, bytes]:
        """The values of a node and of all below it, by path."""
        return await self.perform(procedures.tree(path), tx_id)

    async def get_perms(self, path: bytes, tx_id: int = 0) -> Iterable[bytes]:
        """The permission entries, owner first."""
        return await self.call(requests.get_perms(path), tx_id)

    async def set_perms(self, path: bytes, perms: Iterable[bytes], tx_id: int = 0) -> None:
        """Replace the permission entries, owner first."""
        await self.call(requests.set_perms(path, perms), tx_id)


class Watch:
    """Events for one path, each an `Event`; an async iterator that closes with `async with`."""

    def __init__(
        self,
        client: Client,
        path: bytes,
        token: bytes,
        depth: int | None,
        deliver: Callable[[Event, bool], None] | None,
    ) -> None:
        self.path = path
        self.token = token
        self.depth = depth
        # Whether it has fired since it was set.
        self.fired = False
        self._deliver = self._keep if deliver is None else deliver
        # How many events were dropped because the reader had WATCH_BUFFER waiting.
        self.dropped = 0
        self._client = client
        self._events: deque[Event] = deque()
        self._arrived = trio.Event()

    def take(self, event: Event) -> None:
        """Deliver an event."""
        first, self.fired = not self.fired, True
        self._deliver(event, first)

    def _keep(self, event: Event, first: bool) -> None:
        if len(self._events) < WATCH_BUFFER:
            self._events.append(event)
            self._arrived.set()
        else:
            self.dropped += 1

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.unwatch(self)


async def _open(path: str) -> int:
    """A non-blocking descriptor of the store at `path`."""
    if stat.S_ISCHR(os.stat(path).st_mode):
        # The open of /dev/xen/xenbus may take its time. It wants both directions.
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
        return await trio.to_thread.run_sync(os.open, path, flags)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix:
        unix.setblocking(False)
        # A full backlog is EAGAIN, at once: a unix socket has no connection in progress.
        unix.connect(path)
        return unix.detach()
