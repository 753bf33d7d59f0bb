# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The xsfs command: how it starts and ends, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.inotify import Inotify
from tests.mount.installed import Machine
from tests.mount.mounting import XSFS, Mounted
from tests.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon

USER = 65534


def command(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*XSFS, *words],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def refused(*words: str | Path, status: int = 1, **env: str) -> str:
    """The one line with which the command fails."""
    done = command(*words, **env)
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("xsfs: ")


@pytest.fixture
def mountpoint(rundir: Path) -> Path:
    path = rundir / "m"
    path.mkdir()
    return path


# -- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "umount", "fusermount3 -u"])
def test_every_end_is_clean(fuse: None, end: str) -> None:
    mounted = Mounted("embedded")
    with mounted:
        assert mounted.process is not None
        if end.startswith("SIG"):
            mounted.process.send_signal(signal.Signals[end])
        else:
            subprocess.run([*end.split(), mounted.path], check=True)
        assert mounted.wait() == 0
        assert not os.path.ismount(mounted.path)


@pytest.mark.parametrize("end", ["SIGTERM", "umount"])
def test_the_end_is_clean_in_a_storm(
    request: pytest.FixtureRequest, fuse: None, daemon: Daemon, end: str
) -> None:
    if end == "umount":
        # For a user it may be busy: his event helper cannot clone the mount.
        request.getfixturevalue("root")
    stop, blowing = threading.Event(), threading.Event()

    def storm() -> None:
        with xsfs.Client(unix_socket_path=str(daemon.socket)) as client:
            while not stop.is_set():
                for number in range(100):
                    client.write(b"/storm/%d" % number, b"%d" % number)
                client.delete(b"/storm")
                blowing.set()

    thread = threading.Thread(target=storm)
    with Mounted(daemon.socket) as mounted:
        assert mounted.process is not None
        thread.start()
        try:
            with Program(["inotifywait", "-m", mounted.path]) as watcher:
                while watcher.read_line() != b"Watches established.":
                    pass
                assert blowing.wait(DEADLINE_S)
            if end == "umount":
                subprocess.run(["umount", mounted.path], check=True, timeout=DEADLINE_S)
            else:
                mounted.process.terminate()
            assert mounted.wait(2) == 0
        finally:
            stop.set()
            # oxenstored may overlook a request that comes while another connection closes,
            # until anything else comes.
            with xsfs.Client(unix_socket_path=str(daemon.socket)) as other:
                while thread.is_alive():
                    other.list(b"/")
                    thread.join(0.1)
        assert not os.path.ismount(mounted.path)


def test_in_the_background_it_answers_at_once(fuse: None, mountpoint: Path, rundir: Path) -> None:
    done = command("embedded", mountpoint, "-o", f"socket={rundir}/s", NOTIFY_SOCKET="")
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (mountpoint / "local/domain/1/name").read_text() == "web\n"
        assert (rundir / "s").is_socket()
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def test_files_are_found_from_where_it_was_started(fuse: None, mountpoint: Path) -> None:
    (mountpoint.parent / "tree.json").write_text('{"a": "1"}')
    done = subprocess.run(
        [*XSFS, "embedded", "m", "-o", "load=tree.json,socket=s"],
        cwd=mountpoint.parent,
        capture_output=True,
        check=False,
    )
    try:
        assert (done.returncode, done.stderr) == (0, b"")
        assert (mountpoint / "a").read_text() == "1\n"
        assert (mountpoint.parent / "s").is_socket()
    finally:
        subprocess.run(["umount", mountpoint], check=True)


# -- what it says -----------------------------------------------------------------------------


def test_a_wrong_command_line() -> None:
    done = command()
    assert done.returncode == 2
    assert done.stderr.startswith("xsfs: a mountpoint is needed\nusage: xsfs [SOURCE] MOUNTPOINT")
    assert command("a", "b", "c").stderr.startswith("xsfs: unexpected argument: c\n")
    assert command("/m", "-x").stderr.startswith("xsfs: unknown option -x\n")
    assert refused("/m", "-o", "uid=me", status=2) == "option uid=me: a number is expected"
    assert refused("/m", "-o", "ro,frobnicate", status=2) == "unknown option 'frobnicate'"


