# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Four writers change 2,000 nodes while inotifywait watches: is anything missed, or kept?

Each writer is a process with a connection and nodes of its own, so that it knows what became of
each node, and when.

    python -m tests.soak.events KIND CHANGES
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import xsfs
from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.programs import Program
from tests.soak.run import Result, go_on, resident_kb

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from tests.soak.run import Run
    from tests.xen.daemons import Daemon

WRITERS = 4
GROUPS = 40
NODES = 2000

# One change in so many removes its node, until the next change makes it again.
REMOVALS = 10

# What the daemon may hold more afterwards: Python's memory does not all go back.
GROWTH_KB = 16_384

# oxenstored freezes writers for good when a watcher is some 2,000 events behind: there, each
# writer waits after so many changes until inotify has told of a change that it made last.
PACE = {"xenstored": 0, "oxenstored": 150}

# By node: when its last change was sent, and the value it left (None: removed).
Last = dict[str, tuple[float, bytes | None]]


def nodes(writer: int, of: int) -> list[str]:
    """The nodes of one writer, relative to the mount."""
    return [f"soak/g{at % GROUPS}/w{writer}n{at}" for at in range(writer, of, WRITERS)]


def write(
    socket: str,
    mount: Path,
    writer: int,
    seed: int,
    count: int,
    of: int,
    pace: int,
    report: Connection,
) -> None:
    """A writer's life."""
    chance = random.Random(seed + writer)
    mine = nodes(writer, of)
    last: Last = {}
    with xsfs.Client(unix_socket_path=socket) as client, Inotify() as caught_up:
        caught_up.watch(mount / "pace" / str(writer), "pace", MODIFY)
        for at in range(count):
            if pace and not (at + 1) % pace:
                client.write(b"/pace/%d" % writer, b"%d" % at)
                caught_up.until(Heard("pace", "MODIFY").__eq__, 30.0)
            node = chance.choice(mine)
            # To remove what is not there is no change.
            there = node not in last or last[node][1] is not None
            value = None if there and not chance.randrange(REMOVALS) else b"%d" % at
            last[node] = (time.monotonic(), value)
            if value is None:
                client.delete(b"/" + node.encode())
            else:
                client.write(b"/" + node.encode(), value)
    report.send(last)


class Watched:
    """What inotifywait told: which nodes there are, and when each was last heard of."""

    def __init__(self, mount: Path) -> None:
        self._program = Program(
            ["inotifywait", "-mr", "--format", "%e %w%f", "-e", "create,delete,modify", mount]
        )
        self._mount = mount
        self.exists: set[str] = set()
        self.heard_s: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        while b"Watches established" not in self._program.read_line(30.0):
            pass

    def read_to(self, end: str) -> None:
        """Take in all up to the creation of `end`."""
        while True:
            what, _, path = self._program.read_line(60.0).decode().partition(" ")
            name = os.path.relpath(path, self._mount)
            if name == end and what == "CREATE":
                return
            self.counts[what] += 1
            self.heard_s[name] = time.monotonic()
            if what == "CREATE":
                if name in self.exists:
                    self.wrong.append(f"{name} created twice")
                self.exists.add(name)
            elif what == "DELETE":
                if name not in self.exists:
                    self.wrong.append(f"{name} deleted twice")
                self.exists.discard(name)
            elif what == "Q_OVERFLOW":
                self.wrong.append("inotify's queue ran over")

    def stop(self) -> None:
        """End inotifywait."""
        self._program.stop()


def soak(daemon: Daemon, changes: int, of: int, seed: int = 0) -> Result:
    """Let them write, and see what was heard of it."""
    with (
        Mounted(daemon.socket) as mounted,
        xsfs.Client(unix_socket_path=str(daemon.socket)) as client,
    ):
        assert mounted.process is not None
        every = [node for writer in range(WRITERS) for node in nodes(writer, of)]
        with Inotify() as told:
            # What there is at first is not to be heard as new later.
            told.watch(mounted.path, "root")
            for node in every:
                client.write(b"/" + node.encode(), b"")
            for writer in range(WRITERS):
                client.write(b"/pace/%d" % writer, b"")
            client.write(b"/end/0", b"")
            told.until(Heard("root", "CREATE,ISDIR", "end").__eq__, 60.0)
        watched = Watched(mounted.path)
        try:
            watched.exists.update(every)
            before_kb = resident_kb(mounted.process.pid)
            started_s = time.monotonic()
            with ThreadPoolExecutor(1) as reader:
                # All the time: inotify keeps no more than 16,384 events.
                reading = reader.submit(watched.read_to, "end/1")
                try:
                    last = run_writers(daemon, mounted.path, changes, of, seed)
                finally:
                    written_s = time.monotonic()
                    client.write(b"/end/1", b"")
                reading.result()
            # What was held back or lost is announced when the daemon has been quiet.
            client.write(b"/end/2", b"")
            watched.read_to("end/2")
            heard_s = time.monotonic()
            wrong = watched.wrong + check(mounted.path, watched, last, every)
        finally:
            watched.stop()
        after_kb = resident_kb(mounted.process.pid)
        if after_kb > before_kb + GROWTH_KB:
            wrong.append(f"memory grew from {before_kb} to {after_kb} KB")
        peaks = {
            "heard after (s)": heard_s - written_s,
            "changes/s": changes / (written_s - started_s),
            "memory (KB)": after_kb,
        }
        return Result({"changes": changes, **watched.counts}, peaks, wrong)


def run_writers(daemon: Daemon, mount: Path, changes: int, of: int, seed: int) -> Last:
    """All writers at once; what they left."""
    context = multiprocessing.get_context("spawn")
    last: Last = {}
    started = []
    for writer in range(WRITERS):
        ours, theirs = context.Pipe(duplex=False)
        share = changes // WRITERS
        pace = PACE[daemon.kind]
        args = (str(daemon.socket), mount, writer, seed, share, of, pace, theirs)
        process = context.Process(target=write, args=args)
        process.start()
        theirs.close()
        started.append((process, ours))
    for process, ours in started:
        try:
            last.update(ours.recv())
        finally:
            process.kill()
            process.join()
            ours.close()
    return last


def check(mount: Path, watched: Watched, last: Last, every: list[str]) -> list[str]:
    """What was announced against what is."""
    wrong = []
    for node in every:
        sent_s, value = last.get(node, (0.0, b""))
        if (value is not None) != (node in watched.exists):
            wrong.append(f"{node}: heard as {'there' if value is None else 'gone'}, and is not")
        if sent_s and watched.heard_s.get(node, 0.0) < sent_s:
            wrong.append(f"{node}: its last change was not heard of")
        path = mount / node
        shown = path.read_bytes() if path.exists() else None
        if shown != (value + b"\n" if value else value):
            wrong.append(f"{node}: shows {shown!r}, holds {value!r}")
    return wrong


def main() -> int:
    """One more piece."""
    kind, changes = sys.argv[1:]

    def work(daemon: Daemon, so_far: Run) -> Result:
        return soak(daemon, int(changes), NODES, so_far.seed)

    return go_on("events", work, kind)


if __name__ == "__main__":
    sys.exit(main())
