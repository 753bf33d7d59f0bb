# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Open files and directories: what a reader reads, what a writer has written so far.

Knows no FUSE; used from the trio thread alone. An operation that a kind of handle does not have
raises `FSError`.
"""

from __future__ import annotations

import errno
import logging
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from xsfs.errors import AccessDenied, NotFound, XenStoreError
from xsfs.fs.model import names as filenames
from xsfs.fs.store.reads import FSError
from xsfs.protocol import requests
from xsfs.protocol.packet import PAYLOAD_MAX

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Inode, Node
    from xsfs.fs.store.changes import Changes
    from xsfs.fs.store.reads import Tree

log = logging.getLogger(__name__)


class Waker(Protocol):
    """Wakes one waiting poll(2), once."""

    def notify(self) -> None:
        """Wake it."""


class Handle:
    """An open file. Offsets and sizes are in bytes of the file's text."""

    # The inode's number, once it is known.
    ino = 0
    _waker: Waker | None = None

    def poll(self, waker: Waker | None) -> int:
        """The bits for poll(2) now; `waker` is to be called when there are more."""
        if waker is not None:
            self._waker = waker
        return self.ready()

    def ready(self) -> int:
        """The bits for poll(2): a file can always be read and written."""
        return select.POLLIN | select.POLLRDNORM | select.POLLOUT | select.POLLWRNORM

    def notify_pollers(self) -> None:
        """Make those who poll look again."""
        waker, self._waker = self._waker, None
        if waker is not None:
            with suppress(OSError):
                waker.notify()

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
        """One of its descriptors was closed; others may still write."""

    async def sync(self) -> None:
        """Store what is not stored yet."""

    async def release(self) -> None:
        """The last descriptor was closed."""


class TextHandle(Handle):
    """A text made at open, to be read."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there; b"" at the end."""
        return self._text[offset : offset + size]


