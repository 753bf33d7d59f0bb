# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.json` in every directory: reading it is a snapshot of the subtree, writing it a patch.

`.backup` is the same, and shows permissions too: a file of its own, since in `.json` each value
is a string that jq finds under the node's name. What a patch means is in merge.py. Knows no FUSE;
used from the trio thread alone; work that grows with a text is done in turns (turns.py).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NoReturn

import trio

from xsfs.errors import XenStoreError
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.turns import Turns, collect
from xsfs.fs.virtual import merge
from xsfs.fs.virtual.files import VirtualFile
from xsfs.jsontext import Reader
from xsfs.protocol import paths

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.virtual.subtrees import Subtrees

NAME = b".json"
BACKUP = b".backup"

# How much memory a patch may take, and all unfinished ones together, in bytes: its text, and so
# much for each key.
PATCH_MAX = 16 << 20
_ALL_MAX = 4 * PATCH_MAX
_KEY_COST = 100

# How much of a text is parsed at a time, in bytes.
_SLICE = 1024


class SubtreeFile(VirtualFile):
    """The file, as one node's directory has it."""

    mode = stat.S_IFREG | 0o644

    def __init__(self, name: bytes, subtrees: Subtrees, node: Node) -> None:
        super().__init__(name)
        self._subtrees = subtrees
        self._node = node
        self._size = 0

    @property
    def size(self) -> int:
        """The length of the last snapshot: programs ask for it after they opened the file.

        A read ends at the end of the reader's own snapshot, whatever this size is.
        """
        return self._size

    async def open(self, flags: int, uid: int) -> Handle:
        """Open it; a snapshot to be read is taken now."""
        if not self._node.alive:
            raise FSError(errno.ESTALE)
        text = b""
        if not flags & os.O_WRONLY:
            text = await self._subtrees.read(self._node, permissions=self.name == BACKUP)
            self._size = len(text)
        patch = _Patch(self._subtrees, self._node, uid)
        return _SubtreeHandle(text, patch, append=bool(flags & os.O_APPEND))


class _SubtreeHandle(Handle):
    """The file, open: a snapshot to read, and patches that come in any number of writes.

    A patch is applied by the write that completes it, which also gets its error. A number or word
    at the very end is complete when nothing follows, so at the flush. Then a new patch may follow.
    """

    def __init__(self, text: bytes, patch: _Patch, *, append: bool) -> None:
        self._text = text
        self._patch = patch
        self._append = append
        # The offset at which the next write must continue.
        self._end: int | None = None
        self._lock = trio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        """The snapshot's text at an offset."""
        return self._text[offset : offset + size]

    async def write(self, offset: int, data: bytes) -> int:
        """Take a piece of a patch, and apply the patch if that completes it.

        Raises:
            FSError: EINVAL when the patch is malformed, or not written from start to end.
            StoreError, InvalidPath, InvalidPayload: the store refuses it.
        """
        async with self._lock:
            if self._patch.begun and self._end not in (None, offset) and not self._append:
                self._patch.refuse(ValueError("a patch is written from its start to its end"))
            self._end = offset + len(data)
            await self._patch.write(data)
        return len(data)

    async def truncate(self, size: int) -> None:
        """Start the patch anew.

        Raises:
            FSError: EINVAL for another size than 0.
        """
        if size:
            raise FSError(errno.EINVAL)
        async with self._lock:
            self._patch.begin()

    async def flush(self) -> None:
        """Apply a patch that is complete if nothing follows.

        Raises:
            FSError: EINVAL when it is not; more may yet be written.
            StoreError: the store refused it.
        """
        async with self._lock:
            await self._patch.finish()

    sync = flush

    async def release(self) -> None:
        """Drop an incomplete patch."""
        self._patch.begin()


class _Patch:
    """A patch of a node while it is being written."""

    def __init__(self, subtrees: Subtrees, node: Node, uid: int) -> None:
        self._subtrees = subtrees
        self._node = node
        self._uid = uid
        self._cost = 0
        self.begin()

    def begin(self) -> None:
        """Nothing was written yet."""
        self._reader = Reader(paths.ABSOLUTE_MAX - len(self._node.path))
        self._refusal: Exception | None = None
        self._length = 0
        self._count(0)

    @property
    def begun(self) -> bool:
        """Whether a part of it was written."""
        return not self._reader.blank

    def _count(self, cost: int) -> None:
        self._subtrees.unfinished += cost - self._cost
        self._cost = cost

    async def write(self, data: bytes) -> None:
        """The next piece of its text; what was refused stays so until the flush."""
        if self._refusal is not None:
            raise self._refusal
        try:
            await self._parse(data)
        except Exception as error:
            self.refuse(error)
        if self._reader.complete:
            await self._do()

    async def _parse(self, data: bytes) -> None:
        turns = Turns()
        for start in range(0, len(data), _SLICE):
            piece = data[start : start + _SLICE]
            self._reader.feed(piece)
            self._length += len(piece)
            self._count(self._length + _KEY_COST * self._reader.keys)
            if self._cost > PATCH_MAX or self._subtrees.unfinished > _ALL_MAX:
                raise FSError(errno.EFBIG)
            await turns.over()

    async def finish(self) -> None:
        """Nothing follows for now."""
        if self._refusal is not None:
            refusal = self._refusal
            self.begin()
            raise refusal
        if not self.begun:
            return
        try:
            self._reader.finish()
        except ValueError as error:
            # More may yet be written.
            raise self._noted(error) from None
        await self._do()

    async def _do(self) -> None:
        node, patch = self._node, self._reader.value
        try:
            if patch is None and node.parent is None:
                raise FSError(errno.EBUSY)
            plan = await collect(merge.plan(patch, node.path))
            await self._subtrees.patch(node, plan)
        except Exception as error:
            self.refuse(error)
        self._subtrees.refusals.clear(node.view, node.path, self._uid)
        self.begin()

    def refuse(self, error: Exception) -> NoReturn:
        """Refuse this write, and those that follow until the flush, with the reason."""
        self.begin()
        self._refusal = self._noted(error)
        raise self._refusal

    def _noted(self, error: Exception) -> Exception:
        self._subtrees.refusals.note(self._node.view, self._node.path, self._uid, error)
        # Errors that come from the store's limits explain themselves.
        malformed = isinstance(error, ValueError) and not isinstance(error, XenStoreError)
        return FSError(errno.EINVAL) if malformed else error
