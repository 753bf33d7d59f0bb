# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The fewest lines that talk XenStore over a socket or a ring, to judge daemons with.

Not the package's own protocol code: what tests that must not share its errors.
One request at a time, one thread.

Source: xs_wire.h
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import NamedTuple, Protocol

HEADER = struct.Struct("=IIII")  # struct xsd_sockmsg


class Op(IntEnum):
    """enum xsd_sockmsg_type."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class Packet(NamedTuple):
    """A reply or an event."""

    op: int
    req_id: int
    tx_id: int
    payload: bytes


class Refused(Exception):
    """The daemon answered with an error; the first argument is its name, as bytes."""


class Stream(Protocol):
    """What a socket and a Ring have in common; both raise TimeoutError."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...


class Wire:
    """A connection to a daemon, privileged through a socket, a guest's through a ring."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._unread = b""
        self._events: deque[bytes] = deque()
        self._req_id = 0

    def ask(self, op: Op, payload: bytes, tx_id: int = 0) -> bytes:
        """Sends a request and gives the payload of its reply; events meanwhile are kept.

        Raises:
            Refused: the reply is an error.
            TimeoutError: the stream's time ran out.
            EOFError: the daemon closed the connection.
        """
        self._req_id += 1
        self.send(op, payload, self._req_id, tx_id)
        while (packet := self.receive()).op == Op.WATCH_EVENT:
            self._events.append(packet.payload)
        assert packet.req_id == self._req_id, packet
        if packet.op == Op.ERROR:
            raise Refused(packet.payload.rstrip(b"\0"))
        assert packet.op == op, packet
        return packet.payload

    def event(self) -> tuple[bytes, bytes]:
        """Path and token of the next watch event.

        Raises:
            TimeoutError: the stream's time ran out.
        """
        if not self._events:
            packet = self.receive()
            assert packet.op == Op.WATCH_EVENT, packet
            self._events.append(packet.payload)
        path, token, rest = self._events.popleft().split(b"\0")
        assert not rest, rest
        return path, token

    def send(self, op: int, payload: bytes, req_id: int = 0, tx_id: int = 0) -> None:
        """Sends a request and waits for nothing."""
        self.stream.sendall(HEADER.pack(op, req_id, tx_id, len(payload)) + payload)

    def receive(self) -> Packet:
        """The next packet, whatever it is; one that does not come whole in time stays unread."""
        self._await(HEADER.size)
        op, req_id, tx_id, length = HEADER.unpack_from(self._unread)
        end = HEADER.size + length
        self._await(end)
        payload, self._unread = self._unread[HEADER.size : end], self._unread[end:]
        return Packet(op, req_id, tx_id, payload)

    def _await(self, size: int) -> None:
        while len(self._unread) < size:
            data = self.stream.recv(65536)
            if not data:
                raise EOFError("the daemon closed the connection")
            self._unread += data
