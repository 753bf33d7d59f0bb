# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A copy of the tree to build in: setuptools works in the tree, and other tests build as well."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MADE = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".git", ".venv")


def copy_tree(root: Path, folder: Path) -> Path:
    """Copy what the repository holds into a folder; the copy."""
    return shutil.copytree(root, folder / "tree", ignore=_MADE, symlinks=True)
