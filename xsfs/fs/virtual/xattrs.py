# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A node's permissions and path as extended attributes of its files.

Knows no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualInode
from xsfs.fs.virtual.scratch import ScratchFile
from xsfs.protocol import perms, requests

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Inode, Node
    from xsfs.fs.store.changes import Changes
    from xsfs.fs.store.reads import Tree

log = logging.getLogger(__name__)

_PERMS = b"user.xenstore.perms"
_PATH = b"user.xenstore.path"


class Xattrs:
    """Reads and sets them."""

    def __init__(self, tree: Tree, changes: Changes) -> None:
        self._client = tree.client
        self._changes = changes

    def names(self, inode: Inode) -> list[bytes]:
        """The names of an inode's attributes."""
        scratch = _scratch(inode)
        if scratch is not None:
            return [_PERMS] if scratch.perms else []
        node = _node(inode)
        if node is None:
            return []
        # What is not stored yet has no permissions.
        return [_PATH] if node.pending else [_PERMS, _PATH]

    async def get(self, inode: Inode, name: bytes) -> bytes:
        """The value of one: permissions as `n0,r5`.

        Raises:
            FSError: ENODATA when there is none of that name.
            StoreError: what the store said.
        """
        scratch, node = _scratch(inode), _node(inode)
        if scratch is not None and scratch.perms and name == _PERMS:
            return scratch.perms
        if node is not None and name == _PATH:
            return node.path
        if node is not None and name == _PERMS and not node.pending:
            perms = requests.get_perms(node.path)
            return b",".join(await self._client.call(perms, node.view.tx_id))
        raise FSError(errno.ENODATA)

    async def set(self, inode: Inode, name: bytes, value: bytes) -> None:
        """Replace the permissions.

        Raises:
            FSError: EOPNOTSUPP for any other name.
            InvalidPermission: an entry is malformed.
            StoreError: the store refused it.
        """
        scratch, node = _scratch(inode), _node(inode)
        if scratch is not None and name in (_PERMS, _PATH):
            # The path is ignored: `cp -a` passes that of the original.
            if name == _PERMS:
                scratch.perms = b",".join(perms.check(value.split(b",")))
            return
        if node is None or name not in (_PERMS, _PATH):
            raise FSError(errno.EOPNOTSUPP)
        if name == _PERMS:
            await self._changes.set_perms(node, value)
        elif value != node.path:
            # `cp -a` passes the path of the original.
            log.debug("%r keeps its own path", node)

    def remove(self, name: bytes) -> None:
        """None of them can be removed.

        Raises:
            FSError: EPERM, or ENODATA when there is none of that name.
        """
        raise FSError(errno.EPERM if name in (_PERMS, _PATH) else errno.ENODATA)


def _scratch(inode: Inode) -> ScratchFile | None:
    """The scratch file that an inode shows."""
    file = inode.virtual_file if isinstance(inode, VirtualInode) else None
    return file if isinstance(file, ScratchFile) else None


def _node(inode: Inode) -> Node | None:
    """The node whose attributes an inode shows."""
    return (
        inode.node if inode.kind in (InodeKind.FILE, InodeKind.DIRECTORY, InodeKind.VALUE) else None
    )
