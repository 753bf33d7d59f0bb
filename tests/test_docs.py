# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The documentation of the clients: it builds, it lacks no public name, and each snippet runs.

Examples with `>>>` run as doctests, each page in one namespace. A `python` block is a program, or
a test for pytest; what it has to print is in the `text` block after it. What a `console` block
says is run by a test that names it.
"""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import zlib
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import xsfs
import xsfs.aio
import xsfs.server
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.rst"))}

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)", re.MULTILINE)

# Who runs what is typed in a shell.
CONSOLE = {
    "pip install xsfs": "test_package.py",
    "pip install --no-deps xsfs": "test_package.py",
    "pip install trio": "test_package.py",
    "python -m xsfs.server --socket /tmp/xenstore --sample": "test_the_store_of_the_shell",
    "export XENSTORED_PATH=/tmp/xenstore": "test_the_store_of_the_shell",
}


class Block(NamedTuple):
    """A block of code in a page, and its language."""

    language: str
    text: str


def blocks(page: str) -> Iterator[tuple[Block, Block | None]]:
    """The blocks of a page, each with the one after it."""
    found = [
        Block(match[1], re.sub(r"^ {3}", "", match[2], flags=re.MULTILINE).strip() + "\n")
        for match in _BLOCK.finditer(PAGES[page])
    ]
    yield from zip_longest(found, found[1:])


PROGRAMS = [
    pytest.param(block, after, id=f"{page}-{number}")
    for page in PAGES
    for number, (block, after) in enumerate(blocks(page))
    if block.language == "python"
]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store with nothing in it, which clients find."""
    with running() as path:
        monkeypatch.setenv("XENSTORED_PATH", path)
        yield path


@pytest.mark.parametrize("page", PAGES)
def test_examples(page: str, store: str) -> None:
    result = doctest.testfile(str(DOCS / page), module_relative=False, encoding="utf-8")
    assert not result.failed


@pytest.mark.parametrize(("block", "after"), PROGRAMS)
def test_programs(block: Block, after: Block | None, store: str, tmp_path: Path) -> None:
    program = tmp_path / "test_example.py"
    program.write_text(block.text)
    command: list[str | Path] = [sys.executable, "-W", "error", program]
    if "def test_" in block.text:
        command[1:] = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            program,
        ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if after is not None and after.language == "text":
        assert done.stdout == after.text


def test_every_block_is_of_a_kind_that_is_run() -> None:
    for page, text in PAGES.items():
        for block, _ in blocks(page):
            assert block.language in ("python", "text", "console"), page
            if block.language == "console":
                for line in block.text.splitlines():
                    assert line.removeprefix("$ ") in CONSOLE, page
        # Neither a literal block without a language nor one that the pattern overlooks.
        assert not re.search(r"::\s*\n\s*\n   ", _BLOCK.sub("", text).replace("toctree::\n", "")), (
            page
        )
        assert text.count("code-block::") == len(list(blocks(page))), page


def test_the_store_of_the_shell(tmp_path: Path) -> None:
    lines = [
        block.text.replace("$ ", "").replace("/tmp/xenstore", str(tmp_path / "xenstore"))
        for block, _ in blocks("install.rst")
        if "xsfs.server" in block.text
    ]
    serve, export = lines[0].splitlines()
    assert export == f"export XENSTORED_PATH={tmp_path}/xenstore"
    command = [sys.executable, *serve.split()[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            with xsfs.Client(tmp_path / "xenstore") as client:
                assert client.list(b"/local/domain")
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `make docs` builds it."""
    site = tmp_path_factory.mktemp("site")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "sphinx",
        "-qW",
        "--keep-going",
        "-d",
        site / "trees",
        DOCS,
        site,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr
    return site


def test_the_reference_lacks_no_public_name(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
    documented = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    for module in (xsfs, xsfs.aio, xsfs.server):
        for name in module.__all__:
            assert f"{module.__name__}.{name}" in documented