def test_help_and_version() -> None:
    shown = command("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  cache=MODE" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    shown = command("--version")
    assert re.fullmatch(
        r"xsfs \S+ \(pyfuse3 \S+, trio \S+, Python \S+, libfuse \S+\)", shown.stdout.splitlines()[0]
    )
    assert "kernel interface version 7." in shown.stdout


def test_a_mountpoint_that_will_not_do(fuse: None, mountpoint: Path) -> None:
    absent = mountpoint / "absent"
    assert refused("embedded", absent) == f"{absent}: there is no such directory; make it first"
    absent.touch()
    assert refused("embedded", absent) == f"{absent}: not a directory"
    assert refused("embedded", mountpoint) == (
        f"{mountpoint}: not empty; to hide what is in it, mount with -o nonempty"
    )
    with Mounted("embedded", "nonempty", mountpoint) as mounted:
        assert not absent.exists()
        assert refused("embedded", mountpoint) == (
            f"{mountpoint}: xsfs is mounted there already; unmount it first"
        )
        mounted.unmount()
    assert absent.exists()


def test_a_store_that_is_not_there(fuse: None, mountpoint: Path, rundir: Path) -> None:
    path = rundir / "absent"
    assert refused(path, mountpoint) == (
        f"cannot connect to {path}: No such file or directory; is xenstored running?"
    )
    with Mounted("embedded", f"socket={path}"):
        assert refused("embedded", mountpoint, "-o", f"socket={path}") == (
            f"{path}: Address already in use; another store listens there: name another socket="
        )
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
    assert refused(path, mountpoint) == (
        f"cannot connect to {path}: Connection refused; "
        "no process listens there; is xenstored running?"
    )
    path.unlink()
    path.touch()
    assert refused(path, mountpoint).endswith("; it is a file, not a socket or a device")


def test_a_source_that_is_meant_otherwise(fuse: None, mountpoint: Path, rundir: Path) -> None:
    assert refused(rundir, mountpoint).endswith("; it is a directory, name its socket")
    (rundir / "socket").touch()
    assert refused(rundir, mountpoint).endswith(f"; it is a directory, name {rundir}/socket")
    for mistyped in ("embeded", "embedde", "enbedded"):
        assert refused(mistyped, mountpoint).endswith("; did you mean `embedded`?")
    assert refused("somewhere", mountpoint).endswith("; is xenstored running?")


def test_a_root_that_is_not_there_yet(fuse: None, mountpoint: Path, rundir: Path) -> None:
    warning = (
        "root=/no/such: there is no such node yet; "
        "the mount is empty until it is created (is the path right?)"
    )
    with Mounted("embedded", f"root=/no/such,socket={rundir}/s") as mounted:
        mounted.expected = (warning,)
        mounted.logs(warning)
        with xsfs.Client(rundir / "s") as client, Inotify() as inotify:
            inotify.watch(mounted.path, "top")
            client.write(b"/no/such/a", b"1")
            inotify.until(lambda heard: heard.name == "a")
        assert (mounted.path / "a").read_text() == "1\n"
    done = command("embedded", mountpoint, "-o", "root=/no/such")
    try:
        assert (done.returncode, done.stderr) == (0, f"xsfs: {warning}\n")
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def test_a_store_that_does_not_answer(fuse: None, daemon: Daemon, mountpoint: Path) -> None:
    daemon.freeze()
    try:
        said = refused(daemon.socket, mountpoint, "-o", "timeout=0.2")
    finally:
        daemon.thaw()
    assert said == f"cannot connect to {daemon.socket}: no answer in 0.2 s"
    assert not os.path.ismount(mountpoint)


def test_a_tree_that_cannot_be_loaded(fuse: None, mountpoint: Path) -> None:
    tree = mountpoint.parent / "tree.json"
    option = f"load={tree}"
    said = refused("embedded", mountpoint, "-o", option)
    assert said == f"{option}: cannot be read: No such file or directory"
    tree.write_text("[1]")
    said = refused("embedded", mountpoint, "-o", option)
    assert said.startswith(f"{option}: not the JSON of a store: ")
    assert refused("/dev/null", mountpoint, "-o", option) == (
        "socket= and load= need the source `embedded`: name it, or drop them"
    )


@pytest.fixture(scope="module")
def bare(fuse: None, root: None) -> Iterator[Machine]:
    """A machine with no store."""
    with Machine() as machine:
        yield machine
        machine.settle()


def test_no_store_at_all(bare: Machine) -> None:
    done = bare.run("xsfs", bare.mountpoint)
    assert done.returncode == 1
    assert done.stderr == (
        "xsfs: no XenStore found; tried $XENSTORED_PATH, $XENSTORED_RUNDIR, "
        "/run/xenstored/socket, /var/run/xenstored/socket, /dev/xen/xenbus, /proc/xen/xenbus; "
        "to try without Xen: xsfs embedded MOUNTPOINT\n"
    )


def test_no_permission(bare: Machine, daemon: Daemon) -> None:
    home = bare.folder / daemon.kind
    home.mkdir()
    done = bare.run("xsfs", "embedded", home, user=USER)
    assert done.stderr == (
        f"xsfs: cannot mount at {home}: "
        f"fusermount3: user has no write access to mountpoint {home}\n"
    )
    os.chown(home, USER, USER)
    daemon.rundir.chmod(0o755)
    daemon.socket.chmod(0o600)
    done = bare.run("xsfs", daemon.socket, home, user=USER)
    assert done.stderr == (
        f"xsfs: cannot connect to {daemon.socket}: Permission denied; are you root?\n"
    )


def test_no_fuse(bare: Machine) -> None:
    device = bare.folder / "fuse"
    home = bare.folder / "home"
    device.chmod(0o600)
    try:
        done = bare.run("xsfs", "embedded", home, user=USER)
    finally:
        device.chmod(0o666)
    assert done.stderr == (
        "xsfs: /dev/fuse cannot be opened: Permission denied; root can, or `chmod 666 /dev/fuse`\n"
    )
    done = bare.run(
        "unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev && xsfs embedded "$0"', home
    )
    assert done.stderr == (
        "xsfs: /dev/fuse is missing: `modprobe fuse`, or hand the device to this container\n"
    )


_WITHOUT_PYFUSE3 = """
import sys
sys.modules["pyfuse3"] = None
from xsfs.mount.cli import main
sys.exit(main())
"""


def test_no_pyfuse3(mountpoint: Path) -> None:
    for words in (["embedded", str(mountpoint)], ["-V"]):
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_PYFUSE3, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("xsfs: pyfuse3 is missing, without which nothing can be mounted: ")


# -- logs -------------------------------------------------------------------------------------


def test_d_shows_each_request(fuse: None) -> None:
    with Mounted("embedded", "debug") as mounted:
        assert (mounted.path / "local/domain/1/name").read_text() == "web\n"
        assert not (mounted.path / "nothing").exists()
        mounted.unmount()
        log = mounted.log()
    assert re.search(r"DEBUG: lookup\(\d+, b'name'\) = inode \d+ \(\d+\.\d ms\)", log), log
    assert re.search(r"DEBUG: read\(\d+, 0, \d+\) = b'web\\n' \(\d+\.\d ms\)", log), log
    assert re.search(r"DEBUG: lookup\(1, b'nothing'\) = ENOENT \(\d+\.\d ms\)", log), log


def test_the_journal_gets_levels(fuse: None) -> None:
    journal = 'JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) exec "$@"'
    with Mounted("embedded", "debug", prefix=("sh", "-c", journal, "sh")) as mounted:
        mounted.unmount()
        lines = mounted.log().splitlines()
    assert lines
    assert all(re.match(r"<[67]>\w", line) for line in lines)
