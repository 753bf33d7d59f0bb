# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Packets: how they are cut, numbered and limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.conversation import (
    OK,
    T0,
    A,
    B,
    C,
    Dropped,
    Leave,
    Only,
    Receive,
    Say,
    Send,
    Silence,
    packed,
)
from tests.protocol.tables.words import ERROR, EVENT, READ, START, WATCH, WRITE
from tests.xen.wire import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {}

_read_t = packed(READ, b"/t\0", 77, 0)

TABLES["a packet in pieces"] = [
    Send(A, [_read_t[:1], _read_t[1:15], _read_t[15:16], _read_t[16:18], _read_t[18:]]),
    Receive(A, [(READ, 77, 0, b"")]),
]

TABLES["many packets in one piece"] = [
    Send(A, [b"".join(packed(READ, b"/t\0", number) for number in range(500))]),
    Receive(A, [(READ, number, 0, b"") for number in range(500)]),
]

TABLES["any request id"] = [
    Send(A, [packed(READ, b"/t\0", req_id) for req_id in (0, 1, 1, 0x7FFFFFFF, 0xFFFFFFFF)]),
    Receive(A, [(READ, req_id, 0, b"") for req_id in (0, 1, 1, 0x7FFFFFFF, 0xFFFFFFFF)]),
]

TABLES["the transaction in a reply to a watch"] = [
    Send(A, [packed(WATCH, b"/t\0tok\0", 5, 99)]),
    Receive(
        A,
        [(WATCH, 5, 99, OK), (EVENT, 0, 0, b"/t\0tok\0")],
        [(WATCH, 5, 0, OK), (EVENT, 0, 0, b"/t\0tok\0")],
    ),
]

TABLES["the longest payload"] = [
    Send(A, [packed(WRITE, b"/t/a\0" + bytes(4091), 5)]),
    Receive(A, [(WRITE, 5, 0, OK)], [(ERROR, 5, 0, b"E2BIG\0")]),
    Say(A, T0, READ, b"/t\0", b""),
]

TABLES["a payload too long"] = [
    Say(A, T0, READ, b"/t\0", b""),
    Send(A, [HEADER.pack(READ, 5, 0, 4097)]),
    Only("xenstored", [Dropped(A)]),
    Say(B, T0, READ, b"/t\0", b""),
]

TABLES["an empty payload"] = [
    Say(B, T0, READ, b"/t\0", b""),
    Send(A, [packed(START, b"", 5)]),
    # oxenstored answers when something follows.
    Only("oxenstored", [Silence(A)]),
    Send(A, [packed(READ, b"/t\0", 6)]),
    Receive(A, [(START, 5, 0, b"1\0"), (READ, 6, 0, b"")]),
]

TABLES["who goes in the middle of a packet hurts nobody"] = [
    Say(A, T0, WRITE, b"/t/a\0v", OK),
    Send(C, [packed(WRITE, b"/t/a\0other")[:20]]),
    Leave(C),
    Say(B, T0, READ, b"/t/a\0", b"v"),
]
