# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A long run that goes on in pieces: each command adds one to what the part's state file holds.

A piece's random choices follow from its part and number, so one that went wrong can be repeated
by removing the later ones: `pieces` in the file. Single-threaded.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.outcome import until
from tests.surroundings import make_usual
from tests.xen.daemons import KINDS, Daemon
from tests.xen.packages import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable

STATES = BUILD.parent / "soak"

# How many lines of what is wrong are kept and shown.
WRONG_MAX = 50


@dataclass
class Result:
    """What a piece found: counts add up, of peaks the highest is kept."""

    counts: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Run:
    """All pieces of a part so far."""

    name: str
    pieces: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, name: str) -> Run:
        """As the state file has it; a new one if there is none."""
        path = STATES / f"{name}.json"
        return cls(name, **json.loads(path.read_text())) if path.exists() else cls(name)

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        STATES.mkdir(parents=True, exist_ok=True)
        state = asdict(self)
        del state["name"]
        new = STATES / f"{self.name}.new"
        new.write_text(json.dumps(state, indent=1))
        new.rename(STATES / f"{self.name}.json")

    @property
    def seed(self) -> int:
        """Of the next piece."""
        return zlib.crc32(f"{self.name} {self.pieces}".encode())

    def add(self, result: Result, seconds: float) -> None:
        """One more piece."""
        self.pieces += 1
        self.seconds += seconds
        for name, count in result.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for name, peak in result.peaks.items():
            self.peaks[name] = max(self.peaks.get(name, peak), peak)
        self.wrong = (self.wrong + result.wrong)[:WRONG_MAX]

    def row(self) -> str:
        """A line of the table in docs/proof.md."""
        figures = [f"{count:,} {name}" for name, count in self.counts.items()]
        figures += [
            f"{name} {peak:,.0f}" if peak >= 100 else f"{name} {peak:.3g}"
            for name, peak in self.peaks.items()
        ]
        wrong = f"**{len(self.wrong)} wrong**" if self.wrong else "none"
        minutes = f"{self.seconds / 60:.1f} min in {self.pieces}"
        return f"| {self.name} | {minutes} | {', '.join(figures)} | {wrong} |"


def go_on(part: str, work: Callable[[Daemon, Run], Result], *variant: str) -> int:
    """Run one more piece of a part on a daemon of its own; the exit status.

    Args:
        part: the part's name, the module's.
        variant: which of the part's kinds of run; the daemon's kind first.
    """
    make_usual()
    kind = variant[0]
    if kind not in KINDS:
        print(f"{part}: which daemon? {' or '.join(KINDS)}, not {kind!r}", file=sys.stderr)
        return 2

    def with_daemon(run: Run) -> Result:
        with TemporaryDirectory(prefix="xsfs-") as folder, Daemon(kind, Path(folder)) as daemon:
            return work(daemon, run)

    return add_piece("-".join((part, *variant)), with_daemon)


def add_piece(name: str, work: Callable[[Run], Result]) -> int:
    """Run one more piece, and print what there is so far; the exit status."""
    run = Run.load(name)
    started_s = time.monotonic()
    try:
        result = work(run)
    except Exception:
        # Where no error is expected at all.
        result = Result(wrong=[traceback.format_exc()])
    run.add(result, time.monotonic() - started_s)
    run.save()
    print(*result.wrong[:WRONG_MAX], run.row(), sep="\n")
    return bool(result.wrong)


def resident_kb(pid: int) -> int:
    """Memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def descriptors_kept(pid: int, before: int) -> int:
    """How many files a process has open at the end; one that it just reads does not count."""
    with suppress(TimeoutError):
        until(lambda: descriptors(pid) <= before, 5)
    return descriptors(pid)
