# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Answers the event helper's requests from memory, without asking the store.

To the helper, a node whose creation is to be announced does not exist yet, and a node whose removal
is to be announced still does. None of its requests changes the store.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pyfuse3

from xsfs.fs.model import names as filenames
from xsfs.fs.model.notices import Kind
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.reads import FSError

if TYPE_CHECKING:
    from xsfs.fs.fuse.attributes import Attributes
    from xsfs.fs.inotify.injections import Injection
    from xsfs.fs.inotify.queue import NotificationQueue
    from xsfs.fs.model.nodes import Inode
    from xsfs.fs.model.notices import Notice
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.virtual.entries import Entries

# The one handle of all files that the helper opens; those of others count from 1.
HELPER_HANDLE = 0


class HelperRequests:
    """The handlers for the helper's requests: its operations succeed, so that events are raised."""

    def __init__(
        self, table: NodeTable, entries: Entries, attributes: Attributes, queue: NotificationQueue
    ) -> None:
        self._table = table
        self._entries = entries
        self._attributes = attributes
        self._queue = queue

    # -- names --------------------------------------------------------------------------------

    def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """An entry as it was before the events that are still to be raised.

        Raises:
            FSError: ENOENT.
        """
        return self._attributes.helper_entry(self._found(self._table[parent_inode], name))

    def _found(self, parent: Inode, name: bytes) -> Inode:
        node = parent.node
        injection = self._queue.expected(node, name)
        if injection is not None and injection.notice.kind is Kind.CREATED:
            raise FSError(errno.ENOENT)
        if injection is not None:
            injection.shown = True
            return self._inode(injection.notice)
        if name == filenames.VALUE:
            return self._table.inode(node, InodeKind.VALUE)
        if (virtual_file := self._entries.virtual_file(node, name)) is not None:
            return virtual_file
        child = self._table.leaving.get((node, name))
        if child is None and node.children:
            child = node.children.get(name)
        if child is None:
            raise FSError(errno.ENOENT)
        return self._table.inode(child, child.shown)

    def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Answer a creation by the helper with the node that exists already.

        Raises:
            FSError: EPERM when it had no order for this; EAGAIN when the node has been moved
                away: the kernel would have it in both places.
        """
        injection = self._expected(self._table[parent_inode], name, Kind.CREATED)
        if injection.is_moved and injection.may_fail:
            raise FSError(errno.EAGAIN)
        injection.fulfilled = True
        return self._attributes.helper_entry(self._inode(injection.notice))

    def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """As `mknod`."""
        return self.mknod(parent_inode, name, mode, 0, ctx)

    def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Answer a removal by the helper of a node that is gone already.

        Raises:
            FSError: EPERM when it had no order for this; EAGAIN when the kernel would take a
                later directory of that name for removed.
        """
        parent = self._table[parent_inode]
        injection = self._expected(parent, name, Kind.REMOVED)
        child = parent.node.children.get(name) if parent.node.children else None
        if child is not None and child.alive and not injection.shown:
            # Without a lookup: the kernel held the entry, which may lead to a later node.
            inode = child.inode(
                InodeKind.DIRECTORY if injection.notice.directory else InodeKind.FILE
            )
            if inode is not None and injection.notice.directory and injection.may_fail:
                raise FSError(errno.EAGAIN)
            if inode is not None:
                self._table.retire(inode)
        injection.fulfilled = True

    rmdir = unlink

    # -- files --------------------------------------------------------------------------------

    def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes as they are known."""
        return self._attributes.of(self._table[inode])

    def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Set nothing: the kernel raises the event all the same."""
        return self.getattr(inode, ctx)

    def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open any file, without fetching its value."""
        return pyfuse3.FileInfo(fh=HELPER_HANDLE, direct_io=True)

    def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write nothing: the kernel raises the event all the same."""
        return len(buf)

    def flush(self, fh: int) -> None:
        """Nothing to store."""

    def release(self, fh: int) -> None:
        """Nothing to close."""

    # -- notices ------------------------------------------------------------------------------

    def _expected(self, parent: Inode, name: bytes, kind: Kind) -> Injection:
        injection = self._queue.expected(parent.node, name)
        if injection is None or injection.notice.kind is not kind:
            raise FSError(errno.EPERM)
        return injection

    def _inode(self, notice: Notice) -> Inode:
        node = notice.node
        if node is None:
            raise FSError(errno.EPERM)
        return self._table.inode(node, InodeKind.DIRECTORY if notice.directory else InodeKind.FILE)
