# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast the embedded store is beside the real daemons: `python -m tests.bench.server`.

All are measured in the same run, in turns, by the same client, because a machine that others
use as well is not as fast now as it was before. Ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from tests.xen.daemons import KINDS, Daemon
from tests.xen.wire import HEADER, Op, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
PIPELINED = 20000
DEPTH = 128
SYNCHRONOUS = 3000
STARTS = 1000
SMALL, LARGE = 100, 100_000

READ_PATH = b"/bench/node\0"


class Bar(NamedTuple):
    """What a figure has to reach, as a share of another."""

    figure: str
    share: float


BARS = (Bar("pipelined reads/s", 0.5), Bar("synchronous reads/s", 0.6))


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[str]:
    """The embedded store as a process of its own."""
    path = str(folder / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "xsfs.server", "--socket", path], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
    finally:
        process.terminate()
        process.wait()


def connect(path: str) -> Wire:
    """A client of a daemon."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(60)
    stream.connect(path)
    return Wire(stream)


def pipelined(wire: Wire) -> float:
    """Reads per second with DEPTH requests in one send."""
    request = HEADER.pack(Op.READ, 1, 0, len(READ_PATH)) + READ_PATH
    batch = request * DEPTH
    wire.ask(Op.WRITE, READ_PATH + b"value")
    expected = DEPTH * (HEADER.size + len(b"value"))
    start_s = time.perf_counter()
    for _ in range(PIPELINED // DEPTH):
        wire.stream.sendall(batch)
        left = expected
        while left:
            left -= len(wire.stream.recv(left))
    return PIPELINED // DEPTH * DEPTH / (time.perf_counter() - start_s)


def synchronous(wire: Wire) -> float:
    """Reads per second, each after the reply to the one before."""
    start_s = time.perf_counter()
    for _ in range(SYNCHRONOUS):
        wire.ask(Op.READ, READ_PATH)
    return SYNCHRONOUS / (time.perf_counter() - start_s)


def transaction_starts(wire: Wire) -> float:
    """Transactions started and dropped per second."""
    start_s = time.perf_counter()
    for _ in range(STARTS):
        number = int(wire.ask(Op.TRANSACTION_START, b"\0")[:-1])
        wire.ask(Op.TRANSACTION_END, b"F\0", number)
    return STARTS / (time.perf_counter() - start_s)


def fill(wire: Wire, nodes: int) -> None:
    """Make nodes, a hundred to a parent."""
    for first in range(0, nodes, 100):
        for number in range(first, min(first + 100, nodes)):
            path = b"/many/%d/%d\0" % (first, number)
            wire.send(Op.WRITE, path + b"x", 1)
        for _ in range(first, min(first + 100, nodes)):
            wire.receive()


FIGURES: dict[str, Callable[[Wire], float]] = {
    "pipelined reads/s": pipelined,
    "synchronous reads/s": synchronous,
}


def main() -> int:
    """Measure, print, judge."""
    with contextlib.ExitStack() as stack:
        folders = [
            Path(stack.enter_context(TemporaryDirectory(prefix="xsfs-"))) for _ in range(4)
        ]
        sockets = {"embedded": stack.enter_context(embedded(folders[0]))}
        for kind, folder in zip(KINDS, folders[1:], strict=False):
            sockets[kind] = str(stack.enter_context(Daemon(kind, folder)).socket)
        wires = {name: connect(path) for name, path in sockets.items()}
        results = {
            figure: {
                name: statistics.median(values)
                for name, values in zip(
                    wires,
                    zip(
                        *([measure(wire) for wire in wires.values()] for _ in range(ROUNDS)),
                        strict=True,
                    ),
                    strict=True,
                )
            }
            for figure, measure in FIGURES.items()
        }
        for wire in wires.values():
            wire.stream.close()
    for figure, by_name in results.items():
        print(figure, {k: round(v) for k, v in by_name.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
