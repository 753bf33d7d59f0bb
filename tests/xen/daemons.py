# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Starts and stops Xen's real daemons and tools in a private folder, without a hypervisor.

Not a model of a daemon: what answers on the socket is Debian's xenstored or oxenstored.
Any thread may use a Daemon, one at a time.  A daemon dies with the process that started it,
however that ends; a process forked off without exec() keeps it alive.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Self, get_args

from tests.deadline import DEADLINE_S
from tests.programs import Program
from tests.xen.packages import Xen, provide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["xenstored", "oxenstored"]
KINDS: tuple[Kind, ...] = get_args(Kind)

RING_BYTES = 4096  # a page
DOMAINS_BYTES = 0x7FF0  # DOMID_FIRST_RESERVED, xen/include/public/xen.h


class DomainState(IntEnum):
    """What the hypervisor says of a domain (enum state, shim.c)."""

    ABSENT = 0
    RUNNING = 1
    SHUTDOWN = 2
    DYING = 3


class DaemonError(Exception):
    """A daemon did not start, or ended without being told to; the text holds what it said."""


class Daemon:
    """One xenstored or oxenstored, its socket and its other files in a folder.

    A context manager starts it and ends it; it may be stopped, killed and started again
    in between, each time with an empty store.

    Args:
        kind: which of the two.
        rundir: an existing folder, its path short enough for a socket in it (107 bytes).
        xen: the unpacked programs; fetched if not given.
    """

    def __init__(self, kind: Kind, rundir: Path, xen: Xen | None = None) -> None:
        self.kind = kind
        self.rundir = rundir
        self.socket = rundir / "socket"
        self.xen = provide() if xen is None else xen
        self.process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1

    @property
    def knows_extensions(self) -> bool:
        """Whether it knows the newest protocol text: features, quotas, the depth of a watch."""
        return False

    @property
    def pid(self) -> int:
        """Process id of the running daemon."""
        return self._running().pid

    def start(self, timeout_s: float = DEADLINE_S) -> None:
        """Starts the daemon and returns when its socket takes connections.

        Raises:
            DaemonError: it ended, or did not listen within timeout_s.
        """
        assert self.process is None, "already started"
        self._lay_files()
        ready, ready_writer = os.pipe()
        lifeline_reader, self._lifeline = os.pipe()
        try:
            with (self.rundir / "output").open("wb") as output:
                self.process = subprocess.Popen(
                    self._command(),
                    env={
                        "LD_LIBRARY_PATH": str(self.xen.libraries),
                        "LD_PRELOAD": str(self.xen.shim),
                        "PATH": os.defpath,
                        "XENSTORED_RUNDIR": str(self.rundir),
                        "XENSTORED_ROOTDIR": str(self.rundir),
                        "XENSTORED_SHIM_READY": str(ready_writer),
                        "XENSTORED_SHIM_LIFELINE": str(lifeline_reader),
                    },
                    pass_fds=(ready_writer, lifeline_reader),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        finally:
            os.close(ready_writer)
            os.close(lifeline_reader)
        try:
            if not select.select([ready], [], [], timeout_s)[0]:
                raise DaemonError(f"{self.kind} does not listen: {self.output()}")
            if not os.read(ready, 1):
                raise DaemonError(f"{self.kind} did not start: {self.output()}")
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(ready)

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """Ends the daemon with SIGTERM, or SIGKILL after timeout_s, and gives its status."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        self._wake()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
        return self._reap()

    def kill(self) -> None:
        """Ends the daemon with SIGKILL: its connections break, its socket file stays."""
        self._running().kill()
        self._reap()

    def restart(self) -> None:
        """Kills the daemon if it runs, and starts it anew at the same socket."""
        if self.process is not None:
            self.kill()
        self.start()

    def freeze(self) -> None:
        """Stops the daemon with SIGSTOP: connections stay open, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Lets a frozen daemon go on."""
        self._running().send_signal(signal.SIGCONT)

    def output(self) -> str:
        """What the daemon has written to stdout and stderr since its start."""
        return (self.rundir / "output").read_text(errors="replace")

    def connect(self, path: Path | None = None, timeout_s: float = DEADLINE_S) -> socket.socket:
        """A connection of root's; its calls raise TimeoutError after timeout_s.

        Args:
            path: another socket than the daemon's own, that leads to it.
            timeout_s: time limit of each call.
        """
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout_s)
        client.connect(str(path or self.socket))
        return client

    def tool(
        self, name: str, *args: str | bytes, timeout_s: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs one of Xen's own programs (xenstore-ls, test-xenstore, ...) on this daemon.

        Raises:
            subprocess.TimeoutExpired: it took longer than timeout_s.
        """
        return subprocess.run(
            self.tool_command(name, *args),
            env=self.tool_env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def start_tool(self, name: str, *args: str | bytes) -> Program:
        """Starts one of Xen's own programs that runs on, such as xenstore-watch."""
        return Program(self.tool_command(name, *args), self.tool_env())

    def tool_command(self, name: str, *args: str | bytes) -> list[str | bytes]:
        """The command line of one of Xen's own programs."""
        return [str(self.xen.program(name)), *args]

    def tool_env(self) -> dict[str, str]:
        """The environment in which Xen's own programs run and talk to this daemon."""
        return {
            "LD_LIBRARY_PATH": str(self.xen.libraries),
            "PATH": os.defpath,
            "XENSTORED_PATH": str(self.socket),
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if self.process is None:
            return
        died = self.process.poll()
        if died is None:
            self.kill()
            return
        self._reap()
        if exc is None:
            raise DaemonError(f"{self.kind} ended with status {died}: {self.output()}")

    def _command(self) -> Sequence[str]:
        program = str(self.xen.program(self.kind))
        if self.kind == "oxenstored":
            return [program, "--no-fork", "--config-file", str(self.xen.oxenstored_conf)]
        return [program, "--no-fork"]  # its default quotas bind guests alone

    def _lay_files(self) -> None:
        """What shim.c expects in the folder; domains outlive a daemon, so they are kept."""
        (self.rundir / "xsd_kva").write_bytes(bytes(RING_BYTES))
        (self.rundir / "xsd_port").write_text("1")
        domains = self.rundir / "domains"
        if not domains.exists():
            domains.write_bytes(bytes([DomainState.RUNNING]).ljust(DOMAINS_BYTES, b"\0"))

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "not started"
        return self.process

    def _wake(self) -> None:
        """A signal that comes just before oxenstored polls is seen only when something else comes.

        Source: OCaml runs a signal's handler at its next safe point, not in the system call.
        """
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.setblocking(False)
            client.connect(str(self.socket))

    def _reap(self) -> int:
        status = self._running().wait()
        os.close(self._lifeline)
        self.process, self._lifeline = None, -1
        return status
