# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Somebody who uses the mount while a hostile client floods the store, and what it costs him."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from tests.inotify import Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import sh
from tests.programs import Program
from tests.soak.run import resident_kb

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon


class Seen(NamedTuple):
    """What a flood cost: seconds for each look at a file beside it; resident memory in KB."""

    idle_s: list[float]
    busy_s: list[float]
    before_kb: int
    peak_kb: int
    after_kb: int


def look(path: Path) -> float:
    """How long it takes to stat and read a file, in seconds."""
    start_s = time.monotonic()
    os.stat(path)
    assert path.read_bytes() == b"value\n"
    return time.monotonic() - start_s


# How long a request may wait, in seconds. Events that come while the mount waits for a processor
# wait in xenstored, answers behind them, until the flood ends: on a starved machine 6,400 were
# seen, and a wait of 35 s. A bare client that pauses seven times for 0.1 s has 2,400 before it.
TIMEOUT_S = 60

# How long a look may take: its stat, open and read follow one another.
LOOK_MAX_S = 3 * TIMEOUT_S


def flood_beside(daemon: Daemon, flood: str, deadline_s: float) -> Seen:
    """Look at a file before and during a flood that somebody watches."""
    with (
        closing(Outside(daemon)) as store,
        Mounted(daemon.socket, f"timeout={TIMEOUT_S}") as mounted,
        Inotify() as watcher,
    ):
        assert mounted.process is not None
        pid = mounted.process.pid
        store.write(b"/quiet/file", b"value")
        for number in range(10):
            store.write(b"/hostile/known/n%d" % number, b"")
        sh("find . -type f -exec cat {} +", mounted.path / "hostile")
        watcher.watch(mounted.path / "hostile", "hostile")
        watcher.watch(mounted.path / "hostile/known", "known")
        file = mounted.path / "quiet/file"
        idle_s, busy_s = [look(file) for _ in range(300)], []
        before_kb = peak_kb = resident_kb(pid)
        words = [sys.executable, "-m", "tests.mount.floods", str(daemon.socket), flood]
        if daemon.kind == "oxenstored":
            words.append(str(file))
        start_s = time.monotonic()
        with Program(words, dict(os.environ)) as flooding:
            while flooding.process.poll() is None:
                assert time.monotonic() < start_s + deadline_s, "the flood does not end"
                busy_s.append(look(file))
                peak_kb = max(peak_kb, resident_kb(pid))
            assert flooding.read_line() == b"done"
        store.rm(b"/hostile")
        assert mounted.leaks_no_inode()
        return Seen(idle_s, busy_s, before_kb, peak_kb, resident_kb(pid))
