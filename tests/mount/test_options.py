# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Options that say how nodes look as files, and what users who are not root may do."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.mount.installed import Machine
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import run, sh
from tests.outcome import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

# Debian's nobody and nogroup (base-passwd).
NOBODY, NOGROUP = 65534, 65534
# Who runs the tests, as stat(1) shows it.
OURS = f"{os.getuid()} {os.getgid()}"
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOGROUP} --clear-groups"


@pytest.fixture
def store(fuse: None, shared_daemon: Daemon) -> Iterator[Outside]:
    """A folder /o of the store with a file and a directory, removed at the end."""
    outside = Outside(shared_daemon)
    outside.write(b"/o/f", b"value")
    outside.write(b"/o/d/child", b"1")
    yield outside
    outside.rm(b"/o")
    outside.close()


def test_raw_shows_and_takes_values_to_the_byte(shared_daemon: Daemon, store: Outside) -> None:
    with Mounted(shared_daemon.socket, "root=/o,raw") as mounted:
        file = mounted.path / "f"
        assert file.read_bytes() == b"value"
        assert file.stat().st_size == 5
        for value in (b"", b"\n", b"x\n", b"\n\n", b"\0\xff"):
            file.write_bytes(value)
            # An empty value is a truncation with no write: stored at release.
            until(partial(lambda value: store.read(b"/o/f") == value, value))
            assert file.read_bytes() == value
        sh("printf a > f; printf b >> f; truncate -s 4 f", mounted.path)
        assert file.read_bytes() == b"ab\0\0"


@pytest.mark.parametrize(
    ("options", "file", "directory"),
    [
        ("", f"644 {OURS}", f"755 {OURS}"),
        ("uid=12,gid=34", "644 12 34", "755 12 34"),
        ("umask=027", f"640 {OURS}", f"750 {OURS}"),
        ("fmask=066,dmask=022", f"600 {OURS}", f"755 {OURS}"),
        ("umask=077,dmask=0", f"600 {OURS}", f"755 {OURS}"),
    ],
)
def test_owners_and_masks(
    shared_daemon: Daemon, store: Outside, options: str, file: str, directory: str
) -> None:
    with Mounted(shared_daemon.socket, f"root=/o,{options}".rstrip(",")) as mounted:
        shown = sh("stat -c '%a %u %g' f d d/.value d", mounted.path).splitlines()
        assert shown == [file, directory, file, directory]
        mode, uid, gid = file.split()
        # Others than the owner and root may not even change nothing.
        if os.geteuid() in (0, int(uid)):
            sh(f"chmod {mode} f; chown {uid}:{gid} f", mounted.path)


def test_quiet_passes_over_what_cannot_be_done(shared_daemon: Daemon, store: Outside) -> None:
    insist = ["chmod 600 f", "chown 12:34 f", "chmod 700 d", "cp -p f g", "install -m 600 f h"]
    with Mounted(shared_daemon.socket, "root=/o") as mounted:
        for command in insist[:3] + insist[4:]:
            assert "Operation not permitted" in run(command, mounted.path).stderr, command
    with Mounted(shared_daemon.socket, "root=/o,quiet") as mounted:
        for command in insist:
            # For a user, the kernel refuses to change the owner without asking xsfs.
            if os.geteuid() == 0 or not command.startswith("chown"):
                sh(command, mounted.path)
        assert sh("stat -c '%a %u %g' f d g h", mounted.path).splitlines() == [
            f"644 {OURS}", f"755 {OURS}", f"644 {OURS}", f"644 {OURS}",
        ]  # fmt: skip
    assert store.read(b"/o/h") == b"value"


def test_root_mounts_a_subtree(shared_daemon: Daemon, store: Outside) -> None:
    store.write(b"/o/d/link", b"/o/f")
    store.write(b"/o/d/out", b"/elsewhere")
    with Mounted(shared_daemon.socket, "root=/o/d") as mounted:
        assert {"child", "link", "out"} <= set(os.listdir(mounted.path))
        assert os.getxattr(mounted.path / "child", "user.xenstore.path") == b"/o/d/child"
        assert not os.path.lexists(mounted.path / "out.link"), "it leads out of the mount"
        sh("echo new > new; mkdir sub; mv child sub; echo own > .value", mounted.path)
    assert store.tree(b"/o/d") == {
        b"": b"own", b"/new": b"new", b"/sub": b"", b"/sub/child": b"1",
        b"/link": b"/o/f", b"/out": b"/elsewhere",
    }  # fmt: skip


