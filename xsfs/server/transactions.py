# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A transaction: its view of the store, its changes, and whether they conflict.

Two kinds, as the two real daemons have them. `Transaction` looks through to the store, keeps
each node as it was at the first look, and conflicts with any change of those. A
`SnapshotTransaction` sees the store of its start and is replayed where it meets changes.
Starting either costs nothing that grows with the store. Not thread-safe.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from xsfs.errors import StoreError
from xsfs.protocol import paths
from xsfs.server.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from xsfs.server.access import Perms
    from xsfs.server.tree import Snapshot, Tree, View
    from xsfs.server.turns import Turns

    # Whether a request failed, and the payload of its reply.
    Outcome: TypeAlias = tuple[bool, bytes]
    # Carries a request out on a view.
    Request: TypeAlias = Callable[[View], Outcome | Turns[Outcome]]


class Change(NamedTuple):
    """A change that fires watches: see `Store.fire`."""

    path: bytes
    # Only watches on just this path are fired, not those above.
    exact: bool
    # The node, None if it is to be looked up when the watches are fired.
    node: Node | None
    # The node before, where those who could read that one are to hear of it as well.
    before: Node | None


class Seen:
    """A node that the transaction has looked at."""

    __slots__ = ("exact", "fired", "modified", "node", "original")

    def __init__(self, node: Node | None) -> None:
        self.original = node
        self.node = node
        self.modified = False
        self.fired = False
        self.exact = True


class Transaction:
    """A transaction as xenstored has it.

    Args:
        limit: how many nodes it may look at; None: as many as it likes.
        over_limit: the error's name for one too many.
    """

    def __init__(self, tree: Tree, limit: int | None, over_limit: bytes) -> None:
        self._tree = tree
        self._limit = limit
        self._over_limit = over_limit
        self._seen: dict[bytes, Seen] = {}
        self._gained: dict[int, int] = {}
        # Its id on its connection.
        self.number = 0
        # A request failed half-way: it can only be dropped.
        self.failed = False
        # Nodes were made.
        self.created = False

    def get(self, path: bytes) -> Node | None:
        """The node at `path`, as it was at the first look or as this has made it."""
        seen = self._seen.get(path)
        return self._look(path).node if seen is None else seen.node

    def put(self, path: bytes, value: bytes, perms: Perms, children: bytes) -> None:
        """Create or replace the node at `path`."""
        self._tree.generation += 1
        self._change(path, Node(value, perms, children, self._tree.generation))

    def delete(self, path: bytes) -> None:
        """Take the node at `path` away."""
        self._change(path, None)

    def gained(self, domid: int) -> int:
        """How many nodes a domain gets by it."""
        return self._gained.get(domid, 0)

    def fire(self, change: Change) -> None:
        """Fire watches at the commit, once for each node."""
        seen = self._seen[change.path]
        seen.fired = True
        seen.exact = seen.exact and change.exact

    def conflicts(self) -> Turns[bool]:
        """Whether anything it has looked at has changed since."""
        for path, seen in self._seen.items():
            if seen.original is not self._tree.get(path):
                return True
            yield 1
        return False

    def apply(self) -> Iterator[Change | None]:
        """Carry the changes out, one with each step, in order of the first access.

        Yields:
            the change if it fires watches, else None.
        """
        for path, seen in self._seen.items():
            change = None
            if seen.modified:
                self._carry_out(path, seen)
                if seen.fired:
                    change = Change(path, seen.exact, None, seen.original)
            yield change

    def close(self) -> None:
        """End the transaction, committed or not."""

    def _original(self, path: bytes) -> Node | None:
        return self._tree.get(path)

    def _look(self, path: bytes) -> Seen:
        if self._limit is not None and len(self._seen) >= self._limit:
            self.failed = True
            raise StoreError(self._over_limit)
        seen = self._seen[path] = Seen(self._original(path))
        return seen

    def _change(self, path: bytes, node: Node | None) -> None:
        seen = self._seen.get(path) or self._look(path)
        for counted, step in ((seen.node, -1), (node, 1)):
            if counted is not None:
                self._gained[counted.owner] = self._gained.get(counted.owner, 0) + step
        self.created = self.created or seen.node is None
        seen.node = node
        seen.modified = True

    def _carry_out(self, path: bytes, seen: Seen) -> None:
        if seen.node is not None:
            self._tree.put(path, seen.node.value, seen.node.perms, seen.node.children)
        else:
            self._tree.delete(path)


class Logged(NamedTuple):
    """A request that a transaction was given, and what it was answered."""

    # None: it cannot be done again.
    request: Request | None
    reply: bytes


class SnapshotTransaction(Transaction):
    """A transaction as oxenstored has it."""

    def __init__(self, tree: Tree, limit: int | None, over_limit: bytes) -> None:
        super().__init__(tree, limit, over_limit)
        self._snapshot: Snapshot = tree.take_snapshot()
        # What fires watches at the commit, in order of the requests.
        self.changes: list[Change] = []
        self.log: list[Logged] = []
        # Nodes that it was asked to read, and found.
        self.read: set[bytes] = set()

    def remember(self, request: Request | None, reply: bytes) -> bool:
        """Note what it was given, to be done again if need be; False if that is too much."""
        if self._limit is not None and len(self.log) >= self._limit:
            self.failed = True
            return False
        self.log.append(Logged(request, reply))
        return True

    def fire(self, change: Change) -> None:
        """Fire watches at the commit, once for each request."""
        self.changes.append(change)

    def conflicts(self) -> Turns[bool]:
        """Whether it has to be replayed: it writes, and where it reads or writes things changed.

        As oxenstored, which compares the smallest subtree with all that was read, and that
        with all that was written.
        """
        written = [path for path, seen in self._seen.items() if seen.modified]
        for nodes in (written, self.read) if written else ():
            if (yield from self._has_changed(nodes)):
                return True
        return False

    def apply(self) -> Iterator[Change | None]:
        """Carry the changes out, then those that fire watches in order of the requests."""
        for path, seen in self._seen.items():
            if seen.modified:
                self._carry_out(path, seen)
            yield None
        yield from self.changes

    def close(self) -> None:
        """End the transaction, committed or not."""
        self._tree.drop_snapshot(self._snapshot)

    def _original(self, path: bytes) -> Node | None:
        return self._snapshot.get(path)

    def _has_changed(self, nodes: Collection[bytes]) -> Turns[bool]:
        if not nodes:
            return False
        top = next(iter(nodes))
        for path in nodes:
            if path != top and not paths.is_below(path, top):
                top = posixpath.commonpath((top, path))
            yield 1
        for changed in self._snapshot.before:
            if changed == top or paths.is_below(changed, top):
                return True
            yield 1
        return False
