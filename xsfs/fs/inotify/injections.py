# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""An injection: an operation on the mount by which the helper makes the kernel raise an event.

No input or output; used from the trio thread alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.fs.model import names
from xsfs.fs.model.notices import Kind

if TYPE_CHECKING:
    import trio

    from xsfs.fs.model.notices import Notice

# How often an injection is repeated that fails because the kernel still holds the name, each time
# after an invalidation.
_ATTEMPTS = 8


class Injection:
    """One operation for the helper."""

    __slots__ = ("attempts", "done", "fulfilled", "notice", "shown")

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        # The request that raises the event has been answered.
        self.fulfilled = False
        # The helper has looked the name up.
        self.shown = False
        self.attempts = 0
        # Set when it is over, if a task waits for that.
        self.done: trio.Event | None = None

    @property
    def may_fail(self) -> bool:
        """Whether it is repeated if it fails."""
        return self.attempts < _ATTEMPTS

    @property
    def is_moved(self) -> bool:
        """Whether the node has been moved since the notice was made."""
        notice = self.notice
        node = notice.node
        if node is None or node is notice.parent or not node.alive:
            return False
        return node.parent is not notice.parent or node.name != notice.name

    def follow(self) -> bool:
        """Follow a moved node to its new place; False if no event is due there.

        A creation is not: the rename that moved it has raised an event already.
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
        """The letter of the operation in helper.py."""
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
        """The path of the file, relative to the mountpoint."""
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
