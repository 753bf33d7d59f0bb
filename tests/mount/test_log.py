# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What the log leaves out: the bytes of guests and of a lying store, and replies to nobody."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.mount.impatient import error_in_time
from tests.mount.mounting import Mounted
from tests.mount.outside import Tap
from tests.xen.link import Link
from tests.xen.wire import HEADER, Op

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon


@pytest.fixture
def filled(daemon: Daemon) -> Daemon:
    with xsfs.Client(daemon.socket) as client:
        client.write(b"/a/x", b"1")
        client.write(b"/b", b"2")
    return daemon


HOSTILE = b"\x1b]0;owned\x07\x1b[2J\n\r\x9b31m\xff\x00 100%s %n"


def test_no_hostile_byte_reaches_the_log(fuse: None, filled: Daemon) -> None:
    with (
        Link(filled.rundir / "link", filled.socket) as link,
        Mounted(link.socket, "debug,timeout=1") as mounted,
    ):
        mounted.expected = ("connection lost", "connected again", "left out", "no answer", "patch")
        with xsfs.Client(filled.socket) as client:
            client.write(b"/a/x", HOSTILE)
            client.write(b"/a/" + b"n" * 300, HOSTILE)
        top = mounted.path
        assert (top / "a/x").read_bytes() == HOSTILE + b"\n"
        os.listdir(top / "a")
        (top / "a/.json").read_bytes()
        error_in_time(lambda: (top / "a/.json").write_bytes(b'{"\x1b[2J": 1}'))
        error_in_time(lambda: (top / "a" / os.fsdecode(b"\x1b[2J")).stat())
        error_in_time(lambda: (top / "a/x.link").stat())
        error_in_time(lambda: os.setxattr(top / "a/x", "user.xenstore.perms", HOSTILE))
        for lie in (
            HEADER.pack(Op.WATCH_EVENT, 0, 0, 10) + b"/\x1b[2J\0\x1bx\0",
            HEADER.pack(Op.WATCH_EVENT, 0, 0, 13) + b"/a/\x1b[2J\0xsfs\0"[:13],
            HEADER.pack(Op.WATCH_EVENT, 0, 0, 4) + b"\x1b[2J",
            HEADER.pack(77, 1, 0, 4) + b"\x1b[2J",
        ):
            link.inject(lie)
            assert (top / "a/x").read_bytes() == HOSTILE + b"\n"
        log = mounted.logs("connection lost")
        assert mounted.log_is_clean(), ascii(log)


@pytest.mark.parametrize("path", [b"/a/\x1b[2J", b"/a//b", b"a", b"/", b"//", b"/a/" + b"x" * 4000])
def test_an_event_for_no_path_stops_nothing(fuse: None, filled: Daemon, path: bytes) -> None:
    """As a lying store might send it, for the root's watch."""
    with (
        Link(filled.rundir / "link", filled.socket) as link,
        Mounted(link.socket) as mounted,
    ):
        mounted.expected = ("cannot read what changed", "connection lost", "connected again")
        (mounted.path / "a/x").read_bytes()
        payload = path + b"\0xsfs-1\0"
        link.inject(HEADER.pack(Op.WATCH_EVENT, 0, 0, len(payload)) + payload)
        with xsfs.Client(filled.socket) as client:
            client.write(b"/a/x", b"2")
            client.delete(b"/b")
        assert (mounted.path / "a/x").read_bytes() == b"2\n"
        assert not (mounted.path / "b").exists()
        assert mounted.log_is_clean()


def test_a_reply_after_the_umount_is_no_error(fuse: None, daemon: Daemon) -> None:
    """RELEASE is asked by nobody who waits: an umount does not wait for its reply."""
    tap, is_unmounted = Tap(), threading.Event()
    with Link(daemon.rundir / "link", daemon.socket, tap) as link, Mounted(link.socket) as mounted:

        def umount() -> None:
            subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
            is_unmounted.set()

        events = os.open(mounted.path / ".events", os.O_RDONLY)
        tap.before(Op.UNWATCH, umount)
        os.close(events)
        assert is_unmounted.wait(DEADLINE_S)
        assert mounted.wait() == 0
