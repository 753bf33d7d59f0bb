# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client's requests: many in flight, each awaited no longer than the timeout.

For one event loop; not thread-safe. Cancellation is safe at any point: the stream goes on, and
what a cancelled call would have left behind (a transaction, a watch) is undone when its reply
comes. Not here: the connection and its loss (reconnecting.py), the operations by name
(client.py).
"""

from __future__ import annotations

import errno
import time
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar, cast

from xsfs import errors
from xsfs.aio.batch import Batch
from xsfs.aio.deadline import WithinDeadline
from xsfs.aio.reconnecting import ReconnectingConnection
from xsfs.aio.watch import Watch
from xsfs.client.endpoint import Endpoint, find
from xsfs.errors import Conflict, StoreError, Timeout
from xsfs.protocol import requests
from xsfs.protocol.packet import Op
from xsfs.protocol.verbs import TIMEOUT_S, TRANSACTION_ATTEMPTS, AsyncNodeVerbs, perform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from xsfs.aio.reconnecting import Subscription
    from xsfs.aio.runtime import Runtime
    from xsfs.aio.stream import AsyncStream
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.procedures import Procedure
    from xsfs.protocol.requests import Request

T = TypeVar("T")

# How many requests of one batch are in flight at most: another task's request waits behind
# no more than these. oxenstored stops reading at 1024 unread replies.
_WINDOW = 1000

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

# How long a call waits for a store that has been away for the whole timeout already, in
# seconds: it is looked for at once, and for that this is enough.
_GRACE_S = 0.05

# Calls of so many requests wait for their replies on the spot, for so long; if the store took
# longer, so many calls after it do not.
_FEW = 64
_LINGER_MS = 1
_BUSY_CALLS = 16

# A transaction's id here is the store's (32 bits, xs_wire.h) and, above it, the connection's
# number: on the next connection the store gives the same ids again. An id without that
# number is sent as it is.
_TX_ID_BITS = 32


class StoreUnavailable(Timeout):
    """The store has been away for longer than the timeout, as the log says already."""


class Pipeline(AsyncNodeVerbs):
    """Requests on a connection that lasts, each with the transaction that it is part of.

    What `Client` is made of, and what the file system uses in its place: it compares the order
    of requests with that of events, holds transactions by their ids, and has to hear when a
    connection is lost. It runs in an `async with` statement. The operations by name are those
    outside transactions.

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
        timeout_s: float = TIMEOUT_S,
        on_loss: Callable[[], None] = lambda: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        endpoint = path if isinstance(path, Endpoint) else find(path)
        self.path = endpoint.path
        self._connection = ReconnectingConnection(endpoint, timeout_s, on_loss, on_reconnect)
        self._last_token = 0
        # How many calls are not to linger, as the store takes its time.
        self._busy = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    async def __aenter__(self) -> Self:
        await self._connection.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.stop()

    @property
    def timeout_s(self) -> float:
        """How long any call waits, in seconds; also for a lost store to come back."""
        return self._connection.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._connection.timeout_s = timeout_s

    @property
    def sent(self) -> int:
        """The ordinal, on this connection, of the request that was sent last."""
        return self._connection.sent

    @property
    def answered(self) -> int:
        """The ordinal, on this connection, of the request that was answered last."""
        return self._connection.answered

    @property
    def epoch(self) -> int:
        """How many connections there have been."""
        return self._connection.epoch

    @property
    def runtime(self) -> Runtime:
        """The primitives of the loop that it runs on.

        Raises:
            ConnectionError: it does not run.
        """
        return self._connection.runtime

    # -- requests -----------------------------------------------------------------------------

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values.

        Raises:
            Timeout: not all were answered within `timeout_s`, or the store stayed away.
            ConnectionError: the connection was lost, and a request is not one to repeat; or
                the transaction is one of an earlier connection; or this does not run.
        """
        connection = self._connection
        await connection.runtime.checkpoint()
        sent = None
        if connection.is_connected and len(batch) <= _FEW:
            stream = self._usable_stream(tx_id)
            sent = self._send(stream, batch, tx_id)
            self._linger(stream, sent)
            if not sent.left:
                return sent.results
        async with self.within_deadline():
            return await self._complete(batch, tx_id, sent)

    async def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Send one request and have its result.

        Raises:
            StoreError: the store refused it.
            Timeout, ConnectionError: as in `batch`.
        """
        (result,) = await self.batch((request,), tx_id)
        if isinstance(result, StoreError):
            raise result
        return cast("T", result)

    async def perform(self, procedure: Procedure[T], tx_id: int = 0) -> T:
        """Run a procedure of several requests.

        Raises:
            StoreError: as the procedure says.
            Timeout, ConnectionError: as in `batch`.
        """
        return await perform(procedure, partial(self.batch, tx_id=tx_id))

    # -- transactions -------------------------------------------------------------------------

    def is_lost(self, tx_id: int) -> bool:
        """Whether a transaction is gone with its connection."""
        return not self._connection.is_connected or tx_id >> _TX_ID_BITS != self.epoch

    def abandon(self, tx_id: int) -> None:
        """Drop a transaction, if it is still there; nobody waits for it."""
        self._send_unawaited(requests.transaction_end(False), tx_id)

    async def run_in_transaction(
        self, body: Callable[[int], Awaitable[T]], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(tx_id)` in a transaction and commit; start over when others interfere.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.

        Raises:
            Conflict: others interfered `attempts` times.
        """
        async with self.within_deadline():
            for _ in range(attempts):
                tx_id = await self.call(requests.transaction_start())
                try:
                    result = await body(tx_id)
                except BaseException as error:
                    self.abandon(tx_id)
                    if isinstance(error, errors.ConnectionError) and self.is_lost(tx_id):
                        # Nothing of it was done, and it may yet be.
                        continue
                    raise
                try:
                    await self.call(requests.transaction_end(True), tx_id)
                except Conflict:
                    continue
                except BaseException:
                    # Whether it was cancelled or failed, and perhaps ended already.
                    self.abandon(tx_id)
                    raise
                return result
        raise StoreError.of(b"EAGAIN")

    # -- watches ------------------------------------------------------------------------------

    def watch(
        self,
        path: bytes,
        depth: int | None = None,
        *,
        deliver: Callable[[Event, bool], None] | None = None,
    ) -> Watch:
        """Events for `path` and what is below it; see `Watch`."""
        return Watch(self, path, depth, deliver)

    def new_token(self) -> bytes:
        """A token that no watch of this connection has."""
        self._last_token += 1
        return b"xsfs-%d" % self._last_token

    async def subscribe(self, watch: Subscription) -> None:
        """Set a watch, also with each later connection."""
        request = requests.watch(watch.path, watch.token, watch.depth)
        subscriptions = self._connection.subscriptions
        subscriptions[watch.token] = watch
        try:
            await self.call(request)
        except BaseException:
            del subscriptions[watch.token]
            raise

    async def unsubscribe(self, watch: Subscription) -> None:
        """Take a watch back; also when the caller is cancelled."""
        self._connection.subscriptions.pop(watch.token, None)
        # A lost connection takes the watch along.
        if stream := self._connection.stream:
            sent = self._send(stream, [requests.unwatch(watch.path, watch.token)], 0)
            try:
                async with self.runtime.deadline(self.runtime.now() + self.timeout_s):
                    await sent.wait(self.runtime)
            except errors.ConnectionError:
                pass

    async def renew(self, watch: Subscription) -> None:
        """Set a watch anew; what the store held back for it is lost.

        Raises:
            StoreError: the store refused it.
            Timeout, ConnectionError: it will be set with the next connection.
        """
        watch.fired = False
        _, result = await self.batch(
            [
                requests.unwatch(watch.path, watch.token),
                requests.watch(watch.path, watch.token, watch.depth),
            ]
        )
        if isinstance(result, StoreError):
            raise result

    # -- waiting ------------------------------------------------------------------------------

    def within_deadline(self) -> WithinDeadline:
        """A block that ends with `Timeout` when it takes longer than `timeout_s`."""
        return WithinDeadline(self)

    @property
    def progress(self) -> tuple[int, int]:
        """What moves with each answer of the store."""
        return self.epoch, self.answered

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """What was begun when `progress` stood there has taken too long; what to raise."""
        error = Timeout(f"no answer in {self.timeout_s:g} s")
        stream = self._connection.stream
        if stream is not None and self.progress == before and not stream.input.is_readable():
            # Not a word: what was sent shall not be done whenever the store wakes up.
            self._connection.give_up(error)
        return error

    async def _reach(self) -> None:
        """Wait for the store to come back.

        Raises:
            StoreUnavailable: it has been away for too long. Then nobody waits long any more:
                requests that wait for each other, as in one directory, would do so one by one.
        """
        connection = self._connection
        if connection.is_connected:
            return
        now_s = self.runtime.now()
        until_s = connection.lost_s + self.timeout_s
        if until_s - now_s < _GRACE_S:
            until_s = now_s + _GRACE_S
            connection.want()
        async with self.runtime.deadline(until_s):
            await connection.connected()
            return
        raise StoreUnavailable("the store is away")

    def _linger(self, stream: AsyncStream, sent: Batch) -> None:
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
                if time.monotonic() > deadline_s or not stream.input.is_readable_within(_LINGER_MS):
                    self._busy = _BUSY_CALLS
                    return
                stream.receive(self._connection.deliver)
        except errors.ConnectionError as error:
            self._connection.give_up(error)

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
                window = batch[start : start + _WINDOW]
                sent = self._send(self._usable_stream(tx_id), window, tx_id)
            try:
                results += await sent.wait(self.runtime)
            except errors.ConnectionError:
                if not repeatable:
                    raise
            sent = None
        return results

    def _usable_stream(self, tx_id: int) -> AsyncStream:
        stream = self._connection.stream
        if stream is None or tx_id >> _TX_ID_BITS not in (0, self.epoch):
            raise errors.ConnectionError(
                errno.ECONNRESET, "the transaction was lost with its connection"
            )
        return stream

    def _send(self, stream: AsyncStream, window: Sequence[Request[object]], tx_id: int) -> Batch:
        sent = Batch(len(window))
        window = [
            self._undone_if_abandoned(request, sent) if request.op in _TO_BE_UNDONE else request
            for request in window
        ]
        stream.send(window, tx_id & ((1 << _TX_ID_BITS) - 1), sent)
        return sent

    def _undone_if_abandoned(self, request: Request[object], sent: Batch) -> Request[object]:
        """The same request, with that undone which it brings about when nobody waits for it."""

        def decode(payload: bytes) -> object:
            result = request.decode(payload)
            if request.op == Op.TRANSACTION_START:
                result = self.epoch << _TX_ID_BITS | cast("int", result)
                undo = partial(self.abandon, result)
            else:
                path, token, *_ = request.payload.split(b"\0")
                undo = partial(self._send_unawaited, requests.unwatch(path, token))
            if sent.is_abandoned:
                undo()
            else:
                sent.undoings.append(undo)
            return result

        return request._replace(decode=decode)

    def _send_unawaited(self, request: Request[object], tx_id: int = 0) -> None:
        """Send a request whose reply nobody awaits; nothing when there is no connection."""
        stream = self._connection.stream
        if stream is not None and tx_id >> _TX_ID_BITS in (0, self.epoch):
            self._send(stream, [request], tx_id)
