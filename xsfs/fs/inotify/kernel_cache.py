# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Makes the kernel drop attributes and directory entries that are out of date.

Attributes are dropped at once: that takes a lock of the inode and never waits
(fuse_reverse_inval_inode in fs/fuse/inode.c). Dropping a directory entry may wait for a request
under way on the same directory, so entries are dropped in a thread, in order. All else is used
from the trio thread alone.

There are no cached pages: all files are read by direct I/O. From the page cache the kernel would
return as many bytes as the size it holds, and it keeps the old size when a write, such as an
injection, comes while its getattr is answered: half of a new value would be read.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class KernelCache:
    """Drops attributes and entries from the kernel's caches.

    Args:
        settled: called whenever nothing is left to be dropped.
    """

    def __init__(self, settled: Callable[[], None]) -> None:
        # True between mounting and unmounting.
        self.active = False
        self._settled = settled
        # The drops for the thread, by entry, so that each entry is dropped once.
        self._stale: dict[tuple[int, bytes], Callable[[], None]] = {}
        self._dropping = False
        self._work = trio.Event()
        self._idle = trio.Event()

    @property
    def busy(self) -> bool:
        """Whether something is still to be dropped."""
        return self._dropping or bool(self._stale)

    def inode(self, ino: int) -> None:
        """Drop an inode's attributes."""
        if self.active:
            # ENOENT: the kernel does not hold it. The same applies to entries.
            with suppress(OSError):
                pyfuse3.invalidate_inode(ino, attr_only=True)

    def entry(self, parent_ino: int, name: bytes, deleted_ino: int = 0) -> None:
        """Drop a directory's entry; as a deleted one if it leads to `deleted_ino`."""
        if self.active:
            drop = partial(pyfuse3.invalidate_entry, parent_ino, name, deleted_ino)
            self._stale[parent_ino, name] = drop
            self._work.set()

    async def settle(self) -> None:
        """Wait until nothing is left to be dropped."""
        while self.busy:
            await self._idle.wait()

    async def run(self) -> None:
        """The task: drop the entries that wait."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            stale, self._stale = self._stale, {}
            self._dropping = True
            await trio.to_thread.run_sync(self._drop, stale.values(), abandon_on_cancel=True)
            self._dropping = False
            if not self._stale:
                self._idle.set()
                self._idle = trio.Event()
                self._settled()

    async def close(self, timeout_s: float) -> bool:
        """Drop nothing more; whether none is under way any more.

        To be awaited while requests are still answered: a drop may wait in the kernel for a lock
        that a process holds until its request is answered. If it still waited when the daemon ends,
        it would keep /dev/fuse open, and so the connection, the lock and the process, for ever.
        """
        self.active = False
        self._stale.clear()
        with trio.move_on_after(timeout_s):
            await self.settle()
        return not self.busy

    def _drop(self, stale: Iterable[Callable[[], None]]) -> None:
        for drop in stale:
            if self.active:
                with suppress(OSError):
                    drop()
