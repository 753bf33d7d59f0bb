# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Conversations that every store has to hold: each request type, each error, each difference.

Data only. Sources: xenstore.txt, and what C xenstored and oxenstored (Xen 4.17) were seen to
say; a fifth column is oxenstored's where it differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.conversation import (
    ANY,
    GUEST,
    NEW_ID,
    OK,
    T0,
    T1,
    T2,
    UNKNOWN,
    A,
    AfterGeneration,
    B,
    C,
    Dropped,
    E,
    G,
    Hear,
    Leave,
    Only,
    Order,
    Receive,
    Say,
    Send,
    Silence,
    packed,
)
from tests.xen.wire import HEADER, Op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

CONTROL, DIRECTORY, READ, GET_PERMS = Op.CONTROL, Op.DIRECTORY, Op.READ, Op.GET_PERMS
WATCH, UNWATCH = Op.WATCH, Op.UNWATCH
START, END = Op.TRANSACTION_START, Op.TRANSACTION_END
WRITE, MKDIR, RM, SET_PERMS = Op.WRITE, Op.MKDIR, Op.RM, Op.SET_PERMS
EVENT, ERROR = Op.WATCH_EVENT, Op.ERROR
INTRODUCE, RELEASE, RESUME, SET_TARGET = Op.INTRODUCE, Op.RELEASE, Op.RESUME, Op.SET_TARGET
DOMAIN_PATH, INTRODUCED = Op.GET_DOMAIN_PATH, Op.IS_DOMAIN_INTRODUCED
RESET, PART = Op.RESET_WATCHES, Op.DIRECTORY_PART
GET_FEATURE, SET_FEATURE, GET_QUOTA, SET_QUOTA = 23, 24, 25, 26

EINVAL, ENOENT, EAGAIN, EEXIST = E(b"EINVAL"), E(b"ENOENT"), E(b"EAGAIN"), E(b"EEXIST")
EACCES, EBUSY, EIO, ENOSYS, E2BIG = E(b"EACCES"), E(b"EBUSY"), E(b"EIO"), E(b"ENOSYS"), E(b"E2BIG")
EPERM, ENOSPC, EQUOTA = E(b"EPERM"), E(b"ENOSPC"), E(b"EQUOTA")

ONE_PATH = (READ, DIRECTORY, GET_PERMS, MKDIR, RM)
HOME = b"/local/domain/%d" % GUEST
LONG = b"a-name-of-twenty-bts"

TABLES: dict[str, Sequence[Row]] = {}

# -- nodes ------------------------------------------------------------------------------------

TABLES["write, read, remove"] = [
    Say(A, T0, READ, b"/t/a\0", ENOENT),
    Say(A, T0, WRITE, b"/t/a\0one", OK),
    Say(A, T0, READ, b"/t/a\0", b"one"),
    Say(B, T0, READ, b"/t/a\0", b"one"),
    Say(B, T0, WRITE, b"/t/a\0", OK),
    Say(A, T0, READ, b"/t/a\0", b""),
    Say(A, T0, WRITE, b"/t/a\0" + bytes(range(256)), OK),
    Say(A, T0, READ, b"/t/a\0", bytes(range(256))),
    Say(A, T0, RM, b"/t/a\0", OK),
    Say(A, T0, READ, b"/t/a\0", ENOENT),
    Say(A, T0, RM, b"/t/a\0", OK),
    Say(A, T0, RM, b"/t/a/b\0", ENOENT),
    Say(A, T0, READ, b"/t/a/b/c\0", ENOENT),
]

TABLES["parents are made, and removed with all below"] = [
    Say(A, T0, WRITE, b"/t/a/b/c\0v", OK),
    Say(A, T0, READ, b"/t/a\0", b""),
    Say(A, T0, READ, b"/t/a/b\0", b""),
    Say(A, T0, DIRECTORY, b"/t/a\0", b"b\0"),
    Say(A, T0, DIRECTORY, b"/t/a/b/c\0", b""),
    Say(A, T0, MKDIR, b"/t/d/e\0", OK),
    Say(A, T0, READ, b"/t/d/e\0", b""),
    Say(A, T0, WRITE, b"/t/d\0v", OK),
    Say(A, T0, MKDIR, b"/t/d\0", OK),
    Say(A, T0, READ, b"/t/d\0", b"v"),
    Say(A, T0, RM, b"/t/a\0", OK),
    Say(A, T0, READ, b"/t/a/b/c\0", ENOENT),
    Say(A, T0, DIRECTORY, b"/t/a\0", ENOENT),
]

