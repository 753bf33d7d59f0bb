# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount in an unprivileged guest: what the daemon refuses is told by the call that asked."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import run, sh
from tests.outcome import until
from tests.xen.guest import Guest
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon

# What domain 0 has put into the guest's home: node, permissions, value.
NODES = {
    b"mine": (b"n5", b"mine"),
    b"ro": (b"r0", b""),
    b"ro/file": (b"r0", b"old"),
    b"ro/empty": (b"r0", b""),
    b"ro/dir": (b"r0", b""),
    b"ro/dir/below": (b"r0", b""),
    b"secret": (b"n0", b"hidden"),
    b"secret/below": (b"n0", b"hidden"),
}


@dataclass
class Inside:
    """A guest's home, seen from its mount and from domain 0."""

    path: Path
    home: bytes
    mounted: Mounted
    store: Outside
    kind: str

    def at(self, name: bytes) -> bytes:
        """The store path of what is called `name` here."""
        return self.home + b"/" + name


@pytest.fixture
def inside(fuse: None, daemon: Daemon) -> Iterator[Inside]:
    """A mount that speaks as a guest; at its end nothing that it may not change has changed."""
    store = Outside(daemon)
    with Guest(daemon, daemon.rundir / "guest") as guest:
        for name, (_, value) in NODES.items():
            store.write(guest.home + b"/" + name, value)
        for name, (perms, _) in NODES.items():
            store.set_perms(guest.home + b"/" + name, perms)
        before = store.tree(guest.home)
        with Mounted(guest.socket, f"root={guest.home.decode()}") as mounted:
            yield Inside(mounted.path, guest.home, mounted, store, daemon.kind)
            assert mounted.leaks_no_inode()
        after = store.tree(guest.home)
        for tree in (before, after):
            for path in [path for path in tree if not path.startswith((b"/ro", b"/secret"))]:
                del tree[path]
        assert after == before
    store.close()


def test_a_guest_reads_and_writes_what_is_its_own(inside: Inside) -> None:
    sh("echo new > mine; mkdir d; echo 1 > d/f; mv d/f mine2; rmdir d", inside.path)
    assert inside.store.read(inside.at(b"mine")) == b"new"
    assert inside.store.read(inside.at(b"mine2")) == b"1"
    assert sh("cat ro/file; ls ro", inside.path).split() == ["old", "dir", "empty", "file"]
    inside.store.write(inside.at(b"mine"), b"by domain 0")
    until(lambda: (inside.path / "mine").read_bytes() == b"by domain 0\n")


# A write may also be the first of a file that is yet to be created.
@pytest.mark.parametrize("name", ["ro/file", "ro/empty", "ro/new", "ro/dir/.value", "secret"])
@pytest.mark.parametrize("flags", [os.O_TRUNC, os.O_APPEND, 0])
def test_a_write_that_is_not_permitted_fails_itself(inside: Inside, name: str, flags: int) -> None:
    fd = os.open(inside.path / name, os.O_WRONLY | os.O_CREAT | flags)
    for _ in range(2):
        with pytest.raises(PermissionError):
            os.write(fd, b"text\n")
    os.close(fd)


@pytest.mark.parametrize(
    "command",
    [
        "mkdir ro/new",
        "mkdir ro/empty.d/new",
        "python3 -c \"import os; os.mknod('ro/new')\"",
        "(set -C; echo text > ro/new)",
        "cp mine ro",
        "cp mine ro/file",
        "rm ro/file",
        "rm ro/dir/.value && echo > ro/dir/.value",
        "rm secret",
        "rm ro/dir/below",
        "rm -r ro/dir",
        "mv ro/file ro/new",
        "mv ro/dir ro/new",
        "mv mine ro",
        "mv mine ro/file",
        "mv -n mine ro/new",
        "mv secret here",
        "cat secret",
        "cp secret here",
        "cp -r ro/. here && cat secret",
        "ls secret.d/",
        "setfattr -n user.xenstore.perms -v n5 ro/file",
        "getfattr -n user.xenstore.perms secret",
    ],
)
def test_what_is_not_permitted_says_so_and_changes_nothing(inside: Inside, command: str) -> None:
    done = run(command, inside.path)
    assert done.returncode != 0, done.stdout
    assert "Permission denied" in done.stderr, done.stderr
    assert inside.store.read(inside.at(b"mine")) == b"mine"