class ValueHandle(Handle):
    """A node's value, open.

    Each write stores the whole new value. Truncation and creation wait for the first write,
    for `sync` or for the release: so nobody sees a value that nobody wrote.
    """

    def __init__(
        self,
        tree: Tree,
        changes: Changes,
        node: Node,
        flags: int,
        *,
        created: bool = False,
        exclusive: bool = False,
    ) -> None:
        self._tree = tree
        self._changes = changes
        self.node = node
        # A creation is stored by any handle that may write, and by the one that created.
        self._creates = created or bool(flags & (os.O_WRONLY | os.O_RDWR))
        self._write_only = bool(flags & os.O_WRONLY)
        self._append = bool(flags & os.O_APPEND)
        # The node must not be there at the first store.
        self._exclusive = exclusive and created
        # The file's text as this handle sees it: what it read, or what it has written.
        self._text = b""
        # The count of the node's stores by us when the text was current.
        self._as_of = node.written
        # The text was truncated, and is to be stored if nothing is written.
        self._cut = False
        # The store refused the last write: then truncation or creation is not stored either.
        self._refused = False
        # Read from; read to the end.
        self._used = self._ended = False
        # The view's clock when the value was read last; whether it has changed since.
        self._read_at = -1
        self._stale = False

    @property
    def _raw(self) -> bool:
        return self._tree.options.raw

    async def open(self, *, truncate: bool) -> None:
        """Take the value as it is now.

        Raises:
            FSError: ESTALE when the node is gone or has become a directory: look it up again.
            StoreError: it may not be read.
        """
        if not (truncate and self._write_only):
            await self._take()
        if truncate and not self.node.pending:
            self._keep_cut(b"")
        if self.node.pollers is None:
            self.node.pollers = set()
        self.node.pollers.add(self)

    async def _take(self) -> None:
        try:
            await self._renew()
        except NotFound:
            raise FSError(errno.ESTALE) from None
        except AccessDenied:
            if not self._write_only:
                raise

    def ready(self) -> int:
        """A value that changed since it was read is reported as in sysfs."""
        return super().ready() | ((select.POLLPRI | select.POLLERR) if self._stale else 0)

    def wake(self, *, certain: bool = False) -> None:
        """Another client stored the value, or the node is gone.

        Args:
            certain: since it was read here. Otherwise only an event came since then, perhaps
                that of our own change: the value decides.
        """
        node = self.node
        value = filenames.from_text(self._text, self._raw)
        if certain or (node.has_event_since(self._read_at) and node.value != value):
            self._stale = True
            self.notify_pollers()

    async def _renew(self) -> None:
        """Take the value that others have stored since, if any; else keep our own text."""
        self._read_at, self._stale = self.node.view.clock, False
        self._as_of = self.node.written
        value = await self._tree.value(self.node)
        if value != filenames.from_text(self._text, self._raw):
            self._text = filenames.to_text(value, self._raw)

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there. From the start, or past the end, it is read anew, as in sysfs."""
        again = self._ended or (self._used and not offset) or self._as_of != self.node.written
        if again and not self._is_cut:
            await self._renew()
        data = self._text[offset : offset + size]
        self._used, self._ended = True, not data
        return data

    async def write(self, offset: int, data: bytes) -> int:
        """Store the value with `data` put in its place.

        Raises:
            FSError: EFBIG; the node is gone, or was to be created and is there.
            StoreError, InvalidPayload: the store refused it; the old value stays.
        """
        self._refused = True
        whole = not offset and len(data) >= len(self._text)
        if self._append or not (self._is_cut or whole):
            await self._renew_unless_cut()
        if self._append:
            offset = len(self._text)
        self._check_size(offset + len(data))
        text = self._text[:offset].ljust(offset, b"\0") + data + self._text[offset + len(data) :]
        await self._store(text)
        self._refused = False
        return len(data)

    async def truncate(self, size: int) -> None:
        """Truncate or extend the text; it is stored later, as a truncation by open is.

        Raises:
            FSError: EFBIG.
        """
        self._check_size(size)
        await self._renew_unless_cut()
        text = self._text[:size].ljust(size, b"\0")
        request = requests.write(self.node.path, filenames.from_text(text, self._raw))
        if len(request.payload) > PAYLOAD_MAX:
            raise FSError(errno.EFBIG)
        self._keep_cut(text)

    async def sync(self) -> None:
        """Store a truncation or creation that is not stored yet."""
        if self._refused:
            return
        if self._is_cut:
            await self._store(self._text, late=True)
        elif self._creates and self.node.pending and self.node.alive:
            await self._store(b"", late=True)

    async def release(self) -> None:
        """As `sync`; a failure is logged, as there is no caller left to get it."""
        try:
            await self.sync()
        except (FSError, XenStoreError) as error:
            log.warning("%r was not stored: %s", self.node, error)
        node = self.node
        if self._is_cut:
            node.draft_size = None
        if node.pollers is not None:
            node.pollers.discard(self)
        if node.pending and node.alive and not node.pollers:
            # No open file is left that could store it.
            self._changes.record_removal(node)

    @property
    def _is_cut(self) -> bool:
        """Whether its truncation is the last thing that happened to the node's text."""
        node = self.node
        return self._cut and self._as_of == node.written and node.alive

    def _keep_cut(self, text: bytes) -> None:
        self._text, self._cut, self._refused = text, True, False
        self._as_of = self.node.written
        self.node.draft_size = len(text)
        self.node.set_mtime(self._tree.now_ns())

    async def _renew_unless_cut(self) -> None:
        if not self._is_cut:
            await self._renew()

    def _check_size(self, size: int) -> None:
        # Before anything of that size is made; the packet's own limit is checked by the client.
        if size > PAYLOAD_MAX + 1:
            raise FSError(errno.EFBIG)

    async def _store(self, text: bytes, *, late: bool = False) -> None:
        node = self.node
        value = filenames.from_text(text, self._raw)
        exclusive = self._exclusive and not node.written
        await self._changes.write(node, value, exclusive=exclusive, late=late)
        self._text, self._cut = text, False
        self._as_of = node.written
        for poller in node.pollers or ():
            if poller is not self:
                poller.wake(certain=True)


class DirectoryHandle:
    """A directory's entries as they were when it was opened; a cookie is an index."""

    def __init__(self, inode: Inode, names: list[bytes]) -> None:
        self.inode = inode
        self.names = names
        # The entries that were asked for last, by index, and those of them that there are.
        self.window = range(0)
        self.found: dict[bytes, Node] = {}
