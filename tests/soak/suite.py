# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The whole test suite once more: does a test fail that did not before?

    python -m tests.soak.suite START [BUSY]

START is a way to start it (tests/surroundings.py), BUSY how many processes are busy beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tests.soak.run import Result, add_piece
from tests.surroundings import STARTS, make_usual

if TYPE_CHECKING:
    from tests.soak.run import Run

ROOT = Path(__file__).parents[2]

# How long it may take, in seconds: beside busy processes it was seen to take seven minutes.
LONGEST_S = 1200.0


def suite(start: str, busy: int) -> Result:
    """Run it; what failed."""
    with TemporaryDirectory(prefix="xsfs-") as folder, ExitStack() as stack:
        for _ in range(busy):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        report = Path(folder) / "report.xml"
        pytest = (sys.executable, "-m", "pytest", "-q", "-n", "4", "--dist", "worksteal")
        command = ["env", "CI=1", "sh", "-c", STARTS[start], "sh", *pytest, f"--junitxml={report}"]
        done = subprocess.Popen(command, cwd=ROOT, process_group=0)
        # Also its workers, when it takes too long.
        stack.callback(_end_group, done.pid)
        done.wait(LONGEST_S)
        tests = list(ElementTree.parse(report).iter("testcase"))
    wrong = [
        f"{test.get('classname')}::{test.get('name')}: {failed.get('message')}"
        for test in tests
        for failed in (*test.iter("failure"), *test.iter("error"))
    ]
    if done.returncode and not wrong:
        wrong = [f"pytest ended with status {done.returncode}"]
    skipped = sum(test.find("skipped") is not None for test in tests)
    return Result({"tests": len(tests), "skipped or expected to fail": skipped}, wrong=wrong)


def _end_group(number: int) -> None:
    """End all processes of a group that are left."""
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


def main() -> int:
    """One more piece."""
    start, busy = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    make_usual()

    def work(_: Run) -> Result:
        return suite(start, busy)

    return add_piece(f"suite-{start}-{busy}-busy", work)


if __name__ == "__main__":
    sys.exit(main())
