# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The floor: the least that a pyfuse3 file system can do, answering from a dictionary.

No store, no events, no invalidation, no writes but to memory; the same shape of tree as the
mount it stands beside. `python -m tests.bench.floor TREE.pickle MOUNTPOINT direct|keep stock|ours`:
with direct I/O or the page cache, on the loop that pyfuse3 comes with or on ours.
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3
import trio

from xsfs.fs.fuse import loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Floor(pyfuse3.Operations):
    """Inodes are places in lists."""

    def __init__(self, values: Mapping[bytes, bytes], direct: bool) -> None:
        super().__init__()
        self.direct = direct
        self.texts: list[bytes] = [b""]
        self.children: list[dict[bytes, int] | None] = [{}]
        places = {b"/": 0}
        for path, value in values.items():
            if path != b"/":
                self.add(places, path, value)

    def add(self, places: dict[bytes, int], path: bytes, value: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        parent = places[above or b"/"]
        entries = self.children[parent]
        if entries is None:
            entries = self.children[parent] = {}
        entries[name] = places[path] = len(self.texts)
        self.texts.append(value + b"\n" if value else b"")
        self.children.append(None)

    def entry(self, place: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = place + 1
        directory = self.children[place] is not None
        entry.st_mode = (stat.S_IFDIR | 0o755) if directory else (stat.S_IFREG | 0o644)
        entry.st_size = 0 if directory else len(self.texts[place])
        return entry

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        place = (self.children[parent_inode - 1] or {}).get(name)
        if place is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self.entry(place)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self.entry(inode - 1)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        entries = list((self.children[fh - 1] or {}).items())
        for index in range(start_id, len(entries)):
            name, place = entries[index]
            if not pyfuse3.readdir_reply(token, name, self.entry(place), index + 1):
                return

    async def releasedir(self, fh: int) -> None:
        pass

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode, direct_io=self.direct, keep_cache=not self.direct)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return self.texts[fh - 1][off : off + size]

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        text = self.texts[fh - 1]
        self.texts[fh - 1] = text[:off] + buf + text[off + len(buf) :]
        return len(buf)

    async def flush(self, fh: int) -> None:
        pass

    async def release(self, fh: int) -> None:
        pass

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        pass

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        return pyfuse3.StatvfsData()


def main() -> None:
    tree, mountpoint, mode, which = sys.argv[1:]
    # Written by the benchmark itself.
    values: dict[bytes, bytes] = pickle.loads(Path(tree).read_bytes())
    with loop.installed() if which == "ours" else nullcontext():
        pyfuse3.init(
            Floor(values, mode == "direct"), mountpoint, {"fsname=floor", "default_permissions"}
        )
        print("ready", flush=True)
        os.close(1)
        trio.run(pyfuse3.main)
    pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