TABLES["children in order of creation; oxenstored sorts"] = [
    *[Say(A, T0, MKDIR, b"/t/" + name + b"\0", OK) for name in (b"b", b"a", b"10", b"9", b"_")],
    Say(A, T0, DIRECTORY, b"/t\0", b"b\0a\x0010\x009\0_\0", b"10\x009\0_\0a\0b\0"),
    Say(A, T0, WRITE, b"/t/a\0new", OK),
    Say(A, T0, RM, b"/t/b\0", OK),
    Say(A, T0, MKDIR, b"/t/b\0", OK),
    Say(A, T0, DIRECTORY, b"/t\0", b"a\x0010\x009\0_\0b\0", b"10\x009\0_\0a\0b\0"),
]

TABLES["the root"] = [
    Say(A, T0, READ, b"/\0", b""),
    Say(A, T0, WRITE, b"/\0v", OK),
    Say(A, T0, READ, b"/\0", b"v"),
    Say(A, T0, WRITE, b"/\0", OK),
    Say(A, T0, MKDIR, b"/\0", OK),
    Say(A, T0, GET_PERMS, b"/\0", b"n0\0"),
    Only("xenstored", [Say(A, T0, RM, b"/\0", EINVAL)]),
]

TABLES["relative paths are below the domain's home"] = [
    Say(A, T0, WRITE, b"rel-t/a\0v", OK),
    Say(A, T0, READ, b"/local/domain/0/rel-t/a\0", b"v"),
    Say(A, T0, READ, b"rel-t/a\0", b"v"),
    Say(A, T0, DIRECTORY, b"rel-t\0", b"a\0"),
    Say(A, T0, RM, b"rel-t\0", OK),
    Say(A, T0, READ, b"/local/domain/0/rel-t\0", ENOENT),
]

TABLES["paths that are none"] = [
    Say(A, T0, op, path + b"\0", EINVAL)
    for path in (b"/t/", b"//t", b"/t//a", b"/t/.", b"/t/a b", b"/t/\n", b"/t/+", b"/t/\x80", b"")
    for op in ONE_PATH
] + [
    Say(A, T0, WRITE, b"/t/\0v", EINVAL),
    Say(A, T0, WRITE, b"/t/a:b\0v", EINVAL),
    Say(A, T0, SET_PERMS, b"/t/\0n0\0", EINVAL),
    Say(A, T0, READ, b"/t/-_@Z9\0", ENOENT),
]

TABLES["the longest path"] = [
    Say(A, T0, WRITE, b"/t/" + b"a" * 1021 + b"\0v", OK),
    Say(A, T0, READ, b"/t/" + b"a" * 1021 + b"\0", b"v"),
    Say(A, T0, READ, b"/t/" + b"b" * 1022 + b"\0", ENOENT, EINVAL),
    Say(A, T0, READ, b"/t/" + b"b" * 2045 + b"\0", ENOENT, EINVAL),
    Say(A, T0, READ, b"/t/" + b"b" * 2046 + b"\0", EINVAL),
    Say(A, T0, WRITE, b"/t/" + b"b" * 2046 + b"\0v", EINVAL),
    # Not counted: the home of a domain.
    Say(A, T0, READ, b"/local/domain/0/" + b"a" * 1024 + b"\0", ENOENT),
    Say(A, T0, READ, b"a" * 1024 + b"\0", ENOENT),
    Say(A, T0, READ, b"a" * 2049 + b"\0", EINVAL),
]

TABLES["the longest value"] = [
    Say(A, T0, WRITE, b"/t/a\0" + b"v" * 2048, OK),
    Say(A, T0, READ, b"/t/a\0", b"v" * 2048),
    Say(A, T0, WRITE, b"/t/b\0" + b"v" * 2049, OK, E2BIG),
    Say(A, T0, WRITE, b"/t/a\0" + b"v" * 4091, OK, E2BIG),
    Say(A, T0, READ, b"/t/a\0", b"v" * 4091, b"v" * 2048),
]

