# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A log that takes no more: nobody waits for it, what is lost is counted, and said later."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.mount.installed import Machine
from tests.mount.mounting import Mounted
from tests.mount.test_faults_daemon import with_fault
from xsfs.mount.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# More than the queue and any pipe or socket takes.
MANY = 2000


class Pipe:
    """A named pipe as a daemon's standard error, read by nobody until `drain`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.prefix = ("sh", "-c", f'exec "$@" 2>{path}', "sh")
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._text = b""

    def drain(self, until: bytes, timeout_s: float = DEADLINE_S) -> bytes:
        """Read on until the pattern has come; all that came so far."""
        while not re.search(until, self._text):
            assert select.select([self._fd], [], [], timeout_s)[0], self._text[-200:]
            self._text += os.read(self._fd, 1 << 16)
        return self._text

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def pipe(rundir: Path) -> Iterator[Pipe]:
    pipe = Pipe(rundir / "stderr")
    yield pipe
    pipe.close()


def use(path: Path, times: int, longest_s: float = 5.0) -> None:
    """Requests that are logged each; none may take long."""
    for _ in range(times):
        start_s = time.monotonic()
        assert (path / "local/domain/1/name").read_bytes() == b"web\n"
        assert time.monotonic() - start_s < longest_s


def test_stderr_is_a_pipe_that_nobody_reads(fuse: None, pipe: Pipe) -> None:
    with Mounted("embedded", "debug", prefix=pipe.prefix) as mounted:
        while not mounted.stats()["log_lines_dropped"]:
            use(mounted.path, 100)
        pipe.drain(rb"WARNING: \d+ lines of the log were dropped")
        while (
            not (before := mounted.stats()["log_lines_dropped"])
            or before == (mounted.stats()["log_lines_dropped"])
        ):
            use(mounted.path, 100)
        start_s = time.monotonic()
        assert mounted.stop() == 0
        assert time.monotonic() - start_s < 8


_SAYS_MUCH = """
import contextlib, os
from xsfs.fs.virtual.entries import Entries
find = Entries.find
async def loud(self, parent, name, *rest, **named):
    if name == b"loud":
        # As fprintf(3) does, it loses what finds the pipe full.
        with contextlib.suppress(BlockingIOError):
            os.write(2, b"%s \\x1b[2J\\n" % (b"x" * 70) * 100)
    return await find(self, parent, name, *rest, **named)
Entries.find = loud
"""


def test_what_is_written_to_stderr_takes_the_same_way(fuse: None, pipe: Pipe, rundir: Path) -> None:
    """As libfuse and Python do, who know nothing of our log."""
    env = with_fault(rundir, _SAYS_MUCH)
    with Mounted("embedded", env=env, prefix=pipe.prefix) as mounted:
        while not mounted.stats()["log_lines_dropped"]:
            with pytest.raises(FileNotFoundError):
                (mounted.path / "loud").stat()
        use(mounted.path, 10)
        text = pipe.drain(rb"lines of the log were dropped")
        assert rb"xsfs: WARNING: " + b"x" * 70 + rb" \x1b[2J" in text
        assert mounted.stop() == 0


@pytest.fixture
def machine(fuse: None, root: None) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def test_syslog_that_nobody_reads(machine: Machine) -> None:
    dev = machine.folder / "dev"
    dev.mkdir()
    for name in ("null", "urandom", "fuse"):
        os.mknod(dev / name, 0o020666, os.stat(f"/dev/{name}").st_rdev)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(dev / "log"))
        syslog.settimeout(DEADLINE_S)
        machine.check("mount", "--bind", dev, "/dev")
        machine.check("xsfs", "embedded", machine.mountpoint, "-o", "debug")
        (daemon,) = machine.daemons()
        look = f"for n in $(seq 1000); do ! test -e {machine.mountpoint}/nothing.$n; done"
        stats = machine.mountpoint / ".xsfs/stats"
        while not json.loads(machine.check("cat", stats))["log_lines_dropped"]:
            machine.check("sh", "-c", look)
        while b"lines of the log were dropped" not in (line := syslog.recv(65536)):
            assert line.startswith(b"<31>xsfs["), line
        assert line.startswith(b"<28>xsfs["), line
        machine.check("sh", "-c", look)
        ended = os.pidfd_open(daemon)
        os.kill(daemon, signal.SIGTERM)
        assert select.select([ended], [], [], 10)[0]
        os.close(ended)
        assert machine.mounts() == []
        machine.check("umount", "-l", "/dev")


class Sink(logging.Handler):
    """Takes records when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.texts: list[str] = []
        self.fails = False

    def emit(self, record: logging.LogRecord) -> None:
        assert self.opened.wait(DEADLINE_S)
        if self.fails:
            raise OSError(errno.ENOSPC, "full")
        self.texts.append(record.getMessage())


def record(number: int) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, "line %d", (number,), None)


def test_what_is_dropped_is_counted_and_said() -> None:
    sink = Sink()
    log = Log(sink)
    for number in range(MANY):
        log.handle(record(number))
    dropped = log.dropped
    assert MANY // 2 > dropped > 0
    start_s = time.monotonic()
    log.finish(0.1)
    assert time.monotonic() - start_s < 1
    sink.opened.set()
    log.finish()
    said = f"{dropped} lines of the log were dropped: it was not read in time"
    assert sink.texts[-1] == said or said in sink.texts
    # What the writer took meanwhile made room for as many later ones.
    numbers = [int(text.removeprefix("line ")) for text in sink.texts if text != said]
    assert len(numbers) == MANY - dropped
    assert numbers == sorted(numbers)


def test_what_cannot_be_written_is_counted() -> None:
    sink = Sink()
    sink.fails = True
    sink.opened.set()
    log = Log(sink)
    log.handle(record(1))
    log.finish()
    assert log.dropped == 2
    assert sink.texts == []
