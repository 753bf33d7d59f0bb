# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The entries of a directory: which inode a name leads to, of a node or a virtual file.

Knows no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs.fs.model import names as filenames
from xsfs.fs.model.nodes import Node
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualInode
from xsfs.fs.virtual.scratch import ScratchFiles

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Inode
    from xsfs.fs.store.handles import DirectoryHandle
    from xsfs.fs.store.reads import Tree
    from xsfs.fs.virtual.files import VirtualFile, VirtualFiles

# How many entries of a directory are fetched at a time.
_WINDOW = 512


class Entries:
    """Names to inodes."""

    def __init__(self, tree: Tree, virtual_files: VirtualFiles) -> None:
        self.scratch = ScratchFiles(tree.options.raw)
        self._tree = tree
        self._table = tree.table
        self._virtual_files = virtual_files

    def is_ours(self, parent: Node, name: bytes) -> bool:
        """Whether a name is that of a virtual file, which cannot be removed or moved."""
        return (
            not filenames.is_node_name(name) or self._virtual_files.find(parent, name) is not None
        )

    async def find(self, parent: Inode, name: bytes, asker: int | None = None) -> Inode:
        """The inode of an entry, listed or hidden.

        Args:
            asker: the thread that asks, if it matters.

        Raises:
            FSError: ENOENT.
            StoreError: what the store said.
        """
        node = parent.node
        if isinstance(parent, VirtualInode):
            entry = parent.virtual_file.entries().get(name) or parent.virtual_file.unlisted.get(
                name
            )
            if entry is None:
                raise FSError(errno.ENOENT)
            if isinstance(entry, Node):
                return self._table.inode(entry, InodeKind.DIRECTORY)
            return self.virtual_inode(node, entry)
        if (own := self.virtual_file(node, name)) is not None:
            return own
        if name == filenames.VALUE:
            await self._tree.attributes(parent)
            if asker is not None and asker == node.hidden_from and not node.value:
                raise FSError(errno.ENOENT)
            return self._table.inode(node, InodeKind.VALUE)
        stem, suffix = filenames.split_suffix(name)
        child = await self._tree.lookup(node, stem)
        if suffix == filenames.LINK_SUFFIX:
            inode = self._table.inode(child, InodeKind.LINK)
            if not self.link(inode):
                self._table.discard(inode)
                raise FSError(errno.ENOENT)
            return inode
        if suffix:
            return self._table.inode(
                child, InodeKind.ALIAS if child.directory else InodeKind.DIRECTORY
            )
        return self._table.inode(child, child.shown)

    def virtual_file(self, parent: Node, name: bytes) -> Inode | None:
        """The inode of a virtual file, if there is one of that name."""
        virtual_file = self._virtual_files.find(parent, name)
        if virtual_file is None:
            virtual_file = self.scratch.in_directory(parent).get(name)
        return None if virtual_file is None else self.virtual_inode(parent, virtual_file)

    def virtual_inode(self, node: Node, virtual_file: VirtualFile) -> Inode:
        """The inode of a virtual file."""
        for inode in node.inodes:
            if isinstance(inode, VirtualInode) and inode.virtual_file is virtual_file:
                return inode
        return self._table.add(lambda ino: VirtualInode(ino, node, virtual_file))

    async def names(self, inode: Inode) -> list[bytes]:
        """What a directory lists.

        Raises:
            StoreError: what the store said.
        """
        if isinstance(inode, VirtualInode):
            return [b".", b"..", *sorted(inode.virtual_file.entries())]
        names = await self._tree.listing(inode.node)
        if inode is self._table.root:
            names = sorted({*names, *self._virtual_files.listed})
        own = [filenames.VALUE] if inode.node.value else []
        return [b".", b"..", *own, *self.scratch.in_directory(inode.node), *names]

    def dot(self, handle: DirectoryHandle, name: bytes) -> Inode:
        """The inode of `.` or `..`."""
        inode = handle.inode
        above = inode.node.parent
        if name == b"." or above is None:
            return inode
        return above.inode(InodeKind.DIRECTORY) or inode

    def known(self, handle: DirectoryHandle, name: bytes) -> Inode | None:
        """The inode of a listed entry, if its node was fetched and still exists."""
        child, children = handle.found.get(name), handle.inode.node.children
        if child is None or not children or children.get(name) is not child:
            return None
        # A program may watch the directory next: its children must be known for that.
        if child.directory and child.names is None:
            return None
        return self._table.inode(child, child.shown)

    async def listed(self, handle: DirectoryHandle, index: int) -> Inode | None:
        """The inode of a listed entry; fetches the nodes of the next entries with it.

        None when it has been removed.
        """
        name, inode = handle.names[index], handle.inode
        node = inode.node
        if inode.kind is InodeKind.VIRTUAL or not filenames.is_node_name(name):
            return await self._found(inode, name)
        if (own := self.virtual_file(node, name)) is not None:
            return own
        if index not in handle.window:
            await self._open_window(handle, index)
        if name not in handle.found:
            return None
        # Not known if it was forgotten or replaced since.
        return self.known(handle, name) or await self._found(inode, name)

    async def _found(self, parent: Inode, name: bytes) -> Inode | None:
        try:
            return await self.find(parent, name)
        except FSError:
            return None

    async def _open_window(self, handle: DirectoryHandle, start: int) -> None:
        """Fetch the nodes of the next entries together."""
        self.close(handle)
        node = handle.inode.node
        handle.window = range(start, start + _WINDOW)
        names = handle.names[start : start + _WINDOW]
        wanted = (name for name in names if self._virtual_files.find(node, name) is None)
        if stale := self._tree.stale(node, wanted):
            await self._tree.refresh(node, stale)
        children = node.children or {}
        handle.found = {name: children[name] for name in names if name in children}

    def close(self, handle: DirectoryHandle) -> None:
        """Forget the nodes that were fetched and that the kernel did not look up."""
        for child in handle.found.values():
            self._table.prune(child)
        handle.found = {}

    def link(self, inode: Inode) -> bytes:
        """Where a symbolic link leads; b"" when the value names no node in the mount."""
        node = inode.node
        if inode.kind is InodeKind.ALIAS:
            return node.name
        parent = node.parent
        if parent is None or node.value is None:
            return b""
        root = node.view.root.name
        return filenames.link_target(node.value, root, parent.depth) or b""
