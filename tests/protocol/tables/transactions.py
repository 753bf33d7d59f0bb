# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Transactions: what they see, and what they conflict with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.conversation import (
    NEW_ID,
    OK,
    T0,
    T1,
    T2,
    UNKNOWN,
    A,
    B,
    Hear,
    Leave,
    Only,
    Say,
)
from tests.protocol.tables.words import (
    DIRECTORY,
    EAGAIN,
    EBUSY,
    EINVAL,
    EIO,
    END,
    ENOENT,
    READ,
    RM,
    SET_PERMS,
    START,
    WATCH,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {}


def _conflict(name: str, inside: Sequence[Row], outside: Sequence[Row], end: Say) -> None:
    """What two clients do to `/t/a`, which is there, and whether the first may commit."""
    TABLES[f"conflict: {name}"] = [
        Say(A, T0, WRITE, b"/t/a\0old", OK),
        Say(A, T0, WRITE, b"/t/a/x\0old", OK),
        Say(A, T0, WRITE, b"/t/b\0old", OK),
        Say(A, T1, START, b"\0", NEW_ID),
        *inside,
        *outside,
        end,
    ]


_read_a = Say(A, T1, READ, b"/t/a\0", b"old")
_write_a = Say(A, T1, WRITE, b"/t/a\0new", OK)
_write_b = Say(A, T1, WRITE, b"/t/b\0new", OK)
_b_writes_a = Say(B, T0, WRITE, b"/t/a\0other", OK)
_b_same_a = Say(B, T0, WRITE, b"/t/a\0old", OK)
_agree = Say(A, T1, END, b"T\0", OK)
_refuse = Say(A, T1, END, b"T\0", EAGAIN)
_only_c = Say(A, T1, END, b"T\0", EAGAIN, OK)

_conflict("nothing was asked", [], [_b_writes_a], _agree)
_conflict("only read", [_read_a], [_b_writes_a], _only_c)
_conflict("read, and others wrote", [_read_a, _write_b], [_b_writes_a], _refuse)
_conflict("read, and others wrote the same", [_read_a, _write_b], [_b_same_a], _only_c)
_conflict(
    "read, and others set permissions",
    [_read_a, _write_b],
    [Say(B, T0, SET_PERMS, b"/t/a\0n0\0", OK)],
    _only_c,
)
_conflict(
    "read, and others made a child",
    [_read_a, _write_b],
    [Say(B, T0, WRITE, b"/t/a/y\0v", OK)],
    _only_c,
)
_conflict(
    "read, and others wrote a child",
    [_read_a, _write_b],
    [Say(B, T0, WRITE, b"/t/a/x\0v", OK)],
    _agree,
)
_conflict("read, and others removed", [_read_a, _write_b], [Say(B, T0, RM, b"/t/a\0", OK)], _refuse)
_conflict(
    "missed, and others created",
    [Say(A, T1, READ, b"/t/n\0", ENOENT), _write_b],
    [Say(B, T0, WRITE, b"/t/n\0v", OK)],
    _only_c,
)
_conflict(
    "listed, and others made a child",
    [Say(A, T1, DIRECTORY, b"/t/a\0", b"x\0"), _write_b],
    [Say(B, T0, WRITE, b"/t/a/y\0v", OK)],
    _refuse,
)
_conflict(
    "listed, and others wrote a child",
    [Say(A, T1, DIRECTORY, b"/t/a\0", b"x\0"), _write_b],
    [Say(B, T0, WRITE, b"/t/a/x\0v", OK)],
    _agree,
)
_conflict("wrote blindly", [_write_a], [_b_writes_a], _only_c)
_conflict("removed, and others wrote", [Say(A, T1, RM, b"/t/a\0", OK)], [_b_writes_a], _only_c)
_conflict(
    "created beside each other",
    [Say(A, T1, WRITE, b"/t/n1\0v", OK)],
    [Say(B, T0, WRITE, b"/t/n2\0v", OK)],
    _only_c,
)
_conflict("others did elsewhere", [_read_a, _write_a], [Say(B, T0, WRITE, b"/t/b\0v", OK)], _agree)

TABLES["a transaction is seen when it is committed"] = [
    Say(A, T0, WRITE, b"/t/a\0old", OK),
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T1, READ, b"/t/a\0", b"old"),
    Say(A, T1, WRITE, b"/t/a\0new", OK),
    Say(A, T1, READ, b"/t/a\0", b"new"),
    Say(A, T0, READ, b"/t/a\0", b"old"),
    Say(B, T0, READ, b"/t/a\0", b"old"),
    Say(A, T1, END, b"T\0", OK),
    Say(B, T0, READ, b"/t/a\0", b"new"),
    Say(A, T1, READ, b"/t/a\0", ENOENT, EIO),
    Say(A, T1, END, b"T\0", ENOENT, EIO),
]

