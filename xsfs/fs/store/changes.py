# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Write, create, mkdir, unlink, rmdir, rename: changes to the store, atomic for other clients.

A change that depends on what is in the store (does the node exist? has it children?) runs in a
transaction, and is repeated when that conflicts. Used from the trio thread alone.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs.errors import NotFound, StoreError, TooBig
from xsfs.fs.model import names as filenames
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store import renames
from xsfs.fs.store.reads import FSError
from xsfs.fs.store.writes import Steps, check_name
from xsfs.protocol import paths, requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.fs.model.nodes import Inode, Node


class Changes(Steps):
    """The changes that can be made through the mount."""

    # -- values -------------------------------------------------------------------------------

    async def set_perms(self, node: Node, perms: bytes) -> None:
        """Replace a node's permissions: entries separated by commas, as `n0,r5`.

        Raises:
            FSError: EINVAL when no such domain can own it.
            InvalidPermission: an entry is malformed.
            StoreError: the store refused it.
        """
        if node.pending:
            await self.write(node, b"", late=True)
        entries = perms.split(b",")
        joined = b"".join(entry + b"\0" for entry in entries)
        with self.expect(node, node.path, exists=True, perms=joined):
            try:
                await self.client.call(requests.set_perms(node.path, entries), node.view.tx_id)
            except NotFound:
                # C xenstored says so of an owner that does not exist, unless the node is gone.
                await self.client.call(requests.read(node.path), node.view.tx_id)
                raise FSError(errno.EINVAL) from None
        node.perms_are_set = True
        if node.announced is not None:
            node.announced = node.announced._replace(perms=joined)

    # -- creation -----------------------------------------------------------------------------

    async def create(self, parent: Node, name: bytes, *, exclusive: bool) -> tuple[Inode, bool]:
        """The file for an open with O_CREAT, and whether it still has to be stored.

        A new node is stored by its first write, so that nobody sees an empty value.

        Raises:
            FSError: EINVAL for a name the store cannot hold, EEXIST, EISDIR.
            StoreError: NotFound when the parent is gone, among others.
        """
        table = self.tree.table
        if name == filenames.VALUE:
            return table.inode(parent, InodeKind.VALUE), False
        check_name(name)
        try:
            node = await self.tree.lookup(parent, name)
        except FSError:
            if parent.alive and not self.tree.is_fresh(parent):
                # It may be gone, which is yet to be compared: a write would bring it back.
                await self.tree.refresh_node(parent)
            if not parent.alive:
                raise
            node = table.child(parent, name)
            node.pending = True
            self._made(node)
            node.set_mtime(self.tree.now_ns())
            parent.set_mtime(self.tree.now_ns())
            return table.inode(node, InodeKind.FILE), True
        if exclusive:
            raise FSError(errno.EEXIST)
        if node.directory:
            raise FSError(errno.EISDIR)
        return table.inode(node, InodeKind.FILE), False

    async def mkdir(self, parent: Node, name: bytes) -> Node:
        """Create a node that is a directory.

        Raises:
            FSError: EEXIST when another client was first; ENOENT when the parent is gone.
        """
        node = await self._make(parent, name, requests.mkdir)
        node.directory = True
        if node.announced is not None:
            node.announced = node.announced._replace(directory=True)
        node.names = set()
        return node

    async def mknod(self, parent: Node, name: bytes) -> Inode:
        """Create an empty file, at once.

        Raises:
            FSError: as in `mkdir`.
        """
        table = self.tree.table
        if name == filenames.VALUE:
            return table.inode(parent, InodeKind.VALUE)
        node = await self._make(parent, name, lambda path: requests.write(path, b""))
        return table.inode(node, InodeKind.FILE)

    async def _make(
        self, parent: Node, name: bytes, request: Callable[[bytes], requests.Request[None]]
    ) -> Node:
        check_name(name)
        path = paths.join(parent.path, name)
        if not parent.alive:
            raise FSError(errno.ENOENT)

        async def make(tx_id: int) -> None:
            await self.require_missing(parent, name, tx_id)
            await self.client.call(request(path), tx_id)

        with self.expect(parent, path, exists=True, value=b""):
            await self.transaction(parent, make)
        node = self.tree.table.child(parent, name)
        await self.stored(node, b"")
        return node

    # -- removal ------------------------------------------------------------------------------

    async def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a node that has no children.

        Raises:
            FSError: ENOENT; EISDIR when it is a directory, or has become one.
        """
        node = await self.tree.lookup(parent, name)
        if node.directory:
            raise FSError(errno.EISDIR)
        if node.pending:
            self.record_removal(node)
            return
        await self._remove(node, errno.EISDIR)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove a directory that is empty: no children, no value of its own.

        Raises:
            FSError: ENOENT, ENOTDIR, ENOTEMPTY.
        """
        node = await self.tree.lookup(parent, name)
        if not node.directory:
            raise FSError(errno.ENOTDIR)
        await self._remove(node, errno.ENOTEMPTY, with_value=False)

    async def _remove(self, node: Node, refusal: int, *, with_value: bool = True) -> None:
        path = node.path

        async def remove(tx_id: int) -> None:
            listing, value = await self.client.batch(
                [requests.directory(path), requests.read(path)], tx_id
            )
            if isinstance(listing, NotFound):
                raise FSError(errno.ENOENT)
            if isinstance(listing, StoreError) and not isinstance(listing, TooBig):
                raise listing
            if listing:
                # It has children, or more than fit into a reply.
                raise FSError(refusal)
            if value and not with_value:
                raise FSError(errno.ENOTEMPTY)
            await self.client.call(requests.rm(path), tx_id)

        with self.expect(node, path, exists=False):
            await self.transaction(node, remove)
        self.record_removal(node)

    # -- rename -------------------------------------------------------------------------------

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        """Move a node, with all below it, in one transaction.

        Raises:
            FSError: as rename(2) says.
            StoreError: the store refused it; nothing has changed.
        """
        await renames.rename(self, parent, name, new_parent, new_name, flags)
