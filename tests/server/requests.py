# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Random requests, good and bad, as hypothesis strategies. Pure."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.server.conversation import GUEST_DOMID
from tests.xen.wire import Op

HOME = b"/local/domain/%d" % GUEST_DOMID

PATHS = (
    *(b"/t", b"/t/a", b"/t/a/b", b"/t/a/b/c", b"/t/a/d", b"/t/e", b"/t/e/f", b"/t/e/f/g/h"),
    *(b"r", b"r/s", b"/", HOME, HOME + b"/a", HOME + b"/r/s", b"/t/" + b"l" * 300),
)
BAD_PATHS = (b"", b"//", b"/t/", b"/t//a", b"/t/.", b"/t/\xc3", b"/t/" + b"x" * 2100, b"@x")
VALUES = (b"", b"1", b"2\0", b"\0\xff")
TOKENS = (b"t", b"u", b"")
PERMS = (
    *((b"n0",), (b"b0", b"r7"), (b"n7", b"b1"), (b"n0", b"r4000"), (b"n07", b"w0"), (b"n0x7",)),
    *((b"w7", b"r7"), (b"r0",), (b"n0", b"w7"), (b"n 0",), (b"b7",) * 6, ()),
    *((b"x0",), (b"n",), (b"n0 ",), (b"N0",), (b"n08",), (b"n65535",)),
)
SPECIAL = (b"@introduceDomain", b"@releaseDomain")
UNKNOWN_OPS = (15, 16, 20, 27, 128, 0xFFFFFFFF)


def request(op: int, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[int, bytes]]:
    """Requests of one operation."""
    return st.tuples(st.just(op), st.tuples(*parts).map(b"".join))


def each(*texts: bytes) -> st.SearchStrategy[bytes]:
    """One of some strings, with its NUL."""
    return st.sampled_from([text + b"\0" for text in texts])


any_path = each(*PATHS, *BAD_PATHS)
good_path = each(*PATHS)
perms = st.sampled_from([b"".join(entry + b"\0" for entry in entries) for entries in PERMS])

node_requests = (
    request(Op.READ, any_path)
    | request(Op.WRITE, good_path, st.sampled_from(VALUES))
    | request(Op.WRITE, any_path, st.sampled_from(VALUES))
    | request(Op.MKDIR, any_path)
    | request(Op.RM, good_path)
    | request(Op.RM, any_path)
    | request(Op.DIRECTORY, any_path)
    | request(Op.DIRECTORY_PART, any_path, each(b"0", b"1", b"2", b"-1", b"99999", b"x"))
    | request(Op.GET_PERMS, any_path)
    | request(Op.SET_PERMS, good_path, perms)
)
watch_requests = (
    request(Op.WATCH, good_path, each(*TOKENS))
    | request(Op.WATCH, each(*PATHS, *SPECIAL, *BAD_PATHS), each(*TOKENS))
    | request(Op.UNWATCH, good_path, each(*TOKENS))
    | request(Op.RESET_WATCHES, each(b""))
)
transaction_requests = request(Op.TRANSACTION_START, each(b"")) | request(
    Op.TRANSACTION_END, each(b"T", b"T", b"F", b"x", b"T\0x")
)
other_requests = (
    request(Op.INTRODUCE, each(b"7\0001\0002", b"7\0001\0000", b"7\0001"))
    | request(Op.RELEASE, each(b"0", b"9"))
    | request(Op.IS_DOMAIN_INTRODUCED, each(b"7", b"9", b"32752"))
    | request(Op.GET_DOMAIN_PATH, each(b"7"))
    | request(Op.SET_TARGET, each(b"7\0000", b"9\0000"))
    | request(Op.RESUME, each(b"0", b"7", b"9"))
    | request(Op.CONTROL, each(b"nonsense", b"check", b"check\0x"))
    | st.sampled_from(UNKNOWN_OPS).flatmap(lambda op: request(op, each(b"", b"x")))
)
requests = node_requests | node_requests | watch_requests | transaction_requests | other_requests
