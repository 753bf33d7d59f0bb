# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast inotify tells of changes made by others, over both daemons.

Delay beside what `xenstore-watch` takes to print the same event, in interleaved rounds; how
many changes a second are told with none lost; and what an event costs that concerns nobody.
Ends with status 1 when a bar is missed.

    python -m tests.bench.events
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

import xsfs
from tests.bench.mount import Bar, floor
from tests.inotify import CREATE, MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.xen.daemons import KINDS, Daemon
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs import Program

ROUNDS = 300
NODES = 3000
DIRECTORIES = 30
QUIET_EVENTS = 20_000

# How many times the delay of xenstore-watch inotify's may be.
MOST = {"xenstored": 4, "oxenstored": 2.5}

# What xenstore-watch watches; below a node that is not there.
WATCHED = b"/elsewhere/below/there"

# What oxenstored can have on its way to one watcher.
BATCH = 500


def delays(watch: Program, top: Path, client: xsfs.Client) -> Iterator[tuple[float, float]]:
    """Seconds from a write: to xenstore-watch's line, to inotify's MODIFY.

    From its start, not from the writer's reply: before that has come through, xenstore-watch
    has often printed its line.
    """
    with Inotify() as inotify:
        # That the directory is new is told first: then it is the kernel's for who looks it up.
        inotify.watch(top, "top", CREATE)
        client.write(b"/heard/here", b"")
        inotify.until(Heard("top", "CREATE,ISDIR", "heard").__eq__)
        inotify.watch(top / "heard" / "here", "here", MODIFY)
        client.write(WATCHED, b"")
        watch.await_line(WATCHED)
        for at in range(ROUNDS):
            value = b"%d" % at
            start_s = perf_counter()
            client.write(WATCHED, value)
            watch.read_line()
            watch_s = perf_counter() - start_s
            start_s = perf_counter()
            client.write(b"/heard/here", value)
            inotify.until(Heard("here", "MODIFY").__eq__)
            yield watch_s, perf_counter() - start_s


def injection_s(folder: Path) -> float:
    """Seconds of what the least of all file systems takes for what raises an event."""
    tree = folder / "tree.pickle"
    tree.write_bytes(pickle.dumps({b"/": b"", b"/file": b"1"}))
    times = []
    with floor(tree, "direct") as top:
        for _ in range(ROUNDS):
            start_s = perf_counter()
            fd = os.open(top / "file", os.O_WRONLY)
            os.pwrite(fd, b"1", 0)
            times.append(perf_counter() - start_s)
            os.close(fd)
    return median(times)


def rate(top: Path, client: xsfs.Client) -> float:
    """Distinct changes told in a second; fails when one is not."""
    nodes = [(f"d{at % DIRECTORIES}", f"n{at}") for at in range(NODES)]
    with Inotify() as inotify:
        for at in range(0, NODES, BATCH):
            client.batch([requests.write(path(node), b"") for node in nodes[at : at + BATCH]])
        for at in range(DIRECTORIES):
            inotify.watch(top / "rate" / f"d{at}", f"d{at}", MODIFY)
        start_s = perf_counter()
        for at in range(0, NODES, BATCH):
            batch = nodes[at : at + BATCH]
            client.batch([requests.write(path(node), b"1") for node in batch])
            missing = {Heard(directory, "MODIFY", name) for directory, name in batch}
            while missing:
                missing.discard(inotify.take())
        return NODES / (perf_counter() - start_s)


def path(node: tuple[str, str]) -> bytes:
    return f"/rate/{node[0]}/{node[1]}".encode()


def cpu_s(pid: int) -> float:
    """CPU time of a process, in seconds."""
    return (
        sum(
            int((task / "schedstat").read_text().split()[0])
            for task in Path(f"/proc/{pid}/task").iterdir()
        )
        / 1e9
    )


def cost(mounted: Mounted, client: xsfs.Client) -> float:
    """CPU time in microseconds for an event on a node that the kernel does not know."""
    assert mounted.process is not None
    batch = [requests.write(b"/quiet/d%d/n%d" % (at % 9, at), b"1") for at in range(BATCH)]
    client.batch(batch)
    events, before_s = mounted.stats()["events"], cpu_s(mounted.process.pid)
    for _ in range(QUIET_EVENTS // BATCH):
        client.batch(batch)
        # Until it has taken those.
        (mounted.path / "quiet").exists()
    after_s = cpu_s(mounted.process.pid)
    return (after_s - before_s) * 1e6 / (mounted.stats()["events"] - events)


def main() -> int:
    bars = []
    for kind in KINDS:
        with (
            TemporaryDirectory(prefix="xsfs-") as folder,
            Daemon(kind, Path(folder)) as daemon,
            Mounted(daemon.socket) as mounted,
            xsfs.Client(unix_socket_path=str(daemon.socket)) as client,
            # To the end: oxenstored can overlook a request that comes while a connection closes.
            daemon.start_tool("xenstore-watch", WATCHED) as watch,
        ):
            watch.await_line(WATCHED)
            both = list(delays(watch, mounted.path, client))
            watch_s, heard_s = (median(times) for times in zip(*both, strict=True))
            least_s = injection_s(Path(folder))
            told = rate(mounted.path, client)
            spent_us = cost(mounted, client)
        print(
            f"{kind}: xenstore-watch {watch_s * 1e6:.0f} us, inotify {heard_s * 1e6:.0f} us, "
            f"open and pwrite on the floor {least_s * 1e6:.0f} us; "
            f"{told:.0f} changes/s; {spent_us:.1f} us CPU for an event that concerns nobody"
        )
        bars += [
            Bar(
                f"{kind}: delay of inotify / delay of xenstore-watch", heard_s / watch_s, MOST[kind]
            ),
            Bar(f"{kind}: 1,000 changes/s / changes told in a second", 1000 / told, 1),
            Bar(f"{kind}: CPU time of an event / 50 us", spent_us / 50, 1),
        ]
    print(*bars, sep="\n")
    return int(any(bar.ratio > bar.most for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
