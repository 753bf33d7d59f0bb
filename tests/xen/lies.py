# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a peer may say that breaks the protocol, or bends it. Data only: forgeries for a Link.

Each is made of the true reply to a READ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.xen.wire import HEADER, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    Forgery = Callable[[bytes], bytes]


def _told(
    packet: bytes, *, op: int | None = None, req_id: int | None = None, length: int | None = None
) -> bytes:
    """The packet with another header."""
    was_op, was_id, tx_id, was_length = HEADER.unpack_from(packet)
    return (
        HEADER.pack(
            was_op if op is None else op,
            was_id if req_id is None else req_id,
            tx_id,
            was_length if length is None else length,
        )
        + packet[HEADER.size :]
    )


def _error(packet: bytes, text: bytes) -> bytes:
    _, req_id, tx_id, _ = HEADER.unpack_from(packet)
    return HEADER.pack(Op.ERROR, req_id, tx_id, len(text)) + text


def _event(payload: bytes) -> bytes:
    return HEADER.pack(Op.WATCH_EVENT, 0, 0, len(payload)) + payload


# After these nothing can be believed; with what is to be said of them.
LIES: dict[str, tuple[Forgery, str]] = {
    "the answer to another request": (
        lambda packet: _told(packet, op=Op.WRITE, req_id=0xDEAD),
        "not in flight",
    ),
    "a type of no request": (lambda packet: _told(packet, op=99), "type 99"),
    "the type of another request": (lambda packet: _told(packet, op=Op.WRITE), "type 11"),
    "the largest of lengths": (lambda packet: _told(packet, length=0xFFFFFFFF), "announced"),
    "a length over the limit": (lambda packet: _told(packet, length=(64 << 20) + 1), "announced"),
    "the same again": (lambda packet: packet * 2, "not in flight"),
    "an event of nothing": (lambda packet: _event(b"") + packet, "not a watch event"),
    "an event of one string": (lambda packet: _event(b"/\0") + packet, "not a watch event"),
    "an event without NUL": (lambda packet: _event(b"\x1b[2J") + packet, "not a watch event"),
    "no packet at all": (lambda packet: b"\xff" * 64, "announced"),
}

# These hurt nobody.
ODDITIES: dict[str, Forgery] = {
    "an event for an unknown token": lambda packet: _event(b"/a\0nobody\0") + packet,
    "an event of three strings": lambda packet: _event(b"/a\0nobody\0later\0") + packet,
    "very many events": lambda packet: _event(b"/a\0nobody\0") * 10_000 + packet,
    "another transaction": lambda packet: packet[:8] + b"\xff" * 4 + packet[12:],
}

# Errors, with the errno that they have to be.
ERRORS: dict[str, tuple[Forgery, int]] = {
    "without NUL": (lambda packet: _error(packet, b"EROFS"), 30),
    "of nothing": (lambda packet: _error(packet, b""), 5),
    "unheard of": (lambda packet: _error(packet, b"E\x1b[2J\n\0"), 5),
    "very long": (lambda packet: _error(packet, b"E" * 4096), 5),
}
