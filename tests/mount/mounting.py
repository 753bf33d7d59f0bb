# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Runs the xsfs command for a test, and ends it with its mount.

The daemon stays in the foreground and tells by systemd's protocol when the mount is ready, so
nobody polls. What it logs at WARNING or above fails the test, unless the test takes it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.deadline import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

_libc = ctypes.CDLL(None, use_errno=True)
# linux/mount.h
_MS_REMOUNT = 32

XSFS = (sys.executable, "-m", "xsfs")


def kernel_stacks(pid: int) -> str:
    """Where the threads of a process are in the kernel."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return "\n".join((task / "stack").read_text() for task in tasks)


class Mounted:
    """A running xsfs and its mountpoint.

    Args:
        source: as on the command line; None for none.
        options: as after -o.
        mountpoint: an existing directory; made, and removed at the end, when None.
        env: added to the environment.
        prefix: a command that runs the command, as `setpriv`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None,
        options: str = "",
        mountpoint: Path | None = None,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="xsfs-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        self.path = mountpoint or folder / "m"
        self.path.mkdir(exist_ok=True)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the mount
        self._argv = [*prefix, *XSFS]
        self._argv += [] if source is None else [os.fspath(source)]
        self._argv += [str(self.path), "-f", *(("-o", options) if options else ())]
        self._env = {**os.environ, **(env or {}), "NOTIFY_SOCKET": str(folder / "notify")}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = DEADLINE_S) -> Self:
        """Run it; returns when the mount is ready.

        Raises:
            AssertionError: it ended, or was not ready in time; with what it logged.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self._env["NOTIFY_SOCKET"])
            try:
                os.chmod(self._env["NOTIFY_SOCKET"], 0o777)
                self.process = subprocess.Popen(
                    self._argv, env=self._env, stdin=subprocess.DEVNULL, stderr=self._log
                )
                ended = os.pidfd_open(self.process.pid)
                # Ready, or ended: whichever comes first.
                ready, _, _ = select.select([notify.fileno(), ended], [], [], timeout_s)
                os.close(ended)
                assert notify.fileno() in ready, (
                    f"xsfs is not ready (status {self.process.poll()}): {self.log()}"
                )
                assert notify.recv(64) == b"READY=1"
            finally:
                os.unlink(self._env["NOTIFY_SOCKET"])
        return self

    def log(self) -> str:
        """What it wrote to standard error so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def logs(self, text: str, timeout_s: float = DEADLINE_S) -> str:
        """What it wrote to standard error up to now, when that has a text; waits for it.

        Raises:
            AssertionError: it never does.
        """
        deadline_s = time.monotonic() + timeout_s
        while text not in (log := self.log()):
            assert time.monotonic() < deadline_s, f"{text!r} is not in the log: {log}"
        return log

    def log_is_clean(self) -> bool:
        """Whether nothing in it could do anything to a terminal."""
        return all(line.isascii() and line.isprintable() for line in self.log().split("\n"))

    def unmount(self) -> None:
        """umount(8), and wait for the daemon to end."""
        subprocess.run(["umount", str(self.path)], check=True, timeout=DEADLINE_S)
        self.wait()

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for the daemon to end; its exit status."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def helpers(self) -> list[int]:
        """The process ids of its event helpers, running or dying; they are told whose they are."""
        assert self.process is not None
        pid, found = b"%d" % self.process.pid, []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if pid in words and any(word.endswith(b"helper.py") for word in words):
                found.append(int(folder.name))
        return found

    def helper(self) -> int:
        """The process id of its one event helper."""
        (helper,) = self.helpers()
        return helper

    def stats(self) -> dict[str, int]:
        """What the daemon counts."""
        counts: dict[str, int] = json.loads((self.path / ".xsfs/stats").read_bytes())
        return counts

    def drops_entries(self) -> None:
        """Have the kernel drop the cached entries that nobody uses; only root can."""
        # What a remount does to the one file system; it changes no flag when it names none
        # (fs/super.c, reconfigure_super).
        if _libc.mount(None, os.fsencode(self.path), None, _MS_REMOUNT, None):
            raise OSError(ctypes.get_errno(), "mount")

    def forgets_everything(self, timeout_s: float = 40.0) -> bool:
        """Have the kernel drop what nobody uses, as only root can; whether the daemon then holds
        no inodes but the root's and those of the statistics that tell it.
        """
        deadline_s = time.monotonic() + timeout_s
        before: object = None
        while time.monotonic() < deadline_s:
            now = self.stats()
            if now["inodes"] <= 3:
                return True
            if now == before:
                # Nothing is under way that would bring entries back.
                self.drops_entries()
            before = now
        return False

    def leaks_no_inode(self) -> bool:
        """Whether it forgets everything; for a user, who cannot find out, it is taken for true."""
        return os.geteuid() != 0 or self.forgets_everything()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(check=kind is None)

    def close(self, *, check: bool = True) -> None:
        """End the mount, and leave nothing behind."""
        try:
            self.finish(check=check)
        finally:
            self._log.close()
            self._folder.cleanup()

    def finish(self, *, check: bool) -> None:
        """End what still runs; fail on what it logged."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                stacks = kernel_stacks(self.process.pid)
                self.process.kill()
                # Whoever waits in the kernel for an answer goes on only then.
                force = ["umount", "-f", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
                subprocess.run([*force, str(self.path)], check=False)
                self.process.wait()
                raise AssertionError(f"xsfs does not end: {stacks}\n{self.log()}") from None
        if check:
            assert self.process.returncode == self.status, self.log()
            bad = [
                line
                for line in self.log().splitlines()
                if any(word in line for word in ("WARNING", "ERROR", "Traceback"))
                and not any(line.find(text) >= 0 for text in self.expected)
            ]
            assert not bad, self.log()

    # How it is to end.
    status = 0
    # Texts of log lines that the test provokes.
    expected: tuple[str, ...] = ()
