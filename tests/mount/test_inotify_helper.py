# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The helper that raises the events: its life, its death, and mounts of all kinds."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.installed import REACH
from tests.mount.mounting import Mounted
from tests.programs import Program
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

# An unprivileged user and group of Debian's.
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *REACH)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder to mount in."""
    with TemporaryDirectory(prefix="xsfs-") as folder:
        yield Path(folder)


def hears(daemon: Daemon, top: Path, node: str = "/life") -> None:
    """A change made outside is heard through `top`."""
    daemon.tool("xenstore-write", f"{node}/x", "0")
    with Inotify() as inotify:
        inotify.watch(top / node[1:] / "x", "x", MODIFY)
        daemon.tool("xenstore-write", f"{node}/x", "1")
        inotify.until(Heard("x", "MODIFY").__eq__)


@contextmanager
def storm(daemon: Daemon) -> Iterator[None]:
    """Somebody writes as fast as the store takes it.

    oxenstored takes no more than some 2,000 changes ahead of who watches: there, with pauses.
    """
    over = threading.Event()
    pause_s = 0.02 if daemon.kind == "oxenstored" else 0.0

    def write() -> None:
        with xsfs.Client(unix_socket_path=str(daemon.socket)) as client:
            while not over.wait(pause_s):
                client.batch([requests.write(b"/storm/n%d" % at, b"1") for at in range(50)])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def watched_storm(daemon: Daemon, top: Path) -> Iterator[None]:
    """A storm, and somebody who hears it."""
    daemon.tool("xenstore-write", "/storm/n0", "0")
    with Inotify() as inotify, storm(daemon):
        inotify.watch(top / "storm", "storm", MODIFY)
        inotify.until(lambda heard: heard.what == "MODIFY")
        yield


def test_a_killed_daemon_leaves_nobody_behind(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted, watched_storm(daemon, mounted.path):
        assert mounted.process is not None
        mounted.status = -signal.SIGKILL
        helper = os.pidfd_open(mounted.helper())
        mounted.process.kill()
        mounted.process.wait(DEADLINE_S)
        # It ends, so it was in no wait that nothing ends.
        ended, _, _ = select.select([helper], [], [], DEADLINE_S)
        os.close(helper)
        assert ended
        with pytest.raises(OSError, match="not connected") as caught:
            os.listdir(mounted.path)
        assert caught.value.errno == errno.ENOTCONN
        subprocess.run(["umount", "-l", mounted.path], check=True)


def test_a_killed_helper_is_replaced_and_nothing_is_lost(fuse: None, daemon: Daemon) -> None:
    daemon.tool("xenstore-write", "/d/a", "1")
    with Mounted(daemon.socket) as mounted, Inotify() as inotify:
        mounted.expected = ("helper ended",)
        inotify.watch(mounted.path / "d", "d", 0x300)
        first = mounted.helper()
        os.kill(first, signal.SIGSTOP)
        daemon.tool("xenstore-write", "/d/b", "1")
        daemon.tool("xenstore-rm", "/d/a")
        os.kill(first, signal.SIGKILL)
        daemon.tool("xenstore-write", "/d/c", "1")
        heard = inotify.until(Heard("d", "CREATE", "c").__eq__)
        assert heard == [Heard("d", "CREATE", "b"), Heard("d", "DELETE", "a")]
        assert mounted.helper() != first


def test_a_stopped_helper_does_not_hold_up_the_end(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted:
        hears(daemon, mounted.path)
        os.kill(mounted.helper(), signal.SIGSTOP)
        subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
        assert mounted.wait() == 0


@pytest.mark.parametrize("options", ["", "ro"])
def test_umount_in_a_storm_is_quick_and_never_busy(
    fuse: None, root: None, daemon: Daemon, options: str
) -> None:
    with Mounted(daemon.socket, options) as mounted:
        assert mounted.process is not None
        with watched_storm(daemon, mounted.path):
            start_s = time.monotonic()
            subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
            assert mounted.wait() == 0
            assert time.monotonic() - start_s < 8  # the usual timeout is 10 s


def test_a_read_only_mount_is_heard(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket, "ro") as mounted:
        hears(daemon, mounted.path)
        with pytest.raises(OSError, match="Read-only"):
            (mounted.path / "life" / "x").write_text("2")


def test_a_bind_mount_is_heard_and_keeps_it_alive(
    fuse: None, root: None, daemon: Daemon, folder: Path
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with Mounted(daemon.socket) as mounted:
        subprocess.run(["mount", "--bind", mounted.path, elsewhere], check=True)
        try:
            hears(daemon, elsewhere)
            subprocess.run(["umount", mounted.path], check=True)
            hears(daemon, elsewhere, "/later")
        finally:
            subprocess.run(["umount", elsewhere], check=True)
        assert mounted.wait() == 0


def test_a_renamed_mountpoint_is_heard_also_by_a_new_helper(
    fuse: None, daemon: Daemon, folder: Path
) -> None:
    (folder / "old" / "m").mkdir(parents=True)
    with Mounted(daemon.socket, mountpoint=folder / "old" / "m") as mounted:
        mounted.expected = ("helper ended",)
        (folder / "old").rename(folder / "new")
        mounted.path = folder / "new" / "m"
        hears(daemon, mounted.path)
        os.kill(mounted.helper(), signal.SIGKILL)
        hears(daemon, mounted.path)


def test_what_is_mounted_above_is_not_touched(fuse: None, root: None, daemon: Daemon) -> None:
    daemon.tool("xenstore-write", "/d/x", "1")
    with Mounted(daemon.socket) as mounted, Inotify() as inotify:
        inotify.watch(mounted.path / "d", "d", MODIFY)
        subprocess.run(["mount", "-t", "tmpfs", "above", mounted.path], check=True)
        try:
            daemon.tool("xenstore-write", "/d/x", "2")
            inotify.until(Heard("d", "MODIFY", "x").__eq__)
            assert os.listdir(mounted.path) == []
        finally:
            subprocess.run(["umount", mounted.path], check=True)


def test_another_mount_namespace_hears(fuse: None, daemon: Daemon) -> None:
    daemon.tool("xenstore-write", "/d/x", "1")
    with Mounted(daemon.socket) as mounted:
        watcher = ["inotifywait", "-m", "-e", "modify", str(mounted.path / "d")]
        with Program(["unshare", "-U", "-r", "-m", *watcher]) as program:
            while b"Watches established" not in program.read_line():
                pass
            daemon.tool("xenstore-write", "/d/x", "2")
            assert program.read_line().endswith(b"/d/ MODIFY x")


class Elsewhere:
    """A mount of a user's who is not root, in a mount namespace where he may use /dev/fuse."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        device = folder / "fuse"
        os.mknod(device, 0o20666, os.stat("/dev/fuse").st_rdev)
        device.chmod(0o666)
        daemon.rundir.chmod(0o755)
        daemon.socket.chmod(0o777)
        enter = f'mount --bind {device} /dev/fuse && exec {" ".join(NOBODY)} "$@"'
        self.mounted = Mounted(daemon.socket, prefix=("unshare", "-m", "sh", "-c", enter, "sh"))
        os.chown(self.mounted.path, 65534, 65534)

    def command(self, *argv: str | Path) -> list[str | Path]:
        """A command to be run there, by that user."""
        assert self.mounted.process is not None
        return ["nsenter", "-m", "-t", str(self.mounted.process.pid), *NOBODY, *argv]


