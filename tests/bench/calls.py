# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How many functions of xsfs one operation enters, and how often from another of its files.

Counts what does not depend on the machine: a mount runs under a profiler, an operation is
repeated, and the daemon says how often a function was called or resumed. What is done for a
request of the kernel's (for a remote write: the event helper's) is told apart from the rest.

    python -m tests.bench.calls
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import xsfs
from tests.inotify import MODIFY, Heard, Inotify
from tests.outcome import until
from tests.xen.daemons import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ROUNDS = 200
PACKAGE = str(Path(xsfs.__file__).parent) + os.sep

# The files in which the kernel's requests come in.
_DOORS = ("door.py", "operations.py", "answers.py", "errors.py")


class Profiler:
    """Counts calls in the daemon's main thread; SIGUSR1 has them written down, from 0 on."""

    def __init__(self, report: str) -> None:
        self._report = report
        self._counts: Counter[str] = Counter()
        signal.signal(signal.SIGUSR1, self._tell)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(PACKAGE):
            return
        caller = frame.f_back.f_code.co_filename if frame.f_back is not None else ""
        between = caller != name and caller.startswith(PACKAGE)
        way = "request" if self._in_request(frame) else "other"
        self._counts[f"{way}, all"] += 1
        self._counts[f"{way}, between files"] += between

    @staticmethod
    def _in_request(frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_filename.endswith(_DOORS):
                return True
            frame = frame.f_back
        return False

    def _tell(self, number: int, frame: FrameType | None) -> None:
        written = f"{self._report}.new"
        Path(written).write_text(json.dumps(self._counts))
        os.rename(written, self._report)
        self._counts.clear()


class Counted:
    """A mount under the profiler.

    Args:
        folder: for its report and its mountpoint.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self.path = folder / "m"
        self.path.mkdir()
        self._report = folder / "report"
        command = [sys.executable, "-m", "tests.bench.calls", str(self._report)]
        self._process = subprocess.Popen([*command, str(source), str(self.path), "-f"])
        until(lambda: os.path.ismount(self.path))

    def counts(self) -> dict[str, int]:
        """What was counted since the last time."""
        self._report.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        until(self._report.exists)
        counts: dict[str, int] = json.loads(self._report.read_text())
        return counts

    def close(self) -> None:
        """Unmount."""
        subprocess.run(["umount", self.path], check=True)
        self._process.wait(10)


def measure(mount: Counted, name: str, operation: Callable[[], object]) -> None:
    """Print what one operation costs, of many."""
    operation()
    mount.counts()
    for _ in range(ROUNDS):
        operation()
    counts = mount.counts()
    figures = (f"{key}: {value / ROUNDS:.1f}" for key, value in sorted(counts.items()))
    print(f"{name:<14} {'; '.join(figures)}", flush=True)


def main() -> None:
    """All operations, over xenstored."""
    with (
        TemporaryDirectory(prefix="xsfs-calls-") as folder,
        Daemon("xenstored", Path(folder)) as daemon,
        xsfs.Client(str(daemon.socket)) as client,
        Inotify() as inotify,
    ):
        client.write(b"/d/file", b"1")
        mount = Counted(Path(folder), daemon.socket)
        file = mount.path / "d" / "file"

        def remote_write() -> None:
            client.write(b"/d/file", b"3")
            inotify.until(Heard("file", "MODIFY").__eq__)

        try:
            measure(mount, "warm cat", file.read_bytes)
            measure(mount, "echo >", lambda: file.write_bytes(b"2\n"))
            inotify.watch(file, "file", MODIFY)
            measure(mount, "remote write", remote_write)
        finally:
            mount.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        report, *sys.argv[1:] = sys.argv[1:]
        Profiler(report)
        runpy.run_module("xsfs", run_name="__main__")
    else:
        main()
