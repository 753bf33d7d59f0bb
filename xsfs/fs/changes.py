# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Write, create, mkdir, unlink, rmdir, rename: changes to the store, exact among other clients.

Each change is announced to `Echoes` before it is sent, as its watch event may come before its
reply. What must see the store as it is (is there such a node? has it children?) runs in a
transaction, and is repeated when that conflicts. Used from the trio thread alone.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xsfs.errors import NotFound, StoreError
from xsfs.fs import names as filenames
from xsfs.fs.tree import FSError, State
from xsfs.protocol import paths, procedures, requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from xsfs.fs.events import Echoes
    from xsfs.fs.nodes import Node
    from xsfs.fs.tree import Tree

# pyfuse3.RENAME_NOREPLACE and RENAME_EXCHANGE (linux/fs.h).
NOREPLACE = 1
EXCHANGE = 2


class Changes:
    """What can be done to the store through the mount."""

    def __init__(self, tree: Tree, echoes: Echoes) -> None:
        self._tree = tree
        self._client = tree.client
        self._echoes = echoes

    # -- values -------------------------------------------------------------------------------

    async def write(self, node: Node, value: bytes, *, exclusive: bool = False) -> None:
        """Store a node's value; creates the node when it is pending.

        Args:
            exclusive: the node must not exist yet.

        Raises:
            FSError: ENOENT when the node is gone, EEXIST when it must not be there.
            StoreError: the store refused it; the old value stays.
        """
        path = node.path
        if not node.alive:
            raise FSError(errno.ENOENT)
        with self._expect(node, path, exists=True, value=value):
            if exclusive:
                await self._exclusively(node, requests.write(path, value))
            else:
                await self._client.call(requests.write(path, value), node.view.tx_id)
        self._stored(node, value)

    async def _exclusively(self, node: Node, request: requests.Request[None]) -> None:
        async def create(tx_id: int) -> None:
            await self._require_missing(node.path, tx_id)
            await self._client.call(request, tx_id)

        await self._transaction(node, create)

    async def set_perms(self, node: Node, perms: bytes) -> None:
        """Replace a node's permissions: entries separated by commas, as `n0,r5`.

        Raises:
            InvalidPermission: an entry is malformed.
            StoreError: the store refused it.
        """
        entries = perms.split(b",")
        joined = b"".join(entry + b"\0" for entry in entries)
        with self._expect(node, node.path, exists=True, perms=joined):
            await self._client.call(requests.set_perms(node.path, entries), node.view.tx_id)
        if node.told is not None:
            node.told = node.told._replace(perms=joined)

    def _stored(self, node: Node, value: bytes) -> None:
        """What we wrote is what is known, and told, from now on."""
        node.pending = False
        node.value = value
        node.mtime_ns = self._tree.now_ns()
        parent = node.parent
        if node.told is None:
            self._tree.observe(node, State(value, []), node.view.clock - 1)
        else:
            node.told = node.told._replace(value=value)
        if parent is not None and parent.names is not None:
            parent.names.add(node.name)

    # -- creation -----------------------------------------------------------------------------

    async def create(self, parent: Node, name: bytes, *, exclusive: bool) -> tuple[Node, bool]:
        """The node for a file opened with O_CREAT, and whether it is yet to be stored.

        A new node is stored by its first write, so that nobody sees an empty value.

        Raises:
            FSError: EINVAL for a name the store cannot hold, EEXIST, EISDIR.
        """
        self._check_name(name)
        try:
            node = await self._tree.lookup(parent, name)
        except FSError:
            if not parent.alive:
                raise
            node = self._tree.table.child(parent, name)
            node.pending = True
            return node, True
        if exclusive:
            raise FSError(errno.EEXIST)
        if node.directory:
            raise FSError(errno.EISDIR)
        return node, False

    async def mkdir(self, parent: Node, name: bytes) -> Node:
        """Create a node that is a directory.

        Raises:
            FSError: EEXIST when another client was first; ENOENT when the parent is gone.
        """
        node = await self._make(parent, name, requests.mkdir)
        node.directory = True
        if node.told is not None:
            node.told = node.told._replace(directory=True)
        node.names = set()
        return node

    async def mknod(self, parent: Node, name: bytes) -> Node:
        """Create an empty node, at once.

        Raises:
            FSError: as in `mkdir`.
        """
        return await self._make(parent, name, lambda path: requests.write(path, b""))

    async def _make(
        self, parent: Node, name: bytes, request: Callable[[bytes], requests.Request[None]]
    ) -> Node:
        self._check_name(name)
        top = parent.path
        path = paths.join(top, name)

        async def make(tx_id: int) -> None:
            await self._require_missing(path, tx_id)
            await self._require(top, parent, tx_id)
            await self._client.call(request(path), tx_id)

        with self._expect(parent, path, exists=True, value=b""):
            await self._transaction(parent, make)
        node = self._tree.table.child(parent, name)
        self._stored(node, b"")
        return node

    # -- removal ------------------------------------------------------------------------------

    async def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a node that has no children.

        Raises:
            FSError: ENOENT; EISDIR when it is a directory, or has become one.
        """
        node = await self._tree.lookup(parent, name)
        if node.directory:
            raise FSError(errno.EISDIR)
        if node.pending:
            self._drop(node)
            return
        await self._remove(node, errno.EISDIR)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove a directory that is empty: no children, no value of its own.

        Raises:
            FSError: ENOENT, ENOTDIR, ENOTEMPTY.
        """
        node = await self._tree.lookup(parent, name)
        if not node.directory:
            raise FSError(errno.ENOTDIR)
        await self._remove(node, errno.ENOTEMPTY, with_value=False)

    async def _remove(self, node: Node, refusal: int, *, with_value: bool = True) -> None:
        path = node.path

        async def remove(tx_id: int) -> None:
            listing, value = await self._client.batch(
                [requests.directory(path), requests.read(path)], tx_id
            )
            if isinstance(listing, NotFound):
                raise FSError(errno.ENOENT)
            if listing:
                # Children, or (E2BIG) so many that they do not fit into a reply.
                raise FSError(refusal)
            if value and not with_value:
                raise FSError(errno.ENOTEMPTY)
            await self._client.call(requests.rm(path), tx_id)

        with self._expect(node, path, exists=False):
            await self._transaction(node, remove)
        self._drop(node)

    def _drop(self, node: Node) -> None:
        parent = node.parent
        node.pending = False
        node.told = None
        self._tree.table.drop(node)
        if parent is not None:
            parent.mtime_ns = self._tree.now_ns()
            if parent.names is not None:
                parent.names.discard(node.name)

    # -- rename -------------------------------------------------------------------------------

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        """Move a node, with all below it, in one transaction.

        Raises:
            FSError: as rename(2) says.
            StoreError: the store refused it; nothing has changed.
        """
        if flags & ~NOREPLACE:
            raise FSError(errno.EINVAL)
        self._check_name(new_name)
        node = await self._tree.lookup(parent, name)
        source, target = node.path, paths.join(new_parent.path, new_name)
        if source == target:
            return
        if paths.is_below(target, source):
            raise FSError(errno.EINVAL)
        if paths.is_below(source, target):
            raise FSError(errno.ENOTEMPTY)
        if node.pending:
            await self.write(node, b"")
        replaced = new_parent.children.get(new_name) if new_parent.children else None
        echoes = self._echoes
        expected = [echoes.expect(source, exists=False)]

        async def move(tx_id: int) -> None:
            while len(expected) > 1:
                echoes.cancel(expected.pop())
            await self._require(new_parent.path, new_parent, tx_id)
            await self._make_way(node, target, replaced, flags, tx_id)
            try:
                values = await self._client.perform(procedures.tree(source), tx_id)
            except NotFound:
                raise FSError(errno.ENOENT) from None
            old = list(values)
            perms = await self._client.batch([requests.get_perms(path) for path in old], tx_id)
            batch: list[requests.Request[object]] = []
            for path, entries in zip(old, perms, strict=True):
                if isinstance(entries, StoreError):
                    raise entries
                moved = target + path[len(source) :]
                batch.append(requests.write(moved, values[path]))
                batch.append(requests.set_perms(moved, entries))  # type: ignore[arg-type]
                expected.append(echoes.expect(moved, exists=True, value=values[path]))
            batch.append(requests.rm(source))
            for result in await self._client.batch(batch, tx_id):
                if isinstance(result, StoreError):
                    raise result

        try:
            await self._transaction(node, move)
        except BaseException:
            for echo in expected:
                echoes.cancel(echo)
            raise
        for echo in expected:
            echoes.acknowledge(echo, self._client.sent)
        self._moved(node, new_parent, new_name, replaced)

    async def _make_way(
        self, node: Node, target: bytes, replaced: Node | None, flags: int, tx_id: int
    ) -> None:
        """Remove what stands at the target, if it may be replaced."""
        listing, value = await self._client.batch(
            [requests.directory(target), requests.read(target)], tx_id
        )
        if isinstance(value, NotFound):
            return
        if isinstance(value, StoreError):
            raise value
        if flags & NOREPLACE:
            raise FSError(errno.EEXIST)
        directory = bool(listing) or (replaced is not None and replaced.directory)
        if directory and not node.directory:
            raise FSError(errno.EISDIR)
        if node.directory and not directory:
            raise FSError(errno.ENOTDIR)
        if listing or (directory and value):
            raise FSError(errno.ENOTEMPTY)
        await self._client.call(requests.rm(target), tx_id)

    def _moved(self, node: Node, new_parent: Node, new_name: bytes, replaced: Node | None) -> None:
        if replaced is not None:
            self._drop(replaced)
        old_parent, old_name = node.parent, node.name
        self._tree.table.move(node, new_parent, new_name)
        now_ns = self._tree.now_ns()
        for parent in (old_parent, new_parent):
            if parent is not None:
                parent.mtime_ns = now_ns
        if old_parent is not None and old_parent.names is not None:
            old_parent.names.discard(old_name)
        if new_parent.names is not None:
            new_parent.names.add(new_name)

    # -- what they share ----------------------------------------------------------------------

    def _check_name(self, name: bytes) -> None:
        if not filenames.is_node_name(name):
            raise FSError(errno.ENAMETOOLONG if len(name) > filenames.NAME_MAX else errno.EINVAL)

    @contextmanager
    def _expect(
        self,
        node: Node,
        path: bytes,
        *,
        exists: bool,
        value: bytes | None = None,
        perms: bytes | None = None,
    ) -> Iterator[None]:
        if node.view.tx_id:
            # No event before the commit, and then it is as anybody's.
            yield
            return
        echo = self._echoes.expect(path, exists=exists, value=value, perms=perms)
        try:
            yield
        except BaseException:
            self._echoes.cancel(echo)
            raise
        self._echoes.acknowledge(echo, self._client.sent)

    async def _transaction(self, node: Node, body: Callable[[int], Awaitable[None]]) -> None:
        """In a transaction of its own, or in the one whose view this is."""
        if node.view.tx_id:
            await body(node.view.tx_id)
        else:
            await self._client.transaction(body)

    async def _require_missing(self, path: bytes, tx_id: int) -> None:
        try:
            await self._client.call(requests.read(path), tx_id)
        except NotFound:
            return
        raise FSError(errno.EEXIST)

    async def _require(self, path: bytes, node: Node, tx_id: int) -> None:
        try:
            await self._client.call(requests.read(path), tx_id)
        except NotFound:
            if node.parent is not None:
                raise FSError(errno.ENOENT) from None
