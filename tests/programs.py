# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A long-running program whose output is awaited line by line, never past a deadline.

Not for programs that end by themselves: that is what subprocess.run is for.
One thread at a time may read.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Self

from tests.deadline import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Program:
    """A started program with standard output and standard error on one pipe.

    Args:
        argv: program and arguments.
        env: its whole environment; None is ours.
    """

    def __init__(
        self, argv: Sequence[str | bytes | Path], env: Mapping[str, str] | None = None
    ) -> None:
        self._unread = b""
        self.process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )

    def read_line(self, timeout_s: float = DEADLINE_S) -> bytes:
        """The next line, without its end.

        Raises:
            TimeoutError: no whole line within timeout_s; what came of it stays unread.
            EOFError: the program has closed its output.
        """
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            self._receive(deadline_s)
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _receive(self, deadline_s: float) -> None:
        assert self.process.stdout is not None
        left_s = max(0.0, deadline_s - time.monotonic())
        if not select.select([self.process.stdout], [], [], left_s)[0]:
            raise TimeoutError(f"{self.process.args!r}: no line in time, got {self._unread!r}")
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise EOFError(f"{self.process.args!r} ended, its last output {self._unread!r}")
        self._unread += data

    def await_line(self, wanted: bytes, timeout_s: float = DEADLINE_S) -> None:
        """Read up to a line that is just so.

        Raises:
            TimeoutError, EOFError: as in `read_line`.
        """
        while self.read_line(timeout_s) != wanted:
            pass

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """Ends the program with SIGTERM, or SIGKILL after timeout_s, and gives its status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
