# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Compares a node's fresh state with what was announced of it, and makes notices. Pure.

Not here: which nodes to compare (difference.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.fs.model import names as filenames
from xsfs.fs.model.nodes import Node
from xsfs.fs.model.notices import Doubt, Kind, Notice, Removal
from xsfs.fs.model.states import Announced
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.fs.model.echoes import Echoes
    from xsfs.fs.model.marks import Mark
    from xsfs.fs.model.states import State
    from xsfs.fs.model.table import NodeTable


class Comparison:
    """Compares states that were requested together with what was announced.

    Each method yields the notices that are due, and updates `announced` and `names` of the nodes
    to match them, so it must be iterated to its end, and so must the notices of each removal
    before the next step. Only while these are iterated may the node table change.

    Attributes:
        is_outdated: others ran since the replies came.

    Args:
        echoes: our own changes.
        clock: the view's clock when the store was asked.
        now_s: the time of the replies, in seconds.
    """

    def __init__(self, table: NodeTable, echoes: Echoes, clock: int, now_s: float) -> None:
        self._table = table
        self._echoes = echoes
        self._clock = clock
        self._now_s = now_s
        self.is_outdated = False

    def compare(
        self, node: Node, state: State | None, mark: Mark
    ) -> Iterator[Notice | Doubt | Removal]:
        """An announced node, after an event or for another reason to compare it."""
        if state is None:
            if not mark.is_echo(None):
                yield from self.removed(node)
            return
        announced = node.announced
        node.observe(state, self._clock, self._now_s)
        node.compared_at = self._clock
        if announced is None:
            return
        node.announced = Announced(state.value, state.perms, node.directory)
        parent = node.parent or node
        flipped = node.directory and not announced.directory
        if flipped:
            # Its directory may be in use already, under the name NAME.d.
            node.names = set() if node.looked_up else None
            yield Notice(Kind.REMOVED, parent, node.name, node, False)
            yield Notice(Kind.CREATED, parent, node.name, node, True)
        for name in sorted((node.names or set()).difference(state.names)):
            if self._is_gone(node, name):
                yield from self.vanished(node, name)
        if not node.alive:
            return
        attrib = (
            bool(announced.perms and state.perms)
            and state.perms != announced.perms
            and not mark.permitted(state.perms)
        )
        if attrib and node.parent is not None:
            yield Notice(Kind.ATTRIB, parent, node.name, node, node.directory)
        if (state.value != announced.value and not mark.wrote(state.value)) or (
            # The same value was written again, or a change was undone before we asked.
            mark.hit and not attrib and not mark.is_echo(state)
        ):
            yield Notice(Kind.MODIFIED, parent, node.name, node, node.directory)

    def _is_gone(self, node: Node, name: bytes) -> bool:
        """Whether somebody else removed an announced child that a reply does not list."""
        child = node.children.get(name) if node.children else None
        return (
            name in (node.names or ())
            # A child that was found or made after the request need not be in the reply, and of one
            # that we remove, or rename, the kernel is told by the reply to its request.
            and (child is None or child.seen_at < self._clock)
            and not self._echoes.is_removing(paths.join(node.path, name))
            # What an event has come for since is compared again: it may be there by now.
            and not (self.is_outdated and (child or node).has_event_since(self._clock))
        )

    def appeared(self, parent: Node, name: bytes, state: State, mark: Mark) -> Iterator[Notice]:
        """A child that was not announced to watchers of its parent."""
        if parent.names is None or name in parent.names:
            return
        parent.names.add(name)
        if not filenames.is_node_name(name):
            return
        node = self._table.child(parent, name)
        node.announced = None
        # Opened with O_CREAT through the mount and not written yet: the kernel raised CREATE.
        created = node.pending
        node.observe(state, self._clock, self._now_s)
        if mark.is_echo(state):
            return
        if node.looked_up and node.names is not None:
            # Nodes below it have events of their own.
            node.names = set()
        if not created:
            yield Notice(Kind.CREATED, parent, name, node, node.directory)
        if state.value:
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def touched(self, parent: Node, name: bytes, state: State, mark: Mark) -> Iterator[Notice]:
        """A child whose name was announced, but not its value or permissions."""
        if not filenames.is_node_name(name):
            return
        node = self._table.child(parent, name)
        node.observe(state, self._clock, self._now_s)
        if mark.hit and not mark.is_echo(state):
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def vanished(self, parent: Node, name: bytes) -> Iterator[Doubt | Removal]:
        """An announced child is gone from the store."""
        node = parent.children.get(name) if parent.children else None
        if node is None:
            node = _ghost(parent, name, directory=False)
        yield from self.removed(node)

    def removed(self, node: Node) -> Iterator[Doubt | Removal]:
        """A node is gone, with all below it; but not one that is yet to be stored."""
        parent, name = node.parent, node.name
        if parent is None or node.pending:
            return
        if self.is_in_doubt(node):
            yield self.doubt(node)
            return
        if node.announced is None:
            node.announced = Announced(b"", b"", node.directory)
        if parent.names:
            parent.names.discard(name)
        self._table.leave(node)
        yield Removal(node, self._below(node))
        self._table.has_left(parent, name)

    def is_in_doubt(self, node: Node) -> bool:
        """Whether somebody found a node that a reply does not have, or may be about to enter it."""
        is_open = node.looked_up and node.closed_at < 0
        return is_open or max(node.seen_at, node.closed_at) >= self._clock

    def doubt(self, node: Node) -> Doubt:
        """Have nobody enter a node by what the kernel holds, and the store asked about it again."""
        node.closed_at = node.view.clock
        return Doubt(node)

    def _below(self, node: Node) -> Iterator[Notice]:
        """The notices of a removal."""
        for gone in node.subtree():
            parent, announced = gone.parent, gone.announced
            if parent is not None and announced is not None:
                children = gone.children or {}
                for name in sorted(gone.names or ()) if gone.looked_up else ():
                    if name not in children:
                        ghost = _ghost(gone, name, directory=False)
                        yield Notice(Kind.REMOVED, gone, name, ghost, False)
                yield Notice(Kind.REMOVED, parent, gone.name, gone, announced.directory)
            self._table.release(gone)
            if parent is not None and parent.names and gone is not node:
                # Not to be taken for one that was never looked up.
                parent.names.discard(gone.name)

    def transient(
        self, parent: Node, name: bytes, *, directory: bool
    ) -> Iterator[Notice | Doubt | Removal]:
        """A child that was created and removed between two requests: its event shows that."""
        node = parent.children.get(name) if parent.children else None
        if node is None:
            node = _ghost(parent, name, directory=directory)
        if self.is_in_doubt(node):
            yield self.doubt(node)
            return
        if node.announced is None:
            # Nor was it looked up in between.
            node.announced = Announced(b"", b"", node.directory)
        yield Notice(Kind.CREATED, parent, name, node, node.announced.directory)
        yield from self.removed(node)


def _ghost(parent: Node, name: bytes, *, directory: bool) -> Node:
    """A stand-in for a node that is neither in the store nor in the table any more."""
    node = Node(parent.view, parent, name, dropped=True, directory=directory)
    node.announced = Announced(b"", b"", directory)
    return node
