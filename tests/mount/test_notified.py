# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Libraries that watch files tell of another client's changes what they tell of local ones.

node's fs.watch and chokidar, Rust's notify through watchfiles, Go's fsnotify through reflex: each
on a tmpfs that is changed locally and on the mount, whose store another client changes.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing, require
from tests.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mount.conftest import Here

MODULES = Path("/usr/share/nodejs")

FS_WATCH = """
require("fs").watch(process.argv[1], (type, name) => console.log(type, name));
console.log("ready");
"""

CHOKIDAR = """
require("chokidar").watch(".", {cwd: process.argv[1], ignoreInitial: true})
    .on("all", (event, path) => console.log(event, path))
    .on("ready", () => console.log("ready"));
"""

WATCHFILES = """
import os, sys, watchfiles
top = sys.argv[1]
options = {"rust_timeout": 50, "yield_on_timeout": True, "debounce": 50, "step": 10}
for turn, changes in enumerate(watchfiles.watch(top, **options)):
    for change, path in changes:
        print(change.name, os.path.relpath(path, top), flush=True)
    if not turn:
        print("ready", flush=True)
"""

# It does not say when it watches: a file's times are changed until it tells of that.
REFLEX = r"""
import os, re, select, signal, subprocess, sys
os.chdir(sys.argv[1])
command = ["reflex", "-v", "--decoration=none", "-r", ".", "true"]
reflex = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
signal.signal(signal.SIGTERM, lambda *_: (reflex.terminate(), sys.exit()))
ready, text = False, b""
while True:
    if not ready and not select.select([reflex.stdout], [], [], 0.1)[0]:
        os.utime("name")
        continue
    text += os.read(reflex.stdout.fileno(), 65536)
    *lines, text = text.split(b"\n")
    for line in lines:
        if told := re.match(rb'fsnotify event: (\w+) +"(?:\./)?(.*)"', line):
            if not ready:
                ready = True
                print("ready", flush=True)
            if told[1] != b"CHMOD":
                print(told[1].decode().lower(), told[2].decode(), flush=True)
"""

PROGRAMS = {
    "fs.watch": ["node", "-e", FS_WATCH],
    "chokidar": ["node", "-e", CHOKIDAR],
    "watchfiles": [sys.executable, "-c", WATCHFILES],
    "reflex": [sys.executable, "-c", REFLEX],
}

# What is done, and what is told of it.
STEPS: dict[str, dict[str, set[str]]] = {
    "write name": {
        "fs.watch": {"change name"},
        "chokidar": {"change name"},
        "watchfiles": {"modified name"},
        "reflex": {"write name"},
    },
    "write made": {
        "fs.watch": {"rename made", "change made"},
        "chokidar": {"add made"},
        "watchfiles": {"added made"},
        "reflex": {"create made", "write made"},
    },
    "write sub/a": {
        "fs.watch": set(),
        "chokidar": {"change sub/a"},
        "watchfiles": {"modified sub/a"},
        "reflex": {"write sub/a"},
    },
    "mkdir dir": {
        "fs.watch": {"rename dir"},
        "chokidar": {"addDir dir"},
        "watchfiles": {"added dir"},
        "reflex": {"create dir"},
    },
    "write sub/b": {
        "fs.watch": set(),
        "chokidar": {"add sub/b"},
        "watchfiles": {"added sub/b"},
        "reflex": {"create sub/b", "write sub/b"},
    },
    "remove made": {
        "fs.watch": {"rename made"},
        "chokidar": {"unlink made"},
        "watchfiles": {"deleted made"},
        "reflex": {"remove made"},
    },
    "remove sub": {
        "fs.watch": {"rename sub"},
        "chokidar": {"unlink sub/a", "unlink sub/b", "unlinkDir sub"},
        "watchfiles": {"deleted sub/a", "deleted sub/b", "deleted sub"},
        "reflex": {"remove sub/a", "remove sub/b", "remove sub"},
    },
    "write last": {
        "fs.watch": {"rename last", "change last"},
        "chokidar": {"add last"},
        "watchfiles": {"added last"},
        "reflex": {"create last", "write last"},
    },
}

# Of a new file whose value the program sees later than the file.
MAYBE = {f"{what} {name}" for what in ("change", "modified") for name in ("made", "sub/b", "last")}


class Local:
    """A directory on a tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def have(self, *names: str) -> None:
        for name in names:
            self.write(name, "1")

    def write(self, name: str, value: str) -> None:
        (self.path / name).write_text(value + "\n")

    def mkdir(self, name: str) -> None:
        (self.path / name).mkdir()

    def remove(self, name: str) -> None:
        path = self.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class Remote:
    """A directory on the mount, whose node somebody else changes."""

    def __init__(self, here: Here) -> None:
        self.path = here.path
        self._here = here

    def have(self, *names: str) -> None:
        self._here.have(*names)

    def write(self, name: str, value: str) -> None:
        self._here.store.write(self._here.at(name.encode()), value.encode())

    def mkdir(self, name: str) -> None:
        # A node is a directory when it has a child.
        (self.path / name).mkdir()

    def remove(self, name: str) -> None:
        self._here.store.rm(self._here.at(name.encode()))


@pytest.fixture
def local() -> Iterator[Local]:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Local(Path(folder))


def told(place: Local | Remote, program: str) -> list[set[str]]:
    """What the program tells of each step."""
    (place.path / "sub").mkdir()
    place.have("name", "sub/a")
    command = [*PROGRAMS[program], str(place.path)]
    with Program(command, {**os.environ, "NODE_PATH": str(MODULES)}) as running:
        running.await_line(b"ready", 30.0)
        found: list[set[str]] = []
        for step, expected in STEPS.items():
            verb, name = step.split()
            match verb:
                case "write":
                    place.write(name, "22")
                case "mkdir":
                    place.mkdir(name)
                case _:
                    place.remove(name)
            lines: set[str] = set()
            while not lines >= expected[program]:
                try:
                    lines.add(running.read_line().decode())
                except TimeoutError:
                    return [*found, lines]
                # A local write is told of twice when it is seen between its truncation and it.
                lines -= found[-1] if found else set()
            found.append(lines - (MAYBE - expected[program]))
        return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_library_tells_the_same_as_on_a_tmpfs(here: Here, local: Local, program: str) -> None:
    require(PROGRAMS[program][0])
    if program == "reflex":
        require(program)
    if program == "chokidar" and not (MODULES / "chokidar").exists():
        missing("chokidar is missing (Debian: node-chokidar)")
    expected = [step[program] for step in STEPS.values()]
    assert told(local, program) == expected
    assert told(Remote(here), program) == expected
