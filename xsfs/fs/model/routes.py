# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The way to a path, as far as watchers were told of it: what to ask the store about. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.fs.model.nodes import Node, View


class Route:
    """The nodes on the way to `path` that watchers were told of; the names after those.

    As it is now: the nodes may be others when the store has answered.
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
        """Whether anybody is to be told of what became of the path."""
        if not self.rest:
            return True
        node = self.node
        watchable = node.looked_up if node.is_announced_directory else node.watchable
        return watchable or next(self.dubious(), None) is not None

    def dubious(self) -> Iterator[Node]:
        """Of the nodes above the last, downwards, those that may have been made anew unnoticed.

        An event for a node stands for its removal too, with all below it; when the node is
        there, what is below it has been made again, with events of its own. These name only
        the deepest node made: those on the way are new as well.
        """
        latest = -1
        for node in self.nodes[:-1]:
            if latest > node.compared_at and node.watchable:
                yield node
            latest = max(latest, node.event_at)

    def questions(self) -> Iterator[bytes]:
        """The paths whose states tell what became of the path."""
        for node in self.dubious():
            yield node.path
        top = self.node.path
        if not self.rest or not self.node.is_announced_directory:
            yield top
        for name in self.rest:
            top = paths.join(top, name)
            yield top
