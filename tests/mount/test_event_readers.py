# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Readers that wait in `.events`: each can be ended within a second or so, and costs little."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.mount.mounting import Mounted
from tests.mount.test_pid_namespaces import Contained, shared
from tests.outcome import until
from tests.programs import Program
from xsfs import Client
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

__all__ = ["shared"]


@pytest.fixture(scope="module")
def mounted(fuse: None) -> Iterator[Mounted]:
    with Mounted("embedded") as mounted:
        yield mounted


def in_requests(pid: int) -> int:
    """How many threads of a process wait for a file system to answer."""
    try:
        threads = [path / "wchan" for path in Path(f"/proc/{pid}/task").iterdir()]
        return sum(thread.read_text() == "request_wait_answer" for thread in threads)
    except OSError:
        # It ended meanwhile.
        return 0


@contextmanager
def waiting(*argv: str | Path, threads: int = 1) -> Iterator[Program]:
    """A program of which so many threads wait for a file system to answer."""
    program = Program([*argv])
    try:
        until(lambda: in_requests(program.process.pid) == threads, 2 * DEADLINE_S)
        yield program
    finally:
        program.process.kill()
        program.process.wait(DEADLINE_S)
        program.stop()


def is_silent(program: Program, time_s: float) -> bool:
    """Whether a program says nothing for so long."""
    assert program.process.stdout is not None
    return not select.select([program.process.stdout], [], [], time_s)[0]


