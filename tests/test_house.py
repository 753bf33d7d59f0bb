# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The house's two rules: imports run downhill, and meaning knows no plumbing.

What is imported for types alone counts as well, where it is not said otherwise.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import xsfs

PACKAGE = Path(xsfs.__file__).parent

# Entries of xsfs/, at most.
ENTRIES = 14

# A room imports only from itself and from rooms that stand before it here.
ROOMS = (
    *("errors", "protocol", "client", "aio", "jsontext", "jsontree", "server"),
    *("fs.options", "fs.turns", "fs.model", "fs.store", "fs.inotify"),
    *("fs.virtual", "fs.fuse", "fs.filesystem"),
    *("mount", "compat", "exceptions", "__main__", ""),
)

# Who may import pyfuse3: these, and what is in them.
FUSE = ("fs.fuse", "fs.inotify.kernel_cache", "mount.session")

# What a docstring's words forbid a module to import, itself or through what it imports of ours.
_OUTSIDE = "pyfuse3 select selectors socket subprocess"
CLAIMS = {
    **dict.fromkeys(
        ("Pure", "pure", "sans-IO", "Sans-IO"), f"{_OUTSIDE} asyncio threading time trio"
    ),
    "No input or output": _OUTSIDE,
    **dict.fromkeys(("Knows no FUSE", "knows no FUSE", "no FUSE"), "pyfuse3"),
}


def modules() -> dict[str, Path]:
    """All modules, by name without the package's; the package itself is ""."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """All modules that a module names in imports, wherever they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            below = {f"{node.module}.{name.name}" for name in node.names}
            modules_below = {name for name in below if name.removeprefix("xsfs.") in MODULES}
            names |= modules_below or {node.module}
    return names


def ours(path: Path) -> set[str]:
    """The modules of ours among them."""
    names = {name.removeprefix("xsfs.") for name in imported(path) if name.startswith("xsfs.")}
    return names & MODULES.keys()


IMPORTS = {(name, other) for name, path in MODULES.items() for other in ours(path) - {name}}


def room(module: str) -> int:
    """Where the room of a module stands in the order."""
    parts = module.split(".")
    return ROOMS.index(".".join(parts[:2]) if parts[0] == "fs" else parts[0])


def circle(imports: set[tuple[str, str]]) -> list[str]:
    """Modules that import each other, if there are any."""
    graph: dict[str, set[str]] = {}
    for importer, other in imports:
        graph.setdefault(importer, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_two_modules_import_each_other() -> None:
    assert not circle(IMPORTS)


def test_imports_run_downhill() -> None:
    uphill = {(name, other) for name, other in IMPORTS if room(name) < room(other)}
    assert not uphill


def test_pyfuse3_is_in_one_place() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(other.split(".")[0] == "pyfuse3" for other in imported(path))
    }
    assert not {name for name in users if not f"{name}.".startswith(FUSE)}


def test_the_package_has_few_entries() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries) <= ENTRIES, sorted(entries)


def claims() -> dict[str, set[str]]:
    """What each module says that it does without; what a package says goes for all in it."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        for words, blocked in CLAIMS.items():
            if words in doc.replace("\n", " "):
                below = [
                    other
                    for other in MODULES
                    if path.name == "__init__.py" and f"{other}.".startswith(f"{name}.")
                ]
                for other in (name, *below):
                    found.setdefault(other, set()).update(blocked.split())
    return found


# Imports a module, and has every import of ours fail that names what is forbidden to it. The
# packages that it is in are empty: what they offer to others, it does not import.
_RUN = """
import builtins, importlib, sys, types

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.split(".")[0] == "xsfs" and name.split(".")[0] in blocked:
        raise ImportError(f"{module}: {importer} imports {name}")
    return real(name, globals, locals, fromlist, level)

real, builtins.__import__ = builtins.__import__, guarded
for line in sys.stdin:
    module, *blocked = line.split()
    for name in [name for name in sys.modules if name.split(".")[0] == "xsfs"]:
        del sys.modules[name]
    parents = module.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        package = types.ModuleType(".".join(parents[:depth]))
        sys.modules[package.__name__] = package
        package.__path__ = ["/".join([sys.argv[1], *parents[1:depth]])]
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(error)
"""


def test_what_modules_claim_not_to_need_they_run_without() -> None:
    found = claims()
    for package in ("protocol.packet", "server.store", "fs.model.nodes"):
        assert {"trio", "time"} <= found[package]
    for name, blocked in found.items():
        assert not {other.split(".")[0] for other in imported(MODULES[name])} & blocked, name
    lines = "".join(f"xsfs.{name} {' '.join(blocked)}\n" for name, blocked in found.items())
    done = subprocess.run(
        [sys.executable, "-c", _RUN, PACKAGE],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("heavy", ["trio", "pyfuse3"])
def test_importing_the_package_does_not_load(heavy: str) -> None:
    script = f"import sys, xsfs; sys.exit({heavy!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# A store event becomes a notice.
_MODEL = """
import sys
for name in ("asyncio", "pyfuse3", "select", "socket", "threading", "time", "trio"):
    sys.modules[name] = None
from xsfs.fs.model.difference import Difference
from xsfs.fs.model.states import InodeKind, State
from xsfs.fs.model.table import NodeTable
table = NodeTable(b"/")
difference = Difference(table)
table.root.node.observe(State(b"", [b"n"]), 0, 0.0)
node = table.child(table.root.node, b"n")
node.observe(State(b"1", []), 0, 0.0)
difference.note(b"/n", 1, 1)
assert difference.questions() == [b"/n"]
for notice in difference.answers({b"/n": State(b"2", [])}, 2.0):
    print(notice.kind.name, notice.name.decode())
"""


def test_the_model_runs_with_no_event_loop_and_no_clock() -> None:
    command = [sys.executable, "-c", _MODEL]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "MODIFIED n\n"


def test_the_tests_map_names_every_section_of_the_readme() -> None:
    tests = Path(__file__).parent
    text = (tests / "README.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert not [name for name in named if not (tests / name).exists()]
    sections = re.findall(r"^## (.+)$", (tests.parent / "README.md").read_text(), re.MULTILINE)
    assert [name for name in sections if f"**{name}**" not in text] == []
