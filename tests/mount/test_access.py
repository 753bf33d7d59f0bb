# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nobody gets in: read-only mounts, other users, unprivileged mounts.

Calls of other users are made in a forked process that gives up its ids: no program between.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.mount.installed import Machine
from tests.mount.mounting import Mounted
from tests.mount.outside import Tap
from tests.outcome import error_of
from tests.xen.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.xen.daemons import Daemon

# Users that every Debian has: nobody and daemon. fusermount3 wants them to have a name.
USER, STRANGER = 65534, 1

_libc = ctypes.CDLL(None, use_errno=True)
# linux/fcntl.h, AT_FDCWD; linux/fs.h, RENAME_NOREPLACE and others.
_AT_FDCWD, _NOREPLACE, _EXCHANGE, _WHITEOUT = -100, 1, 2, 4

TREE = {
    b"/a/x": b"1",
    b"/a/empty": b"",
    b"/a/target": b"/a/x",
    b"/b": b"2",
}


@pytest.fixture
def filled(daemon: Daemon) -> Daemon:
    with xsfs.Client(daemon.socket) as client:
        for path, value in TREE.items():
            client.write(path, value)
    return daemon


def renameat2(old: Path, new: Path, flags: int) -> None:
    if _libc.renameat2(_AT_FDCWD, bytes(old), _AT_FDCWD, bytes(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def opened(path: Path, flags: int) -> None:
    os.close(os.open(path, flags, 0o644))


def reading(path: Path, do: Callable[[int], object]) -> None:
    """Do it with a descriptor that is for reading alone."""
    fd = os.open(path, os.O_RDONLY)
    try:
        do(fd)
    finally:
        os.close(fd)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.fspath(path))


def set_flags(fd: int) -> None:
    # linux/fs.h, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
    fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0x10))


# An access control list of somebody's (linux/posix_acl_xattr.h), as setfacl would set it.
_ACL = struct.pack("<I", 2) + struct.pack("<HHI", 1, 7, 0xFFFFFFFF)

