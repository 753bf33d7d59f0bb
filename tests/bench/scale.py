# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What 100,000 known nodes cost beside 1,000: memory, and time for each operation.

Over C xenstored; medians of interleaved rounds, as ratios within this run. Ends with status 1
when a bar is missed.

    python -m tests.bench.scale
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import xsfs
from tests.bench.mount import Bar, read_all, timed
from tests.mount.mounting import Mounted
from tests.xen.daemons import Daemon
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
SMALL, LARGE = 1_000, 100_000
IN_A_DIRECTORY = 200
OPERATIONS = 1_000


def fill(socket: os.PathLike[str], nodes: int) -> list[str]:
    """A store of so many leaves; OPERATIONS of their paths, evenly spread."""
    paths = [f"n/d{at // IN_A_DIRECTORY}/l{at}" for at in range(nodes)]
    with xsfs.Client(socket) as client:
        for start in range(0, nodes, IN_A_DIRECTORY):
            part = paths[start : start + IN_A_DIRECTORY]
            client.batch([requests.write(b"/" + path.encode(), b"a value") for path in part])
    return paths[:: nodes // OPERATIONS]


def resident(pid: int) -> int:
    """Resident memory in bytes (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class Scale:
    """A mount that knows so many nodes."""

    def __init__(self, mounted: Mounted, paths: list[str], nodes: int) -> None:
        self.top = mounted.path
        self.paths = [f"{self.top}/{path}" for path in paths]
        assert mounted.process is not None
        empty = resident(mounted.process.pid)
        subprocess.run(["find", str(self.top)], check=True, stdout=subprocess.DEVNULL)
        self.bytes_a_node = (resident(mounted.process.pid) - empty) / nodes
        self.times: dict[str, list[float]] = {"read": [], "write": [], "list": []}

    def round(self) -> None:
        """Each operation, OPERATIONS times."""
        self.times["read"].append(timed(lambda: read_all(self.paths)))
        self.times["write"].append(timed(self.write_all))
        self.times["list"].append(timed(self.list_some))

    def write_all(self) -> None:
        for path in self.paths:
            with open(path, "wb", buffering=0) as file:
                file.write(b"another\n")

    def list_some(self) -> None:
        for at in range(SMALL // IN_A_DIRECTORY):
            os.listdir(f"{self.top}/n/d{at}")


@contextmanager
def scale(nodes: int) -> Iterator[Scale]:
    """A daemon, and a mount of it."""
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon("xenstored", Path(folder)) as daemon,
    ):
        paths = fill(daemon.socket, nodes)
        with Mounted(daemon.socket) as mounted:
            yield Scale(mounted, paths, nodes)


def main() -> int:
    with ExitStack() as stack:
        small, large = (stack.enter_context(scale(nodes)) for nodes in (SMALL, LARGE))
        for _ in range(ROUNDS):
            small.round()
            large.round()
        bars = [Bar("resident memory, KiB a node", large.bytes_a_node / 1024, 1.2)]
        bars += [
            Bar(
                f"{name}: at {LARGE} nodes beside {SMALL}",
                median(times) / median(small.times[name]),
                1.2,
            )
            for name, times in large.times.items()
        ]
    for bar in bars:
        print(bar)
    return not all(bar.ratio <= bar.most for bar in bars)


if __name__ == "__main__":
    sys.exit(main())
