# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What changed in the store, as what happened in a tree of files.

A store event names one path and says not what happened there: comparing the node's fresh
state with what watchers were told of it does. Pure: the node table in, notices out.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsfs.fs.nodes import Node
    from xsfs.fs.tree import State, Tree


class Kind(enum.Enum):
    """What happened to a file."""

    CREATED = enum.auto()
    MODIFIED = enum.auto()
    ATTRIB = enum.auto()
    REMOVED = enum.auto()


class Notice(NamedTuple):
    """One thing that happened to the entry `name` of a directory.

    `node` is None when nobody ever asked for the node itself. Of a node that has children,
    MODIFIED is about its own value.
    """

    kind: Kind
    parent: Node
    name: bytes
    node: Node | None
    directory: bool


class Echo:
    """A change of our own, whose event is to come or has come."""

    __slots__ = ("acknowledged", "exists", "path", "perms", "value")

    def __init__(self, path: bytes, exists: bool, value: bytes | None, perms: bytes | None) -> None:
        self.path = path
        self.exists = exists
        # What the node will hold; None where that is not ours to say.
        self.value = value
        self.perms = perms
        # The ordinal of the last request sent when the change was acknowledged.
        self.acknowledged: int | None = None

    def matches(self, state: State | None) -> bool:
        """Whether the store shows just what the change made."""
        if state is None or not self.exists:
            return state is None and not self.exists
        return self.value in (None, state.value) and self.perms in (None, state.perms)


class Echoes:
    """Our own changes, by path, until their events have certainly come.

    The event of a change comes before the reply to any request that was sent after the change
    was acknowledged (a barrier that both daemons keep), so counting requests tells when an
    event can no more be an echo; counting echoes cannot, as C xenstored merges events.
    """

    def __init__(self) -> None:
        self._by_path: dict[bytes, list[Echo]] = {}

    def expect(
        self, path: bytes, *, exists: bool, value: bytes | None = None, perms: bytes | None = None
    ) -> Echo:
        """A change is about to be sent."""
        echo = Echo(path, exists, value, perms)
        self._by_path.setdefault(path, []).append(echo)
        return echo

    def acknowledge(self, echo: Echo, sent: int) -> None:
        """The store did it; `sent` requests have been sent by now."""
        echo.acknowledged = sent

    def cancel(self, echo: Echo) -> None:
        """The store refused it, or it is not known what the store did."""
        self._drop([echo], echo.path)

    def outstanding(self, path: bytes, answered: int) -> list[Echo]:
        """The changes whose echo an event for `path` may be, when `answered` were answered."""
        echoes = self._by_path.get(path)
        if not echoes:
            return []
        past = [e for e in echoes if e.acknowledged is not None and answered > e.acknowledged]
        self._drop(past, path)
        return list(self._by_path.get(path, ()))

    def expire(self, answered: int) -> None:
        """Let go of all whose events have come, or were merged into others."""
        for path in list(self._by_path):
            self.outstanding(path, answered)

    def clear(self) -> None:
        """The connection was lost: no event will come for what was done on it."""
        self._by_path.clear()

    def __len__(self) -> int:
        return len(self._by_path)

    def _drop(self, past: Sequence[Echo], path: bytes) -> None:
        left = [echo for echo in self._by_path.get(path, ()) if echo not in past]
        if left:
            self._by_path[path] = left
        else:
            self._by_path.pop(path, None)


class Mark:
    """Events that came for one path since it was last looked at."""

    __slots__ = ("echoes", "foreign", "hit")

    def __init__(self) -> None:
        # An event named this very path; otherwise it is only to be compared.
        self.hit = False
        # One of them cannot be the echo of a change of ours.
        self.foreign = False
        self.echoes: list[Echo] = []

    def add(self, echoes: Sequence[Echo]) -> None:
        """One more event, which may be the echo of one of these changes."""
        self.hit = True
        if echoes:
            self.echoes += echoes
        else:
            self.foreign = True

    def is_echo(self, state: State | None) -> bool:
        """Whether the events are explained by changes of our own."""
        return not self.foreign and any(echo.matches(state) for echo in self.echoes)


