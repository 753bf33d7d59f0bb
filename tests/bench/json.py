# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How fast `.json` is: the whole store by `cat`, beside `xenstore-ls -f`; patches, large and small.

Over C xenstored with 500 domains. Each figure is the median of interleaved rounds; what is held
to a bar is a ratio within this run. Ends with status 1 when the bar is missed.

    python -m tests.bench.json
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import xsfs
from tests.bench.mount import Bar, fill, timed
from tests.mount.mounting import Mounted
from tests.xen.daemons import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
LARGE_PATCH = 2000
LARGE = b'{"large": {%s}}' % b", ".join(b'"n%d": "1"' % n for n in range(LARGE_PATCH))


def cat(path: Path) -> None:
    subprocess.run(["cat", str(path)], stdout=subprocess.DEVNULL, check=True)


def patch(path: Path, text: bytes) -> None:
    subprocess.run(["tee", str(path)], input=text, stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    took: defaultdict[str, list[float]] = defaultdict(list)

    def time(name: str, action: Callable[[], object]) -> None:
        took[name].append(timed(action))

    with TemporaryDirectory(prefix="xsfs-") as folder, Daemon("xenstored", Path(folder)) as daemon:
        with xsfs.Client(daemon.socket) as client:
            fill(client)
        with Mounted(daemon.socket) as mounted:
            domain = mounted.path / "local/domain/7"
            for _ in range(ROUNDS):
                time("xenstore-ls -f", lambda: daemon.tool("xenstore-ls", "-f", "/"))
                time("cat .json", lambda: cat(mounted.path / ".json"))
                time("cat a domain's .json", lambda: cat(domain / ".json"))
                time("patch of a node", lambda: patch(domain / ".json", b'{"state": "4"}'))
            unsteady = mounted.stats().get("unsteady_snapshots", 0)
            time(f"patch of {LARGE_PATCH} nodes", lambda: patch(mounted.path / ".json", LARGE))
    for name, times in took.items():
        print(f"{name:<24}{median(times) * 1000:12.1f} ms")
    ratio = median(took["cat .json"]) / median(took["xenstore-ls -f"])
    bar = Bar("cat of the whole store's .json beside xenstore-ls -f", ratio, 0.3)
    print(bar)
    return bar.ratio > bar.most or unsteady > 0


if __name__ == "__main__":
    sys.exit(main())
