# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client's requests: many in flight, each awaited no longer than the timeout.

For one event loop; not thread-safe. Cancellation is safe at any point: what a cancelled call would
leave behind (a transaction, a watch) is undone when its reply comes. Not here: the connection and
its loss (reconnecting.py), the operations by name (client.py).
"""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar, cast

from xsfs import errors
from xsfs.aio.batch import Batch
from xsfs.aio.deadline import StoreUnavailable, WithinDeadline
from xsfs.aio.reconnecting import ReconnectingConnection
from xsfs.aio.watch import Watch
from xsfs.client.endpoint import Endpoint, find
from xsfs.errors import Conflict, StoreError, Timeout
from xsfs.protocol import requests
from xsfs.protocol.packet import Op
from xsfs.protocol.verbs import TIMEOUT_S, TRANSACTION_ATTEMPTS, AsyncNodeVerbs, perform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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

# Requests whose effect is to be undone when the caller is cancelled and does not get the reply.
_TO_BE_UNDONE = frozenset({Op.TRANSACTION_START, Op.WATCH})

# How long a call waits for a store that has been down for the whole timeout already, in seconds:
# enough for the attempt to connect that is made at once.
_GRACE_S = 0.05

# Up to how many requests in a call their replies are polled for: see `AsyncStream.poll`.
_FEW = 64

# A transaction's id here is the store's (32 bits, xs_wire.h) and, above it, the connection's
# number: on the next connection the store gives the same ids again. An id without that
# number is sent as it is.
_TX_ID_BITS = 32


class Pipeline(AsyncNodeVerbs):
    """Requests on a reconnecting connection, each with the transaction that it belongs to.

    `Client` is built on it. The file system uses it directly, as it compares the order of
    requests with that of events, holds transactions by their ids, and must know of losses. It runs
    in an `async with` statement. The operations by name are done outside transactions.

    Args:
        path: a unix socket, or a character device that speaks the wire protocol, or an
            endpoint; looked for (see `xsfs.client.endpoint.find`) when absent.
        timeout_s: how long any call waits, in seconds; also for a lost store to come back.
        on_loss: called when the connection is lost, and with it all transactions, before the
            next attempt to connect.
        on_reconnect: called when events may have been lost: everything may have changed.

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    async def __aenter__(self) -> Self:
        await self._connection.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the connection; whoever waits for the store gets a ConnectionError."""
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

    def has_input(self) -> bool:
        """Whether the store has sent something that is to be read."""
        stream = self._connection.stream
        return stream is not None and stream.input.is_readable()

    @property
    def delays_events(self) -> bool:
        """Whether an event may come after the reply to a later request."""
        return self._connection.delays_events

    @property
    def epoch(self) -> int:
        """How many connections there have been."""
        return self._connection.epoch

    @property
    def runtime(self) -> Runtime:
        """The primitives of the loop that it runs on.

        Raises:
            ConnectionError: it is not running.
        """
        return self._connection.runtime

    # -- requests -----------------------------------------------------------------------------

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values.

        Raises:
            Timeout: not all were answered within `timeout_s`, or the store was down for longer.
            ConnectionError: the connection was lost, and a request is not repeatable; or the
                transaction belongs to an earlier connection; or this is not running.
        """
        connection = self._connection
        await connection.runtime.checkpoint()
        sent = None
        if connection.is_connected and len(batch) <= _FEW:
            stream = self._usable_stream(tx_id)
            sent = self._send(stream, batch, tx_id)
            try:
                stream.poll(sent, connection.deliver)
            except errors.ConnectionError as error:
                connection.give_up(error)
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
        """Drop a transaction, if it is still open, without waiting for the reply."""
        self._send_unawaited(requests.transaction_end(False), tx_id)

    async def end_transaction(self, tx_id: int, commit: bool) -> None:
        """Commit or drop a transaction; it is over then, also if the caller is cancelled.

        Raises:
            Conflict: others interfered; nothing of it was done.
            StoreError, Timeout, ConnectionError: as in `call`.
        """
        try:
            await self.call(requests.transaction_end(commit), tx_id)
        except Conflict:
            raise
        except BaseException:
            # The request may not have been sent.
            self.abandon(tx_id)
            raise

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
                        # Nothing of it was done, so it can be started over.
                        continue
                    raise
                try:
                    await self.end_transaction(tx_id, True)
                except Conflict:
                    continue
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
        """Remove a watch; also when the caller is cancelled."""
        self._connection.subscriptions.pop(watch.token, None)
        # Without a connection there is no watch to remove.
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
        """A value that changes with each reply."""
        return self.epoch, self.answered

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """The error for a wait that began at progress `before` and has taken too long."""
        error = Timeout(f"no answer in {self.timeout_s:g} s")
        stream = self._connection.stream
        if stream is not None and self.progress == before and not stream.input.is_readable():
            # No reply at all: the store must not carry out the requests when it wakes up later.
            self._connection.give_up(error)
        return error

    async def _reach(self) -> None:
        """Wait for the connection to be restored.

        Raises:
            StoreUnavailable: it has been down for the whole timeout. No request waits long then:
                those of one directory wait for each other in the kernel, and so would add up.
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
        raise StoreUnavailable(f"there is no connection to the store at {self.path}")

    async def _complete(
        self, batch: Sequence[Request[object]], tx_id: int, sent: Batch | None
    ) -> list[object]:
        """Send what was not sent, window by window, and wait for all results."""
        repeatable = not tx_id and all(request.op in requests.REPEATABLE for request in batch)
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
        """The same request, whose effect is undone when the caller is cancelled."""

        def decode(payload: bytes) -> object:
            result = request.decode(payload)
            if request.op == Op.TRANSACTION_START:
                result = self.epoch << _TX_ID_BITS | cast("int", result)
                undo = partial(self.abandon, result)
            else:
                path, token, *_ = request.payload.split(b"\0")
                undo = partial(self._send_unawaited, requests.unwatch(path, token))
            sent.undo_if_abandoned(undo)
            return result

        return request._replace(decode=decode)

    def _send_unawaited(self, request: Request[object], tx_id: int = 0) -> None:
        """Send a request without waiting for its reply, if there is a connection."""
        with suppress(errors.ConnectionError):
            self._send(self._usable_stream(tx_id), [request], tx_id)