TABLES["a transaction that is dropped"] = [
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T1, WRITE, b"/t/a\0new", OK),
    Say(A, T1, END, b"F\0", OK),
    Say(A, T0, READ, b"/t/a\0", ENOENT),
    Say(A, T2, START, b"\0", NEW_ID),
    Say(A, T2, WRITE, b"/t/a\0new", OK),
    Leave(A),
    Say(B, T0, READ, b"/t/a\0", ENOENT),
]

TABLES["how transactions are misused"] = [
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T1, START, b"\0", EBUSY),
    Say(A, T0, END, b"T\0", ENOENT, ENOENT),
    Say(B, T1, READ, b"/t\0", ENOENT, EIO),
    Say(A, UNKNOWN, READ, b"/t\0", ENOENT, EIO),
    Say(A, UNKNOWN, WRITE, b"/t/a\0v", ENOENT, EIO),
    Say(A, UNKNOWN, END, b"T\0", ENOENT, EIO),
    Say(A, T1, END, b"X\0", EINVAL),
    Say(A, T1, END, b"\0", EINVAL),
    Say(A, T1, END, b"T", EINVAL, OK),
    Only("xenstored", [Say(A, T1, END, b"T\0", OK)]),
    Say(A, T0, READ, b"/t/a\0", ENOENT),
]

TABLES["two transactions of one connection"] = [
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T2, START, b"\0", NEW_ID),
    Say(A, T1, WRITE, b"/t/a\0one", OK),
    Say(A, T2, WRITE, b"/t/b\0two", OK),
    Say(A, T1, READ, b"/t/b\0", ENOENT),
    Say(A, T1, END, b"T\0", OK),
    Say(A, T2, END, b"T\0", EAGAIN, OK),
]

TABLES["the events of a commit"] = [
    Say(A, T0, WRITE, b"/t/b\0old", OK),
    Say(B, T0, WATCH, b"/t\0tok\0", OK),
    Hear(B, [(b"/t", b"tok")]),
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T1, WRITE, b"/t/a\0one", OK),
    Say(A, T1, WRITE, b"/t/a\0two", OK),
    Say(A, T1, WRITE, b"/t/n/m\0v", OK),
    Say(A, T1, RM, b"/t/b\0", OK),
    Hear(B, []),
    Say(A, T1, END, b"T\0", OK),
    # One for each node, in order of first use; or one for each request.
    Hear(
        B,
        [(b"/t/a", b"tok"), (b"/t/n/m", b"tok"), (b"/t/b", b"tok")],
        [(b"/t/a", b"tok"), (b"/t/a", b"tok"), (b"/t/n/m", b"tok"), (b"/t/b", b"tok")],
    ),
    Say(A, T2, START, b"\0", NEW_ID),
    Say(A, T2, WRITE, b"/t/a\0three", OK),
    Say(A, T2, END, b"F\0", OK),
    Hear(B, []),
]

TABLES["a transaction's view"] = [
    Say(A, T0, WRITE, b"/t/a\0old", OK),
    Say(A, T1, START, b"\0", NEW_ID),
    Say(B, T0, WRITE, b"/t/a\0new", OK),
    # As of its first use, not of the start; a true snapshot in oxenstored.
    Say(A, T1, READ, b"/t/a\0", b"new", b"old"),
    Say(B, T0, WRITE, b"/t/a\0newer", OK),
    Say(A, T1, READ, b"/t/a\0", b"new", b"old"),
    Say(A, T1, END, b"F\0", OK),
]
