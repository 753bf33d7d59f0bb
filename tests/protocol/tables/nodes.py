# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nodes, and the directories they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.conversation import ANY, OK, T0, A, AfterGeneration, B, E, Only, Say
from tests.protocol.tables.words import (
    DIRECTORY,
    E2BIG,
    EINVAL,
    ENOENT,
    ENOSYS,
    GET_PERMS,
    INTRODUCE,
    LONG,
    MKDIR,
    ONE_PATH,
    PART,
    READ,
    RM,
    SET_PERMS,
    UNWATCH,
    WATCH,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {}

# -- nodes ---------------------------------------------------------------------------------------

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

# -- directories ---------------------------------------------------------------------------------

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
