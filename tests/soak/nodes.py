# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Many nodes made by somebody else in one watched directory: is each creation heard, once?

python -m tests.soak.nodes KIND COUNT
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from tests.inotify import CREATE, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.soak.run import Result, go_on, resident_kb
from tests.xen.wire import Op

if TYPE_CHECKING:
    from tests.soak.run import Run
    from tests.xen.daemons import Daemon

# What is made before all of it must have been heard: inotify keeps 16,384 events, and oxenstored
# freezes writers for good when a watcher is some 2,000 behind.
AT_ONCE = 500

QUIET_S = 120.0

# Makes a directory of the node that is watched.
FIRST = "first"


def hear(inotify: Inotify, upto: int) -> Counter[str]:
    """What is created, up to the `upto`th."""
    heard: Counter[str] = Counter()
    while heard.total() < upto:
        event = inotify.take(QUIET_S)
        assert event.what == "CREATE", event
        # That may have been made just before it was watched for.
        heard[event.name] += event.name != FIRST
    return heard


def make(daemon: Daemon, mounted: Mounted, count: int) -> Result:
    """Make so many nodes; hear and list them."""
    assert mounted.process is not None
    with closing(Outside(daemon)) as store, Inotify() as inotify:
        store.write(b"/many/" + FIRST.encode(), b"")
        names = {f"n{number:06}" for number in range(count)}
        inotify.watch(mounted.path / "many", "many", CREATE)
        before_kb = resident_kb(mounted.process.pid)
        started_s = time.monotonic()
        heard: Counter[str] = Counter()
        with ThreadPoolExecutor(1) as pool:
            for start in range(0, count, AT_ONCE):
                numbers = range(start, min(start + AT_ONCE, count))
                hearing = pool.submit(hear, inotify, len(numbers))
                for number in numbers:
                    store.wire.send(Op.WRITE, b"/many/n%06d\0" % number)
                for _ in numbers:
                    assert store.wire.receive().op == Op.WRITE
                heard += hearing.result()
        heard_s = time.monotonic()
        listed = {path.name for path in (mounted.path / "many").iterdir()} - {FIRST}
    wrong = [f"heard {heard[name]} times: {name}" for name in names if heard[name] != 1]
    wrong += [f"never made: {name}" for name in (+heard).keys() - names]
    if listed != names:
        wrong.append(f"listed {len(listed)}, not {count}")
    peaks = {
        "nodes/s": count / (heard_s - started_s),
        "memory before (KB)": before_kb,
        "memory after (KB)": resident_kb(mounted.process.pid),
    }
    return Result({"nodes": count, "heard": heard.total()}, peaks, wrong)


def main() -> int:
    """One more piece."""
    kind, count = sys.argv[1:]

    def work(daemon: Daemon, _: Run) -> Result:
        with Mounted(daemon.socket) as mounted:
            return make(daemon, mounted, int(count))

    return go_on("nodes", work, kind)


if __name__ == "__main__":
    sys.exit(main())
