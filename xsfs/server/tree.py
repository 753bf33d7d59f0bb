# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The nodes: each immutable, in one table by path, with a generation that tells changes.

A change replaces a node, so a transaction or snapshot that holds one keeps what it saw,
and starting a transaction costs the same on any number of nodes. Access and watches are not
known here. Not thread-safe.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple, Protocol

from xsfs.errors import StoreError
from xsfs.protocol import paths
from xsfs.server.access import DOM0_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.server.access import Perms

# Their permissions decide who gets events of the special watches; they are in no listing.
INTRODUCE = b"@introduceDomain"
RELEASE = b"@releaseDomain"
SPECIAL = (INTRODUCE, RELEASE)


class Node(NamedTuple):
    """What is stored at one path."""

    value: bytes
    perms: Perms
    # The names in order of creation, each with a NUL: DIRECTORY's payload as it is.
    children: bytes
    # Another one after each change of the value, the permissions or the names of the children.
    generation: int

    @property
    def owner(self) -> int:
        """The domain that the node belongs to."""
        return self.perms.owner

    @property
    def names(self) -> list[bytes]:
        """The names of the children."""
        return self.children.split(b"\0")[:-1]


class Put(NamedTuple):
    """A node to be: what `View.put` takes."""

    path: bytes
    value: bytes
    perms: Perms
    children: bytes


class View(Protocol):
    """The store, or the store as a transaction sees it."""

    def get(self, path: bytes) -> Node | None:
        """The node at `path`, if there is one."""

    def put(self, path: bytes, value: bytes, perms: Perms, children: bytes) -> None:
        """Create or replace the node at `path`."""

    def delete(self, path: bytes) -> None:
        """Take the node at `path` away; its parent's list of names is the caller's business."""


class Snapshot:
    """A tree as it was when this was taken: what has changed since is kept here."""

    def __init__(self, tree: Tree) -> None:
        self.generation = tree.generation
        self.before: dict[bytes, Node | None] = {}
        self._tree = tree

    def get(self, path: bytes) -> Node | None:
        """The node that was at `path`."""
        return self.before[path] if path in self.before else self._tree.get(path)


class Tree:
    """The store itself."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}
        self._owned: dict[int, int] = {}
        self._snapshots: list[Snapshot] = []
        self.generation = 0
        for path in (b"/", *SPECIAL):
            self.put(path, b"", DOM0_ONLY, b"")

    def __len__(self) -> int:
        return len(self._nodes) - len(SPECIAL)

    def get(self, path: bytes) -> Node | None:
        """The node at `path`, if there is one."""
        return self._nodes.get(path)

    def put(self, path: bytes, value: bytes, perms: Perms, children: bytes) -> None:
        """Create or replace the node at `path`."""
        old = self._keep(path)
        if old is not None:
            self._owned[old.owner] -= 1
        self.generation += 1
        node = self._nodes[path] = Node(value, perms, children, self.generation)
        self._owned[node.owner] = self._owned.get(node.owner, 0) + 1

    def delete(self, path: bytes) -> None:
        """Take the node at `path` away; its parent's list of names is the caller's business."""
        old = self._keep(path)
        if old is not None:
            self._owned[old.owner] -= 1
            self.generation += 1
            del self._nodes[path]

    def items(self) -> list[tuple[bytes, Node]]:
        """Every node that there is now, with its path, in no order."""
        return list(self._nodes.items())

    def owned(self, domid: int) -> int:
        """How many nodes belong to a domain."""
        return self._owned.get(domid, 0)

    def take_snapshot(self) -> Snapshot:
        """The tree as it is now, until `drop_snapshot`."""
        snapshot = Snapshot(self)
        self._snapshots.append(snapshot)
        return snapshot

    def drop_snapshot(self, snapshot: Snapshot) -> None:
        """Keep nothing more for a snapshot."""
        self._snapshots.remove(snapshot)

    def _keep(self, path: bytes) -> Node | None:
        old = self._nodes.get(path)
        for snapshot in self._snapshots:
            snapshot.before.setdefault(path, old)
        return old


def nearest(view: View, path: bytes) -> tuple[bytes, Node, list[bytes]]:
    """The nearest node above `path`: its path, itself, and the missing ones, `path` first."""
    missing = [path]
    for above in paths.ancestors(path):
        node = view.get(above)
        if node is not None:
            return above, node, missing
        missing.append(above)
    raise KeyError(path)


def plan_creation(view: View, path: bytes, value: bytes, owner: int | None) -> list[Put]:
    """What makes a missing node and its missing parents, bottom up; the last one exists.

    Args:
        owner: who they belong to; None: to the owner of the nearest node above.
    """
    top, node, missing = nearest(view, path)
    perms = node.perms
    if owner is not None:
        perms = perms.owned_by(owner)
    plan = [Put(missing[0], value, perms, b"")]
    for below, above in itertools.pairwise(missing):
        plan.append(Put(above, b"", perms, paths.name(below) + b"\0"))
    name = paths.name(missing[-1])
    plan.append(Put(top, node.value, node.perms, node.children + name + b"\0"))
    return plan


def forget_child(view: View, path: bytes) -> None:
    """Take the name of `path` out of its parent's list.

    Raises:
        StoreError: EIO if a transaction looked at the parent before the child came.
    """
    above = paths.parent(path)
    node = view.get(above)
    # Every name has a NUL on both sides once there is one in front.
    before, found, after = (b"\0" + node.children if node else b"").partition(
        b"\0" + paths.name(path) + b"\0"
    )
    if node is None or not found:
        raise StoreError(b"EIO")
    view.put(above, node.value, node.perms, (before + b"\0" + after)[1:])


def walk_up(view: View, top: bytes, node: Node) -> Iterator[tuple[bytes, Node]]:
    """The nodes from the deepest up to `top`, children in order; each may be deleted in turn.

    Raises:
        StoreError: EIO if a transaction looked at a parent before its child went.
    """
    stack = [(top, node, iter(node.names))]
    while stack:
        path, node, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            yield path, node
            continue
        below = paths.join(path, name)
        child = view.get(below)
        if child is None:
            raise StoreError(b"EIO")
        stack.append((below, child, iter(child.names)))


def walk_down(view: View, top: bytes) -> Iterator[tuple[bytes, Node]]:
    """The nodes from `top` down to the deepest, children in order, those there at the time."""
    pending = [top]
    while pending:
        path = pending.pop()
        node = view.get(path)
        if node is not None:
            yield path, node
            pending += [paths.join(path, name) for name in reversed(node.names)]