class Planner:
    """Compares fresh states with what was told, and says what is to be told now.

    It moves `told`, `names` and the tree of known nodes along.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def changed(self, node: Node, state: State | None, mark: Mark, stamp: int) -> Iterator[Notice]:
        """A known node, asked for after an event or on suspicion."""
        silent = mark.is_echo(state)
        if state is None:
            if node.parent is not None and node.made <= stamp:
                yield from self.removed(node, silent=silent)
            return
        parent = node.parent
        if not node.alive:
            # Removed, and made anew before anybody looked.
            if parent is not None:
                yield from self.appeared(parent, node.name, state, mark, stamp)
            return
        told = node.told
        self._tree.observe(node, state, stamp)
        if told is None:
            return
        flipped = node.directory and not told.directory
        if flipped and parent is not None:
            yield Notice(Kind.REMOVED, parent, node.name, node, False)
            yield Notice(Kind.CREATED, parent, node.name, node, True)
        if flipped:
            node.names = set()
        for name in self._gone(node, state, stamp):
            yield from self.vanished(node, name, silent=False)
        node.told = told._replace(value=state.value, perms=state.perms, directory=node.directory)
        if silent:
            return
        perms = bool(told.perms and state.perms) and told.perms != state.perms
        if perms and parent is not None:
            yield Notice(Kind.ATTRIB, parent, node.name, node, node.directory)
        if state.value != told.value or (mark.hit and not perms and not flipped):
            yield Notice(Kind.MODIFIED, parent or node, node.name, node, node.directory)

    def _gone(self, node: Node, state: State, stamp: int) -> list[bytes]:
        if not node.names or not node.directory:
            return []
        children = node.children or {}
        return sorted(
            name
            for name in node.names.difference(state.names)
            # What we made since the state was asked for cannot be in it.
            if name not in children or children[name].made <= stamp
        )

    def appeared(
        self, parent: Node, name: bytes, state: State, mark: Mark, stamp: int
    ) -> Iterator[Notice]:
        """A child that watchers of its parent have not been told of."""
        if parent.names is None or name in parent.names or not parent.alive:
            return
        parent.names.add(name)
        node = self._tree.table.child(parent, name)
        node.told = None
        self._tree.observe(node, state, stamp)
        if node.names is not None:
            # What is below it came with events of its own.
            node.names = set()
        if mark.is_echo(state):
            return
        yield Notice(Kind.CREATED, parent, name, node, node.directory)
        if state.value:
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def touched(
        self, parent: Node, name: bytes, state: State, mark: Mark, stamp: int
    ) -> Iterator[Notice]:
        """An event named a child that was there before, and of which nothing else was known."""
        node = self._tree.table.child(parent, name)
        if node.told is not None:
            yield from self.changed(node, state, mark, stamp)
            return
        self._tree.observe(node, state, stamp)
        if not mark.is_echo(state):
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def vanished(self, parent: Node, name: bytes, *, silent: bool) -> Iterator[Notice]:
        """A child that is gone from the store, known or not."""
        node = parent.children.get(name) if parent.children else None
        if node is not None:
            yield from self.removed(node, silent=silent)
        elif parent.names and name in parent.names:
            parent.names.discard(name)
            if not silent:
                yield Notice(Kind.REMOVED, parent, name, None, False)

    def removed(self, node: Node, *, silent: bool) -> Iterator[Notice]:
        """A known node is gone, with all below it."""
        if node.parent is None or node.pending:
            return
        if node.alive:
            self._tree.table.drop(node)
        for gone in node.subtree():
            parent = gone.parent
            if gone.told is None or parent is None:
                continue
            directory = gone.told.directory
            gone.told = None
            if parent.names:
                parent.names.discard(gone.name)
            if not (silent and gone is node):
                yield Notice(Kind.REMOVED, parent, gone.name, gone, directory)

    def flashed(self, parent: Node, name: bytes, directory: bool) -> Iterator[Notice]:
        """A child that came and went between two looks: an event named it, and it is not there."""
        node = self._tree.table.child(parent, name)
        node.directory, node.alive = directory, False
        yield Notice(Kind.CREATED, parent, name, node, directory)
        yield Notice(Kind.REMOVED, parent, name, node, directory)
