# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The harness itself: the real daemons serve Xen's own tools and obey start, stop and freeze."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.xen.daemons import KINDS, Daemon, DaemonError, Kind
from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from tests.xen.packages import Xen


def test_tools_write_read_list_and_remove(daemon: Daemon) -> None:
    assert daemon.tool("xenstore-write", "/a/b", "one", "/a/c", "").returncode == 0
    assert daemon.tool("xenstore-read", "/a/b").stdout == b"one\n"
    assert sorted(daemon.tool("xenstore-list", "/a").stdout.split()) == [b"b", b"c"]
    assert b'/a/b = "one"' in daemon.tool("xenstore-ls", "-f").stdout.splitlines()
    assert daemon.tool("xenstore-exists", "/a/b").returncode == 0
    assert daemon.tool("xenstore-chmod", "/a/b", "n0", "r5").returncode == 0
    assert daemon.tool("xenstore-rm", "/a/b").returncode == 0
    assert daemon.tool("xenstore-exists", "/a/b").returncode == 1


def test_watch_tells_of_a_change(daemon: Daemon) -> None:
    with daemon.start_tool("xenstore-watch", "/a") as watch:
        assert watch.read_line() == b"/a"  # a new watch fires once
        daemon.tool("xenstore-write", "/a/b", "one")
        assert watch.read_line() == b"/a/b"
        with pytest.raises(TimeoutError):
            watch.read_line(timeout_s=0)


def test_test_xenstore_passes(shared_daemon: Daemon) -> None:
    done = shared_daemon.tool("test-xenstore", "-i", "2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_kill_breaks_connections_and_restart_serves_an_empty_store(daemon: Daemon) -> None:
    daemon.tool("xenstore-write", "/a", "one")
    with daemon.connect() as client:
        assert Wire(client).ask(Op.READ, b"/a\0") == b"one"
        daemon.kill()
        assert client.recv(1) == b""
    assert daemon.tool("xenstore-read", "/a").returncode != 0
    daemon.restart()
    assert daemon.tool("xenstore-exists", "/a").returncode == 1
    assert daemon.tool("xenstore-exists", "/tool").returncode == 0


def test_stop_ends_a_frozen_daemon_by_sigterm(daemon: Daemon) -> None:
    daemon.freeze()
    # xenstored does not handle SIGTERM, oxenstored ends by itself.
    assert daemon.stop() == (-signal.SIGTERM if daemon.kind == "xenstored" else 0)


def test_frozen_daemon_answers_when_thawed(daemon: Daemon) -> None:
    with daemon.connect() as client:
        wire = Wire(client)
        daemon.freeze()
        wire.send(Op.READ, b"/tool\0")
        assert not select.select([client], [], [], 0.2)[0]
        daemon.thaw()
        assert wire.receive().op == Op.READ


def test_a_crash_is_noticed(rundir: Path, xen: Xen) -> None:
    daemon = Daemon("xenstored", rundir, xen)
    daemon.start()
    os.kill(daemon.pid, signal.SIGKILL)
    os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(DaemonError, match=f"status -{signal.SIGKILL:d}"):
        daemon.__exit__(None, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_failure_to_start_says_why(kind: Kind, rundir: Path, xen: Xen) -> None:
    deep = rundir / ("x" * 100)  # too long for the address of a socket
    deep.mkdir()
    with pytest.raises(DaemonError, match=f"{kind} did not start: (?s:.)*too long"):
        Daemon(kind, deep, xen).start()


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_daemon_dies_with_its_starter(kind: Kind, rundir: Path, xen: Xen) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.xen.daemons import Daemon\n"
        "daemon = Daemon(sys.argv[1], Path(sys.argv[2])); daemon.start(); daemon.freeze()\n"
        "print(daemon.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, kind, str(rundir)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    with starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
    assert select.select([pidfd], [], [], 5)[0], "the daemon outlived its starter"
    os.close(pidfd)
