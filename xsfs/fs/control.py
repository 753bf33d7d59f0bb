# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Files and directories of xsfs's own making: what stands behind `Face.CONTROL`.

A control is found by the node it belongs to and its name. Knows no FUSE; used from the trio
thread alone.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from xsfs.fs import metrics
from xsfs.fs.handles import TextHandle
from xsfs.fs.tree import FSError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from xsfs.fs.handles import Handle
    from xsfs.fs.nodes import Node, View


class Control:
    """A file or directory of our own, as one node's entry sees it."""

    # Type and permission bits, before the masks.
    mode = stat.S_IFREG | 0o444
    # Whoever looks it up finds the same inode while the kernel holds it.
    shared = True

    def __init__(self, name: bytes) -> None:
        self.name = name

    @property
    def size(self) -> int:
        """What st_size says."""
        return 0

    async def open(self, flags: int) -> Handle:
        """Open the file."""
        raise FSError(errno.EACCES)

    def entries(self) -> Mapping[bytes, Control | Node]:
        """What a directory lists: controls, and nodes shown as directories."""
        raise FSError(errno.ENOTDIR)

    async def mkdir(self, name: bytes) -> Node:
        """Make a directory in it."""
        raise FSError(errno.EPERM)

    async def rmdir(self, name: bytes) -> None:
        """Remove a directory from it."""
        raise FSError(errno.EPERM)


class TextControl(Control):
    """A read-only file whose content is made at open."""

    def __init__(self, name: bytes, text: Callable[[], bytes]) -> None:
        super().__init__(name)
        self._text = text

    @property
    def size(self) -> int:
        """The length of the content as it would be now."""
        return len(self._text())

    async def open(self, flags: int) -> Handle:
        """The content as it is now."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            # To root, the mode says nothing.
            raise FSError(errno.EACCES)
        return TextHandle(self._text())


class DirectoryControl(Control):
    """A directory with fixed entries."""

    mode = stat.S_IFDIR | 0o755

    def __init__(self, name: bytes, entries: Mapping[bytes, Control]) -> None:
        super().__init__(name)
        self._entries = entries

    def entries(self) -> Mapping[bytes, Control]:
        """What it lists."""
        return self._entries


class Controls:
    """Which controls there are: at the root of the mount, and in every directory.

    Args:
        view: the plain one; other views bring controls of their own.
        hidden: at the root, and not listed there.
        everywhere: what makes the control of a node, by name.
    """

    def __init__(
        self,
        view: View,
        counts: Callable[[], dict[str, int]],
        hidden: Iterable[Control],
        everywhere: Mapping[bytes, Callable[[Node], Control]],
    ) -> None:
        stats = TextControl(b"stats", lambda: json.dumps(counts(), indent=1).encode() + b"\n")
        prometheus = TextControl(b"metrics", lambda: metrics.text(counts()))
        # Listed at the root.
        self.listed: dict[bytes, Control] = {
            name: TextControl(name, partial(_count, counts, name.decode()))
            for name in (b"@introduceDomain", b"@releaseDomain")
        }
        self._everywhere = everywhere
        view.controls |= self.listed
        view.controls |= {
            control.name: control
            for control in (
                DirectoryControl(b".xsfs", {b"stats": stats, b"metrics": prometheus}),
                *hidden,
            )
        }

    def find(self, node: Node, name: bytes) -> Control | None:
        """The control of that name in a node's directory."""
        make = self._everywhere.get(name)
        if make is None:
            return node.view.controls.get(name) if node.parent is None else None
        for inode in node.faces:
            control = inode.control
            if control is not None and control.name == name and control.shared:
                return control
        return make(node)


def _count(counts: Callable[[], dict[str, int]], key: str) -> bytes:
    return b"%d\n" % counts().get(key, 0)
