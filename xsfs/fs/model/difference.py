# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What changed in the store, as what happened in a tree of files.

A store event names one path and says not what happened there: comparing the node's fresh
state with what watchers were told of it does. Pure: the node table in, notices out.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from xsfs.fs.model import names as filenames
from xsfs.fs.model.nodes import Announced, InodeKind, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsfs.fs.model.nodes import State
    from xsfs.fs.model.table import NodeTable


class Kind(enum.Enum):
    """What happened to a file."""

    CREATED = enum.auto()
    MODIFIED = enum.auto()
    ATTRIB = enum.auto()
    REMOVED = enum.auto()


class Notice(NamedTuple):
    """One thing that happened to the entry `name` of a directory.

    `node` is the node behind the entry; None for a file of our own making. Of a node that is a
    directory, MODIFIED is about its own value.
    """

    kind: Kind
    parent: Node
    name: bytes
    node: Node | None
    directory: bool


class Echo:
    """A change of our own, whose event is to come or has come."""

    __slots__ = ("acknowledged", "cancelled", "exists", "path", "perms", "value")

    def __init__(self, path: bytes, exists: bool, value: bytes | None, perms: bytes | None) -> None:
        self.path = path
        self.exists = exists
        # What the node will hold; None where that is not ours to say.
        self.value = value
        self.perms = perms
        # The ordinal of the last request sent when the change was acknowledged.
        self.acknowledged: int | None = None
        # It did not happen, or nobody knows.
        self.cancelled = False

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
        echo.cancelled = True
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

    __slots__ = ("below", "clock", "echoes", "foreign", "hit")

    def __init__(self) -> None:
        # The view's clock at the last of them.
        self.clock = -1
        # An event named this very path; otherwise it is only to be compared.
        self.hit = False
        # One named a path below it.
        self.below = False
        # One of them cannot be the echo of a change of ours.
        self.foreign = False
        self.echoes: list[Echo] = []

    def add(self, echoes: Sequence[Echo], clock: int) -> None:
        """One more event, which may be the echo of one of these changes."""
        self.clock = clock
        self.hit = True
        if echoes:
            self.echoes += echoes
        else:
            self.foreign = True

    def add_below(self, clock: int) -> None:
        """An event named a path below this one, of which nothing is known."""
        self.clock = clock
        self.below = self.foreign = True

    def merge(self, earlier: Mark) -> None:
        """The events of another mark for the path count here too."""
        self.below |= earlier.below
        self.clock = max(self.clock, earlier.clock)
        self.hit |= earlier.hit
        self.foreign |= earlier.foreign
        self.echoes += earlier.echoes

    def is_echo(self, state: State | None) -> bool:
        """Whether the events are explained by changes of our own."""
        return not self.foreign and any(echo.matches(state) for echo in self._ours())

    def wrote(self, value: bytes) -> bool:
        """Whether a change of our own may have stored that value."""
        return any(echo.exists and echo.value == value for echo in self._ours())

    def permitted(self, perms: bytes) -> bool:
        """Whether a change of our own may have set those permissions."""
        return any(echo.exists and echo.perms == perms for echo in self._ours())

    def _ours(self) -> Iterator[Echo]:
        return (echo for echo in self.echoes if not echo.cancelled)


