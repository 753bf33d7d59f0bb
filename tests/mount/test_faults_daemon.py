# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The file system's own daemon dies, is stopped, or has a fault: nobody is left hanging.

Faults inside are planted with a `sitecustomize` of the test's (see site(7) of Python), which
the daemon's interpreter imports at its start.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.mount.mounting import XSFS, Mounted
from tests.outcome import error_of
from tests.programs import Program
from xsfs.mount import table as mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.xen.daemons import Daemon


def await_no_helper(mounted: Mounted, timeout_s: float = DEADLINE_S) -> None:
    """Until a killed daemon's helpers have ended, and what they leave to see it off."""
    deadline_s = time.monotonic() + timeout_s
    while helpers := mounted.helpers():
        assert time.monotonic() < deadline_s, helpers


def pid_of(mounted: Mounted) -> int:
    assert mounted.process is not None
    return mounted.process.pid


class Users:
    """Threads that use a mount in every way, and processes that watch it."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top = top
        self.random = random.Random(seed)
        self.ended = threading.Event()
        self.watcher = Program(["inotifywait", "-m", "-r", top])
        self.threads = [threading.Thread(target=self._use, args=(n,)) for n in range(4)]
        for thread in self.threads:
            thread.start()

    def _use(self, number: int) -> None:
        path = self.top / f"u{number}"
        calls: list[Callable[[], object]] = [
            lambda: path.write_bytes(b"1"),
            lambda: path.read_bytes(),
            lambda: os.listdir(self.top),
            lambda: path.unlink(),
            lambda: (self.top / f"d{number}").mkdir(),
            lambda: (self.top / f"d{number}").rmdir(),
            lambda: (self.top / "s/n3").read_bytes(),
        ]
        while not self.ended.is_set():
            error_of(self.random.choice(calls))

    def end(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "a user of the mount hangs"
        self.watcher.stop()


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_a_storm_it_leaves_nobody_hanging(fuse: None, daemon: Daemon, seed: int) -> None:
    mounted = Mounted(daemon.socket).start()
    try:
        users = Users(mounted.path, seed)
        with xsfs.Client(daemon.socket) as client:
            for number in range(100 + 200 * seed):
                client.write(b"/s/n%d" % (number % 50), b"%d" % number)
        assert mounted.helpers()
        assert mounted.process is not None
        mounted.process.kill()
        mounted.process.wait(DEADLINE_S)
        users.end()
        await_no_helper(mounted)
        # The mountpoint is not an empty directory now.
        assert error_of(lambda: os.listdir(mounted.path)) == errno.ENOTCONN
        # And can be used again, as it is.
        mounted.start()
        assert (mounted.path / "s/n3").read_bytes()
        assert sum(m.mountpoint == str(mounted.path) for m in mounts.mounted()) == 1
    finally:
        mounted.close()


def test_killed_while_a_new_one_looks_at_its_mount(fuse: None, daemon: Daemon) -> None:
    """Whose question was under way gets another error than who asks later (ECONNABORTED)."""
    daemon.tool("xenstore-write", "/a", "1")
    mounted = Mounted(daemon.socket).start()
    try:
        # The kernel has its attributes then; the first question is that of statvfs(3).
        os.stat(mounted.path)
        pid = pid_of(mounted)
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        again = begin(mounted, *XSFS, str(daemon.socket))
        assert again.poll() is None
        os.kill(pid, signal.SIGKILL)
        mounted.wait()
        assert again.wait(DEADLINE_S) == 0
        assert (mounted.path / "a").read_bytes() == b"1\n"
        subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
        assert mounts.at(str(mounted.path)) is None
    finally:
        mounted.close(check=False)


def test_stopped_and_continued(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket, "timeout=1") as mounted:
        pid = pid_of(mounted)
        (mounted.path / "a").write_bytes(b"1")
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        results: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(error_of((mounted.path / "a").read_bytes))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        with xsfs.Client(daemon.socket) as client:
            # At 2,000 unread events oxenstored would freeze the writer for good.
            for number in range(900):
                client.write(b"/n/%d" % number, b"")
            client.write(b"/a", b"2")
        # Longer than the timeout: what waits for the store then must not be given up blindly.
        threads[0].join(1.5)
        os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join(DEADLINE_S)
        assert results == [0] * 4
        assert (mounted.path / "a").read_bytes() == b"2\n"
        assert len(os.listdir(mounted.path / "n")) == 900


@contextmanager
def stopped(mounted: Mounted) -> Iterator[None]:
    pid = pid_of(mounted)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def begin(mounted: Mounted, *words: str) -> subprocess.Popen[bytes]:
    """A command about a mount whose daemon is stopped, until it ends or waits for that."""
    process = subprocess.Popen([*words, mounted.path], stdout=subprocess.DEVNULL)
    place = Path(f"/proc/{process.pid}/wchan")
    deadline_s = time.monotonic() + 10
    while process.poll() is None and "request_wait" not in place.read_text():
        assert time.monotonic() < deadline_s
    return process


def test_what_waits_for_a_stopped_daemon_goes_on_with_it(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket, "timeout=1") as mounted:
        with stopped(mounted):
            begun = [begin(mounted, word) for word in ("df", "ls", "stat")]
        assert [process.wait(DEADLINE_S) for process in begun] == [0] * 3
        with stopped(mounted):
            unmounting = begin(mounted, "umount")
        assert unmounting.wait(DEADLINE_S) == 0
        assert mounted.wait() == 0


def test_a_stopped_daemon_is_unmounted_by_force(fuse: None, root: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted:
        with stopped(mounted):
            subprocess.run(["umount", "-f", mounted.path], check=True, timeout=DEADLINE_S)
            assert mounts.at(str(mounted.path)) is None
        assert mounted.wait() == 0


@pytest.mark.parametrize("moment", ["connecting", "mounted", "its helper runs"])
def test_killed_at_its_start(fuse: None, daemon: Daemon, moment: str) -> None:
    mounted = Mounted(daemon.socket)
    if moment == "connecting":
        daemon.freeze()
    is_there: dict[str, Callable[[], object]] = {
        "connecting": lambda: any(b"socket" in at for at in files_of(mounted)),
        "mounted": lambda: mounts.at(str(mounted.path)) is not None,
        "its helper runs": lambda: mounted.helpers(),
    }
    deadline_s = time.monotonic() + DEADLINE_S
    try:
        starting = threading.Thread(target=lambda: start_if_possible(mounted))
        starting.start()
        while mounted.process is None or not is_there[moment]():
            assert time.monotonic() < deadline_s
        mounted.process.kill()
        starting.join(DEADLINE_S)
        assert not starting.is_alive()
        mounted.process.wait(DEADLINE_S)
        await_no_helper(mounted)
        if moment == "connecting":
            daemon.thaw()
        mounted.start()
        (mounted.path / "a").write_bytes(b"1")
        assert sum(m.mountpoint == str(mounted.path) for m in mounts.mounted()) == 1
    finally:
        mounted.close()


def start_if_possible(mounted: Mounted) -> None:
    # Whether it was ready before it is killed is a race.
    with suppress(AssertionError):
        mounted.start()


def files_of(mounted: Mounted) -> list[bytes]:
    """What a daemon that starts has open."""
    folder = f"/proc/{pid_of(mounted)}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(os.fsencode(f"{folder}/{name}")))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("end", ["umount", "SIGTERM"])
def test_it_ends_in_time_while_the_store_is_frozen(fuse: None, daemon: Daemon, end: str) -> None:
    mounted = Mounted(daemon.socket, "timeout=30").start()
    mounted.expected = ("no answer", "connection lost")
    try:
        (mounted.path / "a").write_bytes(b"1")
        daemon.freeze()
        if end == "SIGTERM":
            reader = threading.Thread(target=lambda: error_of((mounted.path / "a").read_bytes))
            reader.start()
        os.statvfs(mounted.path)
        start_s = time.monotonic()
        if end == "umount":
            mounted.unmount()
        else:
            assert mounted.stop() == 0
            reader.join(DEADLINE_S)
        assert time.monotonic() - start_s < 15
        assert mounts.at(str(mounted.path)) is None
    finally:
        daemon.thaw()
        mounted.close()


# --- faults inside ---


def with_fault(rundir: Path, code: str) -> dict[str, str]:
    """The environment in which a daemon has a fault."""
    (rundir / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{rundir}:{Path(xsfs.__file__).parents[1]}"}


_IN_A_REQUEST = """
from xsfs.fs.virtual.entries import Entries
find = Entries.find
async def faulty(self, parent, name, *rest, **named):
    if name == b"boom":
        raise RuntimeError("planted")
    return await find(self, parent, name, *rest, **named)
