# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Sockets for the store: accept, receive, let the store answer, send. Runs in trio.

A client that does not read is read no further once its replies pile up, and is given up when
its events do; a client that breaks the protocol is cut off; none of them holds up the others.
All that one receive brings is answered with one send. What anything means is in store.py.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING

import trio

from xsfs.errors import UnexpectedPacket
from xsfs.protocol.packet import PAYLOAD_MAX, Splitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsfs.server.store import Store

_log = logging.getLogger(__name__)

# What is received at once is answered at once: a few milliseconds' worth.
_RECEIVE_MAX = 1 << 16

# Requests are left unread while this much waits to be sent: enough for thousands of replies
# to a client that sends first and reads later, as the real daemons let it.
_UNSENT_MAX = 4 << 20

# As trio.serve_listeners does: how long to wait for descriptors to become free, and when.
_ACCEPT_PAUSE_S = 0.1
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

_BACKLOG = 1024


async def serve(
    path: str,
    store: Store,
    domains: Mapping[int, str] | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a store until cancelled; `nursery.start` returns when it listens.

    Args:
        path: the socket for domain 0, made with mode 0600 and removed at the end.
        store: what is served.
        domains: sockets that speak as other domains, by domain id; these are introduced.

    Raises:
        OSError: a socket cannot be made, or somebody listens there.
    """
    with listening({0: path, **(domains or {})}) as listeners:
        task_status.started()
        await serve_listeners(store, listeners)


async def serve_listeners(store: Store, listeners: Mapping[int, socket.socket]) -> None:
    """Serve a store on what `listening` gave, until cancelled."""
    async with trio.open_nursery() as nursery:
        server = _Server(store, nursery)
        for domid, listener in listeners.items():
            store.domains[domid].introduced = True
            nursery.start_soon(server.accept, listener, domid)


@contextlib.contextmanager
def listening(paths: Mapping[int, str]) -> Iterator[dict[int, socket.socket]]:
    """Sockets by the domain that speaks there; clients can connect from now on.

    Raises:
        OSError: a socket cannot be made, or somebody listens there.
    """
    with contextlib.ExitStack() as stack:
        yield {domid: stack.enter_context(_listening(path)) for domid, path in paths.items()}


@contextlib.contextmanager
def _listening(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        _remove_stale(path)
        listener.bind(path)
        try:
            # Nobody can connect before listen().
            os.chmod(path, 0o600)
            listener.listen(_BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more."""
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


class _Server:
    """The links, and which of them have something to send."""

    def __init__(self, store: Store, nursery: trio.Nursery) -> None:
        self.store = store
        self.nursery = nursery
        self.waiting: set[_Link] = set()

    async def accept(self, listener: socket.socket, domid: int) -> None:
        """Take connections as they come."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                while True:
                    self._admit(listener.accept()[0], domid)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                _log.warning("cannot take a connection: %s", error)
                await trio.sleep(_ACCEPT_PAUSE_S)

    def _admit(self, sock: socket.socket, domid: int) -> None:
        if self.store.domains.is_introduced(domid):
            sock.setblocking(False)
            self.nursery.start_soon(_Link(self, sock, domid).run)
        else:
            sock.close()

    def flush(self) -> None:
        """Send what has been queued for others than the one at hand."""
        while self.waiting:
            self.waiting.pop().flush()


class _Link:
    """The socket of one connection."""

    def __init__(self, server: _Server, sock: socket.socket, domid: int) -> None:
        self._server = server
        self._socket = sock
        self._scope = trio.CancelScope()
        self._unsent = memoryview(b"")
        # Set unless a task waits for the socket to take more.
        self._drained = trio.Event()
        self._drained.set()
        self._connection = server.store.connect(domid, lambda: server.waiting.add(self))

    async def run(self) -> None:
        """Receive and answer until the client goes or is cut off."""
        try:
            with self._scope:
                await self._receive()
        except UnexpectedPacket as error:
            _log.warning("a client is cut off: %s", error)
        except OSError:
            # Whatever befell the socket, the client is gone.
            pass
        except Exception:
            # A fault of the store's own costs this client its connection, not everybody.
            _log.exception("a request failed")
        finally:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._server.store.disconnect(self._connection)

    async def _receive(self) -> None:
        splitter = Splitter(PAYLOAD_MAX)
        handle, connection = self._server.store.handle, self._connection
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            data = self._socket.recv(_RECEIVE_MAX)
            if not data:
                return
            try:
                for op, req_id, tx_id, payload in splitter.feed(data):
                    handle(connection, op, req_id, tx_id, payload)
            finally:
                self._server.flush()
                self.flush()
            while self._unsent.nbytes + connection.queued > _UNSENT_MAX:
                await self._drained.wait()

    def flush(self) -> None:
        """Send what is queued, and have the rest sent when the socket takes more."""
        if self._connection.closed:
            self._scope.cancel()
        elif self._drained.is_set() and not self._send():
            self._drained = trio.Event()
            self._server.nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        try:
            while not self._send():
                await trio.lowlevel.wait_writable(self._socket)
        except trio.ClosedResourceError:
            pass
        self._drained.set()

    def _send(self) -> bool:
        """Send what the socket takes; whether that was all."""
        try:
            while self._unsent or self._connection.queued:
                if not self._unsent:
                    self._unsent = memoryview(self._connection.take())
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            self._scope.cancel()
        return True
