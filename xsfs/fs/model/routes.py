# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The announced nodes on the way to a path: which paths to ask the store about. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.fs.model.nodes import Node, View


class Route:
    """The announced nodes on the way to `path`, and the names of those that follow.

    Valid until the node table changes, as it may while the store is asked.
    """

    __slots__ = ("node", "nodes", "rest")

    def __init__(self, view: View, path: bytes) -> None:
        top = view.root
        names = path[len(top.name) :].strip(b"/").split(b"/") if path != top.name else []
        self.node, self.nodes, self.rest = top, [top], names
        for index, name in enumerate(names):
            node = self.node
            child = node.children.get(name) if node.children else None
            if (
                child is None
                or child.announced is None
                or not node.is_announced_directory
                or (node.names is not None and name not in node.names)
            ):
                self.rest = names[index:]
                return
            self.nodes.append(child)
            self.node = child
        self.rest = []

    def concerns_anybody(self) -> bool:
        """Whether a program can be watching for a change at the path."""
        if not self.rest:
            return True
        node = self.node
        watchable = node.looked_up if node.is_announced_directory else node.watchable
        return watchable or next(self.dubious(), None) is not None

    def dubious(self) -> Iterator[Node]:
        """The nodes above the last, downwards, that may have been removed and created again.

        An event for a node may mean its removal with all below it. If it exists, what is below
        it was created again, with events of its own. Those name only the deepest node created:
        the nodes on the way are new as well.
        """
        latest = -1
        for node in self.nodes[:-1]:
            if latest > node.compared_at and node.watchable:
                yield node
            latest = max(latest, node.event_at)

    def questions(self) -> Iterator[bytes]:
        """The paths whose states show what happened at the path."""
        for node in self.dubious():
            yield node.path
        top = self.node.path
        if not self.rest or not self.node.is_announced_directory:
            yield top
        for name in self.rest:
            top = paths.join(top, name)
            yield top
