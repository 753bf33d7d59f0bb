# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Renaming: a node moves, with all below it, in one transaction.

XenStore has no such request, so it is copied and removed. Programs save a file by writing another
and renaming that onto it (sed -i, vim): the node then keeps the permissions that were set on
it, unless some were set on the other too. Used from the trio thread alone.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs.errors import NotFound, StoreError
from xsfs.fs.store.reads import FSError
from xsfs.fs.store.writes import check_name
from xsfs.protocol import paths, procedures, requests

if TYPE_CHECKING:
    from xsfs.fs.model.echoes import Echo
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.store.writes import Steps

# pyfuse3.RENAME_NOREPLACE (linux/fs.h).
NOREPLACE = 1


class Rename:
    """One renaming.

    Args:
        node: what is moved, and stored.
        replaced: the node known at the target.
    """

    def __init__(
        self,
        steps: Steps,
        node: Node,
        new_parent: Node,
        new_name: bytes,
        *,
        replaced: Node | None,
        noreplace: bool,
    ) -> None:
        self._steps = steps
        self._client = steps.client
        self._node = node
        self._new_parent = new_parent
        self._new_name = new_name
        self._replaced = replaced
        self._noreplace = noreplace
        self._source = node.path
        self._target = paths.join(new_parent.path, new_name)
        self._echoes: list[Echo] = []
        # The target's permissions, if they are to be kept.
        self._kept: list[bytes] | None = None

    async def run(self) -> None:
        """Do it.

        Raises:
            FSError: as rename(2) says.
            StoreError: the store refused it; nothing has changed.
        """
        try:
            await self._steps.transaction(self._node, self._move)
        except BaseException:
            self._cancel()
            raise
        for echo in self._echoes:
            self._steps.echoes.acknowledge(echo, self._client.sent)
        await self._moved()

    def _cancel(self) -> None:
        while self._echoes:
            self._steps.echoes.cancel(self._echoes.pop())

    async def _move(self, tx_id: int) -> None:
        self._cancel()
        replaces = await self._may_replace(tx_id)
        try:
            values = await self._client.perform(procedures.tree(self._source), tx_id)
        except NotFound:
            raise FSError(errno.ENOENT) from None
        old = list(values)
        perms = await self._client.batch([requests.get_perms(path) for path in old], tx_id)
        batch: list[requests.Request[object]] = []
        self._kept = None
        if replaces and await self._inherits(perms[0], tx_id):
            self._kept = await self._client.call(requests.get_perms(self._target), tx_id)
        elif replaces:
            batch.append(requests.rm(self._target))
        self._expect(self._source, None)
        for path, entries in zip(old, perms, strict=True):
            if isinstance(entries, StoreError):
                raise entries
            moved = self._target + path[len(self._source) :]
            batch.append(requests.write(moved, values[path]))
            if self._kept is None or path != self._source:
                batch.append(requests.set_perms(moved, entries))  # type: ignore[arg-type]
            self._expect(moved, values[path])
        batch.append(requests.rm(self._source))
        for result in await self._client.batch(batch, tx_id):
            if isinstance(result, StoreError):
                # In a user's transaction, the part of the move that was done remains.
                self._node.view.poisoned = f"a move was refused half-way: {result}"
                raise result

    def _expect(self, path: bytes, value: bytes | None) -> None:
        if not self._node.view.tx_id:
            exists = value is not None
            self._echoes.append(self._steps.echoes.expect(path, exists=exists, value=value))

    async def _inherits(self, own: object, tx_id: int) -> bool:
        """Whether a node still has the permissions that it got from its parent when created."""
        node = self._node
        if node.perms_are_set or node.parent is None or not isinstance(own, list):
            return False
        (above,) = await self._client.batch([requests.get_perms(node.parent.path)], tx_id)
        if not isinstance(above, list):
            # It may not be read.
            return bool(node.made_at)
        # A guest owns what it creates, even below another owner's node.
        is_owner_alike = own[0] == above[0] or (node.made_at and own[0][:1] == above[0][:1])
        return bool(is_owner_alike and own[1:] == above[1:])

    async def _may_replace(self, tx_id: int) -> bool:
        """Whether there is a node at the target; an error if it may not be replaced."""
        try:
            await self._steps.require_missing(self._new_parent, self._new_name, tx_id)
        except FSError as error:
            if error.errno != errno.EEXIST or self._noreplace:
                raise
        else:
            return False
        node, replaced, target = self._node, self._replaced, self._target
        listing, value = await self._client.batch(
            [requests.directory(target), requests.read(target)], tx_id
        )
        directory = bool(listing) or (replaced is not None and replaced.directory)
        if directory and not node.directory:
            raise FSError(errno.EISDIR)
        if node.directory and not directory:
            raise FSError(errno.ENOTDIR)
        if listing or (directory and value):
            raise FSError(errno.ENOTEMPTY)
        return True

    async def _moved(self) -> None:
        steps, node, new_parent = self._steps, self._node, self._new_parent
        if self._replaced is not None:
            steps.record_removal(self._replaced)
        old_parent = node.parent
        if old_parent is not None:
            old_parent.set_mtime(steps.tree.now_ns())
            if old_parent.names is not None:
                old_parent.names.discard(node.name)
        steps.tree.table.move(node, new_parent, self._new_name)
        if self._kept is not None and node.announced is not None:
            perms = b"".join(entry + b"\0" for entry in self._kept)
            node.announced = node.announced._replace(perms=perms)
        await steps.record_creation(node, wait=old_parent is not new_parent.parent)


async def rename(
    steps: Steps, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
) -> None:
    """Move the child `name` of `parent`.

    Raises:
        FSError: as rename(2) says.
        StoreError: the store refused it; nothing has changed.
    """
    if flags & ~NOREPLACE:
        raise FSError(errno.EINVAL)
    if parent.view is not new_parent.view:
        raise FSError(errno.EXDEV)
    check_name(new_name)
    if not new_parent.alive:
        raise FSError(errno.ENOENT)
    node = await steps.tree.lookup(parent, name)
    source, target = node.path, paths.join(new_parent.path, new_name)
    if source == target:
        return
    if paths.is_below(target, source):
        raise FSError(errno.EINVAL)
    if paths.is_below(source, target):
        raise FSError(errno.ENOTEMPTY)
    if node.pending:
        await steps.write(node, b"", late=True)
    replaced = new_parent.children.get(new_name) if new_parent.children else None
    noreplace = bool(flags & NOREPLACE)
    await Rename(steps, node, new_parent, new_name, replaced=replaced, noreplace=noreplace).run()