TABLES["payloads of the wrong shape"] = [
    # C xenstored answers some with the error of an earlier request; this one was EINVAL.
    Say(A, T0, READ, b"\0", EINVAL),
    *[Say(A, T0, op, payload, EINVAL) for op in ONE_PATH for payload in (b"/t", b"/t\0/t\0")],
    Say(A, T0, WRITE, b"/t/a", EINVAL),
    Say(A, T0, WATCH, b"/t\0", EINVAL),
    Say(A, T0, WATCH, b"/t\0token", EINVAL),
    Say(A, T0, WATCH, b"/t\0token\0more\0", EINVAL),
    Say(A, T0, UNWATCH, b"/t\0", EINVAL),
    Say(A, T0, SET_PERMS, b"/t\0", EINVAL),
    Say(A, T0, SET_PERMS, b"/t", EINVAL),
    Say(A, T0, INTRODUCE, b"9\0001\0", EINVAL),
    Say(A, T0, READ, b"/t\0", b""),
]

TABLES["permissions"] = [
    Say(A, T0, GET_PERMS, b"/t\0", b"n0\0"),
    Say(A, T0, SET_PERMS, b"/t\0b0\0r1\0w2\0", OK),
    Say(A, T0, GET_PERMS, b"/t\0", b"b0\0r1\0w2\0"),
    # A new node has those of its parent.
    Say(A, T0, WRITE, b"/t/a/b\0v", OK),
    Say(A, T0, GET_PERMS, b"/t/a\0", b"b0\0r1\0w2\0"),
    Say(A, T0, GET_PERMS, b"/t/a/b\0", b"b0\0r1\0w2\0"),
    Say(A, T0, SET_PERMS, b"/t/a\0n0\0r1\0r1\0n0\0", OK),
    Say(A, T0, GET_PERMS, b"/t/a\0", b"n0\0r1\0r1\0n0\0"),
    Say(A, T0, SET_PERMS, b"/t/a\0n01\0", E(b"ENOENT"), OK),
    Say(A, T0, SET_PERMS, b"/t/a\0n0\0r1", OK),
    Say(A, T0, GET_PERMS, b"/t/a\0", b"n0\0"),
    # An owner that does not exist.
    Say(A, T0, SET_PERMS, b"/t/a\0n4000\0", ENOENT, OK),
    Say(A, T0, SET_PERMS, b"/t/b\0n0\0", ENOENT),
    Say(A, T0, GET_PERMS, b"/t/b\0", ENOENT),
] + [
    Say(A, T0, SET_PERMS, b"/t\0" + bad, EINVAL)
    for bad in (b"x0\0", b"n\0", b"\0", b"N0\0", b"nx\0", b"n0\0x1\0")
]

TABLES["special nodes"] = [
    Say(A, T0, SET_PERMS, b"@introduceDomain\0n0\0r1\0", OK),
    Say(A, T0, SET_PERMS, b"@releaseDomain\0n0\0", OK),
    Say(A, T0, SET_PERMS, b"@introduceDomain\0n0\0", OK),
    Say(A, T0, READ, b"@introduceDomain\0", EINVAL, b""),
    Say(A, T0, GET_PERMS, b"@releaseDomain\0", EINVAL, b"n0\0"),
    Say(A, T0, READ, b"@nonsense\0", EINVAL, ENOENT),
]

# -- directories ------------------------------------------------------------------------------

_NAMES = [b"%s-%03d" % (LONG, number) for number in range(200)]
_LISTED = b"".join(name + b"\0" for name in _NAMES)

TABLES["a directory longer than a packet"] = [
    *[Say(A, T0, MKDIR, b"/t/" + name + b"\0", OK) for name in _NAMES],
    Say(A, T0, DIRECTORY, b"/t\0", E2BIG, _LISTED),
]

TABLES["a directory of just one packet"] = [
    *[Say(A, T0, MKDIR, b"/t/%015d\0" % number, OK) for number in range(256)],
    Say(A, T0, DIRECTORY, b"/t\0", b"".join(b"%015d\0" % number for number in range(256))),
    Say(A, T0, MKDIR, b"/t/x\0", OK),
    Say(A, T0, DIRECTORY, b"/t\0", E2BIG, ANY),
]

