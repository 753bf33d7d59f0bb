# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Open files and directories: what a reader reads, what a writer has written so far.

Knows no FUSE; used from the trio thread alone. What is asked of a handle that its kind cannot
do is an `FSError`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from xsfs.errors import NotFound
from xsfs.fs import names as filenames
from xsfs.fs.tree import FSError

if TYPE_CHECKING:
    from xsfs.fs.changes import Changes
    from xsfs.fs.nodes import Inode, Node
    from xsfs.fs.tree import Tree


class Handle:
    """An open file. Offsets and sizes are in bytes of the file's text."""

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there; b"" at the end."""
        raise FSError(errno.EBADF)

    async def write(self, offset: int, data: bytes) -> int:
        """How many bytes were taken."""
        raise FSError(errno.EBADF)

    async def truncate(self, size: int) -> None:
        """Cut the file, or fill it up with NULs."""
        raise FSError(errno.EINVAL)

    async def flush(self) -> None:
        """One of its descriptors was closed; others may write on."""

    async def sync(self) -> None:
        """What was done shall be in the store when this returns."""

    async def release(self) -> None:
        """Nobody holds it any more."""


class TextHandle(Handle):
    """A text made at open, to be read."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there; b"" at the end."""
        return self._text[offset : offset + size]


class PokeHandle(Handle):
    """What the event helper has open: nothing."""

    async def truncate(self, size: int) -> None:
        """Raises its event in the kernel, and changes nothing."""


class ValueHandle(Handle):
    """A node's value, open.

    Each write stores the whole new value. Truncation and creation wait for the first write,
    for `sync`, for a touch or for the release: so nobody sees a value that nobody wrote.
    """

    def __init__(
        self, tree: Tree, changes: Changes, node: Node, flags: int, *, exclusive: bool = False
    ) -> None:
        self._tree = tree
        self._changes = changes
        self.node = node
        self._writable = bool(flags & (os.O_WRONLY | os.O_RDWR))
        self._append = bool(flags & os.O_APPEND)
        self._exclusive = exclusive
        # The file's text as this handle sees it: what it read, or what it has written.
        self._text = b""
        # The text is not what the store holds yet.
        self._dirty = False
        # The text came from the store and was read from.
        self._used = False

    @property
    def _raw(self) -> bool:
        return self._tree.options.raw

    async def open(self, *, truncate: bool) -> None:
        """Take the value as it is now.

        Raises:
            FSError: ESTALE when the node is gone, or is a directory by now: look it up again.
            StoreError: it may not be read.
        """
        try:
            value = await self._tree.value(self.node)
        except NotFound:
            raise FSError(errno.ESTALE) from None
        if self._writable and (truncate or self.node.pending):
            self._dirty = True
        else:
            self._text = filenames.to_text(value, self._raw)

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there. From the start, it is read anew, as in sysfs."""
        if not offset and self._used and not self._dirty:
            self._text = filenames.to_text(await self._tree.value(self.node), self._raw)
        self._used = True
        return self._text[offset : offset + size]

    async def write(self, offset: int, data: bytes) -> int:
        """Store the value with `data` put in its place.

        Raises:
            FSError: the node is gone, or was to be created and is there.
            StoreError, InvalidPayload: the store refused it; the old value stays.
        """
        text = self._text
        if self._append:
            if not self._dirty:
                text = filenames.to_text(await self._tree.value(self.node), self._raw)
            offset = len(text)
        text = text[:offset].ljust(offset, b"\0") + data + text[offset + len(data) :]
        await self._store(text)
        return len(data)

    async def truncate(self, size: int) -> None:
        """Cut or fill up the text; it is stored later, as a truncation by open is."""
        self._text = self._text[:size].ljust(size, b"\0")
        self._dirty = True

    async def sync(self) -> None:
        """Store a truncation or creation that is still to be stored."""
        if self._dirty and self.node.alive:
            await self._store(self._text)

    release = sync

    async def _store(self, text: bytes) -> None:
        value = filenames.from_text(text, self._raw)
        await self._changes.write(self.node, value, exclusive=self._exclusive)
        self._text, self._dirty, self._exclusive = text, False, False


class DirectoryHandle:
    """A directory's entries as they were when it was opened; a cookie is an index."""

    def __init__(self, inode: Inode, names: list[bytes]) -> None:
        self.inode = inode
        self.names = names
        # Up to which index the nodes have been asked for since.
        self.asked = 0
