# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Answers to the event helper's requests: from memory, and never touching the store.

What it is about to create is not there yet, what it is about to remove still is, and nothing
else that it asks changes anything.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs.fs import names as filenames
from xsfs.fs.events import Kind
from xsfs.fs.nodes import Face
from xsfs.fs.tree import FSError

if TYPE_CHECKING:
    from xsfs.fs.entries import Entries
    from xsfs.fs.events import Notice
    from xsfs.fs.nodes import Inode
    from xsfs.fs.notices import Courier
    from xsfs.fs.pokes import Poke
    from xsfs.fs.table import NodeTable


class Accomplice:
    """Plays along with the helper's pokes."""

    def __init__(self, table: NodeTable, entries: Entries, courier: Courier) -> None:
        self._table = table
        self._entries = entries
        self._courier = courier

    def is_asking(self, pid: int) -> bool:
        """Whether a request comes from the helper."""
        return self._courier.is_helper(pid)

    def lookup(self, parent: Inode, name: bytes) -> Inode:
        """The inode of an entry as the helper is to see it.

        Raises:
            FSError: ENOENT.
        """
        node = parent.node
        poke = self._courier.expected(node, name)
        if poke is not None and poke.notice.kind is Kind.CREATED:
            raise FSError(errno.ENOENT)
        if poke is not None:
            poke.shown = True
            return self._face(poke.notice)
        if name == filenames.VALUE:
            return self._table.inode(node, Face.VALUE)
        if (control := self._entries.control(node, name)) is not None:
            return control
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
        poke = self._expected(parent, name, Kind.CREATED)
        if poke.is_moved and poke.may_fail:
            raise FSError(errno.EAGAIN)
        self._courier.fulfil(poke)
        return self._face(poke.notice)

    def removed(self, parent: Inode, name: bytes) -> None:
        """The helper believes to remove a node.

        Raises:
            FSError: EPERM when it was not told to; EAGAIN when the kernel is about to take
                a later directory of that name for removed.
        """
        poke = self._expected(parent, name, Kind.REMOVED)
        child = parent.node.children.get(name) if parent.node.children else None
        if child is not None and child.alive and not poke.shown:
            # It did not ask: the name leads it to what it holds, which may be a later node.
            inode = child.face(Face.DIRECTORY if poke.notice.directory else Face.FILE)
            if inode is not None and poke.notice.directory and poke.may_fail:
                raise FSError(errno.EAGAIN)
            if inode is not None:
                self._table.retire(inode)
        self._courier.fulfil(poke)

    def _expected(self, parent: Inode, name: bytes, kind: Kind) -> Poke:
        poke = self._courier.expected(parent.node, name)
        if poke is None or poke.notice.kind is not kind:
            raise FSError(errno.EPERM)
        return poke

    def _face(self, notice: Notice) -> Inode:
        node = notice.node
        if node is None:
            raise FSError(errno.EPERM)
        if notice.name == filenames.VALUE:
            return self._table.inode(node, Face.VALUE)
        return self._table.inode(node, Face.DIRECTORY if notice.directory else Face.FILE)
