# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The house's two rules: imports run downhill, and meaning knows no plumbing."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import xsfs

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(xsfs.__file__).parent

# A room imports only from rooms that stand above it here.
ROOMS = (
    *("errors", "protocol", "client", "compat", "aio", "jsontext", "jsontree"),
    *("server", "fs", "mount", "__main__"),
)

# Pure code, to be tested with no socket, no kernel and no clock.
PURE = (
    *(
        "errors",
        "protocol",
        "jsontree",
        "mount.options",
        "fs.model.names",
        "fs.model.nodes",
        "fs.model.difference",
    ),
    *("server.access", "server.administration", "server.connection", "server.control"),
    *("server.domains", "server.errors", "server.handlers", "server.nodes", "server.payload"),
    *("server.quota", "server.rules", "server.sample", "server.store", "server.transactions"),
    *("server.tree", "server.watches"),
)
PLUMBING = {"socket", "threading", "trio", "pyfuse3", "select", "subprocess", "time"}


def modules() -> dict[str, Path]:
    """All modules, by name without the package's."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """What a module imports when it is run: not what it names for types alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{name.name}" for name in node.names}
            modules_below = {name for name in below if name.removeprefix("xsfs.") in modules()}
            yield from modules_below or {node.module}
        pending += ast.iter_child_nodes(node)


def inside(path: Path) -> set[str]:
    """The modules of ours that a module imports."""
    names = {name.removeprefix("xsfs.") for name in imported(path) if name.startswith("xsfs.")}
    return names & modules().keys()


def test_imports_run_downhill() -> None:
    for name, path in modules().items():
        if name:
            room = name.split(".")[0]
            above = ROOMS[: ROOMS.index(room) + 1]
            assert {other.split(".")[0] for other in inside(path)} <= set(above), name


def test_no_two_modules_import_each_other() -> None:
    graph = {name: inside(path) - {name} for name, path in modules().items() if name}
    TopologicalSorter(graph).prepare()


def test_meaning_knows_no_plumbing() -> None:
    for name, path in modules().items():
        if name.startswith(PURE):
            assert not {other.split(".")[0] for other in imported(path)} & PLUMBING, name


def test_importing_the_package_loads_neither_trio_nor_pyfuse3() -> None:
    script = "import sys, xsfs; sys.exit(bool({'trio', 'pyfuse3'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", script], check=True)
