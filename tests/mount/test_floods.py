# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A hostile client floods the store: what it costs the mount, and that others are answered.

Somebody watches what is flooded; somebody else reads another part through the mount. A store
that is kept busy makes everybody wait, so a direct client's waiting is measured beside.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.inotify import Inotify
from tests.mount.floods import FLOODS
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import sh
from tests.programs import Program
from tests.soak.events import resident_kb

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon

# What the mount may hold more, at its worst: 100,000 nodes of which it must tell are known
# by name for a while.
GROWTH_KB = {"nodes": 131_072, "values": 32_768, "events": 32_768, "churn": 32_768}

# How long anybody may wait, as for every request: `timeout=`. How much longer than idle the
# median is, is printed: it swings with what else the processors have to do.
LOOK_MAX_S = 10.0

FLOOD_S = 90.0


class Reader:
    """Somebody who reads another part; and somebody who reads it without the mount."""

    def __init__(self, mount: Path, store: Outside) -> None:
        self._path = mount / "quiet/file"
        self._store = store
        self.mounted_s: list[float] = []
        self.direct_s: list[float] = []

    def look(self) -> None:
        """Stat and read, both ways."""
        start_s = time.monotonic()
        os.stat(self._path)
        assert self._path.read_bytes() == b"value\n"
        read_s = time.monotonic()
        assert self._store.read(b"/quiet/file") == b"value"
        self.mounted_s.append(read_s - start_s)
        self.direct_s.append(time.monotonic() - read_s)

    def medians_ms(self) -> tuple[float, float]:
        """Through the mount, and directly; and begin anew."""
        found = median(self.mounted_s) * 1e3, median(self.direct_s) * 1e3
        self.mounted_s, self.direct_s = [], []
        return found


@pytest.mark.timeout(FLOOD_S + 60)
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_little_memory_and_others_are_answered(
    fuse: None, daemon: Daemon, flood: str
) -> None:
    with closing(Outside(daemon)) as store:
        flood_beside(daemon, store, flood)


def flood_beside(daemon: Daemon, store: Outside, flood: str) -> None:
    """Look before and during a flood; judge."""
    store.write(b"/quiet/file", b"value")
    for number in range(10):
        store.write(b"/hostile/known/n%d" % number, b"")
    with Mounted(daemon.socket) as mounted, Inotify() as watcher:
        assert mounted.process is not None
        pid = mounted.process.pid
        sh("find . -type f -exec cat {} +", mounted.path / "hostile")
        watcher.watch(mounted.path / "hostile", "hostile")
        watcher.watch(mounted.path / "hostile/known", "known")
        reader = Reader(mounted.path, store)
        for _ in range(300):
            reader.look()
        idle_ms, idle_direct_ms = reader.medians_ms()
        before_kb = peak_kb = resident_kb(pid)
        words = [sys.executable, "-m", "tests.mount.floods", str(daemon.socket), flood]
        if daemon.kind == "oxenstored":
            words.append(str(mounted.path / "quiet/file"))
        start_s = time.monotonic()
        with Program(words, dict(os.environ)) as flooding:
            while flooding.process.poll() is None:
                assert time.monotonic() < start_s + FLOOD_S, "the flood does not end"
                reader.look()
                peak_kb = max(peak_kb, resident_kb(pid))
            took_s = time.monotonic() - start_s
            assert flooding.read_line() == b"done"
        looks, longest_s = len(reader.mounted_s), max(reader.mounted_s)
        busy_ms, busy_direct_ms = reader.medians_ms()
        store.rm(b"/hostile")
        assert mounted.forgets_everything()
        after_kb = resident_kb(pid)
    print(
        f"{daemon.kind}, {flood}: {took_s:.1f} s, {looks} looks; through the mount "
        f"{idle_ms:.2f} -> {busy_ms:.2f} ms, directly {idle_direct_ms:.2f} -> "
        f"{busy_direct_ms:.2f} ms, at most {longest_s:.2f} s; "
        f"memory {before_kb} -> {peak_kb} -> {after_kb} KB"
    )
    assert peak_kb < before_kb + GROWTH_KB[flood]
    assert longest_s < LOOK_MAX_S