# Every call that changes something.
CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda top: opened(top / "a/x", os.O_WRONLY),
    "read and write": lambda top: opened(top / "a/x", os.O_RDWR),
    "append": lambda top: opened(top / "a/x", os.O_WRONLY | os.O_APPEND),
    "truncate at open": lambda top: opened(top / "a/x", os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda top: os.truncate(top / "a/x", 0),
    "create": lambda top: opened(top / "a/new", os.O_WRONLY | os.O_CREAT),
    "create alone": lambda top: opened(top / "a/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "create to read": lambda top: opened(top / "a/new", os.O_RDONLY | os.O_CREAT),
    "own value": lambda top: opened(top / "a/.value", os.O_WRONLY),
    "remove own value": lambda top: os.unlink(top / "a/.value"),
    "below a leaf": lambda top: opened(top / "b.d/new", os.O_WRONLY | os.O_CREAT),
    "directory below a leaf": lambda top: os.mkdir(top / "b.d/new"),
    "through a link": lambda top: opened(top / "a/target.link", os.O_WRONLY),
    "mkdir": lambda top: os.mkdir(top / "new"),
    "mknod": lambda top: os.mknod(top / "new", stat.S_IFREG | 0o644),
    "mkfifo": lambda top: os.mkfifo(top / "new"),
    "symlink": lambda top: os.symlink("a", top / "new"),
    "link": lambda top: os.link(top / "b", top / "new"),
    "unlink": lambda top: os.unlink(top / "b"),
    "rmdir": lambda top: os.rmdir(top / "a"),
    "rename": lambda top: os.rename(top / "b", top / "c"),
    "rename a tree": lambda top: os.rename(top / "a", top / "c"),
    "rename, no replacing": lambda top: renameat2(top / "b", top / "c", _NOREPLACE),
    "exchange": lambda top: renameat2(top / "b", top / "a/x", _EXCHANGE),
    "chmod": lambda top: os.chmod(top / "b", 0o600),
    "chown": lambda top: os.chown(top / "b", 1, 1),
    "touch": lambda top: os.utime(top / "b"),
    "set times": lambda top: os.utime(top / "a", (1, 1)),
    "set permissions": lambda top: os.setxattr(top / "b", "user.xenstore.perms", b"b0"),
    "set any attribute": lambda top: os.setxattr(top / "b", "user.other", b"1"),
    "remove attribute": lambda top: os.removexattr(top / "b", "user.xenstore.perms"),
    "patch": lambda top: (top / "a/.json").write_bytes(b'{"x": null}'),
    "patch, not truncating": lambda top: opened(top / ".json", os.O_RDWR),
    "transaction": lambda top: os.mkdir(top / ".transactions/t"),
    "statistics": lambda top: opened(top / ".xsfs/stats", os.O_WRONLY),
    "create without a name": lambda top: opened(top / "a", os.O_WRONLY | os.O_TMPFILE),
    "allocate": lambda top: reading(top / "b", lambda fd: os.posix_fallocate(fd, 0, 9)),
    "truncate what is open": lambda top: reading(top / "b", lambda fd: os.ftruncate(fd, 0)),
    "copy a range": lambda top: reading(top / "b", lambda fd: os.copy_file_range(fd, fd, 1)),
    "set flags": lambda top: reading(top / "b", set_flags),
    "make a device": lambda top: os.mknod(top / "new", stat.S_IFCHR | 0o644, os.makedev(1, 3)),
    "bind a socket": lambda top: bind(top / "new"),
    "whiteout": lambda top: renameat2(top / "b", top / "c", _WHITEOUT),
    "set a list of access": lambda top: os.setxattr(top / "b", "system.posix_acl_access", _ACL),
    "set a trusted attribute": lambda top: os.setxattr(top / "b", "trusted.x", b"1"),
    "set a security attribute": lambda top: os.setxattr(top / "b", "security.x", b"1"),
    "remove any attribute": lambda top: os.removexattr(top / "b", "user.other"),
    "permissions of the root": lambda top: os.setxattr(top, "user.xenstore.perms", b"b0"),
    "value of the root": lambda top: opened(top / ".value", os.O_WRONLY),
    "patch a leaf": lambda top: (top / "b.d/.json").write_bytes(b'"x"'),
    "remove a virtual file": lambda top: os.unlink(top / ".json"),
    "remove transactions": lambda top: os.rmdir(top / ".transactions"),
    "rename a virtual file": lambda top: os.rename(top / ".json", top / "c"),
    "special": lambda top: opened(top / "@releaseDomain", os.O_WRONLY),
    "remove special": lambda top: os.unlink(top / "@releaseDomain"),
}

REFUSALS = {errno.EROFS, errno.EPERM, errno.EACCES, errno.EISDIR}
# What no mount of ours does, or not with a descriptor for reading.
REFUSALS |= {errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY}


def codes_of(
    calls: dict[str, Callable[[Path], object]], top: Path, user: int = 0
) -> dict[str, int]:
    """How each of the calls ends, by name."""
    return {name: as_user(user, partial(do, top)) for name, do in calls.items()}


def as_user(user: int, do: Callable[[], object]) -> int:
    """`error_of` it, for a user without any privilege; in a process of its own for root."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        code = -1
        try:
            if user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            code = error_of(do)
        finally:
            os.write(writer, struct.pack("=i", code))
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        (code,) = struct.unpack("=i", said.read(4))
    os.waitpid(pid, 0)
    return int(code)


def tree_of(daemon: Daemon) -> dict[bytes, bytes]:
    with xsfs.Client(daemon.socket) as client:
        return client.read_tree(b"/")


# --- read-only ---


def test_a_read_only_mount_changes_nothing(fuse: None, filled: Daemon) -> None:
    before = tree_of(filled)
    tap = Tap()
    with (
        Link(filled.rundir / "link", filled.socket, tap) as link,
        Mounted(link.socket, "ro") as mounted,
    ):
        tap.start()
        codes = codes_of(CHANGES, mounted.path)
        assert {name: code for name, code in codes.items() if code not in REFUSALS} == {}
        assert (mounted.path / "a/x").read_bytes() == b"1\n"
        assert (mounted.path / "a/target.link").read_bytes() == b"1\n"
        assert tap.changes() == []
    assert tree_of(filled) == before


def test_the_daemon_itself_refuses_where_the_kernel_does_not(
    fuse: None, root: None, filled: Daemon
) -> None:
    """A mount can be made writable again by root; the daemon then still changes nothing."""
    before = tree_of(filled)
    with Mounted(filled.socket, "ro") as mounted:
        # linux/mount.h, MS_REMOUNT | MS_BIND
        assert not _libc.mount(None, bytes(mounted.path), None, 32 | 4096, None)
        codes = codes_of(CHANGES, mounted.path)
        assert {name: code for name, code in codes.items() if code not in REFUSALS} == {}
    assert tree_of(filled) == before


# --- other users ---

READS: dict[str, Callable[[Path], object]] = {
    "stat": lambda top: os.stat(top),
    "list": lambda top: os.listdir(top),
    "read": lambda top: (top / "a/x").read_bytes(),
    "read JSON": lambda top: (top / "a/.json").read_bytes(),
    "read a backup": lambda top: (top / "a/.backup").read_bytes(),
    "metrics": lambda top: (top / ".xsfs/metrics").read_bytes(),
    "follow a link": lambda top: (top / "a/target.link").read_bytes(),
    "get permissions": lambda top: os.getxattr(top / "a/x", "user.xenstore.perms"),
    "list attributes": lambda top: os.listxattr(top / "a/x"),
    "listen": lambda top: opened(top / ".events", os.O_RDONLY),
    "statistics": lambda top: (top / ".xsfs/stats").read_bytes(),
    "size": lambda top: os.statvfs(top),
}


def test_others_are_kept_out(fuse: None, root: None, filled: Daemon) -> None:
    with Mounted(filled.socket) as mounted:
        codes = codes_of({**READS, **CHANGES}, mounted.path, USER)
        # The kernel answers statfs(2) by itself.
        assert codes.pop("size") == 0
        assert set(codes.values()) == {errno.EACCES}


def test_others_may_look_where_modes_let_them(fuse: None, root: None, filled: Daemon) -> None:
    before = tree_of(filled)
    with Mounted(filled.socket, "allow_other") as mounted:
        codes = codes_of(READS, mounted.path, USER)
        codes.pop("listen")
        assert {name: code for name, code in codes.items() if code} == {}
        codes = codes_of(CHANGES, mounted.path, USER)
        assert {name: code for name, code in codes.items() if code not in REFUSALS} == {}
    assert tree_of(filled) == before


def test_anothers_transaction_is_his(fuse: None, root: None, filled: Daemon) -> None:
    calls: dict[str, Callable[[Path], object]] = {
        "write": lambda view: (view / "a/x").write_bytes(b"theirs"),
        "create": lambda view: (view / "new").write_bytes(b"theirs"),
        "remove": lambda view: (view / "b").unlink(),
        "patch": lambda view: (view / ".json").write_bytes(b'{"a": null}'),
        "set permissions": lambda view: os.setxattr(view / "b", "user.xenstore.perms", b"b0"),
        "commit": lambda view: (view / ".commit").write_bytes(b"1"),
        "abort": lambda view: os.rmdir(view),
    }
    with Mounted(filled.socket, "allow_other") as mounted:
        view = mounted.path / ".transactions/t"
        view.mkdir()
        (view / "a/x").write_bytes(b"ours")
        assert set(codes_of(calls, view, USER).values()) == {errno.EACCES}
        (view / ".commit").write_bytes(b"1")
    assert tree_of(filled)[b"/a/x"] == b"ours"
    with Mounted(filled.socket, "allow_other,umask=077") as mounted:
        view = mounted.path / ".transactions/t"
        view.mkdir()
        calls["read"] = lambda view: (view / "a/x").read_bytes()
        calls["read JSON"] = lambda view: (view / ".json").read_bytes()
        calls["list"] = os.listdir
        assert set(codes_of(calls, view, USER).values()) == {errno.EACCES}
        view.rmdir()


def test_masks_hide_from_others(fuse: None, root: None, filled: Daemon) -> None:
    with Mounted(filled.socket, "allow_other,umask=077") as mounted:
        codes = codes_of(READS, mounted.path, USER)
        assert {name for name, code in codes.items() if code != errno.EACCES} <= {"stat", "size"}
    with Mounted(filled.socket, "allow_other,fmask=077") as mounted:
        codes = codes_of(READS, mounted.path, USER)
        assert {name for name, code in codes.items() if code == 0} <= {
            "stat",
            "size",
            "list",
            "list attributes",
        }


def test_a_link_is_as_hidden_as_the_value_it_shows(fuse: None, root: None, filled: Daemon) -> None:
    """Not whether it is there, where it leads, or how long that is."""
    assert filled.tool("xenstore-write", "/a/to", "/a/x", "/a/no", "nothing").returncode == 0

    def codes(mount: Path, user: int) -> set[int]:
        calls: list[Callable[[], object]] = []
        for name in ("a/to.link", "a/no.link"):
            calls += (partial(call, mount / name) for call in (os.readlink, os.lstat, os.stat))
        return {as_user(user, call) for call in calls}

    with Mounted(filled.socket, "allow_other,fmask=077") as mounted:
        assert os.readlink(mounted.path / "a/to.link") == "../a/x"
        assert codes(mounted.path, USER) == {errno.EACCES}
    with Mounted(filled.socket, "allow_other") as mounted:
        assert codes(mounted.path, USER) == {0, errno.ENOENT}
    with Mounted(filled.socket, f"allow_other,fmask=077,uid={USER}") as mounted:
        assert codes(mounted.path, USER) == {0, errno.ENOENT}
        assert codes(mounted.path, STRANGER) == {errno.EACCES}
    with Mounted(filled.socket, f"allow_other,fmask=027,gid={USER}") as mounted:
        assert codes(mounted.path, USER) == {0, errno.ENOENT}
        assert codes(mounted.path, STRANGER) == {errno.EACCES}


def test_the_owner_named_may_write(fuse: None, root: None, filled: Daemon) -> None:
    with Mounted(filled.socket, f"allow_other,uid={USER},gid={USER}") as mounted:

        def write() -> None:
            (mounted.path / "a/x").write_bytes(b"by the owner")

        assert as_user(STRANGER, write) == errno.EACCES
        assert as_user(USER, write) == 0
    assert tree_of(filled)[b"/a/x"] == b"by the owner"


# --- unprivileged mounts ---


@pytest.fixture
def machine(fuse: None, root: None) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine
        machine.settle()


def test_a_users_mount_gains_nothing(machine: Machine, filled: Daemon) -> None:
    path = machine.folder / "own"
    path.mkdir()
    os.chown(path, USER, USER)
    # The store's socket is root's; what the user mounts is no way around that.
    filled.socket.chmod(0o600)
    filled.rundir.chmod(0o755)
    done = machine.run("xsfs", filled.socket, path, user=USER)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    # Nor is a directory of another's.
    assert machine.run("xsfs", "embedded", machine.mountpoint, user=USER).returncode == 1
    socket = path.parent / "private"
    socket.mkdir()
    os.chown(socket, USER, USER)
    options = f"socket={socket}/store,suid,dev"
    machine.check("xsfs", "embedded", path, "-o", options, user=USER)
    ((shown,),) = machine.mounts("OPTIONS")
    assert {"nosuid", "nodev"} <= set(shown.split(","))
    assert stat.S_IMODE((socket / "store").stat().st_mode) == 0o600
    (daemon,) = machine.daemons()
    status = Path(f"/proc/{daemon}/status").read_text()
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
    assert machine.run("cat", path / "local/domain/1/name", user=STRANGER).returncode == 1
    machine.check("fusermount3", "-u", path, user=USER)


def test_the_embedded_stores_socket_is_the_owners_alone(fuse: None, rundir: Path) -> None:
    old = os.umask(0)
    try:
        with Mounted("embedded", f"socket={rundir}/store"):
            assert stat.S_IMODE((rundir / "store").stat().st_mode) == 0o600
        with Mounted("embedded", env={"TMPDIR": str(rundir)}):
            (folder,) = rundir.iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    assert list(rundir.iterdir()) == []
