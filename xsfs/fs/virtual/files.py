# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Virtual files and directories, which are no nodes of the store: `InodeKind.VIRTUAL`.

A virtual file is found by its name and the node in whose directory it is. Knows no FUSE; used from
the trio thread alone.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from xsfs.fs.model.nodes import Inode
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.handles import TextHandle
from xsfs.fs.store.reads import FSError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.store.handles import Handle


class VirtualFile:
    """A virtual file or directory in the directory of one node."""

    # Type and permission bits, before the masks.
    mode = stat.S_IFREG | 0o444
    # The owner, if it is not that of the mount.
    owner: tuple[int, int] | None = None
    # Whether every lookup finds the same inode while the kernel holds it.
    shared = True

    # What a directory has besides `entries`.
    unlisted: Mapping[bytes, VirtualFile] = {}

    def __init__(self, name: bytes) -> None:
        self.name = name

    @property
    def size(self) -> int:
        """The size that stat(2) shows."""
        return 0

    async def open(self, flags: int, uid: int) -> Handle:
        """Open the file for a user."""
        raise FSError(errno.EACCES)

    @property
    def mtime_ns(self) -> int | None:
        """When it changed; None for when its node did."""
        return None

    def entries(self) -> Mapping[bytes, VirtualFile | Node]:
        """What a directory lists: virtual files, and nodes shown as directories."""
        raise FSError(errno.ENOTDIR)

    async def mkdir(self, name: bytes) -> Node:
        """Make a directory in it."""
        raise FSError(errno.EPERM)

    async def rmdir(self, name: bytes) -> None:
        """Remove a directory from it."""
        raise FSError(errno.EPERM)


def require_read(flags: int) -> None:
    """Require that a file is opened only to be read: the mode does not keep root from writing.

    Raises:
        FSError: EACCES.
    """
    if flags & (os.O_WRONLY | os.O_RDWR):
        raise FSError(errno.EACCES)


class TextFile(VirtualFile):
    """A read-only file whose content is generated at open."""

    def __init__(self, name: bytes, text: Callable[[], bytes]) -> None:
        super().__init__(name)
        self._text = text

    @property
    def size(self) -> int:
        """The length of the content as it would be now."""
        return len(self._text())

    async def open(self, flags: int, uid: int) -> Handle:
        """The content as it is now."""
        require_read(flags)
        return TextHandle(self._text())


class VirtualDirectory(VirtualFile):
    """A directory with fixed entries."""

    mode = stat.S_IFDIR | 0o755

    def __init__(self, name: bytes, entries: Mapping[bytes, VirtualFile]) -> None:
        super().__init__(name)
        self._entries = entries

    def entries(self) -> Mapping[bytes, VirtualFile]:
        """What it lists."""
        return self._entries


class VirtualInode(Inode):
    """The inode of a virtual file."""

    __slots__ = ("virtual_file",)

    def __init__(self, ino: int, node: Node, virtual_file: VirtualFile) -> None:
        super().__init__(ino, node, InodeKind.VIRTUAL)
        self.virtual_file = virtual_file

    @property
    def own_entry(self) -> bytes | None:
        """Its name in the directory that its node is."""
        return self.virtual_file.name


class VirtualFiles:
    """Which virtual files there are: at the root of the mount, and in every directory.

    Args:
        root: the node at the root of the mount.
        metrics: what `.xsfs` has beside the counts.
        hidden: at the root, and not listed there.
        everywhere: what makes the virtual file of a node, by name; None where it has none.
    """

    def __init__(
        self,
        root: Node,
        counts: Callable[[], dict[str, int]],
        metrics: VirtualFile,
        hidden: Iterable[VirtualFile],
        everywhere: Mapping[bytes, Callable[[Node], VirtualFile | None]],
    ) -> None:
        stats = TextFile(b"stats", lambda: json.dumps(counts(), indent=1).encode() + b"\n")
        # Listed at the root.
        self.listed: dict[bytes, VirtualFile] = {
            name: TextFile(name, partial(_count, counts, name.decode()))
            for name in (b"@introduceDomain", b"@releaseDomain")
        }
        self._everywhere = everywhere
        self._root = root
        own = VirtualDirectory(b".xsfs", {b"stats": stats, b"metrics": metrics})
        self._at_root = self.listed | {file.name: file for file in (own, *hidden)}

    def find(self, node: Node, name: bytes) -> VirtualFile | None:
        """The virtual file of that name in a node's directory."""
        make = self._everywhere.get(name)
        if make is None:
            return self._at_root.get(name) if node is self._root else None
        for inode in node.inodes:
            if isinstance(inode, VirtualInode):
                virtual_file = inode.virtual_file
                if virtual_file.name == name and virtual_file.shared:
                    return virtual_file
        return make(node)


def _count(counts: Callable[[], dict[str, int]], key: str) -> bytes:
    return b"%d\n" % counts().get(key, 0)
