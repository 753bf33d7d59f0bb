# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The attributes of an inode, as stat(2) shows them, and for how long the kernel may cache them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pyfuse3

from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.reads import MAX_AGE_S
from xsfs.fs.virtual.files import VirtualInode

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.fs.model.nodes import Inode, Node
    from xsfs.fs.store.reads import Tree
    from xsfs.fs.virtual.entries import Entries
    from xsfs.fs.virtual.scratch import ScratchFile


class Attributes:
    """Makes pyfuse3's attributes of inodes, from what is known of their nodes.

    Args:
        is_unsettled: whether the creation or removal of a node, or of another of its name, is yet
            to be announced to the kernel.
    """

    def __init__(self, tree: Tree, entries: Entries, is_unsettled: Callable[[Node], bool]) -> None:
        self._tree = tree
        self._is_unsettled = is_unsettled
        self._entries = entries
        options = tree.options
        self._owner = options.uid, options.gid
        self._newline = not options.raw
        self._file_mode = stat.S_IFREG | 0o644 & ~options.fmask
        self._directory_mode = stat.S_IFDIR | 0o755 & ~options.dmask
        self._masks = {stat.S_IFREG: options.fmask, stat.S_IFDIR: options.dmask}

    def is_readable(self, ctx: pyfuse3.RequestContext) -> bool:
        """Whether a caller may read the files of nodes, by their mode and owner."""
        uid, gid = self._owner
        if ctx.uid == uid:
            bit = stat.S_IRUSR
        elif ctx.gid == gid or (
            self._file_mode & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP
            and gid in pyfuse3.get_sup_groups(ctx.pid)
        ):
            bit = stat.S_IRGRP
        else:
            bit = stat.S_IROTH
        return not ctx.uid or bool(self._file_mode & bit)

    def of(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The attributes as they are known now."""
        entry = pyfuse3.EntryAttributes()
        node, kind = inode.node, inode.kind
        mode, size = self._file_mode, 0
        if kind is InodeKind.DIRECTORY:
            mode = self._directory_mode
        elif kind is InodeKind.FILE or kind is InodeKind.VALUE:
            if node.draft_size is not None:
                size = node.draft_size
            elif node.value:
                size = len(node.value) + self._newline
        elif isinstance(inode, VirtualInode):
            mode, size = inode.virtual_file.mode, inode.virtual_file.size
            if inode.virtual_file.owner is None:
                mode &= ~self._masks.get(stat.S_IFMT(mode), 0)
        else:
            mode, size = stat.S_IFLNK | 0o777, len(self._entries.link(inode))
        entry.st_ino = inode.ino
        entry.st_mode = mode
        # When the kernel drops an entry of an inode without links it takes the inode for removed,
        # which would end a watch before its last events were raised.
        entry.st_nlink = 1 if node.alive or self._is_unsettled(node) else 0
        entry.st_uid, entry.st_gid = self._owner
        entry.st_size = size
        entry.st_blocks = (size + 511) // 512
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = (
            self._tree.started_ns if node.mtime_ns is None else node.mtime_ns
        )
        if isinstance(inode, VirtualInode):
            file = inode.virtual_file
            if file.owner is not None:
                entry.st_uid, entry.st_gid = file.owner
            if file.mtime_ns is not None:
                entry.st_mtime_ns = entry.st_ctime_ns = file.mtime_ns
        entry.attr_timeout = entry.entry_timeout = 0
        if self._is_lasting(inode):
            entry.attr_timeout = MAX_AGE_S
            if not self._is_unsettled(node):
                entry.entry_timeout = MAX_AGE_S
        return entry

    def _is_lasting(self, inode: Inode) -> bool:
        """Whether an event will come when the attributes are out of date."""
        node, kind = inode.node, inode.kind
        if kind is InodeKind.FILE:
            # A program may use its NAME.d, which can make it a directory at any moment.
            plain = len(node.inodes) == 1 or node.inode(InodeKind.DIRECTORY) is None
        else:
            plain = kind is InodeKind.DIRECTORY or kind is InodeKind.VALUE
        return plain and node.alive and not node.pending and self._tree.is_fresh(node)

    def bare(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """What the kernel takes of the attributes of `.` and `..`."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode.ino
        entry.st_mode = stat.S_IFDIR
        return entry

    def counted(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The answer to a lookup, which the kernel counts."""
        inode.count_lookup()
        return self.of(inode)

    def helper_entry(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The answer to the event helper: the kernel need not cache what only the helper uses."""
        entry = self.of(inode)
        inode.lookups += 1
        if not inode.user_visible:
            entry.attr_timeout = entry.entry_timeout = 0
        return entry


def set_scratch(
    file: ScratchFile, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields
) -> None:
    """Set attributes of a scratch file; the kernel has found that the caller may."""
    if fields.update_mode:
        file.mode = stat.S_IFREG | stat.S_IMODE(attr.st_mode)
    file.set_owner(
        attr.st_uid if fields.update_uid else None, attr.st_gid if fields.update_gid else None
    )
    if fields.update_size:
        file.resize(attr.st_size)
    if fields.update_mtime:
        file.changed_ns = attr.st_mtime_ns