def test_an_unprivileged_mount_is_heard(
    fuse: None, root: None, daemon: Daemon, folder: Path
) -> None:
    daemon.tool("xenstore-write", "/d/x", "1")
    there = Elsewhere(daemon, folder)
    with there.mounted as mounted:
        top = mounted.path / "d"
        with Program(there.command("inotifywait", "-m", top)) as program:
            while b"Watches established" not in program.read_line():
                pass
            daemon.tool("xenstore-write", "/d/x", "2")
            for what in ("OPEN", "MODIFY", "CLOSE_WRITE,CLOSE"):
                assert program.read_line() == f"{top}/ {what} x".encode()
            daemon.tool("xenstore-rm", "/d/x")
            assert program.read_line() == f"{top}/ DELETE x".encode()
        subprocess.run(
            there.command("fusermount3", "-u", mounted.path), check=True, timeout=DEADLINE_S
        )
        assert mounted.wait() == 0


_HOLDING = """
import sys
from xsfs.fs.inotify import helper
mount = helper.Mount(int(sys.argv[1]))
mount.attach()
print(mount.injection(b"D", b"first"), flush=True)
sys.stdin.readline()
mount.release()
print("released", flush=True)
sys.stdin.readline()
print(mount.injection(b"D", b"later"), flush=True)
mount.abort()
print("aborted", flush=True)
"""

# As root without the privilege to mount, and so to clone a mount.
_NO_CLONE = ("setpriv", "--bounding-set=-sys_admin")


@pytest.mark.parametrize("prefix", [(), _NO_CLONE], ids=["privileged", "not privileged"])
def test_a_later_mount_with_its_device_number_is_not_touched(
    fuse: None, prefix: tuple[str, ...]
) -> None:
    argv = [*prefix, sys.executable, "-c", _HOLDING]
    # The number that is free again goes to whoever mounts next: that may be another test.
    for _ in range(10):
        with Mounted("embedded") as mounted:
            device = os.stat(mounted.path).st_dev
            with subprocess.Popen(
                [*argv, str(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as holder:
                assert holder.stdin is not None
                assert holder.stdout is not None
                try:
                    assert holder.stdout.readline() == "0\n"
                    # Not held up by who holds it.
                    subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
                    print(file=holder.stdin, flush=True)
                    assert holder.stdout.readline() == "released\n"
                    assert mounted.wait() == 0
                    with Mounted("embedded") as later:
                        if os.stat(later.path).st_dev != device:
                            continue
                        print(file=holder.stdin, flush=True)
                        assert holder.stdout.readline() == f"{errno.ESTALE}\n"
                        assert holder.stdout.readline() == "aborted\n"
                        assert "first" not in os.listdir(later.path)
                        assert "later" not in os.listdir(later.path)
                        return
                finally:
                    holder.kill()
    pytest.skip("no device number was used again")