class Difference:
    """Compares fresh states with what was told, and says what is to be told now.

    It moves `told`, `names` and the tree of known nodes along. Each method is to be consumed
    whole.
    """

    def __init__(self, table: NodeTable) -> None:
        self._table = table

    def changed(
        self, node: Node, state: State | None, mark: Mark, stamp: int, now_s: float
    ) -> Iterator[Notice]:
        """A node of which watchers were told, asked for after an event or on suspicion."""
        if state is None:
            if not mark.is_echo(None) and node.made <= stamp:
                yield from self.removed(node)
            return
        told = node.announced
        node.observe(state, stamp, now_s)
        node.compared = stamp
        if told is None:
            return
        node.announced = Announced(state.value, state.perms, node.directory)
        parent = node.parent or node
        flipped = node.directory and not told.directory
        if flipped:
            # Its directory may be in use already, under the name NAME.d.
            node.names = set() if node.looked_up else None
            yield Notice(Kind.REMOVED, parent, node.name, node, False)
            yield Notice(Kind.CREATED, parent, node.name, node, True)
        for name in _gone(node, state, stamp):
            yield from self.vanished(node, name)
        attrib = (
            bool(told.perms and state.perms)
            and state.perms != told.perms
            and not mark.permitted(state.perms)
        )
        if attrib and node.parent is not None:
            yield Notice(Kind.ATTRIB, parent, node.name, node, node.directory)
        if (state.value != told.value and not mark.wrote(state.value)) or (
            # The same value written again; or, unseen, something that is over by now.
            mark.hit and not attrib and not mark.is_echo(state)
        ):
            yield Notice(Kind.MODIFIED, parent, node.name, node, node.directory)

    def appeared(
        self, parent: Node, name: bytes, state: State, mark: Mark, stamp: int, now_s: float
    ) -> Iterator[Notice]:
        """A child that watchers of its parent have not been told of."""
        if parent.names is None or name in parent.names:
            return
        parent.names.add(name)
        if not filenames.is_node_name(name):
            return
        node = self._table.child(parent, name)
        node.announced = None
        # By who opened it with O_CREAT, and has not written yet.
        created = node.pending
        node.observe(state, stamp, now_s)
        if mark.is_echo(state):
            return
        if node.looked_up and node.names is not None:
            # What is below it comes with events of its own.
            node.names = set()
        if not created:
            yield Notice(Kind.CREATED, parent, name, node, node.directory)
        if state.value:
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def touched(
        self, parent: Node, name: bytes, state: State, mark: Mark, stamp: int, now_s: float
    ) -> Iterator[Notice]:
        """An event named a child that was told of, but never what it was like."""
        if not filenames.is_node_name(name):
            return
        node = self._table.child(parent, name)
        node.observe(state, stamp, now_s)
        if mark.hit and not mark.is_echo(state):
            yield Notice(Kind.MODIFIED, parent, name, node, node.directory)

    def vanished(self, parent: Node, name: bytes) -> Iterator[Notice]:
        """A child that was told of is gone from the store."""
        node = parent.children.get(name) if parent.children else None
        if node is None:
            node = self._ghost(parent, name, directory=False)
        elif node.pending:
            return
        elif node.announced is None:
            node.announced = Announced(b"", b"", node.directory)
        yield from self.removed(node)

    def removed(self, node: Node) -> Iterator[Notice]:
        """A node is gone, with all below it."""
        if node.parent is None:
            return
        for gone in node.subtree():
            parent, told = gone.parent, gone.announced
            if parent is None or told is None:
                continue
            children = gone.children or {}
            for name in sorted(gone.names or ()) if gone.looked_up else ():
                if name not in children:
                    ghost = self._ghost(gone, name, directory=False)
                    yield Notice(Kind.REMOVED, gone, name, ghost, False)
            value = gone.inode(InodeKind.VALUE)
            if told.directory and value is not None and value.lookups:
                yield Notice(Kind.REMOVED, gone, filenames.VALUE, gone, False)
            yield Notice(Kind.REMOVED, parent, gone.name, gone, told.directory)
            gone.announced = gone.names = None
        if node.parent.names:
            node.parent.names.discard(node.name)
        self._table.drop(node)

    def transient(self, parent: Node, name: bytes, *, directory: bool) -> Iterator[Notice]:
        """A child that came and went between two looks: an event named it, and it is not there."""
        node = parent.children.get(name) if parent.children else None
        if node is None:
            node = self._ghost(parent, name, directory=directory)
        if node.announced is None:
            # Not even looked at meanwhile.
            node.announced = Announced(b"", b"", node.directory)
        yield Notice(Kind.CREATED, parent, name, node, node.announced.directory)
        yield from self.removed(node)

    def _ghost(self, parent: Node, name: bytes, *, directory: bool) -> Node:
        """A node that is not in the store any more, nor in the table."""
        node = Node(parent.view, parent, name)
        node.alive, node.directory = False, directory
        node.announced = Announced(b"", b"", directory)
        return node


def _gone(node: Node, state: State, stamp: int) -> list[bytes]:
    """The children that watchers were told of and that are there no more."""
    children = node.children or {}
    return sorted(
        name
        for name in (node.names or set()).difference(state.names)
        # What we made since the state was asked for cannot be in it.
        if name not in children or children[name].made <= stamp
    )
