# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What stat(2) says of an inode, and for how long the kernel may believe it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pyfuse3

from xsfs.fs.nodes import Face
from xsfs.fs.tree import MAX_AGE_S

if TYPE_CHECKING:
    from xsfs.fs.entries import Entries
    from xsfs.fs.nodes import Inode
    from xsfs.fs.tree import Tree


class Attributes:
    """Makes pyfuse3's attributes of inodes, from what is known of their nodes."""

    def __init__(self, tree: Tree, entries: Entries) -> None:
        self._tree = tree
        self._options = tree.options
        self._entries = entries

    def of(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The attributes as they are known now."""
        entry = pyfuse3.EntryAttributes()
        node, face, options = inode.node, inode.face, self._options
        size = 0
        mode = stat.S_IFREG | 0o644
        match face:
            case Face.FILE | Face.VALUE:
                if node.draft_size is not None:
                    size = node.draft_size
                elif node.value:
                    size = len(node.value) + (not options.raw)
            case Face.DIRECTORY:
                mode = stat.S_IFDIR | 0o755
            case Face.LINK | Face.ALIAS:
                mode = stat.S_IFLNK | 0o777
                size = len(self._entries.link(inode))
            case Face.CONTROL if inode.control is not None:
                mode, size = inode.control.mode, inode.control.size
        if stat.S_ISREG(mode):
            mode &= ~options.fmask
        elif stat.S_ISDIR(mode):
            mode &= ~options.dmask
        entry.st_ino = inode.ino
        entry.st_mode = mode
        entry.st_nlink = 1 if node.alive else 0
        entry.st_uid = options.uid
        entry.st_gid = options.gid
        entry.st_size = size
        entry.st_blocks = (size + 511) // 512
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = (
            self._tree.started_ns if node.mtime_ns is None else node.mtime_ns
        )
        plain = face in (Face.FILE, Face.DIRECTORY, Face.VALUE)
        if face is Face.FILE and node.face(Face.DIRECTORY) is not None:
            # Somebody has its NAME.d: it may become a directory at any moment.
            plain = False
        lasting = plain and node.alive and not node.pending and self._tree.is_fresh(node)
        entry.attr_timeout = MAX_AGE_S if lasting else 0
        entry.entry_timeout = MAX_AGE_S if lasting and not self._tree.unsettled(node) else 0
        return entry

    def learnt(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The answer by which the kernel learns an inode."""
        inode.lookups += 1
        inode.wanted = True
        return self.of(inode)

    def lent(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The answer to the event helper: the kernel need not keep what only that asks for."""
        entry = self.of(inode)
        inode.lookups += 1
        if not inode.wanted:
            entry.attr_timeout = entry.entry_timeout = 0
        return entry
