# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client: XenStore's operations as methods.

Thread-safe: threads share the connection, and each has a transaction of its own. Not here:
the operations (protocol/verbs.py), sharing the connection (link.py), events (monitors.py).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from xsfs.client.endpoint import NoStore, UnixSocketConnection, XenBusConnection, find
from xsfs.client.monitors import Connected, Monitor
from xsfs.client.router import Router
from xsfs.errors import Conflict, InvalidOperation, StoreError, XenStoreError
from xsfs.protocol import requests
from xsfs.protocol.verbs import TIMEOUT_S, TRANSACTION_ATTEMPTS, NodeVerbs

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from xsfs.protocol.requests import Request

T = TypeVar("T")


class _OfThread(threading.local):
    tx_id = 0


class _IsControlDomain:
    """Whether this is the control domain, read from Xen at each access."""

    def __get__(self, instance: object, owner: type) -> bool:
        try:
            with open("/proc/xen/capabilities", "rb") as capabilities:
                return capabilities.read() == b"control_d\n"
        except OSError:
            return False


class Client(Connected):
    """A connection to a XenStore; use it in a `with` statement.

    Args:
        unix_socket_path: the socket of xenstored.
        xen_bus_path: the kernel's device, or another one that speaks the protocol.
        router: a connection to share, in the place of a path.
        timeout_s: how long a call waits, in seconds.

    Without any of the first three the store is looked for: see `xsfs.client.endpoint.find`.
    Every method that asks the store may raise `StoreError` (what the store said),
    `ConnectionError` (closed or lost), `Timeout` (the request may yet be carried out, and
    the connection remains usable), `InvalidPath`, `InvalidPermission`, `InvalidPayload`.
    """

    # For pyxs's users; the store itself refuses what only that domain may do.
    SU = _IsControlDomain()

    def __init__(
        self,
        unix_socket_path: str | bytes | os.PathLike[str] | None = None,
        xen_bus_path: str | bytes | os.PathLike[str] | None = None,
        router: Router | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if router is None:
            if unix_socket_path:
                router = Router(UnixSocketConnection(unix_socket_path))
            elif xen_bus_path:
                router = Router(XenBusConnection(xen_bus_path))
            else:
                router = Router(_usual())
        self.router = router
        self.timeout_s = timeout_s
        self._of_thread = _OfThread()

    def __repr__(self) -> str:
        return f"Client({self.router.connection!r})"

    def __copy__(self) -> Client:
        """A client on the same connection, in no transaction."""
        return type(self)(router=self.router, timeout_s=self.timeout_s)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        uncommitted, self.tx_id = self.tx_id, 0
        if uncommitted and kind is None:
            raise InvalidOperation("uncommitted transaction")

    @property
    def tx_id(self) -> int:
        """The transaction in which this thread's requests are made; 0 is none.

        A transaction belongs to the thread that started it. Another thread takes part in it
        when it sets this.
        """
        return self._of_thread.tx_id

    @tx_id.setter
    def tx_id(self, tx_id: int) -> None:
        self._of_thread.tx_id = tx_id

    def connect(self) -> None:
        """Connect to the store, unless connected; also after the connection was lost.

        Watches and transactions of an earlier connection are gone.
        """
        self.router.connect(self.timeout_s)

    def close(self) -> None:
        """Close the connection, and so drop transactions and watches; wakes all who wait."""
        self.router.close()

    def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        return self.router.link().call(batch, self._of_thread.tx_id, self.timeout_s)

    # -- transactions and watches -------------------------------------------------------------

    def transaction(self) -> int:
        """Start a transaction for this thread; its id.

        Raises:
            StoreError: EALREADY, the thread is in one.
        """
        if self.tx_id:
            raise StoreError.of(b"EALREADY")
        self.tx_id = self.call(requests.transaction_start())
        return self.tx_id

    def commit(self) -> bool:
        """Commit this thread's transaction; False on a conflict with others: start over."""
        try:
            self.call(requests.transaction_end(True))
        except Conflict:
            return False
        finally:
            self.tx_id = 0
        return True

    def rollback(self) -> None:
        """Drop this thread's transaction."""
        try:
            self.call(requests.transaction_end(False))
        finally:
            self.tx_id = 0

    def begin(self) -> Transaction:
        """A transaction of its own, for a `with` statement; see `Transaction`."""
        return Transaction(self)

    def run_in_transaction(
        self, body: Callable[[Transaction], T], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(transaction)` and commit; start over when others interfere.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.
        Meanwhile the transaction is this thread's, too.

        Raises:
            Conflict: others interfered `attempts` times.
            StoreError: EALREADY, the thread is in a transaction.
        """
        for _ in range(attempts):
            transaction = Transaction(self, self.transaction())
            try:
                result = body(transaction)
            except BaseException:
                # Not to hide the first error; a lost connection has dropped it already.
                with suppress(XenStoreError):
                    self.rollback()
                raise
            if self.commit():
                return result
        raise StoreError.of(b"EAGAIN")

    def monitor(self) -> Monitor:
        """A new monitor on this connection: for watches."""
        return Monitor(self)


class Transaction(NodeVerbs):
    """A transaction of a client, with the client's verbs for nodes; see `Client.begin`.

    At the end of its `with` statement it is committed, or dropped when the block raises.
    What other threads ask of the client meanwhile stays outside.

    Raises:
        Conflict: at the end: others were in the way; nothing of it was done.
    """

    def __init__(self, client: Client, tx_id: int = 0) -> None:
        self._client = client
        self._tx_id = tx_id

    def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        if not self._tx_id:
            raise InvalidOperation("the transaction is not open: use it in a with statement")
        return self._client.router.link().call(batch, self._tx_id, self._client.timeout_s)

    def commit(self) -> None:
        """End the transaction.

        Raises:
            Conflict: others were in the way; nothing of it was done.
        """
        self._end(True)

    def rollback(self) -> None:
        """Drop the transaction."""
        self._end(False)

    def _end(self, commit: bool) -> None:
        try:
            self.call(requests.transaction_end(commit))
        finally:
            self._tx_id = 0

    def __enter__(self) -> Self:
        (started,) = self._client.router.link().call(
            (requests.transaction_start(),), 0, self._client.timeout_s
        )
        if isinstance(started, StoreError):
            raise started
        self._tx_id = cast("int", started)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self._tx_id:
            return
        if kind is None:
            self.commit()
        else:
            # Not to hide the first error; a lost connection has dropped it already.
            with suppress(XenStoreError):
                self.rollback()


@contextmanager
def monitor(*args: Any, **kwargs: Any) -> Iterator[Monitor]:
    """A monitor on a client of its own; the arguments are those of `Client`."""
    with Client(*args, **kwargs) as client, client.monitor() as monitor:
        yield monitor


def _usual() -> UnixSocketConnection | XenBusConnection:
    try:
        return find()
    except NoStore:
        # The failure is that of connecting, as with a path that is given.
        return UnixSocketConnection()
