# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What stat(2) says, and the extended attributes; @introduceDomain and @releaseDomain."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.mount.shell import run, sh, until
from tests.xen.rings import Hypervisor
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mount.conftest import Here


def test_modes_links_and_owners(here: Here) -> None:
    sh("mkdir d; echo v > d/.value; echo /x > d/f", here.path)
    shown = sh("stat -c '%A %h %u %g %n' d d/.value d/f d/f.link", here.path).splitlines()
    assert shown == [
        "drwxr-xr-x 1 0 0 d",
        "-rw-r--r-- 1 0 0 d/.value",
        "-rw-r--r-- 1 0 0 d/f",
        "lrwxrwxrwx 1 0 0 d/f.link",
    ]


@pytest.mark.parametrize(
    ("command", "works"),
    [
        ("chmod 644 f", True),
        ("chmod 755 d", True),
        ("chmod 600 f", False),
        ("chmod +x f", False),
        ("chmod 700 d", False),
        ("chown 0:0 f d", True),
        ("chown 1 f", False),
        ("chgrp 1 d", False),
        ("chmod 644 d/.value", True),
    ],
)
def test_chmod_and_chown_succeed_only_when_they_change_nothing(
    here: Here, command: str, works: bool
) -> None:
    sh("mkdir d; echo 1 > f", here.path)
    done = run(command, here.path)
    assert (done.returncode == 0) == works
    assert works or "Operation not permitted" in done.stderr


def test_mtime_is_when_the_node_was_seen_to_change(here: Here) -> None:
    here.store.write(here.at(b"f"), b"1")
    first = (here.path / "f").stat().st_mtime_ns
    assert first <= time.time_ns()
    before = time.time_ns()
    here.store.write(here.at(b"f"), b"2")
    until(lambda: (here.path / "f").stat().st_mtime_ns >= before)
    mark = time.time_ns()
    (here.path / "f").write_text("3")
    assert mark <= (here.path / "f").stat().st_mtime_ns <= time.time_ns()
    (here.path / "g").write_text("new")
    assert here.path.stat().st_mtime_ns >= mark, "a directory changes with its entries"


def test_a_time_that_is_set_stays_until_the_next_change(here: Here) -> None:
    sh("echo 1 > f; touch -d @1000000 f; test $(stat -c %Y f) = 1000000", here.path)
    sh("echo 2 > f; test $(stat -c %Y f) -gt 1000000", here.path)


def test_permissions_are_an_extended_attribute(here: Here) -> None:
    here.store.write(here.at(b"n/child"), b"")
    here.store.set_perms(here.at(b"n"), b"n0,r5,b7")
    for name in ("n", "n/.value", "n/child", "n/child.d"):
        expected = here.store.perms(here.at(b"n/child" if "child" in name else b"n"))
        assert os.getxattr(here.path / name, "user.xenstore.perms") == expected
    sh("setfattr -n user.xenstore.perms -v n0,w3 n n/child", here.path)
    assert here.store.perms(here.at(b"n")) == b"n0,w3"
    assert here.store.perms(here.at(b"n/child")) == b"n0,w3"
    dump = sh("getfattr -d n", here.path)
    assert 'user.xenstore.perms="n0,w3"' in dump
    assert f'user.xenstore.path="{here.at(b"n").decode()}"' in dump


@pytest.mark.parametrize(
    "perms", [b"", b"x0", b"n", b"n0,", b"n0 r5", b"r-1", b"n0\0r5", b"n99999"]
)
def test_malformed_permissions_are_einval(here: Here, perms: bytes) -> None:
    here.store.write(here.at(b"f"), b"")
    before = here.store.perms(here.at(b"f"))
    with pytest.raises(OSError, match="Invalid argument"):
        os.setxattr(here.path / "f", "user.xenstore.perms", perms)
    assert here.store.perms(here.at(b"f")) == before


def test_the_path_is_an_extended_attribute_that_cannot_be_changed(here: Here) -> None:
    sh("echo 1 > f", here.path)
    assert os.getxattr(here.path / "f", "user.xenstore.path") == here.at(b"f")
    os.setxattr(here.path / "f", "user.xenstore.path", b"/elsewhere")
    assert os.getxattr(here.path / "f", "user.xenstore.path") == here.at(b"f")


def test_there_are_no_other_extended_attributes(here: Here) -> None:
    sh("echo /x > f", here.path)
    path, domains = here.path / "f", here.mounted.path / "@releaseDomain"
    assert sorted(os.listxattr(path)) == ["user.xenstore.path", "user.xenstore.perms"]
    cases: list[tuple[Callable[[], object], int | None]] = [
        (lambda: os.getxattr(path, "user.other"), errno.ENODATA),
        (lambda: os.setxattr(path, "user.other", b"1"), errno.EOPNOTSUPP),
        (lambda: os.removexattr(path, "user.other"), errno.ENODATA),
        (lambda: os.removexattr(path, "user.xenstore.perms"), errno.EPERM),
        (lambda: os.setxattr(path, "security.capability", b"1"), None),
        (lambda: os.getxattr(domains, "user.xenstore.perms"), errno.ENODATA),
    ]
    for attempt, number in cases:
        with pytest.raises(OSError, match="Errno") as refused:
            attempt()
        assert number in (None, refused.value.errno)


def test_every_event_of_a_domain_is_counted_in_a_file_at_the_root(here: Here) -> None:
    root = here.mounted.path

    def counts() -> list[int]:
        return [int((root / name).read_bytes()) for name in ("@introduceDomain", "@releaseDomain")]

    introduced, released = counts()
    with Hypervisor(here.daemon.rundir) as hypervisor:
        hypervisor.create(7)
        here.store.wire.ask(Op.INTRODUCE, b"\0".join([b"7", b"1", b"1", b""]))
        until(lambda: counts() == [introduced + 1, released])
        here.store.wire.ask(Op.RELEASE, b"7\0")
        until(lambda: counts() == [introduced + 1, released + 1])
    assert {"@introduceDomain", "@releaseDomain"} <= set(os.listdir(root))
    assert (root / "@releaseDomain").stat().st_size == len(b"%d\n" % counts()[1])
    with pytest.raises(PermissionError):
        (root / "@releaseDomain").write_text("1")