def test_a_root_that_is_not_there_yet_is_an_empty_directory(
    shared_daemon: Daemon, store: Outside
) -> None:
    with Mounted(shared_daemon.socket, "root=/o/none/yet") as mounted:
        mounted.expected = ("there is no such node yet",)
        listed = [name for name in os.listdir(mounted.path) if not name.startswith("@")]
        assert listed == []
        assert run("cat x", mounted.path).returncode == 1
        sh("echo 1 > x; cat x; mkdir d; ls", mounted.path)
    assert store.read(b"/o/none/yet/x") == b"1"


@pytest.fixture(scope="module")
def machine(fuse: None, root: None) -> Iterator[Machine]:
    """Where users may mount, too."""
    with Machine() as made:
        yield made


CHANGES = [
    "echo 1 > f", "echo 1 >> f", "echo 1 > new", "touch new", "mkdir new", "rm f", "rm -r d",
    "rmdir d", "mv f g", "truncate -s 0 f", "setfattr -n user.xenstore.perms -v n0 f",
    "echo 1 > d/.value", "rm d/.value", "touch f", "mkdir f.d/x", "chmod 600 f",
]  # fmt: skip


def test_ro_refuses_every_change(shared_daemon: Daemon, store: Outside) -> None:
    before = store.tree(b"/o")
    with Mounted(shared_daemon.socket, "root=/o,ro") as mounted:
        assert sh("cat f d/child", mounted.path) == "value\n1\n"
        for command in CHANGES:
            done = run(command, mounted.path)
            assert "Read-only file system" in done.stderr, command
            assert done.returncode != 0
    assert store.tree(b"/o") == before


def test_a_user_works_in_a_mount_of_his_own(
    machine: Machine, shared_daemon: Daemon, store: Outside
) -> None:
    shared_daemon.socket.chmod(0o777)
    shared_daemon.rundir.chmod(0o755)
    path = machine.folder / "users"
    path.mkdir()
    os.chown(path, NOBODY, NOGROUP)

    def user(command: str) -> str:
        return machine.check("bash", "-c", f"cd {path} && {command}", user=NOBODY)

    machine.check("xsfs", shared_daemon.socket, path, "-o", "root=/o", user=NOBODY)
    assert user("stat -c '%u %g' f") == f"{NOBODY} {NOGROUP}\n"
    assert user("echo new > f; cat f; mkdir e; mv f e; cp -a e g; rm -r d e; cat g/f") == (
        "new\nnew\n"
    )
    assert machine.run("ls", path).returncode != 0, "not even root gets in"
    machine.check("fusermount3", "-u", path, user=NOBODY)
    assert store.tree(b"/o") == {b"": b"", b"/g": b"", b"/g/f": b"new"}

    machine.check("xsfs", shared_daemon.socket, path, "-o", "root=/o,ro", user=NOBODY)
    for command in ("echo 1 > g/f", "mkdir new", "rm -r g", "mv g h", "truncate -s 0 g/f"):
        done = machine.run("bash", "-c", f"cd {path} && {command}", user=NOBODY)
        assert "Read-only file system" in done.stderr, command
    machine.check("fusermount3", "-u", path, user=NOBODY)
    path.rmdir()


def test_others_are_let_in_only_with_allow_other(
    root: None, shared_daemon: Daemon, store: Outside
) -> None:
    for options, let_in in (("root=/o", False), ("root=/o,allow_other", True)):
        with Mounted(shared_daemon.socket, options) as mounted:
            done = run(f"{AS_NOBODY} cat {mounted.path}/f", mounted.path.parent)
            assert (done.stdout == "value\n") == let_in
            denied = run(f"{AS_NOBODY} bash -c 'echo 1 > {mounted.path}/f'", mounted.path.parent)
            assert "Permission denied" in denied.stderr
    with Mounted(shared_daemon.socket, f"root=/o,allow_other,uid={NOBODY}") as mounted:
        sh(f"{AS_NOBODY} bash -c 'echo 1 > {mounted.path}/f'", mounted.path.parent)
        done = run(f"{AS_NOBODY} chown 0 {mounted.path}/f", mounted.path.parent)
        assert os.strerror(errno.EPERM) in done.stderr
    assert store.read(b"/o/f") == b"1"
