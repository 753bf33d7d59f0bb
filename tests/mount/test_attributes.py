# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What stat(2) says, and the extended attributes; @introduceDomain and @releaseDomain."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.mount.shell import run, sh
from tests.outcome import until
from tests.xen.rings import Hypervisor
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mount.conftest import Here

UID, GID = os.getuid(), os.getgid()


def test_modes_links_and_owners(here: Here) -> None:
    sh("mkdir d; echo v > d/.value; echo /x > d/f", here.path)
    shown = sh("stat -c '%A %h %u %g %n' d d/.value d/f d/f.link", here.path).splitlines()
    assert shown == [
        f"drwxr-xr-x 1 {UID} {GID} d",
        f"-rw-r--r-- 1 {UID} {GID} d/.value",
        f"-rw-r--r-- 1 {UID} {GID} d/f",
        f"lrwxrwxrwx 1 {UID} {GID} d/f.link",
    ]


@pytest.mark.parametrize(
    ("command", "works"),
    [
        ("chmod 644 f", True),
        ("chmod 755 d", True),
        ("chmod 600 f", False),
        ("chmod +x f", False),
        ("chmod 700 d", False),
        (f"chown {UID}:{GID} f d", True),
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


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("touch -d @0 f", True),
        ("touch -d @0 new; mv new f", True),
        ("exec 3> f; touch -d @0 f; exec 3>&-", True),
        ("rm f; exec 3> f; touch -d @0 f; sync f", True),
        ("rm f; exec 3> f; touch -d @0 f; setfattr -n user.xenstore.perms -v n0 f", True),
        ("touch -d @0 f; setfattr -n user.xenstore.perms -v n0,r5 f", True),
        ("touch -d @0 f; exec 3>> f", True),
        ("touch -d @0 f; : > f", False),
        ("touch -d @0 f; truncate -s 1 f", False),
        ("exec 3> f; touch -d @0 f; echo 2 >&3", False),
        ("rm f; exec 3> f; touch -d @0 f; echo 2 >&3", False),
    ],
)
def test_a_time_that_is_set_outlasts_what_was_truncated_or_created_before(
    here: Here, command: str, kept: bool
) -> None:
    path = here.path / "f"
    path.write_text("1")
    sh(command, here.path)
    until(lambda: here.store.read(here.at(b"f")) is not None)
    ask_for_something_new(here)
    assert (path.stat().st_mtime == 0) == kept
    here.store.write(here.at(b"f"), b"by another")
    until(lambda: path.stat().st_mtime > 0)


def ask_for_something_new(here: Here) -> None:
    """All events so far have come by the time that the answer does."""
    here.store.write(here.at(b"last"), b"")
    until((here.path / "last").exists)


@pytest.mark.parametrize(
    "copy",
    [
        "cp -a {}/top .",
        "rsync -a --inplace {}/top .",
        "tar --format=posix -cf - -C {} top | tar -xf -",
        "cp -r {0}/top . && cp -a {0}/top .",
        "cp -a {0}/top x && mv x top",
        "mkdir top && find {0}/top -mindepth 1 -type d -printf '%P\\n' | (cd top; xargs mkdir)"
        " && (cd {0}/top; find . -depth -print0) | (cd top; xargs -0 -I% touch -r {0}/top/% %)",
    ],
    ids=["cp", "rsync", "tar", "cp over", "cp and mv", "touch"],
)
def test_copies_have_the_times_of_what_they_are_copies_of(here: Here, copy: str) -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        top = Path(folder) / "top"
        for number in range(30):
            file = top / f"d{number % 3}" / f"f{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("line\n" * (number % 5))
        paths = [top, *sorted(top.rglob("*"))]
        for number, path in enumerate(paths):
            os.utime(path, ns=(0, number * 1_000_000_001))
        sh(copy.format(folder), here.path)
        until(lambda: len(here.store.tree(here.at(b"top"))) == len(paths))
        ask_for_something_new(here)
        for path in paths:
            copied = here.path / path.relative_to(folder)
            assert copied.stat().st_mtime_ns == path.stat().st_mtime_ns, copied


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


def test_a_file_that_is_not_stored_yet_has_no_permissions(here: Here) -> None:
    path = here.path / "f"
    with open(path, "wb", buffering=0) as file:
        assert os.listxattr(path) == ["user.xenstore.path"]
        with pytest.raises(OSError, match="No data"):
            os.getxattr(path, "user.xenstore.perms")
        file.write(b"1")
        assert sorted(os.listxattr(path)) == ["user.xenstore.path", "user.xenstore.perms"]
        assert os.getxattr(path, "user.xenstore.perms") == here.store.perms(here.at(b"f"))


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


def test_inodes_are_counted_as_little_as_in_proc(here: Here) -> None:
    counts = os.statvfs(here.path)
    assert (counts.f_files, counts.f_ffree, counts.f_favail) == (0, 0, 0)


def test_an_owner_who_is_not_there_is_an_invalid_argument(here: Here) -> None:
    sh("echo 1 > f; echo 2 > gone", here.path)
    set_owner = "setfattr -n user.xenstore.perms -v n4321"
    if here.daemon.kind == "xenstored":
        assert "Invalid argument" in run(f"{set_owner} f", here.path).stderr
    else:
        sh(f"{set_owner} f", here.path)
    with open(here.path / "gone", "rb") as file:
        here.store.rm(here.at(b"gone"))
        with pytest.raises(FileNotFoundError):
            os.setxattr(f"/proc/self/fd/{file.fileno()}", "user.xenstore.perms", b"n4321")
