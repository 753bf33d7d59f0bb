# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A client that does to the store the worst that it may, as fast as it can; and who is beside it.

python -m tests.mount.floods SOCKET nodes|values|events|churn [FILE]

FILE, in a mount, is read now and then, which waits until the mount has heard all so far:
oxenstored freezes writers for good when a watcher is some 2,000 events behind.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.inotify import Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import sh
from tests.programs import Program
from tests.soak.events import resident_kb
from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

    Requests = Iterator[tuple[Op, bytes]]

# Requests sent before the first is answered.
AHEAD = 100
# From one reading of FILE to the next.
PACE = 500

NODES = 100_000
IN_A_DIRECTORY = 500
CHANGES = 40_000
VALUE = b"v" * 2000


def nodes() -> Requests:
    """Very many nodes."""
    for at in range(NODES):
        yield Op.WRITE, b"/hostile/d%d/n%d\0%d" % (at // IN_A_DIRECTORY, at, at)


def values() -> Requests:
    """Long values, each another, to a few nodes."""
    for at in range(CHANGES):
        yield Op.WRITE, b"/hostile/known/n%d\0%d" % (at % 10, at) + VALUE


def events() -> Requests:
    """One node changes all the time."""
    for at in range(CHANGES):
        yield Op.WRITE, b"/hostile/known/n0\0%d" % at


def churn() -> Requests:
    """Nodes come and go."""
    for at in range(CHANGES // 2):
        path = b"/hostile/known/new%d\0" % (at % 100)
        yield Op.WRITE, path
        yield Op.RM, path


FLOODS = {flood.__name__: flood for flood in (nodes, values, events, churn)}


class Seen(NamedTuple):
    """What a flood cost: seconds for each look at a file beside it; resident memory in KB."""

    idle_s: list[float]
    busy_s: list[float]
    before_kb: int
    peak_kb: int
    after_kb: int


def look(path: Path) -> float:
    """How long it takes to stat and read a file, in seconds."""
    start_s = time.monotonic()
    os.stat(path)
    assert path.read_bytes() == b"value\n"
    return time.monotonic() - start_s


def flood_beside(daemon: Daemon, flood: str, deadline_s: float) -> Seen:
    """Look at a file before and during a flood that somebody watches."""
    with closing(Outside(daemon)) as store, Mounted(daemon.socket) as mounted, Inotify() as watcher:
        assert mounted.process is not None
        pid = mounted.process.pid
        store.write(b"/quiet/file", b"value")
        for number in range(10):
            store.write(b"/hostile/known/n%d" % number, b"")
        sh("find . -type f -exec cat {} +", mounted.path / "hostile")
        watcher.watch(mounted.path / "hostile", "hostile")
        watcher.watch(mounted.path / "hostile/known", "known")
        file = mounted.path / "quiet/file"
        idle_s, busy_s = [look(file) for _ in range(300)], []
        before_kb = peak_kb = resident_kb(pid)
        words = [sys.executable, "-m", "tests.mount.floods", str(daemon.socket), flood]
        if daemon.kind == "oxenstored":
            words.append(str(file))
        start_s = time.monotonic()
        with Program(words, dict(os.environ)) as flooding:
            while flooding.process.poll() is None:
                assert time.monotonic() < start_s + deadline_s, "the flood does not end"
                busy_s.append(look(file))
                peak_kb = max(peak_kb, resident_kb(pid))
            assert flooding.read_line() == b"done"
        store.rm(b"/hostile")
        assert mounted.forgets_everything()
        return Seen(idle_s, busy_s, before_kb, peak_kb, resident_kb(pid))


def main() -> None:
    path, flood, *paced = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(path)
        wire = Wire(stream)
        waiting = 0
        for at, (op, payload) in enumerate(FLOODS[flood]()):
            if waiting == AHEAD:
                assert wire.receive().op != Op.ERROR
                waiting -= 1
            wire.send(op, payload)
            waiting += 1
            if at % PACE == 0:
                for file in paced:
                    Path(file).read_bytes()
        for _ in range(waiting):
            assert wire.receive().op != Op.ERROR
    print("done", flush=True)


if __name__ == "__main__":
    main()
