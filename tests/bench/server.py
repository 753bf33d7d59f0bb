# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast the embedded store is beside the real daemons: `python -m tests.bench.server`.

All are measured in one run, in turns, by the same client, since a machine that others use as
well is not now as fast as it was before. Stores have one CPU and the client another: whether a
scheduler puts the two on one makes more of a difference than the store does. The status is 1 if
a bar is missed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tests.xen.daemons import KINDS, Daemon
from tests.xen.wire import HEADER, Op, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

PATH = b"/bench/node\0"
VALUE = b"value"
# Short rounds and many, of which the quickest tenth counts: what others do to the machine only
# ever adds to a time.
PIPELINED, DEPTH, PIPELINED_ROUNDS = 2560, 128, 50
SYNCHRONOUS, SYNCHRONOUS_ROUNDS = 60, 600
STARTS, START_ROUNDS = 200, 20

# Nodes in the store while transactions are started.
FEW, MANY = 100, 100_000

# What the embedded store has to reach, as a share of the real daemon's figure.
SHARES = {
    ("pipelined", "xenstored"): 0.5,
    ("pipelined", "oxenstored"): 0.5,
    ("synchronous", "xenstored"): 0.85,
    ("synchronous", "oxenstored"): 0.6,
}

# How much longer a start may seem to take on MANY nodes, for the caches' sake.
TOLERANCE = 1.25


def pipelined(wire: Wire) -> float:
    """Reads per second, DEPTH to a send."""
    wire.ask(Op.WRITE, PATH + VALUE)
    batch = (HEADER.pack(Op.READ, 1, 0, len(PATH)) + PATH) * DEPTH
    rounds, expected = PIPELINED // DEPTH, DEPTH * (HEADER.size + len(VALUE))
    start_s = time.perf_counter()
    for _ in range(rounds):
        wire.stream.sendall(batch)
        left = expected
        while left:
            left -= len(wire.stream.recv(left))
    return rounds * DEPTH / (time.perf_counter() - start_s)


def synchronous(wire: Wire) -> float:
    """Reads per second, each sent after the reply to the one before."""
    wire.ask(Op.WRITE, PATH + VALUE)
    start_s = time.perf_counter()
    for _ in range(SYNCHRONOUS):
        wire.ask(Op.READ, PATH)
    return SYNCHRONOUS / (time.perf_counter() - start_s)


def starts(server: Server) -> float:
    """The store's CPU time in s for the start of a transaction; that to drop it does not count."""
    start_s = server.cpu_s()
    numbers = [int(server.wire.ask(Op.TRANSACTION_START, b"\0")[:-1]) for _ in range(STARTS)]
    elapsed_s = server.cpu_s() - start_s
    for number in numbers:
        server.wire.ask(Op.TRANSACTION_END, b"F\0", number)
    return elapsed_s / STARTS


def fill(wire: Wire, nodes: int) -> None:
    """Make nodes, a hundred to a parent, and a hundred at a time."""
    for parent in range(nodes // 100):
        for number in range(100):
            wire.send(Op.WRITE, b"/many/%d/%d\0x" % (parent, number))
        for _ in range(100):
            wire.receive()


class Server(NamedTuple):
    """An embedded store in a process of its own, and a connection to it."""

    pid: int
    wire: Wire

    def cpu_s(self) -> float:
        """The CPU time that the process has had (clock_getcpuclockid(3) makes the number)."""
        return time.clock_gettime((~self.pid << 3) | 2)


@contextlib.contextmanager
def embedded(*options: str) -> Iterator[Server]:
    """An embedded store."""
    with TemporaryDirectory(prefix="xsfs-") as folder:
        path = str(Path(folder) / "socket")
        command = [sys.executable, "-m", "xsfs.server", "--socket", path, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                with connect(path) as wire:
                    yield Server(process.pid, wire)
            finally:
                process.terminate()


@contextlib.contextmanager
def connect(path: str) -> Iterator[Wire]:
    """A connection to a store."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(path)
        yield Wire(stream)


def measure(
    stores: dict[str, T], figure: Callable[[T], float], rounds: int
) -> dict[str, list[float]]:
    """A figure for each store, in turns, sorted."""
    turns = [{name: figure(store) for name, store in stores.items()} for _ in range(rounds)]
    return {name: sorted(turn[name] for turn in turns) for name in stores}


@contextlib.contextmanager
def on_a_cpu(number: int) -> Iterator[None]:
    """Keep this process, and those it starts, to one of the CPUs that it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compare_reads() -> bool:
    """Reads against the real daemons."""
    passed = True
    with contextlib.ExitStack() as stack:
        with on_a_cpu(1):
            wires = {"embedded": stack.enter_context(embedded()).wire}
            for kind in KINDS:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="xsfs-")))
                daemon = stack.enter_context(Daemon(kind, folder))
                wires[kind] = stack.enter_context(connect(str(daemon.socket)))
        stack.enter_context(on_a_cpu(0))
        for figure, rounds in ((pipelined, PIPELINED_ROUNDS), (synchronous, SYNCHRONOUS_ROUNDS)):
            figures = measure(wires, figure, rounds)
            best = {name: values[-rounds // 10] for name, values in figures.items()}
            for kind in KINDS:
                bar = SHARES[figure.__name__, kind]
                share = best["embedded"] / best[kind]
                passed = (
                    report(
                        f"{figure.__name__} reads/s: {best['embedded']:.0f},"
                        f" {kind} {best[kind]:.0f}: {share:.2f} x, bar {bar} x",
                        share >= bar,
                    )
                    and passed
                )
    return passed


def compare_starts(*options: str) -> bool:
    """Starts of transactions on many nodes against few.

    All on one CPU: to wake a client on another is counted as the store's time, and three times
    as much as the start.
    """
    with on_a_cpu(0), embedded(*options) as few, embedded(*options) as many:
        fill(few.wire, FEW)
        fill(many.wire, MANY)
        figures = measure({"few": few, "many": many}, starts, START_ROUNDS)
    best = {name: values[0] for name, values in figures.items()}
    ratio = best["many"] / best["few"]
    return report(
        f"start of a transaction{' '.join(['', *options])}: {1e6 * best['many']:.0f} us on"
        f" {MANY} nodes, {1e6 * best['few']:.0f} us on {FEW}: {ratio:.2f} x,"
        f" bar {TOLERANCE} x",
        ratio <= TOLERANCE,
    )


def report(line: str, passed: bool) -> bool:
    """Print a figure and whether it reaches its bar."""
    print(f"{'ok    ' if passed else 'MISSED'} {line}", flush=True)
    return passed


def main() -> int:
    """Measure, print, judge."""
    results = [compare_reads(), compare_starts(), compare_starts("--like", "oxenstored")]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
