# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Scratch files: temporary files that programs write beside a file and then rename onto it.

Their names cannot be those of nodes (`f.gawk.Q612P7`, `.f.Q612P7`), so they are held in memory,
never in the store; when one is renamed onto a node's name it becomes one WRITE. They end with the
mount, or a minute after they were closed; so a file that looks like a copy to keep is refused.
Knows no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from typing import TYPE_CHECKING

import trio

from xsfs.fs.model import names as filenames
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualFile

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Node, View
    from xsfs.fs.store.changes import Changes

log = logging.getLogger(__name__)

# How many there may be in a mount, and how much may be in them all, in bytes.
FILES_MAX = 64
BYTES_MAX = 1 << 20

# How long one is kept that is not open, in seconds.
KEPT_S = 60.0

# patch(1) makes its own with the mode of the file that it patches: `NAME.oXXXXXX`.
_PATCHS = re.compile(rb".+\.o[A-Za-z0-9]{6}")


def is_scratch(name: bytes, flags: int, mode: int) -> bool:
    """Whether an open(2) creates a scratch file: as by mkstemp(3), but not as by cp(1)."""
    if not flags & os.O_EXCL or len(name) > filenames.NAME_MAX or filenames.is_node_name(name):
        return False
    if name == filenames.VALUE or filenames.split_suffix(name)[1]:
        return False
    of_mkstemp = flags & os.O_ACCMODE == os.O_RDWR and stat.S_IMODE(mode) == 0o600
    return of_mkstemp or _PATCHS.fullmatch(name) is not None


class ScratchFile(VirtualFile):
    """A scratch file; it belongs to the user who created it."""

    def __init__(self, files: ScratchFiles, name: bytes, owner: tuple[int, int]) -> None:
        super().__init__(name)
        self.mode = stat.S_IFREG | 0o600
        self.owner = self._owner = owner
        self.text = bytearray()
        # The permissions for the node, as `n0,r5`; b"" when none were set.
        self.perms = b""
        self.changed_ns = time.time_ns()
        # How many open files it has, and since when it has none.
        self.handles = 0
        self.closed_s = trio.current_time()
        self._files = files

    @property
    def size(self) -> int:
        """The length of what is in it."""
        return len(self.text)

    async def open(self, flags: int, uid: int) -> Handle:
        """Open it; the kernel has checked the mode."""
        if flags & os.O_TRUNC:
            self.resize(0)
        self.handles += 1
        return _ScratchHandle(self)

    @property
    def mtime_ns(self) -> int:
        """The time of the last write, or the time that was set."""
        return self.changed_ns

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Change owner or group; None leaves it."""
        old_uid, old_gid = self._owner
        self.owner = self._owner = old_uid if uid is None else uid, old_gid if gid is None else gid

    def resize(self, size: int) -> None:
        """Truncate it, or extend it with NULs.

        Raises:
            FSError: ENOSPC.
        """
        self._files.require_room(size - len(self.text))
        del self.text[size:]
        self.text += bytes(size - len(self.text))
        self.changed_ns = time.time_ns()


class _ScratchHandle(Handle):
    """A scratch file, open."""

    def __init__(self, file: ScratchFile) -> None:
        self._file = file

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there; b"" at the end."""
        return bytes(self._file.text[offset : offset + size])

    async def write(self, offset: int, data: bytes) -> int:
        """Put it there.

        Raises:
            FSError: ENOSPC.
        """
        end = offset + len(data)
        self._file.resize(max(len(self._file.text), end))
        self._file.text[offset:end] = data
        return len(data)

    async def truncate(self, size: int) -> None:
        """As `ScratchFile.resize`."""
        self._file.resize(size)

    async def release(self) -> None:
        """Close it; with the last close its minute begins."""
        self._file.handles -= 1
        self._file.closed_s = trio.current_time()


class ScratchFiles:
    """All scratch files of a mount, by the directory that they are in.

    Args:
        raw: as the mount's option.
    """

    def __init__(self, raw: bool) -> None:
        self._raw = raw
        self._files: dict[tuple[View, bytes], dict[bytes, ScratchFile]] = {}

    def _all(self) -> list[ScratchFile]:
        return [file for files in self._files.values() for file in files.values()]

    def _expire(self) -> None:
        latest_s = trio.current_time() - KEPT_S
        for place, files in list(self._files.items()):
            for name, file in list(files.items()):
                if place[0].over or (not file.handles and file.closed_s <= latest_s):
                    log.info("%r is dropped: it was not renamed onto a node within a minute", name)
                    del files[name]
            if not files:
                del self._files[place]

    def in_directory(self, node: Node) -> dict[bytes, ScratchFile]:
        """The scratch files in a node's directory, by name."""
        if not self._files:
            return {}
        self._expire()
        return self._files.get((node.view, node.path), {})

    def require_room(self, size: int) -> None:
        """Require room for so many bytes more.

        Raises:
            FSError: ENOSPC.
        """
        if sum(len(file.text) for file in self._all()) + size > BYTES_MAX:
            raise FSError(errno.ENOSPC)

    def create(self, node: Node, name: bytes, owner: tuple[int, int]) -> ScratchFile:
        """Create one in a node's directory.

        Raises:
            FSError: EEXIST; ENOSPC at the limit of their number.
        """
        if name in self.in_directory(node):
            raise FSError(errno.EEXIST)
        if len(self._all()) >= FILES_MAX:
            raise FSError(errno.ENOSPC)
        file = ScratchFile(self, name, owner)
        self._files.setdefault((node.view, node.path), {})[name] = file
        return file

    def remove(self, node: Node, name: bytes) -> None:
        """Remove it; those that have it open may still use it."""
        files = self.in_directory(node)
        files.pop(name, None)

    async def store(
        self, file: ScratchFile, changes: Changes, parent: Node, name: bytes, *, exclusive: bool
    ) -> None:
        """Store the content of one as the value of the child `name` of a node, by one WRITE.

        Args:
            exclusive: the child must not exist.

        Raises:
            FSError, StoreError, InvalidPayload: it cannot; nothing has changed.
        """
        table = changes.tree.table
        if name == filenames.VALUE:
            replaced = parent.inode(InodeKind.VALUE)
        else:
            before = (parent.children or {}).get(name)
            replaced = None if before is None else before.inode(InodeKind.FILE)
        inode, new = await changes.create(parent, name, exclusive=exclusive)
        node = inode.node
        value = filenames.from_text(bytes(file.text), self._raw)
        try:
            await changes.write(node, value, exclusive=exclusive, perms=file.perms)
        except BaseException:
            if new and node.pending:
                changes.record_removal(node)
            raise
        finally:
            table.discard(inode)
        for poller in node.pollers or ():
            poller.wake(certain=True)
        if replaced is not None and replaced.node is node:
            # As in the kernel after a rename: the name stands for another file now.
            table.retire(replaced)
