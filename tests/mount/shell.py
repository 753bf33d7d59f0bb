# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Runs shell commands for the tests of the mount."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Done = subprocess.CompletedProcess[str]


def run(command: str, cwd: Path, timeout_s: float = 30.0) -> Done:
    """A shell command, however it ends; bytes that are not UTF-8 as surrogates."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout_s,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(cwd)},
    )


def sh(command: str, cwd: Path) -> str:
    """A shell command's output; it must succeed."""
    done = run(command, cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout
