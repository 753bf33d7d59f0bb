# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Watches and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.conversation import NEW_ID, OK, T0, T1, A, B, Hear, Leave, Order, Say
from tests.protocol.tables.words import (
    EEXIST,
    EINVAL,
    EIO,
    END,
    ENOENT,
    EVENT,
    MKDIR,
    READ,
    RESET,
    RM,
    SET_PERMS,
    START,
    UNWATCH,
    WATCH,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {}

TABLES["a watch fires at once, and at every change below"] = [
    Say(A, T0, WATCH, b"/t\0tok\0", OK),
    Hear(A, [(b"/t", b"tok")]),
    Say(B, T0, WRITE, b"/t/a/b/c\0v", OK),
    Hear(A, [(b"/t/a/b/c", b"tok")]),
    Say(B, T0, WRITE, b"/t/a/b/c\0v", OK),
    Hear(A, [(b"/t/a/b/c", b"tok")]),
    Say(B, T0, MKDIR, b"/t/a\0", OK),
    Say(B, T0, READ, b"/t/a\0", b""),
    Say(B, T0, RM, b"/t/none\0", OK),
    Hear(A, []),
    Say(B, T0, MKDIR, b"/t/d/e\0", OK),
    Say(B, T0, SET_PERMS, b"/t/a\0n0\0", OK),
    Say(B, T0, RM, b"/t/a\0", OK),
    Hear(A, [(b"/t/d/e", b"tok"), (b"/t/a", b"tok"), (b"/t/a", b"tok")]),
    Say(A, T0, UNWATCH, b"/t\0tok\0", OK),
    Say(B, T0, WRITE, b"/t/a\0v", OK),
    Hear(A, []),
]

TABLES["watches that are refused"] = [
    Say(A, T0, WATCH, b"/t\0tok\0", OK),
    Say(A, T0, WATCH, b"/t\0tok\0", EEXIST),
    Say(A, T0, WATCH, b"/t\0other\0", OK),
    Say(B, T0, WATCH, b"/t\0tok\0", OK),
    Say(A, T0, UNWATCH, b"/t\0none\0", ENOENT),
    Say(A, T0, UNWATCH, b"/t/none\0tok\0", ENOENT),
    Say(A, T0, WATCH, b"/t/none\0\0", OK),
    Say(A, T0, WATCH, b"/t/\0tok\0", EINVAL),
    Say(A, T0, WATCH, b"/t.\0tok\0", EINVAL),
    Hear(A, [(b"/t", b"tok"), (b"/t", b"other"), (b"/t/none", b"")]),
]

TABLES["a relative watch has relative events"] = [
    Say(A, T0, WATCH, b"rel-t\0tok\0", OK),
    Say(A, T0, WATCH, b"/local/domain/0/rel-t\0tok\0", EEXIST),
    Say(B, T0, WRITE, b"/local/domain/0/rel-t/a\0v", OK),
    Say(B, T0, RM, b"/local/domain/0/rel-t\0", OK),
    Hear(A, [(b"rel-t", b"tok"), (b"rel-t/a", b"tok"), (b"rel-t", b"tok")]),
]

TABLES["a removal reaches watches below"] = [
    Say(B, T0, WRITE, b"/t/p/q/r\0v", OK),
    *[
        Say(A, T0, WATCH, path + b"\0" + token + b"\0", OK)
        for path, token in ((b"/t/p", b"p"), (b"/t/p/q", b"q"), (b"/t/p/q/r", b"r"))
    ],
    Hear(A, [(b"/t/p", b"p"), (b"/t/p/q", b"q"), (b"/t/p/q/r", b"r")]),
    Say(B, T0, RM, b"/t/p\0", OK),
    # From below up, and from above down.
    Hear(
        A,
        [(b"/t/p/q/r", b"r"), (b"/t/p/q", b"q"), (b"/t/p", b"p")],
        [(b"/t/p", b"p"), (b"/t/p/q", b"q"), (b"/t/p/q/r", b"r")],
    ),
]

TABLES["an event comes before the reply; oxenstored: after it"] = [
    Order(A, T0, WATCH, b"/t\0tok\0", [WATCH, EVENT]),
    Order(A, T0, WRITE, b"/t/a\0v", [EVENT, WRITE], [WRITE, EVENT]),
    Order(A, T0, RM, b"/t/a\0", [EVENT, RM], [RM, EVENT]),
    Say(A, T1, START, b"\0", NEW_ID),
    Order(A, T1, WRITE, b"/t/a\0v", [WRITE]),
    Order(A, T1, END, b"T\0", [EVENT, END]),
]

TABLES["two watches for one change"] = [
    Say(A, T0, WATCH, b"/t\0same\0", OK),
    Say(A, T0, WATCH, b"/t/a\0same\0", OK),
    Hear(A, [(b"/t", b"same"), (b"/t/a", b"same")]),
    Say(A, T0, WRITE, b"/t/a\0v", OK),
    # Identical messages are merged.
    Hear(A, [(b"/t/a", b"same")], [(b"/t/a", b"same"), (b"/t/a", b"same")]),
]

TABLES["watches end with their connection, and by request"] = [
    Say(A, T0, WATCH, b"/t\0tok\0", OK),
    Say(A, T0, WATCH, b"/t/a\0tok\0", OK),
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T0, RESET, b"\0", OK),
    Say(A, T1, READ, b"/t\0", ENOENT, EIO),
    Hear(A, [(b"/t", b"tok"), (b"/t/a", b"tok")]),
    Say(B, T0, WRITE, b"/t/a\0v", OK),
    Hear(A, []),
    Say(A, T0, WATCH, b"/t\0tok\0", OK),
    Leave(A),
    Say(B, T0, WRITE, b"/t/a\0v", OK),
    Hear(A, []),
]

TABLES["special watches"] = [
    Say(A, T0, WATCH, b"@introduceDomain\0in\0", OK),
    Say(A, T0, WATCH, b"@releaseDomain\0out\0", OK),
    Say(A, T0, WATCH, b"@nothing-that-is\0\0", OK),
    Hear(
        A, [(b"@introduceDomain", b"in"), (b"@releaseDomain", b"out"), (b"@nothing-that-is", b"")]
    ),
    Say(A, T0, WATCH, b"@releaseDomain\0out\0", EEXIST),
    Say(A, T0, UNWATCH, b"@introduceDomain\0in\0", OK),
]
