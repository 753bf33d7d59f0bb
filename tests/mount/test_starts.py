# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""However it is started: a whole mount, or one line that says what is missing, and no mount."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadline import DEADLINE_S
from tests.mount.installed import Machine
from tests.mount.mounting import XSFS, Mounted
from xsfs.mount import table

ROOT = Path(__file__).parents[2]

# Mounts in the background, looks, unmounts; the status is that of the first that fails.
_TRY = """
"$PYTHON" -m xsfs embedded "$1" -o "socket=$2" {redirection} || exit
"$PYTHON" -m tests.mount.whole "$1" "$2"
status=$?
umount "$1" || exit
exit $status
"""

# memfd_create is refused, as by a container's seccomp profile (seccomp(2), linux/filter.h).
_WITHOUT_MEMFD = """
import ctypes, errno, os, struct, sys
number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
code = b"".join(struct.pack("=HBBI", *step) for step in (
    (0x20, 0, 0, 0),                           # load the number of the system call
    (0x15, 0, 1, number),                      # is it this one?
    (0x06, 0, 0, 0x00050000 | errno.EPERM),    # refuse it
    (0x06, 0, 0, 0x7FFF0000),                  # allow all others
))
filter = ctypes.create_string_buffer(code, len(code))
program = struct.pack("@HP", 4, ctypes.addressof(filter))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0         # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0   # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[1], sys.argv[1:])
"""

PID_NAMESPACE = ("unshare", "-m", "-p", "-f")


def shell(script: str) -> tuple[str, ...]:
    """A command that does something in a shell, then runs the rest."""
    return ("sh", "-c", f'{script}; exec "$@"', "sh")


def attempt(
    mountpoint: Path, *prefix: str, redirection: str = ""
) -> subprocess.CompletedProcess[str]:
    script = _TRY.format(redirection=redirection)
    done = subprocess.run(
        [*prefix, "sh", "-c", script, "sh", mountpoint, f"{mountpoint}.socket"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert table.at(str(mountpoint)) is None
    return done


@pytest.fixture
def mountpoint(fuse: None, rundir: Path) -> Path:
    path = rundir / "m"
    path.mkdir()
    return path


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_with_closed_descriptors(mountpoint: Path, closed: str) -> None:
    done = attempt(mountpoint, redirection=closed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_in_the_foreground_with_all_closed(fuse: None) -> None:
    with Mounted("embedded", prefix=shell("exec <&- >&- 2>&-")) as mounted:
        assert (mounted.path / "local/domain/1/name").read_text() == "web\n"


@pytest.mark.parametrize("closed", CLOSED)
def test_what_fails_with_closed_descriptors_says_so_nowhere_else(
    mountpoint: Path, closed: str
) -> None:
    done = attempt(mountpoint / "none", redirection=closed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == ("2>&-" not in closed)


def test_mount_with_closed_descriptors(fuse: None, root: None) -> None:
    with Machine() as machine:
        command = f"mount -t fuse.xsfs embedded {machine.mountpoint} <&- >&- 2>&-"
        machine.check("sh", "-c", command)
        assert machine.check("cat", machine.mountpoint / "local/domain/1/name") == "web\n"
        machine.settle()


WHOLE = {
    "few descriptors for now": shell("ulimit -S -n 16"),
    "no files may be written for now": shell("ulimit -S -f 0"),
    "no memfd_create": (sys.executable, "-c", _WITHOUT_MEMFD),
    "a background shell": ("sh", "-c", '"$@" & wait $!', "sh"),
    "nohup": ("nohup",),
    "setsid": ("setsid", "-w"),
    "a mount namespace": ("unshare", "-m"),
    "a pid namespace": (*PID_NAMESPACE, "--mount-proc"),
    "a user namespace": ("unshare", "-U", "-r", "-m"),
    "all namespaces": ("unshare", "-U", "-r", "-m", "-p", "-f", "--mount-proc", "-n", "-i", "-u"),
}


# A user can make no namespaces but with one of his own users. Who drops what he may gain, as
# an unprivileged seccomp(2) takes, cannot use fusermount3.
OF_ROOT = {"no memfd_create", "a mount namespace", "a pid namespace", "no /proc", "another /proc"}


@pytest.fixture
def start(request: pytest.FixtureRequest) -> str:
    """A key of the table; asks for root where that start takes it."""
    if request.param in OF_ROOT:
        request.getfixturevalue("root")
    start: str = request.param
    return start


@pytest.mark.parametrize("start", WHOLE, indirect=True)
def test_a_start_that_works(mountpoint: Path, start: str) -> None:
    done = attempt(mountpoint, *WHOLE[start])
    assert (done.returncode, done.stderr) == (0, "")


NO_PROC = "/proc is not mounted, or is another pid namespace's: `mount -t proc proc /proc` first"
REFUSED = {
    "no files may be written": (shell("ulimit -f 0"), "only 0 bytes may be written to a file, "),
    "no /proc": (("unshare", "-m", *shell("umount -l /proc")), NO_PROC),
    "another /proc": (PID_NAMESPACE, NO_PROC),
    "nobody in a user namespace": (("unshare", "-U", "-m"), ""),
    **{
        f"{number} descriptors": (
            shell(f"ulimit -n {number}"),
            f"only {number} files may be open at once, 64 are needed: raise `ulimit -n`, or",
        )
        for number in range(8, 21, 4)
    },
}


@pytest.mark.parametrize("start", REFUSED, indirect=True)
def test_a_start_that_says_what_is_missing(mountpoint: Path, start: str) -> None:
    prefix, said = REFUSED[start]
    done = attempt(mountpoint, *prefix)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"xsfs: {said}")


def test_with_just_enough_descriptors_events_come(mountpoint: Path) -> None:
    done = attempt(mountpoint, *shell("ulimit -n 64"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("prefix", [(), ("nohup",)])
def test_a_terminal_that_closes_ends_it_unless_started_by_nohup(
    fuse: None, prefix: tuple[str, ...]
) -> None:
    with Mounted("embedded", prefix=prefix) as mounted:
        assert mounted.process is not None
        mounted.process.send_signal(signal.SIGHUP)
        if prefix:
            assert (mounted.path / "local/domain/1/name").read_text() == "web\n"
        else:
            assert mounted.wait() == 0
            assert not os.path.ismount(mounted.path)


@pytest.mark.parametrize("switches", [(), ("-f",)])
def test_an_interrupt_while_it_connects(
    mountpoint: Path, rundir: Path, switches: tuple[str, ...]
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(rundir / "silent"))
        silent.listen()
        silent.settimeout(DEADLINE_S)
        command = [*XSFS, str(rundir / "silent"), str(mountpoint), *switches]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert said == "xsfs: interrupted, nothing is mounted\n"
    assert table.at(str(mountpoint)) is None


# What the command runs first: it is interrupted when it is about to wait for an event.
_INTERRUPTED = """
import signal, sys, trio

def trace(frame, event, _):
    if frame.f_code is trio.Event.wait.__code__:
        if event == "line" and "abort_fn" in frame.f_locals:
            sys.settrace(None)
            signal.raise_signal(signal.SIGINT)
        return trace

sys.settrace(trace)
"""


def test_an_interrupt_before_a_wait(mountpoint: Path, rundir: Path) -> None:
    (rundir / "sitecustomize.py").write_text(_INTERRUPTED)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(rundir / "silent"))
        silent.listen()
        done = subprocess.run(
            [*XSFS, str(rundir / "silent"), str(mountpoint), "-f"],
            env={**os.environ, "PYTHONPATH": str(rundir)},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "xsfs: interrupted, nothing is mounted\n")