Entries.find = faulty
"""


_A_HELPER_THAT_NEVER_STARTS = """
from xsfs.fs.inotify import helper
from xsfs.mount import session
session._EVENTS_READY_S = 0.1
helper.__file__ = {!r}
"""


def test_a_mount_without_events_is_ready_and_says_so(
    fuse: None, daemon: Daemon, rundir: Path
) -> None:
    other = rundir / "other.py"
    # Until the daemon hangs up.
    other.write_text("import sys; sys.stdin.buffer.read()")
    env = with_fault(rundir, _A_HELPER_THAT_NEVER_STARTS.format(str(other)))
    with Mounted(daemon.socket, env=env) as mounted:
        mounted.expected = (text := "no inotify events yet: the event helper has not started",)
        mounted.logs(text)
        (mounted.path / "a").write_bytes(b"1")
        assert (mounted.path / "a").read_bytes() == b"1\n"


def test_a_fault_in_a_request_is_logged_and_answered(
    fuse: None, daemon: Daemon, rundir: Path
) -> None:
    with Mounted(daemon.socket, env=with_fault(rundir, _IN_A_REQUEST)) as mounted:
        mounted.expected = ("ERROR: lookup", "Traceback")
        (mounted.path / "a").write_bytes(b"1")
        assert error_of((mounted.path / "boom").read_bytes) == errno.EIO
        log = mounted.logs("RuntimeError: planted")
        assert "b'boom'" in log
        assert (mounted.path / "a").read_bytes() == b"1\n"


_IN_THE_WATCHER = """
from xsfs.fs.model.comparison import Comparison
compare = Comparison.compare
planted = [RuntimeError("planted")]
def faulty(self, node, *rest):
    if node.name == b"boom" and planted:
        raise planted.pop()
    return compare(self, node, *rest)
