# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""An injection: an operation on the mount by which the helper has the kernel raise an event.

No input or output; used from the trio thread alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.fs.model import names
from xsfs.fs.model.notices import Kind

if TYPE_CHECKING:
    import trio

    from xsfs.fs.model.notices import Notice

# An injection that meets a name the kernel still holds is tried again, after an invalidation.
_ATTEMPTS = 8


class Injection:
    """What the helper is told to do."""

    __slots__ = ("attempts", "done", "fulfilled", "notice", "shown")

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        # The request that it is all about has been answered.
        self.fulfilled = False
        # The helper has looked the name up, and holds what it was shown.
        self.shown = False
        self.attempts = 0
        # Set when it is over, for whoever waits for that.
        self.done: trio.Event | None = None

    @property
    def may_fail(self) -> bool:
        """Whether it will be tried again."""
        return self.attempts < _ATTEMPTS

    @property
    def is_moved(self) -> bool:
        """Whether the node has another place by now than the one that was noticed."""
        notice = self.notice
        node = notice.node
        if node is None or node is notice.parent or not node.alive:
            return False
        return node.parent is not notice.parent or node.name != notice.name

    def follow(self) -> bool:
        """Be about the node where it is now; False when nothing is to be told there.

        Whoever moved it has been told by the kernel that it came.
        """
        notice, node = self.notice, self.notice.node
        if notice.kind is Kind.REMOVED or node is None or not self.is_moved:
            return True
        if notice.kind is Kind.CREATED:
            return False
        self.notice = notice._replace(parent=node.parent or node, name=node.name)
        return True

    @property
    def letter(self) -> bytes:
        """The operation, as helper.py names it."""
        match self.notice.kind:
            case Kind.CREATED:
                return b"D" if self.notice.directory else b"F"
            case Kind.REMOVED:
                return b"R" if self.notice.directory else b"U"
            case Kind.ATTRIB:
                return b"A"
            case Kind.MODIFIED:
                return b"M"

    @property
    def path(self) -> bytes:
        """Where the helper finds it, relative to the mountpoint."""
        notice = self.notice
        parts: list[bytes] = []
        if notice.kind is Kind.MODIFIED and notice.directory:
            parts.append(names.VALUE)
        if notice.parent is not notice.node:
            parts.append(notice.name)
        node = notice.parent
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return b"/".join(reversed(parts))
