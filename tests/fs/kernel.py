# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Plays the kernel: calls the handlers of a file system, and keeps the lookup counts they give.

No FUSE: what the kernel would cache, lock or merge is not played. One trio task at a time.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyfuse3
import pytest
import trio

from xsfs.fs.filesystem import FileSystem
from xsfs.fs.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

# A thread that is not the event helper's.
CONTEXT: Any = SimpleNamespace(pid=4711, uid=0, gid=0, umask=0)


async def fails(number: int, attempt: Awaitable[object]) -> None:
    """It fails with that errno."""
    with pytest.raises(pyfuse3.FUSEError) as refused:
        await attempt
    assert refused.value.errno == number


class Kernel:
    """The handlers over a store, and what was learnt from them.

    Args:
        fs: its client is to be run by the caller.
        entries_at_once: how many entries of a directory fit into a reply.
    """

    def __init__(
        self, fs: FileSystem, monkeypatch: pytest.MonkeyPatch, entries_at_once: int = 5
    ) -> None:
        self.client, self.table = fs.client, fs.table
        self.difference, self.watcher = fs.difference, fs.watcher
        self.ops = fs.operations
        self.lookups: Counter[int] = Counter()
        self._entries_at_once = entries_at_once
        monkeypatch.setattr(pyfuse3, "readdir_reply", self._readdir_reply)

    def _readdir_reply(
        self, token: list[tuple[bytes, int, int]], name: bytes, attr: Any, next_id: int
    ) -> bool:
        if len(token) == self._entries_at_once:
            return False
        token.append((name, attr.st_ino, next_id))
        if name not in (b".", b".."):
            self.lookups[attr.st_ino] += 1
        return True

    def _learn(self, attr: Any) -> int:
        ino: int = attr.st_ino
        self.lookups[ino] += 1
        return ino

    async def walk(self, path: bytes) -> int:
        """The inode at a path, every step of it looked up."""
        ino: int = pyfuse3.ROOT_INODE
        for name in path.split(b"/"):
            ino = self._learn(await self.ops.lookup(ino, name, CONTEXT))
        return ino

    async def mkdir(self, parent: int, name: bytes) -> int:
        """mkdir(2)."""
        return self._learn(await self.ops.mkdir(parent, name, 0o755, CONTEXT))

    async def create(self, parent: int, name: bytes, flags: int = os.O_WRONLY) -> tuple[int, int]:
        """open(2) with O_CREAT: file handle and inode."""
        info, attr = await self.ops.create(parent, name, 0o644, flags, CONTEXT)
        return info.fh, self._learn(attr)

    async def read(self, ino: int) -> bytes:
        """The whole text of a file."""
        info = await self.ops.open(ino, os.O_RDONLY, CONTEXT)
        try:
            return await self.ops.read(info.fh, 0, 8192)
        finally:
            await self.ops.release(info.fh)

    async def list(
        self, ino: int, between: Callable[[], Awaitable[None]] | None = None
    ) -> list[bytes]:
        """The names in a directory; `between` is awaited after every reply."""
        fh = await self.ops.opendir(ino, CONTEXT)
        names: list[bytes] = []
        start = 0
        while True:
            token: Any = []
            await self.ops.readdir(fh, start, token)
            if not token:
                break
            names += [name for name, _, _ in token]
            start = token[-1][2]
            if between is not None:
                await between()
        await self.ops.releasedir(fh)
        return names[2:]

    async def forget(self) -> None:
        """Drop every lookup that there was."""
        await self.ops.forget(list(self.lookups.items()))
        self.lookups.clear()

    async def check(self) -> None:
        """After forgetting everything the node table holds the root alone."""
        await self.forget()
        assert list(self.table) == [self.table.root]
        root = self.table.view.root
        for node in root.subtree():
            assert node is root or not node.inodes
            assert not node.pending
            assert not node.pins


@asynccontextmanager
async def kernel(
    socket: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Options | None = None,
    *,
    compares: bool = True,
) -> AsyncIterator[Kernel]:
    """A file system without FUSE over the store at `socket`; ends with the check.

    Args:
        compares: what changed is compared at once; otherwise only at the end.
    """
    fs = FileSystem(str(socket), options or Options(events="off"))
    async with fs.client, trio.open_nursery() as nursery:
        made = Kernel(fs, monkeypatch)
        await fs.start()
        if compares:
            nursery.start_soon(made.watcher.run)
        yield made
        if not compares:
            nursery.start_soon(made.watcher.run)
        await made.watcher.settle()
        await made.check()
        nursery.cancel_scope.cancel()