Comparison.compare = faulty
"""


def test_a_fault_in_the_background_loses_no_event(fuse: None, daemon: Daemon, rundir: Path) -> None:
    with Mounted(daemon.socket, env=with_fault(rundir, _IN_THE_WATCHER)) as mounted:
        mounted.expected = ("ERROR: Watcher.run failed", "Traceback")
        daemon.tool("xenstore-write", "/d/boom", "1", "/d/other", "1")
        top = mounted.path / "d"
        with Program(["inotifywait", "-m", "-e", "modify", "--format", "%f", top]) as heard:
            heard.await_line(b"Watches established.")
            (top / "boom").read_bytes()
            (top / "other").read_bytes()
            daemon.tool("xenstore-write", "/d/ready", "1", "/d/ready", "2")
            while heard.read_line() != b"ready":
                pass
            daemon.tool("xenstore-write", "/d/boom", "2", "/d/other", "2")
            expected = {b"boom", b"other"}
            while expected:
                expected.discard(heard.read_line())
        mounted.logs("RuntimeError: planted")


_EVERYWHERE = """
import threading, pyfuse3
from xsfs.fs.fuse.operations import Operations
async def faulty(self, ctx):
    raise BaseException("planted")
Operations.statfs = faulty
"""


def test_after_a_crash_it_stays_mounted(fuse: None, daemon: Daemon, rundir: Path) -> None:
    """An emptied mountpoint can make a running rsync delete a mirror."""
    mounted = Mounted(daemon.socket, env=with_fault(rundir, _EVERYWHERE)).start()
    try:
        (mounted.path / "a").write_bytes(b"1")
        error_of(lambda: os.statvfs(mounted.path))
        assert mounted.wait() != 0
        assert error_of(lambda: os.listdir(mounted.path)) == errno.ENOTCONN
    finally:
        subprocess.run(["umount", "-l", mounted.path], check=True)
        mounted.close(check=False)


@pytest.mark.parametrize("moment", range(3))
def test_a_helper_that_is_killed_is_replaced(fuse: None, daemon: Daemon, moment: int) -> None:
    with Mounted(daemon.socket) as mounted:
        mounted.expected = ("the event helper ended",)
        daemon.tool("xenstore-write", "/d/x", "1")
        top = mounted.path / "d"
        with Program(["inotifywait", "-m", "-e", "create", "--format", "%f", top]) as heard:
            heard.await_line(b"Watches established.")
            os.listdir(top)
            daemon.tool("xenstore-write", "/d/ready", "1")
            while heard.read_line() != b"ready":
                pass
            (helper,) = mounted.helpers()
            with xsfs.Client(daemon.socket) as client:
                for number in range(40 * moment):
                    client.write(b"/d/n%d" % number, b"")
                os.kill(helper, signal.SIGKILL)
                for number in range(10):
                    client.write(b"/d/m%d" % number, b"")
            expected = {b"m%d" % number for number in range(10)}
            while expected:
                expected.discard(heard.read_line(30))
