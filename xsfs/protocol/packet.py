# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Packets of the XenStore wire: a header of four words, and a payload.

Pack and split only; what payloads mean is in requests.py. Pure, safe from any thread.
Source: xs_wire.h, `struct xsd_sockmsg`.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from xsfs.errors import InvalidPayload, UnexpectedPacket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

# Type, request id, transaction id, payload length; in the host's byte order (xs_wire.h).
HEADER = struct.Struct("=IIII")

# What a request may carry (xs_wire.h, XENSTORE_PAYLOAD_MAX).
PAYLOAD_MAX = 4096

# What a reply is believed to carry: oxenstored exceeds PAYLOAD_MAX on sockets, listing a
# directory of any size in one packet. A length beyond this is a broken stream.
REPLY_MAX = 64 << 20


class Op(IntEnum):
    """Request types (xs_wire.h, `enum xsd_sockmsg_type`)."""

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
    GET_FEATURE = 23
    SET_FEATURE = 24
    GET_QUOTA = 25
    SET_QUOTA = 26


# Type, request id, transaction id, payload. Any type: a peer may send what it likes.
Packet: TypeAlias = "tuple[int, int, int, bytes]"


def pack(op: int, req_id: int, tx_id: int, payload: bytes) -> bytes:
    """The bytes of one packet.

    Raises:
        InvalidPayload: the payload is over PAYLOAD_MAX; C xenstored would drop the connection.
    """
    if len(payload) > PAYLOAD_MAX:
        raise InvalidPayload(f"payload of {len(payload)} bytes, the limit is {PAYLOAD_MAX}")
    return HEADER.pack(op, req_id, tx_id, len(payload)) + payload


class PacketParser:
    """Cuts a byte stream into packets; keeps the incomplete tail.

    Args:
        limit: the longest payload in bytes that is taken from the peer.
    """

    def __init__(self, limit: int = REPLY_MAX) -> None:
        self._limit = limit
        # The incomplete tail in pieces, joined only when `_missing` bytes more have come: a
        # long packet that arrives in small pieces is copied once, not once a piece.
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterable[Packet]:
        """The packets that `data` completes, in order; to be iterated over at once.

        Raises:
            UnexpectedPacket: a header announces more than the limit; raised by the iteration
                after the packets before it. The stream is of no use any more.
        """
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return ()
            data = b"".join(self._pieces)
            self._pieces = []
        packets: list[Packet] = []
        start, end = 0, len(data)
        missing = HEADER.size
        while end - start >= HEADER.size:
            op, req_id, tx_id, length = HEADER.unpack_from(data, start)
            body = start + HEADER.size
            if length > self._limit:
                return broken_off(packets, UnexpectedPacket(f"{length} bytes announced"))
            missing = HEADER.size + length
            if end - start < missing:
                break
            start = body + length
            packets.append((op, req_id, tx_id, data[body:start]))
            missing = HEADER.size
        if start < end:
            self._pieces = [data[start:]]
            self._missing = missing - (end - start)
        return packets


def broken_off(items: list[T], error: UnexpectedPacket) -> Iterator[T]:
    """What came before an error, and then the error."""
    yield from items
    raise error
