# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Many directories, each with a watch of its own: is a change in each heard, at its watch alone?

python -m tests.soak.watches KIND COUNT
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.soak.run import Result, go_on, resident_kb

if TYPE_CHECKING:
    from tests.soak.run import Run
    from tests.xen.daemons import Daemon

# How many directories there are in one.
IN_ONE = 100

# How many changes are made before all of them must have been heard.
AT_ONCE = 500

QUIET_S = 60.0


def watch(daemon: Daemon, mounted: Mounted, count: int) -> Result:
    """Watch so many directories, change a file in each, hear of each."""
    assert mounted.process is not None
    places = [f"d{number // IN_ONE}/e{number % IN_ONE}" for number in range(count)]
    wrong = []
    with closing(Outside(daemon)) as store, Inotify() as inotify:
        for place in places:
            store.write(f"/{place}/f".encode(), b"0")
        started_s = time.monotonic()
        for place in places:
            inotify.watch(mounted.path / place, place, MODIFY)
        watched_s = time.monotonic()
        for start in range(0, count, AT_ONCE):
            some = places[start : start + AT_ONCE]
            for place in some:
                store.write(f"/{place}/f".encode(), b"1")
            missing = {Heard(place, "MODIFY", "f") for place in some}
            while missing:
                heard = inotify.take(QUIET_S)
                if heard not in missing:
                    wrong.append(f"not changed, or heard twice: {heard}")
                missing.discard(heard)
        changed_s = time.monotonic()
    peaks = {
        "watched in (s)": watched_s - started_s,
        "changed and heard in (s)": changed_s - watched_s,
        "memory (KB)": resident_kb(mounted.process.pid),
    }
    return Result({"watches": count}, peaks, wrong)


def main() -> int:
    """One more piece."""
    kind, count = sys.argv[1:]

    def work(daemon: Daemon, _: Run) -> Result:
        with Mounted(daemon.socket) as mounted:
            result = watch(daemon, mounted, int(count))
            if not mounted.forgets_everything():
                result.wrong.append(f"inodes are kept: {mounted.stats()}")
            return result

    return go_on("watches", work, kind)


if __name__ == "__main__":
    sys.exit(main())
