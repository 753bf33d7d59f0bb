# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Many processes do everything there is to do through one mount: is anything wrong, lost, or kept?

Each has a directory of its own, with a model beside it, and all share one where they conflict.

    python -m tests.soak.load KIND SECONDS
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.soak.run import Result, descriptors, descriptors_kept, go_on, resident_kb
from tests.soak.shared import Shared
from tests.soak.subtree import Subtree

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from tests.soak.run import Run
    from tests.xen.daemons import Daemon

# One operation in so many is in the shared part.
SHARED = 8

# Resident memory at the end may be so much more than after a quarter of the time: the kernel's
# knowledge of names comes and goes, and Python's memory does not all go back.
GROWTH_KB = 16_384

# What a process may take to end its last operation and look at all it has.
END_S = 60.0


@dataclass
class Report:
    """What a process found."""

    values: dict[str, bytes]
    increments: int
    counts: Counter[str]
    shared: Counter[str]
    wrong: list[str]


def place(number: int) -> str:
    """The directory of one process's own, relative to the mount."""
    return f"load/own/{number}"


def live(mount: Path, number: int, seed: int, deadline_s: float, report: Connection) -> None:
    """A process's life."""
    own = Subtree(mount, place(number), seed=seed + number)
    shared = Shared(mount, number, seed)
    wrong = []
    try:
        steps = 0
        while time.monotonic() < deadline_s and not (own.wrong or shared.wrong):
            steps += 1
            own.step() if steps % SHARED else shared.step()
        own.verify()
    except Exception:
        # Where no error is expected at all.
        wrong.append(f"{place(number)}: {traceback.format_exc()}")
    values = {path: node.value for path, node in own.nodes.items()}
    wrong += own.wrong + shared.wrong
    report.send(Report(values, shared.increments, own.counts, shared.counts, wrong))
    report.close()


@dataclass
class Load:
    """The load on one mount, and what is wrong afterwards."""

    daemon: Daemon
    mounted: Mounted
    seconds: float
    processes: int = 64
    seed: int = 0

    def run(self) -> Result:
        """Let them work."""
        assert self.mounted.process is not None
        mount, pid = self.mounted.path, self.mounted.process.pid
        Shared.prepare(mount)
        for number in range(self.processes):
            os.makedirs(mount / place(number))
        before = descriptors(pid)
        reports, early_kb = self._work(pid)
        wrong = [line for report in reports for line in report.wrong]
        if not wrong:
            wrong = self._compare(reports)
        if not self.mounted.leaks_no_inode():
            wrong.append(f"inodes are kept: {self.mounted.stats()}")
        late_kb, after = resident_kb(pid), descriptors_kept(pid, before)
        if late_kb > early_kb + GROWTH_KB:
            wrong.append(f"memory grew from {early_kb} to {late_kb} KB")
        if after > before:
            wrong.append(f"there were {before} descriptors, and are {after}")
        own = sum((report.counts for report in reports), Counter[str]())
        shared = sum((report.shared for report in reports), Counter[str]())
        if wrong:
            wrong.append(self.mounted.log()[-2000:])
        counts = {"operations of one's own": own.total(), "operations in common": shared.total()}
        return Result(counts, {"memory (KB)": late_kb, "descriptors": after}, wrong)

    def _work(self, pid: int) -> tuple[list[Report], int]:
        """All processes at once; what they found, and the memory after a quarter of the time."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        start_s = time.monotonic()
        deadline_s = start_s + self.seconds
        started = []
        try:
            for number in range(self.processes):
                ours, theirs = context.Pipe(duplex=False)
                args = (self.mounted.path, number, self.seed, deadline_s, theirs)
                process = context.Process(target=live, args=args)
                process.start()
                theirs.close()
                started.append((process, ours))
            # Nobody reports before the end, but when something is wrong.
            started[0][1].poll(max(0.0, start_s + self.seconds / 4 - time.monotonic()))
            early_kb = resident_kb(pid)
            reports = []
            for number, (_, ours) in enumerate(started):
                if not ours.poll(max(0.0, deadline_s + END_S - time.monotonic())):
                    raise TimeoutError(f"process {number} does not end\n{self.mounted.log()}")
                reports.append(ours.recv())
        finally:
            for process, ours in started:
                process.kill()
                process.join()
                ours.close()
        return reports, early_kb

    def _compare(self, reports: list[Report]) -> list[str]:
        """What the processes left, against what another client of the store sees."""
        wrong = []
        with closing(Outside(self.daemon)) as store:
            for number, report in enumerate(reports):
                found = store.tree(f"/{place(number)}".encode())
                wanted = {path.encode(): value for path, value in report.values.items()}
                for path in sorted(found.keys() | wanted.keys()):
                    if found.get(path) != wanted.get(path):
                        wrong.append(
                            f"{place(number)}{path.decode()}: the store has "
                            f"{found.get(path)!r}, not {wanted.get(path)!r}"
                        )
            increments = b"%d" % sum(report.increments for report in reports)
            if (counter := store.read(b"/load/counted/counter")) != increments:
                wrong.append(f"{increments!r} increments, but the counter is {counter!r}")
            store.rm(b"/load")
        return wrong


def main() -> int:
    """One more piece."""
    kind, seconds = sys.argv[1:]

    def work(daemon: Daemon, so_far: Run) -> Result:
        with Mounted(daemon.socket) as mounted:
            return Load(daemon, mounted, float(seconds), seed=so_far.seed).run()

    return go_on("load", work, kind)


if __name__ == "__main__":
    sys.exit(main())
