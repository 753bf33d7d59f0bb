# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast the clients are beside a bare loop on a socket, Xen's library and tools, and pyxs.

All against one C xenstored on its socket; each figure the median of interleaved rounds, as a
ratio within this run: the machine's own speed falls out. Ends with status 1 when a ratio
misses its bar.

    python -m tests.bench.client
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import pyxs
import trio

import xsfs
from tests.xen.daemons import Daemon
from xsfs.aio import client as aio
from xsfs.protocol import requests
from xsfs.protocol.packet import Op, pack

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
READS = 2000
BATCH = 1000

NODE = b"/local/domain/1/device/vif/state"

# The shape of a domain: 20 leaves, in 12 directories below its own.
DOMAINS = 500
BACKENDS = (b"vbd/51712", b"vif/0", b"vkbd/0", b"console/0", b"vfb/0")
LEAVES = (b"state", b"backend", b"backend-id", b"protocol")


class Bar(NamedTuple):
    """A ratio that shall be reached: above or, where `most`, below the limit."""

    text: str
    ratio: float
    limit: float
    most: bool = False

    @property
    def holds(self) -> bool:
        return self.ratio <= self.limit if self.most else self.ratio >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.most else ">="
        verdict = "" if self.holds else "   MISSED"
        return f"{self.text:<58}{self.ratio:7.3f}   ({sign} {self.limit:g}){verdict}"


def main() -> int:
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon("xenstored", Path(folder)) as daemon,
        xsfs.Client(daemon.socket) as client,
        pyxs.Client(unix_socket_path=str(daemon.socket)) as peer,
    ):
        fill(client)
        readloop = compile_readloop(daemon, Path(folder))
        bars = measure(daemon, readloop, client, peer)
    for bar in bars:
        print(bar)
    return not all(bar.holds for bar in bars)


def fill(client: xsfs.Client) -> None:
    """A store of DOMAINS domains, 33 nodes each."""
    for domid in range(1, DOMAINS + 1):
        home = b"/local/domain/%d" % domid
        client.batch(
            [
                requests.write(home + b"/device/" + backend + b"/" + leaf, b"%d" % domid)
                for backend in BACKENDS
                for leaf in LEAVES
            ]
            + [requests.mkdir(home + b"/control")]
        )
    client[NODE] = b"4"


def compile_readloop(daemon: Daemon, folder: Path) -> list[str]:
    """The C program's command line."""
    program = str(folder / "readloop")
    root, libraries = daemon.xen.root, daemon.xen.libraries
    source = str(Path(__file__).with_name("readloop.c"))
    command = ["cc", "-O2", "-Wall", f"-I{root}/usr/include", "-o", program, source]
    command += [f"-L{libraries}", f"-Wl,-rpath-link={libraries}", "-lxenstore"]
    subprocess.run(command, check=True)
    return [program, NODE.decode(), str(READS)]


def measure(
    daemon: Daemon, readloop: list[str], client: xsfs.Client, peer: pyxs.Client
) -> list[Bar]:
    env = daemon.tool_env()
    nodes = len(client.read_tree(b"/"))

    def c_loop() -> float:
        run = subprocess.run(readloop, env=env, check=True, capture_output=True)
        return float(run.stdout) / READS

    def list_all() -> object:
        return subprocess.run(
            daemon.tool_command("xenstore-ls", "-f"), env=env, check=True, stdout=subprocess.DEVNULL
        )

    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        rounds.append(
            {
                "c": c_loop(),
                "bare": bare_reads(str(daemon.socket)),
                "sync": timed(lambda: [client.read(NODE) for _ in range(READS)]) / READS,
                "pyxs": timed(lambda: [peer.read(NODE) for _ in range(READS)]) / READS,
                "batch": trio.run(batch_reads, str(daemon.socket)),
                "ls": timed(list_all),
                "tree": timed(lambda: client.read_tree(b"/")),
            }
        )
    took = {name: median(times[name] for times in rounds) for name in rounds[0]}
    for name, seconds in took.items():
        print(f"{name:<8}{seconds * 1e6:14.1f} us")
    return [
        Bar("Client.read: speed beside a bare Python loop", took["bare"] / took["sync"], 0.9),
        Bar("Client.read: speed beside a C loop of xs_read", took["c"] / took["sync"], 0.8),
        Bar("Client.read: speed beside pyxs", took["pyxs"] / took["sync"], 2.5),
        Bar("trio batch of reads: speed beside the C loop", took["c"] / took["batch"], 3.5),
        Bar(
            f"read_tree of {nodes} nodes: time beside xenstore-ls -f",
            took["tree"] / took["ls"],
            0.3,
            most=True,
        ),
    ]


def bare_reads(path: str) -> float:
    """Seconds for one read by the fewest lines of Python: a request, its reply, no checks."""
    with socket.socket(socket.AF_UNIX) as store:
        store.connect(path)
        request = pack(Op.READ, 1, 0, NODE + b"\0")
        answer = len(pack(Op.READ, 1, 0, b"4"))
        start = perf_counter()
        for _ in range(READS):
            store.send(request)
            # xenstored sends header and value by themselves.
            left = answer
            while left:
                left -= len(store.recv(left))
        return (perf_counter() - start) / READS


def timed(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


async def batch_reads(path: str) -> float:
    """Seconds for one read out of a batch."""
    client = aio.Client(path)
    batch = [requests.read(NODE)] * BATCH
    async with client:
        start = perf_counter()
        for _ in range(READS // BATCH):
            await client.batch(batch)
        took = perf_counter() - start
    return took / READS


if __name__ == "__main__":
    sys.exit(main())
