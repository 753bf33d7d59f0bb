# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What inotify tells of changes made by other clients: word by word what a tmpfs tells."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.inotify import Heard, Inotify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.xen.daemons import Daemon


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A folder in memory."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def write(path: Path) -> None:
    """Opens a file, writes, closes it."""
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"new\n", 0)
    os.close(fd)


def create(path: Path) -> None:
    """A new file with something in it."""
    os.mknod(path)
    write(path)


def remove_tree(directory: Path) -> None:
    """All of `TREE`, bottom up, without looking at it."""
    for name in reversed(TREE):
        path = directory / name
        (os.rmdir if TREE[name] is None else os.unlink)(path)


class Case(NamedTuple):
    """A change by another client, and the same done to files."""

    name: str
    # Tools of Xen's, each with its arguments.
    tools: list[list[str]]
    local: list[Callable[[Path], object]]
    # Files with their text, and directories (None), that are there before.
    before: dict[str, str | None]
    # What is watched, apart from d.
    watched: tuple[str, ...] = ()


X: dict[str, str | None] = {"x": "1"}
TREE: dict[str, str | None] = {"s": None, "s/t": None, "s/t/c": "", "s/t/b": "2", "s/a": "1"}

CASES = [
    Case("value", [["write", "/d/x", "new"]], [lambda d: write(d / "x")], X, ("x",)),
    Case("same value", [["write", "/d/x", "1"]], [lambda d: write(d / "x")], X, ("x",)),
    Case(
        "value of a node nobody looked at", [["write", "/d/x", "n"]], [lambda d: write(d / "x")], X
    ),
    Case("new", [["write", "/d/n", "new"]], [lambda d: create(d / "n")], {}),
    Case("new and empty", [["write", "/d/n", ""]], [lambda d: os.mknod(d / "n")], {}),
    Case("new with parents", [["write", "/d/p/q/n", "1"]], [lambda d: (d / "p").mkdir()], {}),
    Case("removed", [["rm", "/d/x"]], [lambda d: os.unlink(d / "x")], X, ("x",)),
    Case("removed, nobody looked at it", [["rm", "/d/x"]], [lambda d: os.unlink(d / "x")], X),
    Case(
        "subtree removed",
        [["rm", "/d/s"]],
        [remove_tree],
        TREE,
        ("s", "s/a", "s/t", "s/t/b", "s/t/c"),
    ),
    Case("subtree removed, nobody looked at it", [["rm", "/d/s"]], [remove_tree], TREE),
    Case("permissions", [["chmod", "/d/x", "n0", "r5"]], [lambda d: (d / "x").chmod(0)], X, ("x",)),
    Case(
        "permissions, nobody looked at it",
        [["chmod", "/d/x", "n0", "r5"]],
        [lambda d: (d / "x").chmod(0)],
        X,
    ),
    Case(
        "permissions of a directory",
        [["chmod", "/d/s", "n0", "r5"]],
        [lambda d: (d / "s").chmod(0o777)],
        TREE,
        ("s",),
    ),
    Case(
        "file becomes directory",
        [["write", "/d/x/y", "1"]],
        [lambda d: os.unlink(d / "x"), lambda d: os.mkdir(d / "x")],
        X,
        ("x",),
    ),
    Case(
        "file becomes directory, nobody looked at it",
        [["write", "/d/x/y", "1"]],
        [lambda d: os.unlink(d / "x"), lambda d: os.mkdir(d / "x")],
        X,
    ),
    Case(
        "one after the other",
        [["write", "/d/n", "1"], ["write", "/d/x", "2"], ["rm", "/d/n"], ["chmod", "/d/x", "r0"]],
        [
            lambda d: create(d / "n"),
            lambda d: write(d / "x"),
            lambda d: os.unlink(d / "n"),
            lambda d: os.chmod(d / "x", 0),
        ],
        X,
        ("x",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_change_sounds_as_on_tmpfs(
    case: Case, shared_daemon: Daemon, shared_mount: Path, tmpfs: Path
) -> None:
    daemon, top = shared_daemon, f"case{CASES.index(case)}"
    local, remote = tmpfs / "d", shared_mount / top
    local.mkdir()
    for name, text in case.before.items():
        if text is None:
            (local / name).mkdir()
        else:
            (local / name).write_text(text)
            daemon.tool("xenstore-write", f"/{top}/{name}", text)
    (tmpfs / f"{top}-end").mkdir()

    with Inotify() as expected, Inotify() as heard:
        heard.watch(shared_mount, "root")
        daemon.tool("xenstore-write", f"/{top}/keep", "", f"/{top}-end/0", "")
        heard.until(Heard("root", "CREATE,ISDIR", f"{top}-end").__eq__)
        for inotify, directory in ((expected, local), (heard, remote)):
            inotify.watch(directory, "d")
            for name in case.watched:
                inotify.watch(directory / name, name)
            inotify.watch(directory.parent / f"{top}-end", "end")
        for change in case.local:
            change(local)
        (tmpfs / f"{top}-end" / "1").touch()
        told = []
        for step, (tool, *args) in enumerate(case.tools, 1):
            args[0] = args[0].replace("/d", f"/{top}", 1)
            done = daemon.tool(f"xenstore-{tool}", *args)
            assert not done.returncode, done.stderr
            # Of changes that nobody has looked at yet, those of one node are told as one.
            daemon.tool("xenstore-write", f"/{top}-end/{step}", "")
            told += heard.until(Heard("end", "CREATE", str(step)).__eq__)
        assert told == expected.until(Heard("end", "CREATE", "1").__eq__)
