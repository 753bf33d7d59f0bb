# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The trio client's requests: many in flight, each awaited no longer than the timeout.

For one trio loop; not thread-safe. Cancellation is safe at any point: the stream goes on, and
what a cancelled call would have left behind (a transaction, a watch) is undone when its reply
comes. Not here: the connection and its loss (connection.py).
"""

from __future__ import annotations

import errno
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from xsfs import errors
from xsfs.aio.connection import ReconnectingConnection
from xsfs.aio.deadline import InTime
from xsfs.aio.link import Batch
from xsfs.errors import StoreError, Timeout
from xsfs.protocol import requests
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.aio.link import Link
    from xsfs.client.endpoint import Endpoint
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


class Pipeline(ReconnectingConnection):
    """A connection that lasts, with requests in flight on it; arguments as there."""

    def __init__(
        self,
        path: str | Endpoint | None = None,
        *,
        timeout_s: float = 10.0,
        on_loss: Callable[[], None] = lambda: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, timeout_s=timeout_s, on_loss=on_loss, on_reconnect=on_reconnect)
        # How many calls are not to linger, as the store takes its time.
        self._busy = 0

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        """Send many requests in one go; their results in order, errors as values.

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

    def is_lost(self, tx_id: int) -> bool:
        """Whether a transaction is gone with its connection."""
        return not self._connected.is_set() or tx_id >> _TX_ID_BITS != self.epoch

    def in_time(self) -> InTime:
        """A block that ends with `Timeout` when it takes longer than `timeout_s`."""
        return InTime(self)

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

    async def _reach(self) -> None:
        """Wait for the store to come back.

        Raises:
            StoreUnavailable: it has been away for too long. Then nobody waits long any more:
                requests that wait for each other, as in one directory, would do so one by one.
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
        raise StoreUnavailable("the store is away")

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
                link.receive(self._deliver)
        except errors.ConnectionError as error:
            self._give_up(link, error)

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
        sent = Batch(len(window))
        window = [
            self._undone_if_abandoned(request, sent) if request.op in _TO_BE_UNDONE else request
            for request in window
        ]
        link.send(window, tx_id & ((1 << _TX_ID_BITS) - 1), sent)
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
