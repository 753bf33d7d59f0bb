# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Linux's driver of /dev/xen/xenbus, as far as a process can tell it, before a real daemon.

The files that are open share one connection, as the kernel's users do. As in the driver: a
write(2) takes one packet; it sets a watch at once and fails with the store's error; UNWATCH
succeeds always, WATCH also twice with the same token; a file is never polled as writable;
events come by a way of their own, and what their header says besides type and length is
left over from something else.

Source: Linux, drivers/xen/xenbus/xenbus_dev_frontend.c and xenbus_xs.c; xs_wire.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.deadline import DEADLINE_S
from tests.xen.wire import HEADER, Op
from xsfs.client.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUFFER_BYTES = 4096  # struct xenbus_file_priv, u.buffer: header and payload

# xs_wire.h, xsd_errors; other names become EINVAL (xenbus_xs.c, get_error).
_ERRORS = (
    *("EINVAL", "EACCES", "EEXIST", "EISDIR", "ENOENT", "ENOMEM", "ENOSPC", "EIO"),
    *("ENOTEMPTY", "ENOSYS", "EROFS", "EBUSY", "EAGAIN", "EISCONN", "E2BIG"),
)


class _Reply(NamedTuple):
    op: int
    tx_id: int
    payload: bytes


class XenBus(Endpoint):
    """The kernel's connection; each `open` is an open of the device.

    Args:
        store: the socket of a daemon, or that of a tests.xen.guest.Guest.
        linux: the kernel's version. Before 4.16 it put numbers of its own into replies, before
            4.11 zero into those about watches.
    """

    def __init__(self, store: Path, linux: tuple[int, int] = (6, 12)) -> None:
        self.path = "/dev/xen/xenbus"
        self.linux = linux
        self._lock = threading.Lock()
        # The kernel's own requests come before any of ours.
        self._last_id = 0x100
        self._in_flight: dict[int, Callable[[_Reply, int], None]] = {}
        self._watches: dict[bytes, Callable[[bytes], None]] = {}
        # Set while no driver's callback keeps the thread that passes events on.
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._events: queue.SimpleQueue[tuple[bytes, bytes] | None] = queue.SimpleQueue()
        self._store = socket.socket(socket.AF_UNIX)
        self._store.connect(str(store))
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._fire)]
        for thread in self._threads:
            thread.start()

    def _stream(self, timeout_s: float) -> File:
        return File(self)

    def request(
        self, op: int, tx_id: int, payload: bytes, then: Callable[[_Reply, int], None]
    ) -> None:
        """Send a request; `then` is called with its reply and the kernel's number for it."""
        with self._lock:
            self._last_id += 1
            self._in_flight[self._last_id] = then
            self._store.sendall(HEADER.pack(op, self._last_id, tx_id, len(payload)) + payload)

    def talk(self, op: int, payload: bytes, tx_id: int = 0) -> None:
        """Send a request of the kernel's own and wait for its reply.

        Raises:
            OSError: the store refused it.
        """
        replies: queue.SimpleQueue[_Reply] = queue.SimpleQueue()
        self.request(op, tx_id, payload, lambda reply, _: replies.put(reply))
        reply = replies.get(timeout=DEADLINE_S)
        if reply.op == Op.ERROR:
            name = reply.payload.rstrip(b"\0").decode()
            number = getattr(errno, name) if name in _ERRORS else errno.EINVAL
            raise OSError(number, os.strerror(number))

    def watch(self, path: bytes, fire: Callable[[bytes], None]) -> bytes:
        """Set a watch; the kernel's token for it.

        Raises:
            OSError: the store refused it.
        """
        with self._lock:
            self._last_id += 1
            token = b"%X" % self._last_id
            self._watches[token] = fire
        try:
            self.talk(Op.WATCH, path + b"\0" + token + b"\0")
        except OSError:
            del self._watches[token]
            raise
        return token

    def unwatch(self, path: bytes, token: bytes) -> None:
        """Take a watch back; what the store says of it is a line in the kernel's log."""
        del self._watches[token]
        with contextlib.suppress(OSError):
            self.talk(Op.UNWATCH, path + b"\0" + token + b"\0")

    def _read(self) -> None:
        data = b""
        while received := self._store.recv(65536):
            data += received
            while len(data) >= HEADER.size:
                op, req_id, tx_id, length = HEADER.unpack_from(data)
                end = HEADER.size + length
                if len(data) < end:
                    break
                payload, data = data[HEADER.size : end], data[end:]
                if op == Op.WATCH_EVENT:
                    path, token, _ = payload.split(b"\0")
                    self._events.put((path, token))
                else:
                    with self._lock:
                        then = self._in_flight.pop(req_id)
                    then(_Reply(op, tx_id, payload), req_id)
        self._events.put(None)

    def _fire(self) -> None:
        while (event := self._events.get()) is not None:
            self._is_idle.wait()
            path, token = event
            if fire := self._watches.get(token):
                fire(path)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Another driver's callback runs: replies come, events wait (xenwatch_thread)."""
        self._is_idle.clear()
        try:
            yield
        finally:
            self._is_idle.set()

    def close(self) -> None:
        """The machine goes down; files that are open are left as they are."""
        self._store.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class File:
    """An open file of the device, non-blocking; a `xsfs.client.endpoint.Stream`."""

    one_packet_a_write = True
    delays_events = True

    def __init__(self, bus: XenBus) -> None:
        self._bus = bus
        self._partial = b""
        # The token of each is the kernel's.
        self._watches: list[tuple[bytes, bytes, bytes]] = []
        self._transactions: set[int] = set()
        self._lock = threading.Lock()
        self._replies: deque[bytes] = deque()
        # A pipe's end to read from is never writable.
        self._readable, self._flag = os.pipe()
        self._is_closed = False

    def fileno(self) -> int:
        return self._readable

    def receive(self, size: int) -> bytes:
        taken = b""
        with self._lock:
            if not self._replies:
                raise BlockingIOError(errno.EAGAIN, "nothing to read")
            while self._replies and len(taken) < size:
                reply = self._replies.popleft()
                room = size - len(taken)
                taken += reply[:room]
                if reply[room:]:
                    self._replies.appendleft(reply[room:])
            if not self._replies:
                os.read(self._readable, 1)
        return taken

    def send(self, data: bytes | memoryview) -> int:
        if len(self._partial) + len(data) > BUFFER_BYTES:
            self._partial = b""
            raise OSError(errno.EINVAL, "longer than the driver's buffer")
        self._partial += data
        if len(self._partial) < HEADER.size:
            return len(data)
        op, req_id, tx_id, length = HEADER.unpack_from(self._partial)
        if HEADER.size + length > BUFFER_BYTES:
            self._partial = b""
            raise OSError(errno.E2BIG, "longer than the driver's buffer")
        if len(self._partial) < HEADER.size + length:
            return len(data)
        # What follows the packet is dropped.
        payload, self._partial = self._partial[HEADER.size : HEADER.size + length], b""
        if op in (Op.WATCH, Op.UNWATCH):
            self._write_watch(op, req_id, tx_id, payload)
        else:
            self._write_transaction(op, req_id, tx_id, payload)
        return len(data)

    def _write_watch(self, op: int, req_id: int, tx_id: int, payload: bytes) -> None:
        reply_id = 0 if self._bus.linux < (4, 11) else req_id
        if payload.count(b"\0") < 2:
            self._queue(Op.ERROR, reply_id, tx_id, b"EINVAL\0")
            return
        path, token = payload.split(b"\0")[:2]
        if op == Op.WATCH:
            number = self._bus.watch(path, lambda changed: self._fired(changed, token))
            self._watches.append((path, token, number))
        else:
            for watch in self._watches:
                if watch[:2] == (path, token):
                    self._bus.unwatch(path, watch[2])
                    self._watches.remove(watch)
                    break
        self._queue(op, reply_id, tx_id, b"OK\0")

    def _write_transaction(self, op: int, req_id: int, tx_id: int, payload: bytes) -> None:
        if op != Op.TRANSACTION_START and tx_id and tx_id not in self._transactions:
            self._queue(Op.ERROR, req_id, tx_id, b"ENOENT\0")
            return
        if op == Op.TRANSACTION_END and payload not in (b"T\0", b"F\0"):
            self._queue(Op.ERROR, req_id, tx_id, b"EINVAL\0")
            return

        def reply(reply: _Reply, number: int) -> None:
            if op == Op.TRANSACTION_START and reply.op != Op.ERROR:
                self._transactions.add(int(reply.payload.rstrip(b"\0")))
            elif op == Op.TRANSACTION_END:
                self._transactions.discard(tx_id)
            renumbered = (4, 11) <= self._bus.linux < (4, 16)
            self._queue(reply.op, number if renumbered else req_id, reply.tx_id, reply.payload)

        self._bus.request(op, tx_id, payload, reply)

    def _fired(self, path: bytes, token: bytes) -> None:
        self._queue(Op.WATCH_EVENT, 0xA5A5A5A5, 0x5A5A5A5A, path + b"\0" + token + b"\0")

    def _queue(self, op: int, req_id: int, tx_id: int, payload: bytes) -> None:
        with self._lock:
            if self._is_closed:
                return
            if not self._replies:
                os.write(self._flag, b"!")
            self._replies.append(HEADER.pack(op, req_id, tx_id, len(payload)) + payload)

    def close(self) -> None:
        for tx_id in self._transactions:
            with contextlib.suppress(OSError):
                self._bus.talk(Op.TRANSACTION_END, b"F\0", tx_id)
        for path, _, number in self._watches:
            self._bus.unwatch(path, number)
        with self._lock:
            self._is_closed = True
            os.close(self._readable)
            os.close(self._flag)
