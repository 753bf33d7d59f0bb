# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The sockets of a store, in one epoll set of their own.

`run` waits by itself, for a process or thread that does nothing else; in trio, `serve` waits
for the set as a whole, so that trio's cost is not paid for each client. One thread owns it
all, but for `stop`. What anything means is in store.py.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import stat
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Self

import trio

from xsfs.server.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from xsfs.server.store import Store

_log = logging.getLogger(__name__)

_BACKLOG = 1024

# accept(2): errors that pass when descriptors or memory become free.
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Listener:
    """A store's sockets; a context manager opens and closes them.

    Args:
        store: what is served.
        paths: where to listen, by the domain that speaks there; domains are introduced.
    """

    def __init__(self, store: Store, paths: Mapping[int, str]) -> None:
        self.store = store
        self._paths = paths
        self._epoll = select.epoll()
        # What to call, with the events, when epoll reports a descriptor.
        self._turns: dict[int, Callable[[int], None]] = {}
        self._transports: set[Transport] = set()
        # Transports that have something to send, or are to be closed.
        self._waiting: set[Transport] = set()
        # The one whose request is unfinished: until it is, nobody else is served.
        self._unfinished: Transport | None = None
        # Listening sockets that accept nothing until a descriptor is free.
        self._paused: list[socket.socket] = []
        self._wake = os.eventfd(0)
        # Functions that other threads want called in this one.
        self._calls: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Open the sockets; clients can connect from now on.

        Raises:
            OSError: a socket cannot be made, or another process listens there.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._epoll.close)
            stack.callback(os.close, self._wake)
            self._watch(self._wake, self._carry_out_calls)
            stack.callback(self._close_transports)
            stack.callback(self._finish)
            for domid, path in self._paths.items():
                self._listen(stack, domid, path)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            self.turn(None)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function in the thread that serves; from any thread or signal handler."""
        self._calls.append(function)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Have `run` return; from any thread or signal handler."""
        self.call_soon(self._stop)

    def listen(self, domid: int, path: str) -> None:
        """Listen at one more path, for a domain that is introduced by this.

        Raises:
            OSError: the socket cannot be made, or another process listens there.
        """
        self._listen(self._stack, domid, path)

    def fileno(self) -> int:
        """The epoll set, which is readable when there is something to do for `turn`."""
        return self._epoll.fileno()

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do for `turn` at once."""
        return self._unfinished is not None

    def turn(self, timeout_s: float | None) -> None:
        """Wait for epoll, up to `timeout_s` (None: without limit), and serve what is ready.

        A request that takes long is gone on with instead, for some milliseconds.
        """
        if self._unfinished is not None:
            self._serve(self._unfinished, 0)
            return
        for number, events in self._epoll.poll(timeout_s):
            turn = self._turns.get(number)
            if turn is not None:
                turn(events)
            if self._unfinished is not None:
                # The other descriptors are reported again.
                return

    def _finish(self) -> None:
        """Leave nothing half done."""
        while self._unfinished is not None:
            self.turn(0)

    def _watch(self, number: int, turn: Callable[[int], None]) -> None:
        self._epoll.register(number, select.EPOLLIN)
        self._turns[number] = turn

    def _listen(self, stack: contextlib.ExitStack, domid: int, path: str) -> None:
        sock = stack.enter_context(_listening(path))
        self.store.domains[domid].introduced = True
        self._watch(sock.fileno(), partial(self._accept, sock, domid))

    def _accept(self, listening: socket.socket, domid: int, events: int) -> None:
        try:
            while True:
                sock, _ = listening.accept()
                if self.store.domains.is_introduced(domid):
                    sock.setblocking(False)
                    transport = Transport(sock, self.store, domid, self._waiting.add)
                    self._transports.add(transport)
                    self._watch(sock.fileno(), partial(self._serve, transport))
                else:
                    sock.close()
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES or not self._transports:
                raise
            _log.warning("no new connection is accepted until another one is closed: %s", error)
            self._epoll.modify(listening, 0)
            self._paused.append(listening)

    def _carry_out_calls(self, events: int) -> None:
        os.eventfd_read(self._wake)
        while self._calls:
            self._calls.popleft()()
        self._flush_waiting()

    def _stop(self) -> None:
        self._stopped = True

    def _serve(self, transport: Transport, events: int) -> None:
        transport.serve(events)
        self._unfinished = transport if self.store.unfinished else None
        # Events to others go before the replies of the request that caused them, as in xenstored.
        self._flush_waiting()
        self._flush(transport)

    def _flush_waiting(self) -> None:
        while self._waiting:
            self._flush(self._waiting.pop())

    def _flush(self, transport: Transport) -> None:
        if not transport.closed and transport.flush():
            if transport.closed:
                self._drop(transport)
            else:
                self._epoll.modify(transport.socket, transport.interest)

    def _drop(self, transport: Transport) -> None:
        self._epoll.unregister(transport.socket)
        del self._turns[transport.socket.fileno()]
        self._transports.discard(transport)
        transport.close()
        # A descriptor is free again.
        for paused in self._paused:
            self._epoll.modify(paused, select.EPOLLIN)
        self._paused.clear()

    def _close_transports(self) -> None:
        for transport in list(self._transports):
            self._drop(transport)


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
        OSError: a socket cannot be made, or another process listens there.
    """
    with Listener(store, {0: path, **(domains or {})}) as listener:
        task_status.started()
        while True:
            if listener.is_busy:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(listener.fileno())
            listener.turn(0)


@contextlib.contextmanager
def _listening(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.setblocking(False)
        try:
            _remove_stale(path)
            listening.bind(path)
        except OSError as error:
            # bind(2) names no path, and Python gives a path that is too long no number.
            number = error.errno or errno.ENAMETOOLONG
            raise OSError(number, os.strerror(number), path) from None
        try:
            # Clients can connect only after listen().
            os.chmod(path, 0o600)
            listening.listen(_BACKLOG)
            yield listening
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _remove_stale(path: str) -> None:
    """Remove a socket that no process listens on any more."""
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
