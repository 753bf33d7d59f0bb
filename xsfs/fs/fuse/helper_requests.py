# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Answers to the event helper's requests: from memory, and never touching the store.

What it is about to create is not there yet, what it is about to remove still is, and nothing
else that it asks changes anything.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs.fs.model import names as filenames
from xsfs.fs.model.notices import Kind
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.reads import FSError

if TYPE_CHECKING:
    from xsfs.fs.inotify.injections import Injection
    from xsfs.fs.inotify.queue import NotificationQueue
    from xsfs.fs.model.nodes import Inode
    from xsfs.fs.model.notices import Notice
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.virtual.entries import Entries


class HelperRequests:
    """Plays along with the helper's injections."""

    def __init__(self, table: NodeTable, entries: Entries, queue: NotificationQueue) -> None:
        self._table = table
        self._entries = entries
        self._queue = queue

    def is_asking(self, pid: int) -> bool:
        """Whether a request comes from the helper."""
        return self._queue.is_helper(pid)

    def lookup(self, parent: Inode, name: bytes) -> Inode:
        """The inode of an entry as the helper is to see it.

        Raises:
            FSError: ENOENT.
        """
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
        child = node.children.get(name) if node.children else None
        if child is None:
            raise FSError(errno.ENOENT)
        return self._table.inode(child, child.shown)

    def created(self, parent: Inode, name: bytes) -> Inode:
        """The node that the helper believes to create.

        Raises:
            FSError: EPERM when it was not told to; EAGAIN when the node has been moved away:
                the kernel would have it in both places.
        """
        injection = self._expected(parent, name, Kind.CREATED)
        if injection.is_moved and injection.may_fail:
            raise FSError(errno.EAGAIN)
        self._queue.fulfil(injection)
        return self._inode(injection.notice)

    def removed(self, parent: Inode, name: bytes) -> None:
        """The helper believes to remove a node.

        Raises:
            FSError: EPERM when it was not told to; EAGAIN when the kernel is about to take
                a later directory of that name for removed.
        """
        injection = self._expected(parent, name, Kind.REMOVED)
        child = parent.node.children.get(name) if parent.node.children else None
        if child is not None and child.alive and not injection.shown:
            # It did not ask: the name leads it to what it holds, which may be a later node.
            inode = child.inode(
                InodeKind.DIRECTORY if injection.notice.directory else InodeKind.FILE
            )
            if inode is not None and injection.notice.directory and injection.may_fail:
                raise FSError(errno.EAGAIN)
            if inode is not None:
                self._table.retire(inode)
        self._queue.fulfil(injection)

    def _expected(self, parent: Inode, name: bytes, kind: Kind) -> Injection:
        injection = self._queue.expected(parent.node, name)
        if injection is None or injection.notice.kind is not kind:
            raise FSError(errno.EPERM)
        return injection

    def _inode(self, notice: Notice) -> Inode:
        node = notice.node
        if node is None:
            raise FSError(errno.EPERM)
        if notice.name == filenames.VALUE:
            return self._table.inode(node, InodeKind.VALUE)
        return self._table.inode(node, InodeKind.DIRECTORY if notice.directory else InodeKind.FILE)
