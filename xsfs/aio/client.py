# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client: XenStore's operations as coroutines, watches as async iterators.

For one event loop, trio's or asyncio's; not thread-safe. Not here: the operations
(protocol/verbs.py), how requests are sent and awaited (pipeline.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from xsfs.aio.pipeline import Pipeline
from xsfs.errors import InvalidOperation
from xsfs.protocol import requests
from xsfs.protocol.verbs import (
    TIMEOUT_S,
    TRANSACTION_ATTEMPTS,
    AsyncNodeVerbs,
    AsyncStoreVerbs,
)

if TYPE_CHECKING:
    import builtins
    from collections.abc import Awaitable, Callable, Sequence

    from xsfs.aio.watch import Watch
    from xsfs.client.endpoint import Endpoint
    from xsfs.protocol.requests import Request

T = TypeVar("T")

# After how many calls other tasks are let run: most calls are answered without a pass of the loop.
_TURN = 16

_NOT_OPEN = "the transaction is not open: use it in an async with statement"


class Client(AsyncStoreVerbs):
    """A connection to a XenStore, in an `async with` statement under trio or asyncio.

    A lost connection is restored, with its watches; requests that only read are repeated.
    Every method that asks the store may raise `StoreError` (what the store said), `Timeout`
    (the request may yet be carried out), `ConnectionError` (the client is not running, or the
    connection was lost before the reply came, and the request is not one to repeat),
    `InvalidPath`, `InvalidPermission`, `InvalidPayload`.

    Args:
        path: a unix socket, or a character device that speaks the wire protocol, or an
            endpoint; looked for (see `xsfs.client.endpoint.find`) when absent.
        timeout_s: how long any call waits, in seconds; also for a lost store to come back.

    Raises:
        NoStore: there is no path, and no store is found.
    """

    def __init__(self, path: str | Endpoint | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._pipeline = Pipeline(path, timeout_s=timeout_s)
        self._calls = 0

    def __repr__(self) -> str:
        return f"Client({self._pipeline.path!r})"

    @property
    def timeout_s(self) -> float:
        """How long any call waits, in seconds."""
        return self._pipeline.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._pipeline.timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        await self._pipeline.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._pipeline.__aexit__(*exc)

    async def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        self._calls += 1
        if not self._calls % _TURN:
            await self._pipeline.runtime.pause()
        return await self._pipeline.batch(batch)

    def begin(self) -> Transaction:
        """A transaction, for an `async with` statement; see `Transaction`."""
        return Transaction(self._pipeline)

    async def run_in_transaction(
        self, body: Callable[[Transaction], Awaitable[T]], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(transaction)` and commit; start over when others interfere.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.

        Raises:
            Conflict: others interfered `attempts` times.
        """
        return await self._pipeline.run_in_transaction(
            lambda tx_id: body(Transaction(self._pipeline, tx_id)), attempts
        )

    def watch(self, path: bytes, depth: int | None = None) -> Watch:
        """Events for `path` and what is below it, for an `async with` statement; see `Watch`."""
        return self._pipeline.watch(path, depth)


class Transaction(AsyncNodeVerbs):
    """A transaction of a client, with the client's verbs for nodes; see `Client.begin`.

    At the end of its `async with` statement it is committed, or dropped when the block raises.
    What is asked of the client meanwhile stays outside.

    Raises:
        Conflict: at the end: others were in the way; nothing of it was done.
    """

    def __init__(self, pipeline: Pipeline, tx_id: int = 0) -> None:
        self._pipeline = pipeline
        self._tx_id = tx_id

    async def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        if not self._tx_id:
            raise InvalidOperation(_NOT_OPEN)
        return await self._pipeline.batch(batch, self._tx_id)

    async def commit(self) -> None:
        """End the transaction.

        Raises:
            Conflict: others were in the way; nothing of it was done.
        """
        await self._end(True)

    async def rollback(self) -> None:
        """Drop the transaction."""
        await self._end(False)

    async def _end(self, commit: bool) -> None:
        if not self._tx_id:
            raise InvalidOperation(_NOT_OPEN)
        tx_id, self._tx_id = self._tx_id, 0
        await self._pipeline.end_transaction(tx_id, commit)

    async def __aenter__(self) -> Self:
        self._tx_id = await self._pipeline.call(requests.transaction_start())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self._tx_id:
            return
        if kind is None:
            await self.commit()
        else:
            self._pipeline.abandon(self._tx_id)
            self._tx_id = 0
