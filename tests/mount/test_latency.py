# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nothing that one user hands in holds up a reader in another process for more than a few ms.

What is judged is the longest step of a task of the daemon, by the processor time of its thread:
what else the machine does is not in it. How long the reader waits is told beside it, with how
long it waits while nothing goes on. tests/fs/test_turns.py has more inputs, without a mount.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.xen.daemons import KINDS, Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.xen.daemons import Kind
    from tests.xen.packages import Xen

# The most that a task may hold the loop, in seconds, with room for a slow machine.
HELD_S = 0.1

# A patch of 30,000 nodes took a loaded machine longer than the usual ten seconds.
PATIENT = "timeout=60"

# What the daemon runs first: it notes the steps of its tasks that take long.
_METER = """
import os, sys
if sys.orig_argv[1:3] == ["-m", "xsfs"]:
    import functools, time, trio

    class Meter(trio.abc.Instrument):
        def __init__(self):
            self.file = open(os.environ["STEPS"], "a", buffering=1)
            self.start_s = time.thread_time()

        def before_task_step(self, task):
            self.start_s = time.thread_time()

        def after_task_step(self, task):
            held_s = time.thread_time() - self.start_s
            if held_s > 0.002:
                print(time.monotonic(), held_s, task.name, file=self.file)

    run = trio.run
    trio.run = functools.partial(run, instruments=[Meter()])
"""

# The other process: reads a file over and over until its input ends.
_READER = """
import select, sys, time
waits_s = []
print("reading", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    start_s = time.monotonic()
    with open(sys.argv[1], "rb", buffering=0) as file:
        assert file.read() == b"value\\n"
    waits_s.append(time.monotonic() - start_s)
print(*waits_s)
"""


class EmbeddedStore:
    """The socket of the embedded store, for `Outside`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self) -> socket.socket:
        """A new connection."""
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(DEADLINE_S)
        stream.connect(str(self.path))
        return stream


@dataclass
class Metered:
    """A mount whose daemon notes its long steps."""

    kind: str
    path: Path
    outside: Outside
    steps: Path

    def longest(self, since_s: float) -> dict[str, float]:
        """The longest step of each task of those that ended after a time, in seconds."""
        longest: dict[str, float] = {}
        for line in self.steps.read_text().splitlines():
            end, held, task = line.split(maxsplit=2)
            if float(end) > since_s:
                longest[task] = max(float(held), longest.get(task, 0.0))
        return longest


@pytest.fixture(params=[*KINDS, "embedded"])
def metered(
    fuse: None, request: pytest.FixtureRequest, rundir: Path, xen: Xen
) -> Iterator[Metered]:
    """A fresh store of each kind, mounted."""
    steps = rundir / "steps"
    steps.touch()
    (rundir / "sitecustomize.py").write_text(_METER)
    env = {"PYTHONPATH": f"{rundir}:{Path(xsfs.__file__).parents[1]}", "STEPS": str(steps)}
    kind: str = request.param
    with ExitStack() as stack:
        if kind == "embedded":
            store = cast("Daemon", EmbeddedStore(rundir / "socket"))
            mounted = Mounted("embedded", f"socket={rundir}/socket,{PATIENT}", env=env)
        else:
            store = stack.enter_context(Daemon(cast("Kind", kind), rundir, xen))
            mounted = Mounted(store.socket, PATIENT, env=env)
        stack.enter_context(mounted)
        outside = stack.enter_context(closing(Outside(store)))
        outside.write(b"/quiet/file", b"value")
        yield Metered(kind, mounted.path, outside, steps)


class Reader:
    """The other process, while a `with` block runs; then what it waited, in seconds, sorted."""

    def __init__(self, file: Path) -> None:
        self.waits_s: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", _READER, file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Reader:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "reading\n"
        return self

    def __exit__(self, *exc: object) -> None:
        waits, _ = self._process.communicate(timeout=60)
        self.waits_s = sorted(map(float, waits.split()))
        assert not self._process.returncode

    def told(self) -> str:
        """The median, the 99th percentile and the longest wait."""
        waits = self.waits_s
        chosen = waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1]
        return "median {:.1f}, 99 % {:.1f}, longest {:.1f} ms".format(*(1e3 * s for s in chosen))


def wide(metered: Metered, name: str) -> str:
    """A patch of 30,000 nodes; of 5,000 for xenstored, which takes seconds for more."""
    in_each = 50 if metered.kind == "xenstored" else 300
    directory = {f"n{at}": "1" for at in range(in_each)}
    return json.dumps({name: {f"d{at}": directory for at in range(100)}})


def patch(text: str) -> Callable[[Metered], None]:
    """Write to `.json`, whatever the answer."""

    def hand_in(metered: Metered) -> None:
        with suppress(OSError):
            (metered.path / ".json").write_text(text)

    return hand_in


def long_path(metered: Metered) -> None:
    """Make the deepest path that the store takes, from outside, and look it up."""
    metered.outside.write(b"/deep" + b"/d" * 500, b"1")
    with suppress(OSError):
        os.stat(os.fsencode(metered.path) + b"/deep" + b"/d" * 500)
    with suppress(OSError):
        os.stat(os.fsencode(metered.path) + b"/deep" + b"/d" * 2000)


def removal(metered: Metered) -> None:
    """Remove what the mount knows, from outside."""
    for directory in (metered.path / "many").iterdir():
        list(directory.iterdir())
    metered.outside.rm(b"/many")


HOSTILE: dict[str, Callable[[Metered], None]] = {
    "deep": patch('{"a":' * 200_000 + "null" + "}" * 200_000),
    "wide": lambda metered: patch(wide(metered, "hostile"))(metered),
    "huge value": patch(json.dumps({"hostile": "x" * 4_000_000})),
    "long path": long_path,
    "removal": removal,
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_holds_the_loop(metered: Metered, name: str) -> None:
    file = metered.path / "quiet/file"
    if name == "removal":
        (metered.path / ".json").write_text(wide(metered, "many"))
    with Reader(file) as idle:
        time.sleep(0.5)  # how long it is looked at, no wait for anything
    since_s = time.monotonic()
    with Reader(file) as busy:
        HOSTILE[name](metered)
        # Answered after the events of all that was done.
        metered.path.joinpath(".xsfs/stats").read_bytes()
        file.read_bytes()
    longest = metered.longest(since_s)
    print(f"held: {longest}; idle: {idle.told()}; busy: {busy.told()}")
    held = {task for task, held_s in longest.items() if held_s >= HELD_S}
    assert not held, longest
