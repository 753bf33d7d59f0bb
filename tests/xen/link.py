# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A bad link: a Unix socket that leads to a daemon's socket and can be disturbed on the way.

Not a daemon: undisturbed it passes on what it gets, and closes a client's connection when
there is no daemon.  It cuts, stalls, splits, delays, swallows, forges
and injects.
Any thread may call a Link; inside, two threads carry each connection.  All connections of a
link, those to come too, are disturbed alike.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self

from tests.deadline import DEADLINE_S
from tests.xen.wire import HEADER, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Way(Enum):
    """A direction."""

    TO_CLIENT = "to client"
    TO_DAEMON = "to daemon"


@dataclass(slots=True)
class _Faults:
    """What is wrong with one direction."""

    stalled: bool = False
    piece_size: int | None = None
    piece_delay_s: float = 0.0
    cut_after: int | None = None
    cut_done: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Forgery:
    """Packets on the way to the client that are to be others."""

    make: Callable[[bytes], bytes]
    op: Op | None
    left: int
    done: threading.Event

    def takes(self, packet: bytes) -> bool:
        op = int.from_bytes(packet[:4], sys.byteorder)
        return op == self.op or (self.op is None and op != Op.WATCH_EVENT)


class _Connection:
    """A client's connection and its continuation to the daemon."""

    def __init__(self, client: socket.socket, daemon: socket.socket) -> None:
        self.ends = {Way.TO_CLIENT: client, Way.TO_DAEMON: daemon}
        self.whole_packet = {way: threading.Lock() for way in Way}
        self.broken = threading.Event()
        self.ways_open = len(Way)

    def break_off(self) -> None:
        """Ends both sides; unlike close() this wakes the threads in recv and sendall."""
        self.broken.set()
        for end in self.ends.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Link:
    """A socket that leads to another.

    Args:
        path: where to listen.
        daemon: path of the daemon's socket, connected to anew for each client.
        on_request: called with each packet for the daemon before it is passed on, from the
            connection's thread; clients must then send whole packets.
    """

    def __init__(
        self, path: Path, daemon: Path, on_request: Callable[[bytes], None] | None = None
    ) -> None:
        self.socket = path
        self._on_request = on_request
        self._daemon = daemon
        self._state = threading.Condition()
        self._faults = {way: _Faults() for way in Way}
        self._forgery: _Forgery | None = None
        self._connections: list[_Connection] = []
        self._accepted = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, name="link accept")]
        self._threads[0].start()

    def stall(self, *ways: Way) -> None:
        """Lets nothing more through, in the given directions or in both, until resume()."""
        with self._state:
            for way in ways or Way:
                self._faults[way].stalled = True

    def resume(self) -> None:
        """Lets everything through again, held data first."""
        with self._state:
            for faults in self._faults.values():
                faults.stalled = False
            self._state.notify_all()

    def split(self, size: int | None, delay_s: float = 0.0, way: Way = Way.TO_CLIENT) -> None:
        """Sends in pieces of at most size bytes, and waits after each.

        Args:
            size: in bytes; None for whole packets (towards the client).
            delay_s: wait after each piece.
        """
        with self._state:
            self._faults[way].piece_size = size
            self._faults[way].piece_delay_s = delay_s

    def swallow(self, count: int = 1, op: Op | None = None) -> threading.Event:
        """Drops the next packets that the daemon sends, as if they got lost.

        Args:
            count: how many.
            op: their type; None for replies of any type, not events.

        Returns:
            An event that is set when the last of them has been dropped.
        """
        return self.forge(lambda packet: b"", count, op)

    def forge(
        self, make: Callable[[bytes], bytes], count: int = 1, op: Op | None = None
    ) -> threading.Event:
        """Sends something else instead of the next packets that the daemon sends.

        Args:
            make: what to send, given the packet.
            count: how many.
            op: their type; None for replies of any type, not events.

        Returns:
            An event that is set when the last of them has been made another.
        """
        done = threading.Event()
        with self._state:
            self._forgery = _Forgery(make, op, count, done)
        return done

    def inject(self, data: bytes, way: Way = Way.TO_CLIENT) -> None:
        """Sends bytes to one end of every connection; towards the client between two packets.

        A connection that this end has hung up, not yet noticed here, takes nothing.

        Raises:
            TimeoutError: a packet is held back half-sent.
        """
        with self._state:
            connections = list(self._connections)
        for connection in connections:
            lock = connection.whole_packet[way]
            if not lock.acquire(timeout=DEADLINE_S):
                raise TimeoutError("a packet is on the way")
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.ends[way].sendall(data)
            finally:
                lock.release()

    def cut(self, after: int = 0, way: Way = Way.TO_CLIENT) -> threading.Event:
        """Breaks all connections, now or in the middle of what comes next; new ones work.

        Args:
            after: number of bytes that still pass in the given direction.

        Returns:
            An event that is set when they are broken.
        """
        faults = self._faults[way]
        with self._state:
            faults.cut_done = threading.Event()
            faults.cut_after = after
            if not after:
                self._cut_all(faults)
            return faults.cut_done

    def await_accepted(self, count: int, timeout_s: float = DEADLINE_S) -> None:
        """Waits until so many clients have connected since the start.

        Raises:
            TimeoutError: fewer did.
        """
        with self._state:
            if not self._state.wait_for(lambda: self._accepted >= count, timeout_s):
                raise TimeoutError(f"{self._accepted} connections, not {count}")

    @property
    def accepted(self) -> int:
        """How many clients have connected since the start."""
        with self._state:
            return self._accepted

    def close(self) -> None:
        """Breaks all connections and ends the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(DEADLINE_S)
        self.cut()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), thread
        self._listener.close()
        self.socket.unlink()

    def _cut_all(self, faults: _Faults) -> None:
        """With the state held."""
        for connection in self._connections:
            connection.break_off()
        faults.cut_after = None
        faults.cut_done.set()
        self._state.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            daemon = socket.socket(socket.AF_UNIX)
            try:
                daemon.connect(str(self._daemon))
            except OSError:
                daemon.close()
                client.close()
                continue
            self._carry_both(_Connection(client, daemon))

    def _carry_both(self, connection: _Connection) -> None:
        threads = [
            threading.Thread(target=self._carry, args=(connection, way), name=f"link {way.value}")
            for way in Way
        ]
        with self._state:
            self._threads += threads
            self._connections.append(connection)
            self._accepted += 1
            self._state.notify_all()
        for thread in threads:
            thread.start()

    def _carry(self, connection: _Connection, way: Way) -> None:
        source = connection.ends[Way.TO_DAEMON if way is Way.TO_CLIENT else Way.TO_CLIENT]
        try:
            whole = way is Way.TO_CLIENT or self._on_request is not None
            for packet in _packets(source) if whole else _chunks(source):
                if way is Way.TO_DAEMON and self._on_request is not None:
                    self._on_request(packet)
                data = self._forged(packet) if way is Way.TO_CLIENT else packet
                self._pass_on(connection, way, data)
            connection.ends[way].shutdown(socket.SHUT_WR)
        except OSError:
            connection.break_off()
        with self._state:
            self._state.notify_all()
            connection.ways_open -= 1
            if not connection.ways_open:
                self._connections.remove(connection)
                for end in connection.ends.values():
                    end.close()

    def _forged(self, packet: bytes) -> bytes:
        with self._state:
            forgery = self._forgery
            if forgery is None or not forgery.takes(packet):
                return packet
            forgery.left -= 1
            if not forgery.left:
                self._forgery = None
                forgery.done.set()
            return forgery.make(packet)

    def _pass_on(self, connection: _Connection, way: Way, data: bytes) -> None:
        faults = self._faults[way]
        with connection.whole_packet[way]:
            while data:
                with self._state:
                    self._state.wait_for(lambda: not faults.stalled or connection.broken.is_set())
                    size = min(faults.piece_size or len(data), len(data))
                    if faults.cut_after is not None:
                        size = min(size, faults.cut_after)
                        faults.cut_after -= size
                    delay_s = faults.piece_delay_s
                connection.ends[way].sendall(data[:size])
                data = data[size:]
                if faults.cut_after == 0:
                    with self._state:
                        self._cut_all(faults)
                connection.broken.wait(delay_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _chunks(source: socket.socket) -> Iterator[bytes]:
    """What comes, as it comes."""
    while data := source.recv(65536):
        yield data


def _packets(source: socket.socket) -> Iterator[bytes]:
    """What comes, packet by packet; at the end perhaps a part of one."""
    unread = b""
    for data in _chunks(source):
        unread += data
        start = 0
        while len(unread) - start >= HEADER.size:
            end = start + HEADER.size + HEADER.unpack_from(unread, start)[3]
            if end > len(unread):
                break
            yield unread[start:end]
            start = end
        unread = unread[start:]
    if unread:
        yield unread
