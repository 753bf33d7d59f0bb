# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.events`: the store's watch events for a directory, a line each, as the store sends them.

Each open is a watch of its own, and each lookup an inode of its own. Unlike for inotify
(fs/model/difference.py), nothing is merged, compared or left out. Used from the trio thread alone.

A waiting read ends when its reader gets a signal, ^C or `kill -9` (readers.py).

To programs it is a text that grows. `tail -f` asks for the size, and then reads just the bytes by
which the text has grown. So the size is one byte more than there is, and a read of no more than
the size promises does not wait.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from xsfs.errors import StoreError, XenStoreError
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualFile, require_read

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline
    from xsfs.aio.watch import Watch
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.virtual.readers import Readers
    from xsfs.protocol.conversation import Event

NAME = b".events"

# How many events may wait for a reader; when there are more, one line stands for them.
PENDING_MAX = 16384
OVERFLOW = b"overflow\n"

# How much of the text can be read again, in bytes: shells read ahead and seek back.
_KEPT = 1 << 16

# How many may be open at once: each is a watch, and holds up to so many waiting lines.
OPEN_MAX = 1000

# What a daemon answers when a domain has as many watches as it may have.
_QUOTA = (errno.E2BIG, errno.ENOSPC, errno.EDQUOT)


class EventFiles:
    """All of them.

    Args:
        readers: where reads wait.
    """

    def __init__(self, client: Pipeline, readers: Readers) -> None:
        self.client = client
        self.readers = readers
        # How many are open.
        self.open = 0

    def virtual_file(self, node: Node) -> VirtualFile:
        """The `.events` of a node."""
        return EventFile(self, node)


class EventFile(VirtualFile):
    """The file, as one lookup in one node's directory found it."""

    shared = False

    def __init__(self, files: EventFiles, node: Node) -> None:
        super().__init__(NAME)
        self._files = files
        self._node = node
        self._handles: list[EventHandle] = []

    @property
    def size(self) -> int:
        """One byte more than the last open of it can have read."""
        return 1 + (self._handles[-1].end if self._handles else 0)

    async def open(self, flags: int, uid: int) -> Handle:
        """Set a watch.

        Raises:
            FSError: EDQUOT when there are as many as there may be.
            StoreError: the store refused it.
        """
        require_read(flags)
        files = self._files
        if files.open >= OPEN_MAX:
            raise FSError(errno.EDQUOT)
        handle = EventHandle(self, files, nonblocking=bool(flags & os.O_NONBLOCK))
        files.open += 1
        self._handles.append(handle)
        try:
            await handle.watch(self._node.path)
        except BaseException as error:
            self.closed(handle)
            if isinstance(error, StoreError) and error.errno in _QUOTA:
                raise FSError(errno.EDQUOT) from None
            raise
        return handle

    def closed(self, handle: EventHandle) -> None:
        """One open file less."""
        self._files.open -= 1
        self._handles.remove(handle)


class EventHandle(Handle):
    """The lines for one reader."""

    def __init__(self, file: EventFile, files: EventFiles, *, nonblocking: bool) -> None:
        self._file = file
        self._client = files.client
        self._readers = files.readers
        self._nonblocking = nonblocking
        # The text from `_start` on; up to `_read` it has been read.
        self._text = bytearray()
        self._start = self._read = 0
        # How many lines have not been read.
        self._pending = 0
        self._arrived = trio.Event()
        self._watch: Watch | None = None
        self._confirmed = False

    @property
    def end(self) -> int:
        """How long the text is, in bytes."""
        return self._start + len(self._text)

    async def watch(self, path: bytes) -> None:
        """From here on, events are kept."""
        self._watch = await self._client.watch(path, deliver=self._take).open()

    def _take(self, event: Event, first: bool) -> None:
        if first and not self._confirmed:
            self._confirmed = True
            return
        if first or self._pending >= PENDING_MAX:
            # The watch was set again after the store was down: events may have been missed.
            del self._text[self._read - self._start :]
            if self._text and not self._text.endswith(b"\n"):
                self._text += b"\n"
            self._text += OVERFLOW
            self._pending = 1
        else:
            self._text += event.path + b"\n"
            self._pending += 1
        self._arrived.set()
        self._arrived = trio.Event()
        self.notify_pollers()

    async def read(self, offset: int, size: int) -> bytes:
        """The text at an offset; waits if there is none yet.

        Raises:
            FSError: EINTR, EAGAIN.
        """
        while not (data := self._slice(offset, size)):
            if offset + size <= self.end + 1:
                return b""
            if self._nonblocking:
                raise FSError(errno.EAGAIN)
            await self._readers.wait(self.ino, self._arrived)
        return data

    def _slice(self, offset: int, size: int) -> bytes:
        start = max(offset, self._start) - self._start
        data = bytes(self._text[start : start + size])
        read = self._start + start + len(data)
        if read > self._read:
            self._pending -= data.count(b"\n", max(0, self._read - self._start - start))
            self._read = read
            if (spare := self._read - self._start - _KEPT) > _KEPT:
                del self._text[:spare]
                self._start += spare
        return data

    def ready(self) -> int:
        """Readable when there are lines to read."""
        return select.POLLIN | select.POLLRDNORM if self._pending else 0

    async def release(self) -> None:
        """Take the watch back."""
        self._file.closed(self)
        if self._watch is not None:
            # The connection may be gone, and the watch with it.
            with suppress(XenStoreError):
                await self._watch.close()
