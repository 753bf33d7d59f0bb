# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A store and a mount of it, without either: what the difference is told and asked, and replies.

The questions are answered from a dictionary, with no event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.fs.model.difference import Difference
from xsfs.fs.model.notices import Doubt, Removal
from xsfs.fs.model.states import InodeKind, State
from xsfs.fs.model.table import NodeTable
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.notices import Notice

# Paths with their values, or (value, permissions).
Store = dict[str, str | tuple[str, str]]

NOW_S = 1000.0


class WatchedStore:
    """What is known of a store, and what the kernel holds of it.

    Args:
        store: what there is at first.
        known: paths that the kernel has looked up.
    """

    def __init__(self, store: Store, known: Sequence[str] = ()) -> None:
        self.store = store
        # The ordinal of the request that was answered last.
        self.answered = 0
        # What was asked, in one go each.
        self.asked: list[list[bytes]] = []
        # Done once, between the store's answer and its arrival.
        self.meanwhile: Callable[[], None] | None = None
        self.table = NodeTable(b"/")
        self.difference = Difference(self.table)
        self._read(self.table.root.node)
        self._prefetch(self.table.root.node)
        for path in known:
            self.learn(path)

    def state(self, path: bytes) -> State | None:
        name = path.decode()
        top = name.rstrip("/") + "/"
        names = {other[len(top) :].split("/")[0] for other in self.store if other.startswith(top)}
        names -= {""}
        if name not in self.store and not names and name != "/":
            return None
        value = self.store.get(name, "")
        value, perms = (value, "n0") if isinstance(value, str) else value
        return State(value.encode(), sorted(map(str.encode, names)), perms.encode())

    def _read(self, node: Node) -> None:
        state = self.state(node.path)
        assert state is not None
        if node.observe(state, node.view.clock, NOW_S):
            self.difference.suspect(node)

    def _prefetch(self, node: Node) -> None:
        """What whoever watches a directory is taken to know of its children."""
        if node.names is None:
            self._read(node)
        for name in node.names or ():
            child = self.table.child(node, name)
            if child.announced is None:
                self._read(child)
                self.table.keep(child)

    def learn(self, path: str) -> None:
        """Have the kernel look a path up."""
        node = self.table.root.node
        for name in path.encode().split(b"/")[1:]:
            node = self.table.child(node, name)
            self._read(node)
            inode = self.table.inode(node, node.shown)
            if not inode.lookups:
                inode.count_lookup()
            if inode.kind is InodeKind.DIRECTORY:
                self._prefetch(node)

    def event(self, path: str) -> None:
        self.difference.note(path.encode(), self.answered, 1)

    def look(self) -> list[str]:
        """What is told by the time that nothing is left to look at."""
        told = []
        for step in self.steps():
            notices = step.notices if isinstance(step, Removal) else [step]
            told += [describe(notice) for notice in notices]
        return told

    def steps(self) -> Iterator[Notice | Removal]:
        """What is to be told, until nothing is left to look at."""
        while self.difference.is_waiting:
            for _ in self.difference.suspect_all():
                pass
            asked = self.difference.questions()
            self.asked.append(asked)
            states = {path: self.state(path) for path in asked}
            if self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                meanwhile()
            for step in self.difference.answers(states, NOW_S):
                if not isinstance(step, Doubt):
                    yield step


def describe(notice: Notice) -> str:
    entry = paths.join(notice.parent.path, notice.name)
    if notice.node is notice.parent:
        entry = notice.parent.path
    kind = notice.kind.name.lower()
    return f"{kind}{'/' if notice.directory else ''} {entry.decode()}"
