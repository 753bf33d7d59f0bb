# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store in a thread of its own, for other people's test suites.

    with xsfs.server.running({b"/tool/a": b"1"}, domains=[5]) as store:
        client = xsfs.Client(store)                    # domain 0
        guest = xsfs.Client(store.domains[5])          # an unprivileged domain
        store.refuse("EAGAIN", Op.TRANSACTION_END)     # the next commit meets a conflict

In pytest the fixture `xenstore` is such a store, new for each test, see pytest_plugin.py. The
store does not need the test's event loop, so tests may be async, with asyncio or trio: each method
returns within milliseconds. The thread owns the store; nothing but what is here is for others.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from xsfs import jsontree
from xsfs.errors import InvalidOperation, InvalidPermission
from xsfs.server import access
from xsfs.server.access import Perms
from xsfs.server.faults import Fault
from xsfs.server.listener import Listener
from xsfs.server.rules import C_XENSTORED, Rules
from xsfs.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")

# How long a method waits for the thread, which answers at once unless it is stalled.
_TIMEOUT_S = 10


class Running(str):
    """A store that runs: the path of its socket for domain 0, and what a test may do with it.

    Attributes:
        domains: the paths of the sockets that speak as other domains, by domain id.
    """

    __slots__ = ("_fill", "_listener", "_thread", "domains")

    domains: dict[int, str]
    _fill: Callable[[], Store]
    _listener: Listener
    _thread: threading.Thread | None

    @classmethod
    def _make(cls, folder: str, fill: Callable[[], Store], domains: Iterable[int]) -> Running:
        self = cls(os.path.join(folder, "socket"))
        self.domains = {domid: self._socket_of(domid) for domid in domains}
        self._fill = fill
        self._thread = None
        return self

    def start(self) -> None:
        """Listen, after `stop`: with the content that the store was made with, and no faults.

        Raises:
            OSError: a socket cannot be made.
            InvalidOperation: it runs.
        """
        if self._thread is not None:
            raise InvalidOperation("the store is running: stop it first")
        self._listener = Listener(self._fill(), {0: str(self), **self.domains})
        self._listener.__enter__()
        self._thread = threading.Thread(target=self._listener.run, name="xenstore", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all connections and remove the sockets, as when xenstored ends; once is enough."""
        if self._thread is not None:
            self._listener.stop()
            self._thread.join()
            self._thread = None
            self._listener.__exit__()

    def restart(self) -> None:
        """`stop` and `start`: what clients wrote is gone, as when xenstored is started anew."""
        self.stop()
        self.start()

    def add_domain(self, domid: int) -> str:
        """Introduce a domain; the path of the socket that speaks as it, also after a restart.

        Args:
            domid: 1 to 32751.

        Raises:
            OSError: the socket cannot be made.
        """
        path = self._socket_of(domid)

        def work(listener: Listener) -> None:
            listener.store.introduce(listener.store.domains[domid])
            listener.listen(domid, path)

        self._call(work)
        self.domains[domid] = path
        return path

    def set_quota(self, name: str, value: int, domid: int | None = None) -> None:
        """Set a quota for all domains but 0, which has none, or for one.

        Args:
            name: nodes, watches, transactions, transaction-nodes, node-size, path-max,
                permissions.
            value: 0: not checked.

        Raises:
            InvalidOperation: there is no such quota.
        """
        quota = name.encode()

        def work(listener: Listener) -> None:
            if quota not in listener.store.quotas.names:
                raise InvalidOperation(f"no such quota: {name}")
            listener.store.quotas.set(quota, value, domid)

        self._call(work)

    def refuse(
        self,
        error: str,
        op: int | None = None,
        *,
        path: bytes | None = None,
        domid: int | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer requests with an error instead of carrying them out.

        A refused commit ends its transaction, as one that met a conflict does.

        Args:
            error: as on the wire: EAGAIN, ENOSPC, EQUOTA, ...
            op: only requests of this type, of `xsfs.protocol.packet.Op`.
            path: only requests on this node and those below it.
            domid: only requests of this domain.
            times: how many, 1 at least; None: until `refuse_nothing`.
        """
        fault = Fault(error.encode(), op, path, domid, times)
        self._call(lambda listener: listener.store.faults.add(fault))

    def refuse_nothing(self) -> None:
        """Undo every `refuse`."""
        self._call(lambda listener: listener.store.faults.clear())

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Answer no client within the block: connections are accepted, requests wait."""
        begun, end = threading.Event(), threading.Event()

        def work(listener: Listener) -> None:
            begun.set()
            end.wait()

        waiting = self._submit(work)
        begun.wait(_TIMEOUT_S)
        try:
            yield
        finally:
            end.set()
            waiting.result(_TIMEOUT_S)

    def _socket_of(self, domid: int) -> str:
        return os.path.join(os.path.dirname(self), f"domain-{domid}")

    def _submit(self, work: Callable[[Listener], T]) -> Future[T]:
        if self._thread is None:
            raise InvalidOperation("the store is not running")
        listener, done = self._listener, Future[T]()

        def run() -> None:
            try:
                done.set_result(work(listener))
            except Exception as error:
                done.set_exception(error)

        listener.call_soon(run)
        return done

    def _call(self, work: Callable[[Listener], T]) -> T:
        return self._submit(work).result(_TIMEOUT_S)


@contextlib.contextmanager
def running(
    values: Mapping[bytes, bytes] | None = None,
    *,
    load: str | os.PathLike[str] | None = None,
    perms: Mapping[bytes, Iterable[bytes]] | None = None,
    domains: Iterable[int] = (),
    rules: Rules = C_XENSTORED,
) -> Iterator[Running]:
    """A store of its own for as long as the block lasts, empty but for what is said.

    Args:
        values: what is in the store, by absolute path; missing parents are made.
        load: a file of JSON in the shape of a mount's `.json` or `.backup`; `values` go over it.
        perms: permissions by path, as `[b"n0", b"r5"]`; nodes that have none here get their
            parent's.
        domains: unprivileged domains, introduced, that get a socket each: `store.domains[5]`.
        rules: which real daemon it follows where they differ: C_XENSTORED or OXENSTORED.

    Raises:
        OSError: no socket can be made, or `load` cannot be read.
        ValueError: `load` is not JSON of that shape, or a path or permission is malformed.
    """
    with tempfile.TemporaryDirectory(prefix="xenstore-") as folder:
        nodes = [] if load is None else jsontree.loads(_read(load))
        content = {node.path: node.value for node in nodes} | dict(values or {})
        loaded = {node.path: node.perms for node in nodes if node.perms}
        fill = partial(_filled, content, _parsed({**loaded, **(perms or {})}), rules)
        store = Running._make(folder, fill, domains)
        store.start()
        try:
            yield store
        finally:
            store.stop()


def _read(file: str | os.PathLike[str]) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()


def _parsed(perms: Mapping[bytes, Iterable[bytes]]) -> dict[bytes, Perms]:
    found = {}
    for path, texts in perms.items():
        entries = access.parse(texts)
        if not entries:
            raise InvalidPermission(f"{path!r}: not permissions: {texts!r}")
        found[path] = Perms(entries)
    return found


def _filled(content: dict[bytes, bytes], perms: dict[bytes, Perms], rules: Rules) -> Store:
    store = Store(rules)
    store.load(content, perms)
    return store
