# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""However the tests are started, the programs that they start find the same."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.surroundings import STARTS

if TYPE_CHECKING:
    from pathlib import Path

SHOW = """
import os, signal, sys
ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
descriptors = [os.get_inheritable(number) for number in range(3)]
with open(sys.argv[1], "w") as file:
    print(ignored, blocked, descriptors, os.umask(0), sorted(os.environ), file=file)
"""

MAKE = f"""
import signal, subprocess, sys
from tests.surroundings import make_usual
make_usual()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
subprocess.run([sys.executable, "-c", {SHOW!r}, sys.argv[1]], check=True)
"""


def found(start: str, file: Path) -> str:
    """What a program finds whose parent was started by these words of the shell."""
    command = ["sh", "-c", start, "sh", sys.executable, "-c", MAKE, str(file)]
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    return file.read_text()


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_programs_find_the_same_however_the_tests_are_started(start: str, tmp_path: Path) -> None:
    usual = found(STARTS["foreground"], tmp_path / "usual")
    assert found(start, tmp_path / "this") == usual
