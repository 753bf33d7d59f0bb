# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""xsfs.compat beside Xen's own xen.lowlevel.xs: the same calls, the same results and errors.

Each speaks to a daemon of its own, both of one kind.
"""

from __future__ import annotations

import errno
import random
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import missing
from tests.xen.binding import Binding
from tests.xen.daemons import KINDS, Daemon, Kind
from tests.xen.packages import Unavailable, Xen
from xsfs.compat import Error, xs

if TYPE_CHECKING:
    from collections.abc import Iterator

# What came of a call: a value, or the kind of error and the errno with its text.
Outcome = tuple[object, ...]
Call = tuple[Any, ...]

TOKEN, OTHER = "token", "other"


def outcome(handle: Any, call: Call) -> Outcome:
    """Make a call: the method, its arguments, and last, if it is a dict, its keywords."""
    name, *args = call
    # A token is known by its identity.
    args = [sys.intern(arg) if isinstance(arg, str) else arg for arg in args]
    kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
    try:
        return "returned", getattr(handle, name)(*args, **kwargs)
    except RuntimeError as error:
        return "Error", *error.args
    except TypeError:
        return ("TypeError",)
    except ValueError as error:
        return "ValueError", str(error)


class Pair:
    """The two, side by side."""

    def __init__(self, original: Binding, ours: xs, daemons: list[Daemon]) -> None:
        self.original = original
        self.ours = ours
        self.daemons = daemons

    def make(self, *call: Any) -> Outcome:
        """Make a call on both, which must agree."""
        expected = outcome(self.original, call)
        assert outcome(self.ours, call) == expected, call
        return expected


@pytest.fixture(params=KINDS)
def pair(
    request: pytest.FixtureRequest, xen: Xen, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    kind: Kind = request.param
    try:
        python = xen.python()
    except Unavailable as error:
        missing(str(error))
    with ExitStack() as stack:
        folders = [stack.enter_context(TemporaryDirectory(prefix="xsfs-")) for _ in range(2)]
        daemons = [stack.enter_context(Daemon(kind, Path(folder), xen)) for folder in folders]
        theirs, ours = daemons
        monkeypatch.setenv("XENSTORED_PATH", str(ours.socket))
        handle = xs()
        stack.enter_context(suppress(Error))
        stack.callback(handle.close)
        yield Pair(stack.enter_context(Binding(theirs, python)), handle, daemons)


LONG = "/a" * 1600
TOO_LONG = "/a" * 2100

NODES: list[Call] = [
    ("read", "0", "/missing"),
    ("ls", "0", "/missing"),
    ("write", "0", "/a/b", "text"),
    ("write", "0", "/a/c", b"\xff\0\n"),
    ("write", "0", "/a/d", "\u20ac"),
    ("write", "0", "/a/e", ""),
    *(("read", "0", f"/a/{name}") for name in "bcde"),
    ("ls", "0", "/a"),
    ("ls", "0", "/a/b"),
    ("ls", "0", "/"),
    ("write", "0", "relative", "1"),
    ("read", "0", "/local/domain/0/relative"),
    ("mkdir", "0", "/a/b"),
    ("mkdir", "0", "/a/new"),
    ("read", "0", "/a/new"),
    ("rm", "0", "/a/b"),
    ("rm", "0", "/a/b"),
    ("rm", "0", "/missing/too"),
    ("rm", "0", "/"),
    ("write", "0", "/a", "x" * 3000),
    ("write", "0", "/a", "x" * 5000),
    ("write", "0", "/a\0b", ""),
    ("write", "0", "/a", 5),
    ("write", "0", "/a", None),
]
PATHS: list[Call] = [
    (method, "0", path, *rest)
    for method, *rest in (
        ("read",),
        ("write", "1"),
        ("ls",),
        ("mkdir",),
        ("rm",),
        ("get_permissions",),
        ("set_permissions", [{"dom": 0}]),
    )
    for path in ("", "/a/", "//a", "/a//b", "a b", "/a.b", "@a", "/a@b", LONG, TOO_LONG, "/a\0b", 7)
] + [
    (method, path, TOKEN)
    for path in ("", "/a/", "a b", "/a@b", "@a", "@introduceDomain", "a", TOO_LONG, "/\0", 7)
    for method in ("watch", "unwatch")
]
PERMISSION_LISTS: list[Any] = [
    [{"dom": 0}],
    [{"dom": 0, "read": 1}, {"dom": 1, "write": True}, {"dom": 2, "read": 2, "write": 1}],
    [{"dom": 1, "write": 1}],
    [{"dom": 1, "read": 0}],
    [{"dom": 0, "write": 1}],
    [],
    ({"dom": 0},),
    None,
    [{}],
    [{"read": 1}],
    [{"dom": 0, "other": 1}],
    [{"dom": "0"}],
    [{"dom": 65535}],
    [{"dom": 70000}],
    [{"dom": 0}] * 600,
]
PERMISSIONS: list[Call] = [("write", "0", "/a", "")] + [
    call
    for perms in PERMISSION_LISTS
    for call in (("set_permissions", "0", "/a", perms), ("get_permissions", "0", "/a"))
]
HANDLES: list[Call] = [("write", "0", "/a", "1")] + [
    ("read", handle, "/a")
    for handle in ("", "zzz", "0zzz", "0x", " 0", "-0", "+0", "0x0", "7", "0x7", "-1", "g1", "\0")
]
TRANSACTIONS: list[Call] = [
    ("transaction_start",),
    ("write", "1", "/a", "1"),
    ("read", "0", "/a"),
    ("read", "1", "/a"),
    ("read", "0x1", "/a"),
    ("transaction_end", "1"),
    ("read", "0", "/a"),
    ("transaction_end", "1"),
    ("transaction_start",),
    ("rm", "2", "/a"),
    ("transaction_end", {"transaction": "2", "abort": 1}),
    ("read", "0", "/a"),
    ("transaction_start",),
    ("write", "3", "/a", "3"),
    ("write", "0", "/a", "4"),
    ("transaction_end", "3", 0),
    ("transaction_end", "0"),
    ("transaction_end", {}),
    *[("transaction_start",)] * 17,
    ("ls", "14", "/"),
]
WATCHES: list[Call] = [
    ("check_watch",),
    ("watch", "/a", TOKEN),
    ("read_watch",),
    ("check_watch",),
    ("watch", "/a", TOKEN),
    ("watch", "/b", TOKEN),
    ("watch", "/a", OTHER),
    ("read_watch",),
    ("read_watch",),
    ("unwatch", "/a", OTHER),
    ("unwatch", "/a", OTHER),
    ("write", "0", "/a/b/c", ""),
    ("read_watch",),
    ("write", "0", "/b", ""),
    ("read_watch",),
    ("watch", "relative", OTHER),
    ("read_watch",),
    ("write", "0", "relative/a", ""),
    ("read_watch",),
    ("check_watch",),
    ("unwatch", "/missing", OTHER),
    ("unwatch", "/b", TOKEN),
    ("unwatch", "/a", TOKEN),
    ("unwatch", "/a", TOKEN),
    ("write", "0", "/a", ""),
    ("read", "0", "/a"),
    ("check_watch",),
]
DOMAINS: list[Call] = [
    *(("get_domain_path", domid) for domid in (0, 5, 70000, -1, "5", None)),
    ("introduce_domain", 0, 1, 1),
    ("introduce_domain", 5, 1, 1),
    ("introduce_domain", 5, -1, 1),
    ("set_target", 5, 0),
    ("resume_domain", 5),
    ("release_domain", 5),
    ("release_domain", "5"),
    ("release_domain",),
]
METHODS: list[Call] = [
    ("read", "0", "/a"),
    ("write", "0", "/a", ""),
    ("ls", "0", "/a"),
    ("mkdir", "0", "/a"),
    ("rm", "0", "/a"),
    ("get_permissions", "0", "/a"),
    ("set_permissions", "0", "/a", [{"dom": 0}]),
    ("watch", "/a", TOKEN),
    ("unwatch", "/a", TOKEN),
    ("read_watch",),
    ("check_watch",),
    ("fileno",),
    ("transaction_start",),
    ("transaction_end", "1"),
    ("introduce_domain", 5, 1, 1),
    ("set_target", 5, 0),
    ("resume_domain", 5),
    ("release_domain", 5),
    ("get_domain_path", 5),
    ("close",),
]


@pytest.mark.parametrize(
    "calls",
    [NODES, PATHS, PERMISSIONS, HANDLES, TRANSACTIONS, WATCHES, DOMAINS],
    ids=["nodes", "paths", "permissions", "handles", "transactions", "watches", "domains"],
)
def test_calls(pair: Pair, calls: list[Call]) -> None:
    for call in calls:
        pair.make(*call)


def test_a_closed_handle(pair: Pair) -> None:
    pair.make("close")
    for call in METHODS:
        assert pair.make(*call)[:2] == ("Error", 22), call


def test_a_lost_store(pair: Pair) -> None:
    pair.make("watch", "/a", TOKEN)
    pair.make("read_watch")
    for daemon in pair.daemons:
        daemon.kill()
    # The original's first call may find a broken pipe.
    for handle in (pair.original, pair.ours):
        assert outcome(handle, ("read", "0", "/a"))[0] == "Error"
    for call in METHODS[:11] + METHODS[12:]:
        pair.make(*call)
    with pytest.raises(Error, match="Connection refused"):
        xs()


def test_a_directory_longer_than_a_packet(pair: Pair) -> None:
    pair.make("transaction_start")
    for number in range(300):
        pair.make("write", "1", f"/a/a-rather-long-name-{number:04}", "")
    names = pair.ours.ls("1", "/a")
    assert names is not None
    assert len(names) == 300
    # oxenstored replies with one packet, longer than the original takes.
    assert outcome(pair.original, ("ls", "1", "/a")) in (
        ("returned", names),
        ("Error", errno.EBADF, "Bad file descriptor"),
    )
    assert pair.ours.ls("0", "/a") is None


def test_many_calls(pair: Pair) -> None:
    pick = random.Random(19).choice
    nodes = ["/a", "/a/b", "/a/b/c", "/b", "r", "/"]
    handles = ["0", "", "1", "2", "3"]
    for _ in range(1500):
        method, *arguments = pick(METHODS[:7] + METHODS[12:14])
        if method == "transaction_start":
            pair.make(method)
        elif method == "transaction_end":
            pair.make(method, pick(handles), pick([0, 1]))
        else:
            pair.make(method, pick(handles), pick(nodes), *arguments[2:])


def test_the_original_is_what_it_is_taken_for(pair: Pair) -> None:
    assert pair.make("read", "zzz", "/") == ("returned", b"")
    assert issubclass(Error, RuntimeError)
    with pytest.raises(Error, match=r"^\(22, 'Invalid argument'\)$"):
        pair.ours.read("0", "a b")