def in_threads(mounted: Mounted, count: int, read: str) -> tuple[str, ...]:
    """A program with `.events` open `count` times, and for each descriptor, `fd`, a thread."""
    script = f"""
import os, threading
fds = [os.open("{mounted.path}/.events", os.O_RDONLY) for _ in range({count})]
threading.stack_size(65536)
threads = [threading.Thread(target=lambda fd=fd: {read}) for fd in fds]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    return sys.executable, "-c", script


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_who_reads_what_was_looked_up_again_since(mounted: Mounted, number: int) -> None:
    with waiting("cat", mounted.path / ".events") as program:
        for _ in range(3):
            os.stat(mounted.path / ".events")
        program.process.send_signal(number)
        assert program.process.wait(DEADLINE_S) == -number


def test_who_did_not_open_it_and_reads_what_was_looked_up_again_since(mounted: Mounted) -> None:
    script = (
        f"exec 3< {mounted.path}/.events; stat {mounted.path}/.events; echo; head -1 <&3; echo $?"
    )
    with Program(["bash", "-c", script]) as program:
        program.await_line(b"")
        children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
        until(lambda: (text := children.read_text()) and in_requests(int(text)))
        os.kill(int(children.read_text()), signal.SIGKILL)
        program.await_line(b"%d" % (128 + signal.SIGKILL))


def test_what_is_mounted_under_another_name(mounted: Mounted, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/f && mount --bind {mounted.path}/.events {tmp_path}/f && exec cat"
    argv = ("unshare", "-U", "-r", "--mount", "sh", "-c", f"{script} {tmp_path}/f")
    with waiting(*argv) as program:
        program.process.kill()
        assert program.process.wait(DEADLINE_S) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("read", "waits"),
    [
        # The position is one for all threads: one reads, the other waits for it to end.
        ("os.read(fds[0], 4096)", 1),
        ("os.read(fd, 4096)", 2),
        ("os.pread(fd, 4096, 0)", 2),
    ],
)
def test_threads_of_one_process(mounted: Mounted, read: str, waits: int) -> None:
    with waiting(*in_threads(mounted, 2, read), threads=waits) as program:
        program.process.kill()
        assert program.process.wait(DEADLINE_S) == -signal.SIGKILL


def test_many_that_are_killed_together(fuse: None) -> None:
    with Mounted("embedded") as mounted, ExitStack() as stack:
        programs = [
            stack.enter_context(waiting("cat", mounted.path / ".events")) for _ in range(20)
        ]
        for program in programs:
            program.process.kill()
        deadline_s = monotonic() + DEADLINE_S
        for program in programs:
            assert program.process.wait(deadline_s - monotonic()) == -signal.SIGKILL
        mounted.unmount()


def test_another_keeps_waiting(mounted: Mounted) -> None:
    with waiting("cat", mounted.path / ".events") as stays, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(waiting("cat", mounted.path / ".events"))
        stack.close()
        (mounted.path / "a").write_text("1")
        assert stays.read_line() == b"/a"


def test_who_has_no_signal_is_not_interrupted(mounted: Mounted) -> None:
    script = "open F, shift; sysread(F, $_, 99) or print $!"
    with waiting("perl", "-e", script, mounted.path / ".events") as program:
        assert is_silent(program, 1.5)


def test_who_is_stopped_and_goes_on(mounted: Mounted) -> None:
    with waiting("cat", mounted.path / ".events") as program:
        pid = program.process.pid
        os.kill(pid, signal.SIGSTOP)
        until(lambda: re.search(r"\) T", Path(f"/proc/{pid}/stat").read_text()))
        os.kill(pid, signal.SIGCONT)
        (mounted.path / "a").write_text("1")
        assert program.read_line() == b"/a"


@pytest.mark.parametrize("daemon", ["xenstored"], indirect=True)
def test_who_is_in_another_pid_namespace(shared: Path, daemon: Daemon) -> None:
    with (
        Contained(daemon, shared / "m") as mounted,
        waiting("cat", mounted.path / ".events") as program,
    ):
        (mounted.path / "a").write_text("1")
        assert program.read_line() == b"/a"
        # It is told to read again every second, and does.
        assert is_silent(program, 1.5)
        (mounted.path / "b").write_text("1")
        assert program.read_line() == b"/b"
        program.process.kill()
        assert program.process.wait(DEADLINE_S) == -signal.SIGKILL


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_many_that_are_idle_cost_little_and_can_be_ended(mounted: Mounted) -> None:
    assert mounted.process is not None
    argv = in_threads(mounted, 500, "os.read(fd, 4096)")
    with waiting(*argv, threads=500) as program:
        before_s = cpu_s(mounted.process.pid)
        start_s = monotonic()
        assert is_silent(program, 3.0)
        used = (cpu_s(mounted.process.pid) - before_s) / (monotonic() - start_s)
        assert used < 0.2, f"{used:.0%} of a processor"
        program.process.kill()
        assert program.process.wait(DEADLINE_S) == -signal.SIGKILL


def test_no_more_than_there_may_be(mounted: Mounted) -> None:
    """Too many reads at once are refused, and all else is served."""
    script = f"""
import os, threading
fd = os.open("{mounted.path}/.events", os.O_RDONLY)
def run():
    try:
        os.pread(fd, 4096, 0)
    except OSError as error:
        print(error.errno, flush=True)
threading.stack_size(65536)
for _ in range(1001):
    threading.Thread(target=run).start()
"""
    mounted.expected = ("1000 reads wait",)
    with waiting(sys.executable, "-c", script, threads=1000) as program:
        assert program.read_line() == b"%d" % errno.EAGAIN
        (mounted.path / "dir").mkdir()
        assert (mounted.path / "dir").is_dir()


@contextmanager
def many(path: Path, count: int) -> Iterator[None]:
    """A file, open so often."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(open(path, "rb"))
        yield


def test_a_guest_with_no_watch_left(fuse: None) -> None:
    with (
        running({b"/local/domain/5": b""}, domains=[5]) as store,
        Client(store) as client,
        Mounted(store.domains[5], "root=/local/domain/5") as mounted,
        ExitStack() as stack,
    ):
        client.set_perms(b"/local/domain/5", [b"n5"])
        with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
            stack.enter_context(many(mounted.path / ".events", 130))
        (mounted.path / "a").write_text("1")
        assert (mounted.path / "a").read_text() == "1\n"