TABLES["a directory in parts"] = [
    Say(A, T0, PART, b"/t\0000\0", AfterGeneration(b"\0"), ENOSYS),
    *[Say(A, T0, MKDIR, b"/t/" + name + b"\0", OK) for name in (b"one", b"two")],
    Say(A, T0, PART, b"/t\0000\0", AfterGeneration(b"one\0two\0\0"), ENOSYS),
    Say(A, T0, PART, b"/t\0004\0", AfterGeneration(b"two\0\0"), ENOSYS),
    Say(A, T0, PART, b"/t\0005\0", AfterGeneration(b"wo\0\0"), ENOSYS),
    Say(A, T0, PART, b"/t\0008\0", AfterGeneration(b"\0"), ENOSYS),
    Say(A, T0, PART, b"/t\00099\0", AfterGeneration(b"\0"), ENOSYS),
    Say(A, T0, PART, b"/t\0junk\0", AfterGeneration(b"one\0two\0\0"), ENOSYS),
    Say(A, T0, PART, b"/t\0", EINVAL, ENOSYS),
    Say(A, T0, PART, b"/t/none\0000\0", ENOENT, ENOSYS),
]

# -- watches ----------------------------------------------------------------------------------

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

# -- transactions -----------------------------------------------------------------------------


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

# -- domains and the daemon itself ------------------------------------------------------------

TABLES["domains"] = [
    Say(A, T0, DOMAIN_PATH, b"5\0", b"/local/domain/5\0"),
    Say(A, T0, DOMAIN_PATH, b"0\0", b"/local/domain/0\0"),
    Say(A, T0, INTRODUCED, b"0\0", b"T\0"),
    Say(A, T0, INTRODUCED, b"4000\0", b"F\0"),
    Say(A, T0, INTRODUCED, b"32752\0", b"T\0"),
    Say(A, T0, INTRODUCE, b"4000\0001\0001\0", EINVAL),
    Say(A, T0, RELEASE, b"4000\0", ENOENT, EINVAL),
    Say(A, T0, RESUME, b"4000\0", ENOENT, EINVAL),
    Say(A, T0, SET_TARGET, b"4000\0004001\0", ENOENT),
]

TABLES["a guest comes and goes"] = [
    Say(B, T0, WATCH, b"@introduceDomain\0in\0", OK),
    Say(B, T0, WATCH, b"@releaseDomain\0out\0", OK),
    Hear(B, [(b"@introduceDomain", b"in"), (b"@releaseDomain", b"out")]),
    Say(G, T0, READ, b"/t\0", EACCES),
    Hear(B, [(b"@introduceDomain", b"in")]),
    Say(A, T0, INTRODUCED, b"%d\0" % GUEST, b"T\0"),
    Say(A, T0, RESUME, b"%d\0" % GUEST, OK),
    Say(A, T0, SET_TARGET, b"%d\0000\0" % GUEST, OK),
    Say(A, T0, RELEASE, b"%d\0" % GUEST, OK),
    Hear(B, [(b"@releaseDomain", b"out")]),
    Say(A, T0, INTRODUCED, b"%d\0" % GUEST, b"F\0"),
]

TABLES["requests that are none"] = [
    *[
        Say(A, T0, op, b"/t\0", ENOSYS)
        for op in (EVENT, ERROR, 20, GET_FEATURE, SET_FEATURE, GET_QUOTA, SET_QUOTA)
    ],
    *[Say(A, T0, op, b"/t\0", ENOSYS) for op in (27, 128, 65535, 0xFFFFFFFF)],
]

TABLES["control"] = [
    Say(A, T0, CONTROL, b"print\0from a test\0", OK),
    Say(A, T0, CONTROL, b"check\0", ANY),
    Say(A, T0, CONTROL, b"no-such-command\0", EINVAL, OK),
    Say(A, T0, CONTROL, b"help\0", ANY, OK),
    Say(G, T0, CONTROL, b"check\0", EACCES, OK),
]

# -- guests -----------------------------------------------------------------------------------