def test_a_value_over_the_quota_is_refused_by_the_write_itself(inside: Inside) -> None:
    # oxenstored's is one on values alone, of all clients.
    number = errno.EDQUOT if inside.kind == "xenstored" else errno.EFBIG
    for flags in (0, os.O_TRUNC, os.O_APPEND):
        fd = os.open(inside.path / "mine", os.O_WRONLY | flags)
        with pytest.raises(OSError, match="Errno") as refused:
            os.write(fd, b"x" * 2049)
        assert refused.value.errno == number
        os.close(fd)
    assert inside.mounted.leaks_no_inode()
    assert inside.store.read(inside.at(b"mine")) == b"mine"


def test_a_node_over_the_quota_is_refused_by_the_call_that_makes_it(inside: Inside) -> None:
    # Both daemons let a guest own 1000 nodes; those that domain 0 makes for it count. A guest's
    # oxenstored cannot list very many in one directory.
    names = [b"many/%d/%d" % (number % 20, number) for number in range(1000)]
    for name in names:
        inside.store.wire.send(Op.WRITE, inside.at(name) + b"\0")
    for _ in names:
        assert inside.store.wire.receive().op == Op.WRITE
    new = inside.path / "new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    attempts: list[Callable[[], object]] = [
        lambda: os.write(fd, b"text\n"),
        lambda: os.mkdir(inside.path / "newdir"),
        lambda: os.mknod(inside.path / "newnode"),
        lambda: os.mkdir(inside.path / "mine.d/below"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Errno") as refused:
            attempt()
        assert refused.value.errno == errno.EDQUOT
    os.close(fd)
    until(lambda: not new.exists())
    sh("echo other > mine; rm -r many", inside.path)
    assert inside.store.read(inside.at(b"mine")) == b"other"
    new.write_text("text\n")
    assert inside.store.read(inside.at(b"new")) == b"text"


def test_a_transaction_over_the_quota_is_refused_by_all_that_take_one(inside: Inside) -> None:
    # Both daemons let a guest have 10 or 11.
    for count in range(10):
        os.mkdir(inside.path / f".transactions/t{count}")
    with suppress(OSError):
        os.mkdir(inside.path / ".transactions/t10")
    attempts: list[Callable[[], object]] = [
        lambda: os.mkdir(inside.path / ".transactions/t11"),
        lambda: os.mkdir(inside.path / "d"),
        lambda: os.mknod(inside.path / "n"),
        lambda: os.rename(inside.path / "mine", inside.path / "other"),
        lambda: os.unlink(inside.path / "mine"),
        lambda: (inside.path / ".json").write_text('{"mine": "new"}'),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Disk quota exceeded"):
            attempt()
    for name in os.listdir(inside.path / ".transactions"):
        os.rmdir(inside.path / ".transactions" / name)
    os.rename(inside.path / "mine", inside.path / "other")


@pytest.mark.parametrize("name", ["file", "new"])
def test_fsync_tells_of_a_truncation_or_creation_that_is_not_permitted(
    inside: Inside, name: str
) -> None:
    inside.mounted.expected = ("was not stored",)
    fd = os.open(inside.path / "ro" / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with pytest.raises(PermissionError):
        os.fsync(fd)
    os.close(fd)
    assert inside.mounted.leaks_no_inode()
    assert sorted(os.listdir(inside.path / "ro")) == ["dir", "empty", "file"]
    assert (inside.path / "ro/file").read_bytes() == b"old\n"
    assert inside.mounted.logs("was not stored").count("was not stored") == 1
