# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The tree, copies of it to build in, and commands that build in them.

In a copy since setuptools works in the tree, and other tests build as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

_MADE = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".git", ".venv")


def copy_tree(folder: Path) -> Path:
    """Copy what the repository holds into a folder; the copy."""
    return shutil.copytree(ROOT, folder / "tree", ignore=_MADE, symlinks=True)


def check(*command: str | Path, cwd: Path = ROOT) -> str:
    """A command's output; it must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
