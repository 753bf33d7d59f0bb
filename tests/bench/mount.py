# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast the mount is: beside a minimal pyfuse3 file system, tmpfs, and Xen's own tools.

Over C xenstored with 500 domains. Each figure is the median of interleaved rounds, and a ratio
within this run: the machine's own speed falls out. Ends with status 1 when a bar is missed.

    python -m tests.bench.mount
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import trio

import xsfs
from tests.mount.mounting import Mounted
from tests.programs import Program
from tests.xen.daemons import Daemon
from xsfs.aio import Client as AsyncClient
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
DOMAINS = 500
LEAVES = 20
VALUES = 10_000
WRITES = 2_000
TOOL_CALLS = 500


class Bar(NamedTuple):
    """A ratio, and what it may be at most."""

    work: str
    ratio: float
    most: float

    def __str__(self) -> str:
        missed = "" if self.ratio <= self.most else "   MISSED"
        return f"{self.work:<64}{self.ratio:8.2f}   (<= {self.most:g}){missed}"


def fill(client: xsfs.Client) -> None:
    """500 domains of 33 nodes, 20 of them leaves with values."""
    for domid in range(1, DOMAINS + 1):
        home = b"/local/domain/%d" % domid
        client.batch(
            [requests.write(home + b"/" + leaf, b"%d of %d" % (at, domid)) for at, leaf in shape()]
        )


def shape() -> Iterator[tuple[int, bytes]]:
    """20 leaves in 12 directories."""
    for at in range(LEAVES):
        yield at, b"device%d/unit%d/leaf%d" % (at % 4, at % 8, at)


def timed(action: Callable[[], object]) -> float:
    start_s = perf_counter()
    action()
    return perf_counter() - start_s


def read_all(paths: list[str]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)


def stat_all(paths: list[str]) -> None:
    for path in paths:
        os.stat(path)


