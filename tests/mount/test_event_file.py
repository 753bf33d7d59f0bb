# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.events`, and poll(2): changes for those who read rather than watch."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.programs import Program
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mount.conftest import Here

CHANGED = select.POLLPRI | select.POLLERR


@contextmanager
def opened(here: Here, name: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor."""
    fd = os.open(here.path / name, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def shell(here: Here, command: str) -> Program:
    """A program that has `.events` open as descriptor 3."""
    program = Program(["bash", "-c", f"exec 3< {here.path}/.events; echo open; {command}"])
    assert program.read_line() == b"open"
    return program


def waits(pid: int) -> bool:
    """Whether a process waits for a file system to answer."""
    return Path(f"/proc/{pid}/wchan").read_text() == "request_wait_answer"


def child_of(pid: int) -> int:
    while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text()):
        pass
    return int(children)


@pytest.mark.parametrize(
    "command", ["exec cat <&3", "exec tail -f <&3", "while read x; do echo $x; done <&3"]
)
def test_programs_show_a_line_per_event(here: Here, command: str) -> None:
    with shell(here, command) as program:
        for path in (b"a", b"a/b", b"a", b"c"):
            here.store.write(here.at(path), b"1")
            assert program.read_line() == here.at(path)


def test_each_open_is_a_watch_of_its_own(here: Here) -> None:
    with opened(here, ".events") as first:
        here.store.write(here.at(b"a"), b"1")
        with opened(here, ".events") as second:
            here.store.write(here.at(b"b"), b"1")
            assert os.read(second, 4096) == here.at(b"b") + b"\n"
        text = b""
        while len(text) < 2 * len(here.at(b"a")) + 2:
            text += os.read(first, 5)
        assert text == here.at(b"a") + b"\n" + here.at(b"b") + b"\n"
        assert b".events" not in os.listdir(os.fsencode(here.path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_reader_that_waits_can_be_ended(here: Here, number: int) -> None:
    with shell(here, "exec cat <&3") as program:
        while not waits(program.process.pid):
            pass
        program.process.send_signal(number)
        assert program.process.wait(DEADLINE_S) == -number


def test_a_reader_that_did_not_open_it_can_be_ended(here: Here) -> None:
    with shell(here, "cat <&3; echo $?") as program:
        reader = child_of(program.process.pid)
        while not waits(reader):
            pass
        os.kill(reader, signal.SIGPIPE)
        assert program.read_line() == b"%d" % (128 + signal.SIGPIPE)


def test_a_reader_in_no_hurry_is_told_to_come_again(here: Here) -> None:
    with opened(here, ".events", os.O_RDONLY | os.O_NONBLOCK) as fd:
        with pytest.raises(BlockingIOError):
            os.read(fd, 4096)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert not poll.poll(0)
        here.store.write(here.at(b"a"), b"1")
        assert poll.poll(5000) == [(fd, select.POLLIN)]
        assert os.read(fd, 4096) == here.at(b"a") + b"\n"
        assert not poll.poll(0)


def test_who_falls_behind_gets_one_line(here: Here) -> None:
    with (
        opened(here, ".events", os.O_RDONLY | os.O_NONBLOCK) as fd,
        xsfs.Client(unix_socket_path=str(here.daemon.socket)) as client,
    ):
        some = [requests.write(here.at(b"n%d" % at), b"") for at in range(200)]
        for _ in range(16384 // len(some) + 1):
            client.batch(some)
            # oxenstored does not take more than this at a time.
            here.path.joinpath("n0").read_bytes()
        text = os.read(fd, 1 << 17)
        lines = text.splitlines()
        assert lines[0] == b"overflow"
        assert len(lines) == 1 + len(some) * (16384 // len(some) + 1) - 16384 - 1


def test_poll_tells_that_a_value_changed_since_it_was_read(here: Here) -> None:
    here.store.write(here.at(b"v"), b"1")
    with opened(here, "v", os.O_RDWR) as fd:
        poll = select.poll()
        poll.register(fd, CHANGED)
        assert not poll.poll(0)
        assert os.pread(fd, 100, 0) == b"1\n"
        here.store.write(here.at(b"v"), b"2")
        assert poll.poll(5000) == [(fd, CHANGED)]
        assert poll.poll(5000) == [(fd, CHANGED)]
        assert os.pread(fd, 100, 0) == b"2\n"
        assert not poll.poll(0)
        os.pwrite(fd, b"3\n", 0)
        (here.path / "end").touch()
        assert not poll.poll(0)
        assert os.pread(fd, 100, 0) == b"3\n"
        here.store.rm(here.at(b"v"))
        assert poll.poll(5000) == [(fd, CHANGED)]


def test_a_writer_through_the_mount_wakes_others(here: Here) -> None:
    here.store.write(here.at(b"v"), b"1")
    with opened(here, "v") as fd:
        waiting = select.epoll()
        waiting.register(fd, select.EPOLLPRI)
        assert os.read(fd, 100) == b"1\n"
        subprocess.run(["bash", "-c", "echo 2 > v"], cwd=here.path, check=True)
        assert waiting.poll(5)
        waiting.close()
