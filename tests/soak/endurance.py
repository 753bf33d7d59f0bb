# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount under churn from all sides: do memory, descriptors, threads and helpers stay flat?

A client changes the store, and threads of this process use the mount as programs do: walk, read,
write, watch, follow `.events`, open transactions, take and patch JSON.

    python -m tests.soak.endurance KIND SECONDS
"""

from __future__ import annotations

import os
import random
import select
import shutil
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import xsfs
from tests.inotify import Inotify
from tests.mount.mounting import Mounted
from tests.soak.run import Result, descriptors, descriptors_kept, go_on, resident_kb

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.soak.run import Run
    from tests.xen.daemons import Daemon

DIRECTORIES = 20
LEAVES = 50

# Resident memory at the end may be so much more than after a quarter of the time: the kernel's
# knowledge of names comes and goes, and Python's memory does not all go back.
GROWTH_KB = 16_384

SAMPLE_S = 5.0

# oxenstored freezes writers for good when a watcher is some 2,000 events behind: xsfs takes what
# has come after so many changes.
PACE = 100


class Churn:
    """What goes on in the mount until it is ended."""

    def __init__(self, socket: Path, mount: Path, seed: int) -> None:
        self.ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self._socket = socket
        self._mount = mount
        self._seed = seed
        self._threads = [
            threading.Thread(target=self._go, args=(what, number))
            for number, what in enumerate(
                (self.walk, self.write, self.watch, self.follow, self.transact, self.patch)
            )
        ]
        self._threads.append(threading.Thread(target=self.change))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> list[str]:
        """End it; which parts had ended before, or did not end."""
        dead = [f"{thread.name} had ended" for thread in self._threads if not thread.is_alive()]
        self.ended.set()
        for thread in self._threads:
            thread.join(60)
        return dead + [f"{each.name} does not end" for each in self._threads if each.is_alive()]

    def _go(self, what: Callable[[random.Random], None], number: int) -> None:
        chance = random.Random(self._seed + number)
        while not self.ended.is_set():
            # Names come and go, and transactions meet changes: that is what churn is.
            with suppress(OSError):
                what(chance)
                self.counts[what.__name__] += 1

    def _directory(self, chance: random.Random) -> Path:
        return self._mount / "churn" / f"d{chance.randrange(DIRECTORIES)}"

    def change(self) -> None:
        """Somebody else's changes."""
        chance = random.Random(self._seed)
        with xsfs.Client(self._socket) as client:
            while not self.ended.is_set():
                top = b"/churn/d%d" % chance.randrange(DIRECTORIES)
                path = top + b"/n%d" % chance.randrange(LEAVES)
                match chance.randrange(20):
                    case 0:
                        client.delete(top)
                    case 1 | 2 | 3:
                        client.write(path + b"/below", b"1")
                    case 4 | 5 | 6:
                        client.write(path, b"")
                        client.delete(path)
                    case _:
                        client.write(path, b"%d" % chance.randrange(1 << 30))
                self.counts["change"] += 1
                if not self.counts["change"] % PACE:
                    self._keep_pace()

    def _keep_pace(self) -> None:
        """Return when xsfs has taken all events so far; they come before the answer."""
        try:
            os.getxattr(self._mount, "user.xenstore.perms")
        except OSError:
            # The machine stood still for longer than a request may take.
            self.counts["paces missed"] += 1

    def walk(self, chance: random.Random) -> None:
        for folder, _, names in os.walk(self._directory(chance)):
            for name in names:
                with suppress(OSError), open(f"{folder}/{name}", "rb") as file:
                    file.read()

    def write(self, chance: random.Random) -> None:
        top = self._directory(chance) / "ours"
        (top / "a/b").mkdir(parents=True, exist_ok=True)
        (top / "a/v").write_text("1\n")
        (top / "a").rename(top / "c")
        shutil.rmtree(top)

    def watch(self, chance: random.Random) -> None:
        with Inotify() as inotify:
            for folder, _, _ in os.walk(self._mount / "churn"):
                inotify.watch(Path(folder), folder)
            for _ in range(chance.randrange(500)):
                inotify.take(1.0)

    def follow(self, chance: random.Random) -> None:
        with open(self._directory(chance) / ".events", "rb", buffering=0) as events:
            for _ in range(100):
                if select.select([events], [], [], 0.1)[0]:
                    events.read(4096)

    def transact(self, chance: random.Random) -> None:
        view = self._mount / ".transactions" / f"t{threading.get_native_id()}"
        view.mkdir()
        try:
            (view / "churn" / f"d{chance.randrange(DIRECTORIES)}" / "t").write_text("1\n")
            if chance.randrange(2):
                (view / ".commit").write_text("1\n")
        finally:
            # Aborted, when it was not committed.
            with suppress(FileNotFoundError):
                view.rmdir()

    def patch(self, chance: random.Random) -> None:
        file = self._directory(chance) / ".json"
        file.read_bytes()
        file.write_text('{"patched": {"a": "1"}, "gone": null}')


def sample(pid: int) -> dict[str, int]:
    """What is to stay flat."""
    return {
        "memory (KB)": resident_kb(pid),
        "descriptors": descriptors(pid),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
    }


def endure(daemon: Daemon, seconds: float, seed: int) -> Result:
    """Churn for so long; what has grown."""
    with Mounted(daemon.socket) as mounted:
        # A commit that met a change, a patch that could not be applied; a busy machine.
        mounted.expected = ("patch refused", "no answer in")
        assert mounted.process is not None
        pid = mounted.process.pid
        with xsfs.Client(daemon.socket) as client:
            client.write(b"/churn/d0/n0", b"")
        at_rest = sample(pid)
        churn = Churn(daemon.socket, mounted.path, seed)
        samples = []
        churn.start()
        started_s = time.monotonic()
        while (spent_s := time.monotonic() - started_s) < seconds:
            churn.ended.wait(min(SAMPLE_S, seconds - spent_s))
            samples.append(sample(pid))
        wrong = churn.end()
        if not mounted.forgets_everything():
            wrong.append(f"inodes are kept: {mounted.stats()}")
        kept = descriptors_kept(pid, at_rest["descriptors"])
        helpers = mounted.stats()["helpers"]
        counts = {**churn.counts, "no answers in time": mounted.log().count("no answer in")}
    if helpers != 1:
        wrong.append(f"{helpers} event helpers, one after the other")
    early = samples[len(samples) // 4]["memory (KB)"]
    late = samples[-1]["memory (KB)"]
    if late > early + GROWTH_KB:
        wrong.append(f"memory grew from {early} to {late} KB")
    if kept > at_rest["descriptors"]:
        wrong.append(f"{at_rest['descriptors']} descriptors became {kept}")
    peaks: dict[str, float] = {
        f"most {name}": max(each[name] for each in samples) for name in at_rest
    }
    peaks |= {"memory after a quarter (KB)": early, "memory at the end (KB)": late}
    return Result(counts, peaks, wrong)


def main() -> int:
    """One more piece."""
    kind, seconds = sys.argv[1:]

    def work(daemon: Daemon, so_far: Run) -> Result:
        return endure(daemon, float(seconds), so_far.seed)

    return go_on("endurance", work, kind)


if __name__ == "__main__":
    sys.exit(main())
