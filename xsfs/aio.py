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
import math
import os
import select
import socket
import stat
from collections import deque
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from xsfs import errors
from xsfs.errors import InvalidPayload, StoreError, Timeout
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
        # What it started is gone with the connection.
        Op.TRANSACTION_START,
    }
)

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

TRANSACTION_ATTEMPTS = 32

# Connections count transactions from 1 on (a u32, xs_wire.h): above the id stands the epoch.
_EPOCH_SHIFT = 32
_TX_ID_MAX = 0xFFFFFFFF


class Away(Timeout):
    """The store has been away for longer than the timeout, as the log says already."""


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
        # Events may have been lost: all may have changed.
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
        # When the connection was lost, by trio's clock.
        self._lost_s = -math.inf
        self._wanted = trio.Event()
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
        delay_s, longest_s = _RETRY_S
        while True:
            try:
                fd = await _open(self.path)
            except OSError as error:
                if not self.epoch:
                    raise
                log.debug("%s: %s", self.path, error.strerror)
            else:
                epoch = self.epoch
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._connection, fd, nursery.cancel_scope)
                    with trio.move_on_after(self.timeout_s) as patience:
                        await self._connected.wait()
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                    if patience.cancelled_caught:
                        self._give_up(Timeout(f"no answer in {self.timeout_s:g} s"))
                if not self.epoch:
                    raise self._failure or errors.ConnectionError("closed by the store")
                if self.epoch > epoch:
                    delay_s = _RETRY_S[0]
            with trio.move_on_after(delay_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            delay_s = min(delay_s * 2, longest_s)

    async def _connection(self, fd: int, scope: trio.CancelScope) -> None:
        """Life of one connection, until it is lost."""
        epoch = self.epoch
        self._fd = fd
        self._failure = None
        self._readable.register(fd, select.POLLIN)
        self._conversation = Conversation()
        self._outgoing.clear()
        self.sent = self.answered = 0
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_outgoing)
                nursery.start_soon(self._greet)
                await self._receive()
                nursery.cancel_scope.cancel()
        except* (trio.ClosedResourceError, OSError) as group:
            self._failure = self._failure or _first(group)
        finally:
            self._fd = -1
            self._disconnected()
            for batch, _ in self._conversation.abandon():
                batch.lose()
            self._readable.unregister(fd)
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
        if self.epoch > epoch:
            log.warning("%s: connection lost (%s)", self.path, self._failure or "closed by it")
            self.on_loss()
        scope.cancel()

    def _give_up(self, reason: Exception) -> None:
        """Let the connection be lost: it is of no use any more."""
        if self._failure is None and self._fd >= 0:
            self._failure = reason
            self._disconnected()
            trio.lowlevel.notify_closing(self._fd)

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

    async def _greet(self) -> None:
        """Set all watches again and hear the store, then let waiting calls go on."""
        watches = self._watches.values()
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

    async def _receive(self) -> None:
        """Take all that comes, until the stream ends."""
        while self._failure is None and self._take():
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
                self._deliver(watch, item)
            else:
                # An event that was on its way when its watch was taken back.
                log.debug("event for no watch: %r", item)
        return bool(data)

    def _deliver(self, watch: Watch, event: Event) -> None:
        try:
            watch.deliver(event)
        except Exception:
            # A fault of the receiver's costs it this event, not everybody the connection.
            log.exception("%r was not taken", event)
            self.on_reconnect()

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
        except OSError as error:
            self._give_up(error)

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
        tx_id = self._on_wire(tx_id)
        if self._connected.is_set() and len(batch) <= _FEW:
            sent = self._send(batch, tx_id)
            self._linger(sent)
            if not sent.left:
                return sent.results
        with self.in_time():
            return await self._complete(batch, tx_id, sent)

    def in_time(self) -> InTime:
        """A block that ends with `Timeout` when it takes longer than `timeout_s`."""
        return InTime(self)

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """What was begun at `progress` has taken too long; what to raise."""
        error = Timeout(f"no answer in {self.timeout_s:g} s")
        if self.progress == before and not self._readable.poll(0):
            # Not a word: what was sent shall not be done whenever the store wakes up.
            self._give_up(error)
        return error

    @property
    def progress(self) -> tuple[int, int]:
        """What moves with each answer of the store."""
        return self.epoch, self.answered

    def _on_wire(self, tx_id: int) -> int:
        """A transaction's id on this connection.

        Raises:
            ConnectionError: it was another connection's.
        """
        epoch = tx_id >> _EPOCH_SHIFT
        if epoch and (epoch != self.epoch or not self._connected.is_set()):
            raise errors.ConnectionError("the transaction was lost with its connection")
        return tx_id & _TX_ID_MAX

    async def _complete(
        self, batch: Sequence[Request[object]], tx_id: int, sent: _Batch | None
    ) -> list[object]:
        """Send what was not sent, window by window, and have all results."""
        repeatable = not tx_id and all(request.op in _REPEATABLE for request in batch)
        epoch = self.epoch
        results: list[object] = []
        while len(results) < len(batch):
            await self._reach()
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
        with self.in_time():
            return await self._transaction(body, attempts)

    async def _transaction(self, body: Callable[[int], Awaitable[T]], attempts: int) -> T:
        for attempt in range(attempts):
            tx_id = await self.start_transaction()
            try:
                result = await body(tx_id)
            except BaseException as error:
                if self._abort(tx_id) or not isinstance(error, errors.ConnectionError):
                    raise
                # Nothing of it was done, and it may yet be.
                continue
            try:
                await self.call(requests.transaction_end(True), tx_id)
            except StoreError as error:
                if error.errno != errno.EAGAIN or attempt == attempts - 1:
                    raise
                continue
            return result
        raise AssertionError("unreachable")

    async def start_transaction(self) -> int:
        """The id of a new transaction; of no use once the connection is lost."""
        tx_id = await self.call(requests.transaction_start())
        return self.epoch << _EPOCH_SHIFT | tx_id

    def _abort(self, tx_id: int) -> bool:
        """Drop a transaction without waiting for the store; False when it is lost already."""
        try:
            self._send([requests.transaction_end(False)], self._on_wire(tx_id))
        except errors.ConnectionError:
            return False
        return True

    async def watch(
        self,
        path: bytes,
        deliver: Callable[[Event], None] | None = None,
        *,
        depth: int | None = None,
    ) -> Watch:
        """Have events for `path` and what is below it, until the watch is closed.

        The first event is the store's confirmation. The watch is set again, and fires again,
        when the connection was lost.

        Args:
            deliver: called with each event as it is read, in the order of the stream; when
                absent, iterate over the watch.
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

    async def renew(self, watch: Watch) -> None:
        """Set a watch anew; what the store held back for it is lost.

        Raises:
            StoreError: the store refused it.
            Timeout, ConnectionError: it will be set with the next connection.
        """
        _, result = await self.batch(
            [
                requests.unwatch(watch.path, watch.token),
                requests.watch(watch.path, watch.token, watch.depth),
            ]
        )
        if isinstance(result, StoreError):
            raise result

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


class InTime:
    """A block that is given up when the store takes too long."""

    __slots__ = ("_before", "_client", "_scope")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._before = client.progress
        self._scope = trio.CancelScope(deadline=trio.current_time() + client.timeout_s)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        swallowed = self._scope.__exit__(kind, value, traceback)
        if self._scope.cancelled_caught:
            raise self._client.overdue(self._before)
        return swallowed


class Watch:
    """Events for one path, each an `Event`; an async iterator that closes with `async with`."""

    def __init__(
        self,
        client: Client,
        path: bytes,
        token: bytes,
        depth: int | None,
        deliver: Callable[[Event], None] | None,
    ) -> None:
        self.path = path
        self.token = token
        self.depth = depth
        self.deliver = self._keep if deliver is None else deliver
        # How many events were dropped because the reader had WATCH_BUFFER waiting.
        self.dropped = 0
        self._client = client
        self._events: deque[Event] = deque()
        self._arrived = trio.Event()

    def _keep(self, event: Event) -> None:
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


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


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
