# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client: XenStore's operations as methods.

Thread-safe: threads share the connection, and each has a transaction of its own. Not here:
the wire (protocol/), sharing the connection (link.py), events (monitors.py).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from xsfs.client.endpoint import NoStore, UnixSocketConnection, XenBusConnection, find
from xsfs.client.monitors import Monitor
from xsfs.client.router import TIMEOUT_S, Router
from xsfs.errors import Conflict, InvalidOperation, NotFound, StoreError, XenStoreError
from xsfs.protocol import procedures, requests

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from xsfs.protocol.procedures import Procedure
    from xsfs.protocol.requests import Request

T = TypeVar("T")

# How often `run_in_transaction` starts over.
TRANSACTION_ATTEMPTS = 100


class _Transaction(threading.local):
    id = 0


class _IsControlDomain:
    """Whether this is the domain that controls the others; Xen says so when it is asked."""

    def __get__(self, instance: object, owner: type) -> bool:
        try:
            with open("/proc/xen/capabilities", "rb") as capabilities:
                return capabilities.read() == b"control_d\n"
        except OSError:
            return False


class Client:
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

    # Nothing depends on it here: the store itself refuses what only that domain may do.
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
        self._transaction = _Transaction()

    def __repr__(self) -> str:
        return f"Client({self.router.connection!r})"

    def __copy__(self) -> Client:
        """A client on the same connection, in no transaction."""
        return type(self)(router=self.router, timeout_s=self.timeout_s)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        return self._transaction.id

    @tx_id.setter
    def tx_id(self, tx_id: int) -> None:
        self._transaction.id = tx_id

    def connect(self) -> None:
        """Connect to the store, unless connected; also after the connection was lost.

        Watches and transactions of an earlier connection are gone.
        """
        self.router.connect(self.timeout_s)

    def close(self) -> None:
        """Close the connection, and so drop transactions and watches; wakes all who wait."""
        self.router.close()

    # -- requests in general ------------------------------------------------------------------

    def call(self, request: Request[T]) -> T:
        """Send one request (see `xsfs.protocol.requests`) and have its result."""
        (result,) = self.router.link().call((request,), self._transaction.id, self.timeout_s)
        if isinstance(result, StoreError):
            raise result
        return cast("T", result)

    def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, errors as values."""
        return self.router.link().call(batch, self._transaction.id, self.timeout_s)

    def perform(self, procedure: Procedure[T]) -> T:
        """Run a procedure of several requests (see `xsfs.protocol.procedures`)."""
        try:
            wanted = next(procedure)
            while True:
                wanted = procedure.send(self.batch(wanted))
        except StopIteration as stop:
            return cast("T", stop.value)

    # -- nodes --------------------------------------------------------------------------------

    def read(self, path: bytes, default: bytes | None = None) -> bytes:
        """The value of a node, to the byte; `default`, if given, when there is no such node."""
        try:
            return self.call(requests.read(path))
        except NotFound:
            if default is None:
                raise
            return default

    def write(self, path: bytes, value: bytes) -> None:
        """Set the value of a node; creates it, and its parents with empty values."""
        self.call(requests.write(path, value))

    def mkdir(self, path: bytes) -> None:
        """Create a node, and its parents; one that exists keeps its value."""
        self.call(requests.mkdir(path))

    def delete(self, path: bytes) -> None:
        """Remove a node and all below it; it may be missing, but not its parent."""
        self.call(requests.rm(path))

    __getitem__ = read
    __setitem__ = write
    __delitem__ = delete

    def list(self, path: bytes) -> builtins.list[bytes]:
        """The names of all children, however many, in the daemon's order."""
        return self.perform(procedures.listing(path))

    def exists(self, path: bytes) -> bool:
        """Whether there is such a node."""
        try:
            self.call(requests.read(path))
        except NotFound:
            return False
        return True

    __contains__ = exists

    def get_perms(self, path: bytes) -> builtins.list[bytes]:
        """The permission entries, owner first: `[b"n0", b"r5"]`."""
        return self.call(requests.get_perms(path))

    def set_perms(self, path: bytes, perms: Iterable[bytes]) -> None:
        """Replace the permission entries, owner first."""
        self.call(requests.set_perms(path, perms))

    def walk(
        self, top: bytes, topdown: bool = True
    ) -> Iterator[tuple[bytes, bytes, builtins.list[bytes]]]:
        """`(path, value, children)` of `top` and of every node below it.

        Nodes that vanish meanwhile are left out; a value that may not be read is empty.

        Args:
            topdown: parents before their children, and whoever removes names from `children`
                is spared those; else children before their parents.
        """
        walk = procedures.walk(top, topdown)
        with suppress(StopIteration):
            item = next(walk)
            while True:
                if isinstance(item, tuple):
                    yield item
                    item = next(walk)
                else:
                    item = walk.send(self.batch(item))

    def read_tree(self, path: bytes) -> dict[bytes, bytes]:
        """The values of a node and of all nodes below it, by path; parents come first.

        Level by level, each in one go. Nodes that vanish meanwhile or may not be read are
        left out; in a transaction it is a snapshot.
        """
        return self.perform(procedures.tree(path))

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
        """End this thread's transaction; False when others were in the way: start over."""
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

    def run_in_transaction(
        self, body: Callable[[Client], T], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(client)` in a transaction and commit; start over when others interfere.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.

        Raises:
            Conflict: others interfered `attempts` times.
            StoreError: EALREADY, the thread is in a transaction.
        """
        for _ in range(attempts):
            self.transaction()
            try:
                result = body(self)
            except BaseException:
                # The reason is what counts; a lost connection has dropped it already.
                with suppress(XenStoreError):
                    self.rollback()
                raise
            if self.commit():
                return result
        raise StoreError.of(b"EAGAIN")

    def monitor(self) -> Monitor:
        """A new monitor on this connection: for watches."""
        return Monitor(self)

    def reset_watches(self) -> None:
        """Drop all watches and transactions of the connection."""
        self.call(requests.reset_watches())

    # -- domains ------------------------------------------------------------------------------

    def get_domain_path(self, domid: int) -> bytes:
        """The domain's home, `b"/local/domain/<domid>"`, whether or not it exists."""
        return self.call(requests.get_domain_path(domid))

    def is_domain_introduced(self, domid: int) -> bool:
        """Whether the store is in communication with the domain."""
        return self.call(requests.is_domain_introduced(domid))

    def introduce_domain(self, domid: int, mfn: int, eventchn: int) -> None:
        """Let the store communicate with a domain.

        Args:
            domid: not 0.
            mfn: the machine frame of the domain's ring page.
            eventchn: an unbound event channel in the domain.
        """
        self.call(requests.introduce_domain(domid, mfn, eventchn))

    def release_domain(self, domid: int) -> None:
        """Let the store end its communication with a domain."""
        self.call(requests.release_domain(domid))

    def resume_domain(self, domid: int) -> None:
        """Let the store report the domain's next shutdown again."""
        self.call(requests.resume_domain(domid))

    def set_target(self, domid: int, target: int) -> None:
        """Give a domain the rights of the domain `target`."""
        self.call(requests.set_target(domid, target))

    # -- the daemon itself --------------------------------------------------------------------

    def control(self, command: bytes, *arguments: bytes) -> bytes:
        """Say something to the daemon; its answer. What it knows is the daemon's own."""
        return self.call(requests.control(command, *arguments))

    def get_feature(self, domid: int | None = None) -> int:
        """The feature bits of the daemon, or those that a domain is offered."""
        return self.call(requests.get_feature(domid))

    def set_feature(self, domid: int, features: int) -> None:
        """What features a domain, not yet introduced, shall be offered."""
        self.call(requests.set_feature(domid, features))

    def quota_names(self) -> builtins.list[bytes]:
        """The names of the quotas that the daemon knows."""
        return self.call(requests.quota_names())

    def get_quota(self, name: bytes, domid: int | None = None) -> int:
        """A quota's value, for new domains or for one domain."""
        return self.call(requests.get_quota(name, domid))

    def set_quota(self, name: bytes, value: int, domid: int | None = None) -> None:
        """Set a quota, for new domains or for one domain."""
        self.call(requests.set_quota(name, value, domid))


@contextmanager
def monitor(*args: Any, **kwargs: Any) -> Iterator[Monitor]:
    """A monitor on a client of its own; the arguments are those of `Client`."""
    with Client(*args, **kwargs) as client, client.monitor() as monitor:
        yield monitor


def _usual() -> UnixSocketConnection | XenBusConnection:
    try:
        return find()
    except NoStore:
        # Connecting is what fails, as it does with a path that is given.
        return UnixSocketConnection()
