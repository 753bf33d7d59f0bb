# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Reads that wait for data, and end early when a signal interrupts their reader.

The kernel reports the signal to the file system (FUSE_INTERRUPT), but pyfuse3 hides that, and also
which thread reads; and a thread with a signal stays in an uninterruptible wait until its request
is answered. So /proc is read: which threads wait for a file system in user space (`wchan`), for
which file (`syscall` and `fdinfo`: mount and inode number, as a link's text changes), and whether
they have a signal pending (`status`). One task does so for all reads together, in a thread, and
only as often as it costs little. The read of a thread that is found is answered EINTR when it has
a signal. That of a thread which cannot be found (another user's, or in another pid namespace) is
answered EINTR every second: most programs then read again, and it can be killed.

Used from the trio thread alone; `_look` and what it calls run in a thread.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import trio

from xsfs.fs.store.reads import FSError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

log = logging.getLogger(__name__)

# How many reads may wait at once: each occupies one of the tasks that serve all requests.
WAITING_MAX = 1000

# How often /proc is read for readers that have waited that long, at most and at least, in seconds.
# In between, the next time comes after so many times the processor time that the last one took.
_LOOK_S = (0.3, 1.0)
_REST = 30

# How long a read waits whose reader cannot be found, in seconds.
_UNSEEN_S = 1.0


class _Wait(NamedTuple):
    ino: int
    since_s: float
    scope: trio.CancelScope


class Readers:
    """All waiting reads, of all files."""

    def __init__(self) -> None:
        self._waits: set[_Wait] = set()
        self._begun = trio.Event()
        self._warned = False

    async def wait(self, ino: int, arrived: trio.Event) -> None:
        """Wait for an event, on behalf of a read of the file with that inode number.

        Raises:
            FSError: EINTR when the reader has a signal to take; EAGAIN when too many wait.
        """
        if len(self._waits) >= WAITING_MAX:
            if not self._warned:
                log.warning("%d reads wait: more are refused with EAGAIN", WAITING_MAX)
            self._warned = True
            raise FSError(errno.EAGAIN)
        wait = _Wait(ino, trio.current_time(), trio.CancelScope())
        self._waits.add(wait)
        self._begun.set()
        try:
            with wait.scope:
                await arrived.wait()
                return
        finally:
            self._waits.discard(wait)
        raise FSError(errno.EINTR)

    async def run(self, device: int) -> None:
        """The task: interrupt reads whose reader has a signal.

        Args:
            device: the mount's device number.
        """
        threads: dict[int, set[int]] = {}
        while True:
            await self._begun.wait()
            self._begun = trio.Event()
            delay_s, longest_s = _LOOK_S
            while self._waits:
                await trio.sleep(delay_s)
                now_s = trio.current_time()
                waits = [wait for wait in self._waits if wait.since_s <= now_s - _LOOK_S[0]]
                if waits:
                    counts = Counter(wait.ino for wait in waits)
                    threads, interrupted, used_s = await trio.to_thread.run_sync(
                        _look, counts, threads, device
                    )
                    seen = set().union(*threads.values())
                    for wait in waits:
                        unseen = wait.ino not in seen and wait.since_s <= now_s - _UNSEEN_S
                        if unseen or wait.ino in interrupted:
                            wait.scope.cancel()
                    delay_s = min(max(_LOOK_S[0], _REST * used_s), longest_s)


def _look(
    counts: Mapping[int, int], known: Mapping[int, set[int]], device: int
) -> tuple[dict[int, set[int]], set[int], float]:
    """Read /proc for waiting reads.

    Args:
        counts: how many reads wait, by inode number.
        known: the threads that were found before, and what each may be reading.

    Returns the threads that read files, the files (inode numbers) whose reader has a signal, and
    how much processor time this took, in seconds.
    """
    start_s = time.thread_time()
    threads = {tid: inos for tid, inos in known.items() if _waits_for_fuse(tid)}
    seen = Counter(ino for inos in threads.values() for ino in inos)
    if any(seen[ino] < count for ino, count in counts.items()):
        threads = dict(_find(counts.keys(), device))
    interrupted = set().union(*(inos for tid, inos in threads.items() if _has_signal(tid)))
    return threads, interrupted, time.thread_time() - start_s


def _find(inos: Iterable[int], device: int) -> Iterator[tuple[int, set[int]]]:
    """The threads that wait in a read of one of the files, and of which it may be."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        process = _Process(pid, frozenset(inos), device)
        for tid in map(int, _list(f"/proc/{pid}/task")):
            if _waits_for_fuse(tid) and (found := process.read_by(tid)):
                yield tid, found


class _Process:
    """A process with threads that may read some files of a mount."""

    def __init__(self, pid: str, inos: frozenset[int], device: int) -> None:
        self._pid = pid
        self._inos = inos
        self._device = b"%d:%d" % (os.major(device), os.minor(device))

    def read_by(self, tid: int) -> set[int]:
        """The files that a thread may be reading, by inode number."""
        # The first argument of the system call, if we may see that.
        fields = _read(f"/proc/{tid}/syscall").split()
        return (len(fields) > 1 and self._file(tid, str(int(fields[1], 16)))) or self._open

    @cached_property
    def _open(self) -> set[int]:
        # Not the process's own folder: that is empty when its first thread has ended.
        for tid in map(int, _list(f"/proc/{self._pid}/task")):
            if fds := _list(f"/proc/{tid}/fdinfo"):
                return set().union(*(self._file(tid, fd) for fd in fds))
        return set()

    def _file(self, tid: int, fd: str) -> set[int]:
        """The inode number of an open file, if it is one of those looked for."""
        lines = _read(f"/proc/{tid}/fdinfo/{fd}").splitlines()
        fields = dict(line.split(b":", 1) for line in lines if b":" in line)
        # Linux shows the inode number since 5.14.
        ino = int(fields.get(b"ino", 0))
        # A mount that is not listed was detached.
        if ino not in self._inos or self._mounts.get(fields[b"mnt_id"].strip(), True) is False:
            return set()
        return {ino}

    @cached_property
    def _mounts(self) -> dict[bytes, bool]:
        """Whether each mount that the process sees is of the device, by the mount's id."""
        mounts = {}
        for line in _read(f"/proc/{self._pid}/mountinfo").splitlines():
            number, _, device, _ = line.split(b" ", 3)
            mounts[number] = device == self._device
        return mounts


def _waits_for_fuse(tid: int) -> bool:
    """Whether a thread waits for the answer to a request (fs/fuse/dev.c)."""
    function = _read(f"/proc/{tid}/wchan")
    return function.startswith(b"request_wait_answer") or b"fuse" in function


def _has_signal(tid: int) -> bool:
    """Whether a thread has a pending signal that it neither blocks nor ignores."""
    masks = {
        word: int(mask, 16)
        for word, _, mask in (
            line.partition(b":\t") for line in _read(f"/proc/{tid}/status").splitlines()
        )
        if word in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn")
    }
    if not masks:
        return False
    pending = masks[b"SigPnd"] | masks[b"ShdPnd"]
    return bool(pending & ~(masks[b"SigBlk"] | masks[b"SigIgn"]))


def _list(folder: str) -> list[str]:
    """The names in a folder of /proc: none if it is another user's, or gone."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(file: str) -> bytes:
    """The text of a file of /proc: empty if it is another user's, or gone."""
    try:
        with open(file, "rb", buffering=0) as opened:
            return opened.readall()
    except OSError:
        return b""
