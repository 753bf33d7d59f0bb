# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The files, commands and classes that the documents name exist."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "tests/README.md", "docs/**/*.md", "docs/**/*.rst")
    for path in ROOT.glob(pattern)
)
FILES = [
    f"/{path.relative_to(ROOT)}"
    for folder in ("xsfs", "tests", "docs", "tools", "man", "debian", "systemd")
    for path in (ROOT / folder).rglob("*")
] + [f"/{path.name}" for path in ROOT.iterdir()]
CODE = re.compile(r"`+([^`\n]+)`+")


def code(document: Path) -> list[str]:
    """What stands between backquotes."""
    return CODE.findall((ROOT / document).read_text())


def attributes() -> dict[str, set[str]]:
    """What is defined in the classes of the package, by the class's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "xsfs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                names = {child.name for child in node.body if hasattr(child, "name")}
                found.setdefault(node.name, set()).update(names)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_files_that_it_names_exist(document: Path) -> None:
    named = re.findall(r"[\w./-]+\.(?:py|md|rst|svg|toml)\b", " ".join(code(document)))
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_commands_that_it_names_exist(document: Path) -> None:
    shown = re.findall(r"^    (?:sudo )?(make .*)", (ROOT / document).read_text(), re.MULTILINE)
    for text in (*code(document), *shown):
        if target := re.match(r"make ([a-z][\w-]*)", text):
            done = subprocess.run(
                ["make", "-n", "-C", ROOT, target[1]], capture_output=True, text=True, check=False
            )
            assert (done.returncode, "Nothing to be done" in done.stdout) == (0, False), target[1]
        if module := re.match(r"python -m ((?:tests|xsfs)[\w.]*\w)", text):
            path = ROOT / module[1].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module[1]


def test_the_classes_that_the_map_names_exist() -> None:
    known = attributes()
    named = [
        match
        for text in code(Path("CONTRIBUTING.md"))
        if (match := re.fullmatch(r"((?:[A-Z][a-z]+)+)(?:\.(\w+))?", text))
    ]
    assert len(named) > 3
    for match in named:
        assert match[1] in known, match[0]
        assert match[2] is None or match[2] in known[match[1]], match[0]


def test_the_map_names_every_room() -> None:
    rooms = {
        str(path.relative_to(ROOT / "xsfs"))
        for path in (ROOT / "xsfs").rglob("*")
        if (path / "__init__.py").exists()
    }
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert [room for room in rooms if f"`{room}/`" not in text] == []
