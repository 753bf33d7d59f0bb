# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Domains, guests, and the daemon itself."""

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
    A,
    B,
    G,
    Hear,
    Leave,
    Only,
    Say,
)
from tests.protocol.tables.words import (
    CONTROL,
    DIRECTORY,
    DOMAIN_PATH,
    E2BIG,
    EACCES,
    EINVAL,
    END,
    ENOENT,
    ENOSPC,
    ENOSYS,
    EPERM,
    EQUOTA,
    ERROR,
    EVENT,
    GET_FEATURE,
    GET_PERMS,
    GET_QUOTA,
    HOME,
    INTRODUCE,
    INTRODUCED,
    READ,
    RELEASE,
    RESUME,
    RM,
    SET_FEATURE,
    SET_PERMS,
    SET_QUOTA,
    SET_TARGET,
    START,
    WATCH,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {}

# -- domains and the daemon itself ---------------------------------------------------------------

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

# The guest leaves, with its domain.
GONE: Sequence[Row] = [Leave(G), Say(A, T0, RELEASE, b"%d\0" % GUEST, OK)]
# xenstored takes a domain for younger than a node only if something changed in between.
LATER = Say(A, T0, WRITE, b"/t/later\0", OK)
SHARED = b"n0\0b%d\0" % GUEST

TABLES["what was shared with a domain is not shared with the next of its id"] = [
    Say(G, T0, READ, HOME + b"\0", b""),
    *[
        row
        for node in (b"/t/kept", b"/t/rewritten", b"/t/parent", b"/t/anew", b"/t/twice")
        for row in (
            Say(A, T0, WRITE, node + b"\0v", OK),
            Say(A, T0, SET_PERMS, node + b"\0" + SHARED, OK),
            Say(G, T0, READ, node + b"\0", b"v"),
        )
    ],
    *GONE,
    Say(A, T0, GET_PERMS, b"/t/kept\0", SHARED, b"n0\0"),
    Say(A, T0, WRITE, b"/t/rewritten\0x", OK),
    Say(A, T0, WRITE, b"/t/parent/child\0x", OK),
    Say(A, T0, SET_PERMS, b"/t/anew\0" + SHARED, OK),
    Say(G, T0, READ, b"/t/kept\0", EACCES),
    Say(A, T0, WRITE, b"/t/kept\0x", OK),
    *[
        row
        for node in (b"/t/kept", b"/t/rewritten", b"/t/parent", b"/t/parent/child")
        for row in (
            Say(G, T0, READ, node + b"\0", EACCES),
            Say(G, T0, WRITE, node + b"\0v", EACCES),
            Say(G, T0, WRITE, node + b"/below\0v", EACCES),
            Say(A, T0, GET_PERMS, node + b"\0", SHARED, b"n0\0"),
        )
    ],
    Say(G, T0, READ, b"/t/anew\0", b"v"),
    Say(G, T0, WRITE, b"/t/anew\0w", OK),
    Say(A, T0, SET_PERMS, b"/t/kept\0" + SHARED, OK),
    Say(G, T0, READ, b"/t/kept\0", b"x"),
    *GONE,
    Say(G, T0, READ, b"/t/twice\0", EACCES),
    Say(G, T0, READ, b"/t/anew\0", EACCES),
]

TABLES["a transaction brings no access back"] = [
    Say(G, T0, READ, HOME + b"\0", b""),
    Say(A, T0, WRITE, b"/t/a\0v", OK),
    Say(A, T0, WRITE, b"/t/b\0v", OK),
    Say(A, T0, SET_PERMS, b"/t/a\0" + SHARED, OK),
    Say(G, T0, READ, b"/t/a\0", b"v"),
    Say(A, T1, START, b"\0", NEW_ID),
    Say(A, T1, WRITE, b"/t/a\0w", OK),
    *GONE,
    Say(A, T1, END, b"T\0", OK),
    LATER,
    Say(G, T0, READ, b"/t/a\0", EACCES),
    Say(G, T2, START, b"\0", NEW_ID),
    Say(G, T2, READ, b"/t/a\0", EACCES),
    Say(G, T2, WRITE, b"/t/a\0w", EACCES),
    Say(G, T2, END, b"F\0", OK),
]

TABLES["what a domain owned goes with it"] = [
    Say(A, T0, WRITE, b"/t/theirs/below\0v", OK),
    Say(A, T0, SET_PERMS, b"/t/theirs\0n%d\0" % GUEST, OK),
    Say(G, T0, WRITE, b"/t/theirs/own\0v", OK),
    Say(A, T0, WRITE, b"/t/ours\0v", OK),
    Say(A, T0, SET_PERMS, b"/t/ours\0" + SHARED, OK),
    Say(G, T0, WRITE, b"/t/ours/own\0v", OK),
    Say(A, T0, READ, b"/t/theirs/below\0", b"v"),
    *GONE,
    Say(A, T0, READ, b"/t/theirs\0", ENOENT),
    Say(A, T0, READ, b"/t/ours\0", b"v"),
    Say(A, T0, READ, b"/t/ours/own\0", ENOENT, b"v"),
    Say(A, T0, READ, HOME + b"\0", ENOENT),
    LATER,
    Say(G, T0, READ, b"/t/ours\0", EACCES),
    Say(G, T0, WRITE, b"own\0v", OK),
]

TABLES["a domain that is introduced again is the one it was"] = [
    Say(A, T0, WRITE, b"/t/a\0v", OK),
    Say(A, T0, SET_PERMS, b"/t/a\0" + SHARED, OK),
    Say(G, T0, READ, b"/t/a\0", b"v"),
    Say(A, T0, SET_PERMS, b"@releaseDomain\0n0\0r%d\0" % GUEST, OK),
    Say(G, T0, WATCH, b"@releaseDomain\0out\0", OK),
    Hear(G, [(b"@releaseDomain", b"out")]),
    *GONE,
    Say(G, T0, WATCH, b"@releaseDomain\0out\0", OK),
    Hear(G, [(b"@releaseDomain", b"out")]),
    Say(A, T0, SET_PERMS, b"@releaseDomain\0n0\0", OK),
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

# -- guests --------------------------------------------------------------------------------------

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