TABLES["what a guest may"] = [
    Say(G, T0, WRITE, b"name\0web", OK),
    Say(A, T0, READ, HOME + b"/name\0", b"web"),
    Say(G, T0, READ, HOME + b"/name\0", b"web"),
    Say(G, T0, DIRECTORY, HOME + b"\0", b"name\0"),
    Say(G, T0, SET_PERMS, b"name\0n%d\0r3\0" % GUEST, OK),
    Say(G, T0, DOMAIN_PATH, b"%d\0" % GUEST, HOME + b"\0"),
    Say(G, T1, START, b"\0", NEW_ID),
    Say(G, T1, WRITE, b"name\0db", OK),
    Say(G, T1, END, b"T\0", OK),
    Say(A, T0, READ, HOME + b"/name\0", b"db"),
    Say(A, T0, SET_PERMS, b"/t\0r0\0", OK),
    Say(G, T0, READ, b"/t\0", b""),
    Say(G, T0, RM, b"name\0", OK),
]

TABLES["what a guest may not"] = [
    Say(G, T0, READ, b"/t\0", EACCES),
    Say(G, T0, WRITE, b"/t\0v", EACCES),
    Say(G, T0, WRITE, b"/t/a\0v", EACCES),
    Say(G, T0, DIRECTORY, b"/t\0", EACCES),
    Say(G, T0, GET_PERMS, b"/t\0", EACCES),
    Say(G, T0, SET_PERMS, b"/t\0b%d\0" % GUEST, EACCES),
    # Whether a node exists is not told.
    Say(G, T0, READ, b"/t/none\0", EACCES, ENOENT),
    Say(G, T0, WRITE, b"/new\0v", EACCES),
    Say(G, T0, READ, b"/t/\0", EINVAL),
    *[
        Say(G, T0, op, payload, EACCES)
        for op, payload in (
            (INTRODUCE, b"9\0001\0001\0"),
            (RELEASE, b"9\0"),
            (RESUME, b"9\0"),
            (SET_TARGET, b"9\0000\0"),
            (INTRODUCED, b"0\0"),
        )
    ],
    Say(G, T0, WRITE, b"mine\0v", OK),
    Say(G, T0, SET_PERMS, b"mine\0n0\0", EPERM, EACCES),
    Say(G, T0, RM, b"mine\0", OK),
]

TABLES["a guest's quotas"] = [
    *[Say(G, T0, WATCH, b"x\0%d\0" % number, OK) for number in range(101)],
    Only(
        "xenstored",
        [
            *[Say(G, T0, WATCH, b"x\0%d\0" % number, OK) for number in range(101, 129)],
            Say(G, T0, WATCH, b"x\0more\0", E2BIG),
        ],
    ),
    Only("oxenstored", [Say(G, T0, WATCH, b"x\0more\0", EQUOTA)]),
    *[Say(G, T0, START, b"\0", ANY) for _ in range(11)],
    Say(G, T0, START, b"\0", ENOSPC, EQUOTA),
    Say(G, T0, WRITE, b"big\0" + b"v" * 2048, ENOSPC, OK),
    Say(G, T0, WRITE, b"big\0" + b"v" * 2049, ENOSPC, E2BIG),
    Say(G, T0, RM, b"big\0", OK),
]

TABLES["what a guest hears"] = [
    Say(G, T0, WATCH, b"/t\0secret\0", OK),
    Say(G, T0, WATCH, b"control\0own\0", OK),
    Say(G, T0, WATCH, b"@introduceDomain\0in\0", OK),
    Hear(G, [(b"/t", b"secret"), (b"control", b"own"), (b"@introduceDomain", b"in")]),
    Say(A, T0, WRITE, b"/t\0v", OK),
    Say(A, T0, WRITE, HOME + b"/control/shutdown\0poweroff", OK),
    Hear(G, [(b"control/shutdown", b"own")]),
    Say(A, T0, SET_PERMS, b"/t\0r0\0", OK),
    Say(A, T0, WRITE, b"/t\0v", OK),
    Hear(G, [(b"/t", b"secret"), (b"/t", b"secret")]),
    Say(A, T0, RM, HOME + b"/control\0", OK),
]

# -- packets ----------------------------------------------------------------------------------

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