def write_some(path: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    for at in range(WRITES):
        os.pwrite(fd, b"%04d\n" % at, 0)
    os.close(fd)


def write_to_store(client: xsfs.Client, path: bytes) -> None:
    for _ in range(WRITES):
        client.write(path, b"1")


def find(top: Path) -> None:
    subprocess.run(["find", str(top), "-type", "f"], check=True, stdout=subprocess.DEVNULL)


def grep(top: Path) -> None:
    command = ["grep", "-r", "no such text", str(top)]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 1


@contextmanager
def floor(tree: Path, mode: str, loop: str = "stock") -> Iterator[Path]:
    """The floor, mounted; its arguments are those of floor.py."""
    with TemporaryDirectory(prefix="xsfs-") as folder:
        command = [sys.executable, "-m", "tests.bench.floor", str(tree), folder, mode, loop]
        with Program(command) as program:
            assert program.read_line(20) == b"ready"
            try:
                yield Path(folder)
            finally:
                subprocess.run(["umount", folder], check=True)
                program.process.wait(10)


class Bench:
    """Figures by name, one a round."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        with xsfs.Client(daemon.socket) as client:
            fill(client)
            values = client.read_tree(b"/")
        self.nodes = len(values)
        self.tree = folder / "tree.pickle"
        self.tree.write_bytes(pickle.dumps(values))
        leaves = [path.decode()[1:] for path, value in values.items() if value]
        self.leaves = leaves[:VALUES]
        self.tmpfs = Path("/dev/shm") / folder.name
        for leaf in self.leaves:
            path = self.tmpfs / leaf
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")

    def time(self, name: str, action: Callable[[], object]) -> None:
        self.times[name].append(timed(action))

    def paths(self, top: Path) -> list[str]:
        return [f"{top}/{leaf}" for leaf in self.leaves]

    def round(self) -> None:
        """Every figure once, each thing beside what it is compared with."""
        with ExitStack() as stack:
            direct = stack.enter_context(floor(self.tree, "direct"))
            keep = stack.enter_context(floor(self.tree, "keep"))
            ours = stack.enter_context(floor(self.tree, "direct", "ours"))
            self.time("find, floor, cold", lambda: find(direct))
            strict = self.start(stack, "cache=strict")
            self.time("find, strict, cold", lambda: find(strict))
            self.time("find, floor, warm", lambda: find(direct))
            find(ours)
            self.time("find, floor on our loop, warm", lambda: find(ours))
            self.time("find, strict, warm", lambda: find(strict))
            self.time("read, floor, direct", lambda: read_all(self.paths(direct)))
            self.time("read, floor on our loop, direct", lambda: read_all(self.paths(ours)))
            self.time("read, strict", lambda: read_all(self.paths(strict)))
            watch = self.start(stack, "cache=watch")
            for top in (keep, watch):
                read_all(self.paths(top))
            find(watch)
            self.time("find, watch, warm", lambda: find(watch))
            self.time("read, floor, keep", lambda: read_all(self.paths(keep)))
            self.time("read, watch", lambda: read_all(self.paths(watch)))
            for top in (self.tmpfs, strict, watch):
                stat_all(self.paths(top))
            self.time("stat, tmpfs", lambda: stat_all(self.paths(self.tmpfs)))
            self.time("stat, strict", lambda: stat_all(self.paths(strict)))
            self.time("stat, watch", lambda: stat_all(self.paths(watch)))
            self.time("write, floor", lambda: write_some(self.paths(direct)[0]))
            self.time("write, strict", lambda: write_some(self.paths(strict)[0]))
            with xsfs.Client(self.daemon.socket) as client:
                path = b"/" + os.fsencode(self.leaves[0])
                self.time("write, store", lambda: write_to_store(client, path))
            self.time("read, store, by trio", lambda: trio.run(self.read_from_store, path))
        with ExitStack() as stack:
            cold = self.start(stack, "cache=strict")
            self.time("grep, strict, cold", lambda: grep(cold))
        self.time("tools", self.call_tools)

    async def read_from_store(self, path: bytes) -> None:
        """One round trip after the other, as a request of the mount's has one."""
        async with AsyncClient(str(self.daemon.socket)) as client:
            for _ in range(len(self.leaves)):
                await client.read(path)

    def call_tools(self) -> None:
        """xenstore-list and xenstore-read, TOOL_CALLS nodes of them."""
        script = "for p; do xenstore-list $p; xenstore-read $p; done >/dev/null"
        paths = [f"/{leaf}" for leaf in self.leaves[:TOOL_CALLS]]
        tools = Path(os.fsdecode(self.daemon.tool_command("xenstore-read")[0])).parent
        env = self.daemon.tool_env() | {"PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", script, "sh", *paths], env=env, check=True)

    def start(self, stack: ExitStack, options: str) -> Path:
        mounted = Mounted(self.daemon.socket, options)
        self.time("start", lambda: os.stat(mounted.start().path))
        stack.callback(mounted.close)
        return mounted.path

    def bars(self) -> list[Bar]:
        took = {name: median(times) for name, times in self.times.items()}
        for name, seconds in sorted(took.items()):
            print(f"{name:<32}{seconds * 1000:12.1f} ms")

        def ratio(ours: str, other: str) -> float:
            return took[ours] / took[other]

        tools = took["tools"] / TOOL_CALLS * self.nodes
        write = took["write, floor"] * 1.5 + took["write, store"]
        values = f"open+read+close of {VALUES} values"
        return [
            Bar(
                f"{values}, watch, beside the floor",
                ratio("read, watch", "read, floor, keep"),
                1.15,
            ),
            Bar(
                f"{values}, strict, beside the floor",
                ratio("read, strict", "read, floor, direct"),
                1.4,
            ),
            Bar(
                f"stat of {VALUES} nodes, strict, beside tmpfs",
                ratio("stat, strict", "stat, tmpfs"),
                1.3,
            ),
            Bar(
                f"stat of {VALUES} nodes, watch, beside tmpfs",
                ratio("stat, watch", "stat, tmpfs"),
                1.3,
            ),
            Bar(
                "find -type f, cold, beside the floor",
                ratio("find, strict, cold", "find, floor, cold"),
                2.0,
            ),
            Bar(
                "find -type f, warm, strict, beside the floor",
                ratio("find, strict, warm", "find, floor, warm"),
                1.3,
            ),
            Bar(
                "find -type f, warm, watch, beside the floor",
                ratio("find, watch, warm", "find, floor, warm"),
                1.0,
            ),
            Bar(
                "grep -r, cold, beside xenstore-list and -read",
                took["grep, strict, cold"] / tools,
                0.35,
            ),
            Bar(
                "write(2) beside 1.5 floor + a store round trip", took["write, strict"] / write, 1.0
            ),
            Bar("from exec to an answering mount, in seconds", took["start"], 0.6),
        ]


def main() -> int:
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon("xenstored", Path(folder)) as daemon,
    ):
        bench = Bench(daemon, Path(folder))
        try:
            print(f"{bench.nodes} nodes, {len(bench.leaves)} values, {ROUNDS} rounds")
            for _ in range(ROUNDS):
                bench.round()
        finally:
            subprocess.run(["rm", "-r", str(bench.tmpfs)], check=True)
        bars = bench.bars()
    for bar in bars:
        print(bar)
    return not all(bar.ratio <= bar.most for bar in bars)


if __name__ == "__main__":
    sys.exit(main())
