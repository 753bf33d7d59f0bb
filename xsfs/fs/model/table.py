# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The node table: all inodes by number, their lookup counts, and the nodes behind them.

No input or output and no waiting here; used from the trio thread alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from xsfs.fs.model.nodes import Inode, Node, View
from xsfs.fs.model.states import InodeKind
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

InodeType = TypeVar("InodeType", bound=Inode)

# fuse_lowlevel.h, FUSE_ROOT_ID.
ROOT_INO = 1

# How many announced nodes are kept that the kernel does not hold, while it holds their directory:
# so that a later event can be classified (about 1 KB each).
KEPT_MAX = 16384


class NodeTable:
    """All inodes by number, and the tree of nodes behind them.

    An inode's number is used again only for the same node and kind. The root's inode lives as
    long as the mount.
    """

    def __init__(self, root_path: bytes) -> None:
        self.view = View(root_path)
        self.root = Inode(ROOT_INO, self.view.root, InodeKind.DIRECTORY)
        self.root.count_lookup()
        self.view.root.inodes.append(self.root)
        self._inodes = {ROOT_INO: self.root}
        self._next_ino = ROOT_INO + 1
        # The tops of removed subtrees that are being announced, by the entry that they had.
        self.leaving: dict[tuple[Node, bytes], Node] = {}
        # The paths of directories that a commit under way makes.
        self._coming: set[bytes] = set()
        # Nodes kept only for what was announced of them; the oldest is dropped first.
        self._kept: dict[Node, None] = {}

    def __len__(self) -> int:
        return len(self._inodes)

    def __getitem__(self, ino: int) -> Inode:
        return self._inodes[ino]

    def __iter__(self) -> Iterator[Inode]:
        return iter(self._inodes.values())

    def child(self, parent: Node, name: bytes) -> Node:
        """The node of that name; added to the table if it is not there."""
        if parent.children is None:
            parent.children = {}
        node = parent.children.get(name)
        if node is None or node.dropped:
            node = parent.children[name] = Node(parent.view, parent, name)
            node.directory = self._is_known_as_directory(node)
        return node

    def _is_known_as_directory(self, node: Node) -> bool:
        """Whether a new node is a directory because a commit makes it, or the plain view has it."""
        view = node.view
        if view.plain is None:
            return bool(self._coming) and node.path in self._coming
        path = node.path
        if view.removed and not view.removed.isdisjoint((path, *paths.ancestors(path))):
            return False
        found = view.plain.find(path)
        return found is not None and not found[1] and found[0].directory

    @contextmanager
    def coming(self, directories: Iterable[bytes]) -> Iterator[None]:
        """While these nodes are committed, whoever finds one first takes it for a directory."""
        coming = set(directories)
        self._coming |= coming
        try:
            yield
        finally:
            self._coming -= coming

    def adopt(self, directories: Iterable[bytes]) -> None:
        """Show these nodes, made in a transaction and without children, as directories."""
        for path in directories:
            found = self.view.find(path)
            if found is not None:
                node, rest = found
                for name in rest:
                    node = self.child(node, name)
                    node.directory = True

    def inode(self, node: Node, kind: InodeKind) -> Inode:
        """The inode of a node's kind, made when there is none."""
        inode, former = node.inode(kind), node.former
        if inode is not None:
            return inode
        if former is not None and former[1] is kind:
            node.former = None
            return self._enter(Inode(former[0], node, kind))
        return self.add(lambda ino: Inode(ino, node, kind))

    def add(self, make: Callable[[int], InodeType]) -> InodeType:
        """A new inode, made by `make` with its number."""
        inode = make(self._next_ino)
        self._next_ino += 1
        return self._enter(inode)

    def _enter(self, inode: InodeType) -> InodeType:
        self._inodes[inode.ino] = inode
        inode.node.inodes.append(inode)
        return inode

    def forget(self, ino: int, count: int) -> None:
        """The kernel drops `count` lookups of an inode; with the last one the inode goes."""
        inode = self._inodes[ino]
        inode.lookups -= count
        if inode.lookups <= 0 and inode is not self.root:
            del self._inodes[ino]
            node = inode.node
            node.inodes.remove(inode)
            if inode.kind is not InodeKind.VIRTUAL:
                node.former = inode.ino, inode.kind
            if inode.kind is InodeKind.DIRECTORY or not node.inodes:
                self._shed(node)
            self.prune(node)

    def discard(self, inode: Inode) -> None:
        """Drop an inode that was made for an answer and never reached the kernel."""
        if not inode.lookups:
            self.forget(inode.ino, 0)

    def retire(self, inode: Inode) -> None:
        """The kernel took an inode for removed though its node exists: that gets a new inode."""
        node = inode.node
        node.inodes.remove(inode)
        inode.node = Node(node.view, node.parent, node.name)
        inode.node.dropped = True
        inode.node.inodes.append(inode)

    def _shed(self, node: Node) -> None:
        """Drop nodes that were fetched ahead below a node that the kernel has forgotten."""
        for below in node.subtree():
            if below is not node:
                self.prune(below)

    def prune(self, node: Node) -> None:
        """Drop a node, and those above it, if there is no reason to keep it."""
        while (
            node.parent is not None
            and not node.inodes
            and not node.children
            and not node.pins
            and not (node.directory and node.alive)
            and not self.is_leaving(node)
        ):
            if (
                node.alive
                and node.announced is not None
                and node.view.cached
                and node.parent.looked_up
            ):
                self.keep(node)
                return
            self._kept.pop(node, None)
            self._detach(node)
            node.dropped = True
            node = node.parent

    def keep(self, node: Node) -> None:
        """Keep a node that the kernel does not hold, for what was announced of it."""
        self._kept.pop(node, None)
        self._kept[node] = None
        while len(self._kept) > KEPT_MAX:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            if oldest.alive and not (
                oldest.inodes or oldest.children or oldest.pins or oldest.directory
            ):
                self._detach(oldest)
                oldest.dropped = True

    # -- removal ------------------------------------------------------------------------------

    def drop(self, node: Node) -> None:
        """The node is gone from the store with all below it; the kernel may still hold inodes."""
        self._cut(node)
        for gone in node.subtree():
            self.release(gone)

    def leave(self, node: Node) -> None:
        """As `drop`, but what was announced of it and of what is below is kept, to be announced."""
        if node.parent is not None:
            self._cut(node)
            self.leaving[node.parent, node.name] = node

    def has_left(self, parent: Node, name: bytes) -> None:
        """All that `leave` kept of what was at this entry has been announced."""
        del self.leaving[parent, name]

    def is_leaving(self, node: Node) -> bool:
        """Whether a node was removed and that is yet to be announced."""
        if not self.leaving or node.announced is None:
            return False
        above: Node | None = node
        while above is not None and above.parent is not None:
            if self.leaving.get((above.parent, above.name)) is above:
                return True
            above = above.parent
        return False

    def release(self, node: Node) -> None:
        """Forget what was announced of a removed node; it stays while the kernel holds inodes."""
        node.announced = node.names = None
        self._kept.pop(node, None)
        self.prune(node)

    def _cut(self, node: Node) -> None:
        self._detach(node)
        node.dropped = True

    def move(self, node: Node, parent: Node, name: bytes) -> None:
        """Make the node, with all below it, the child `name` of `parent`."""
        self._detach(node)
        node.parent, node.name = parent, name
        if parent.children is None:
            parent.children = {}
        parent.children[name] = node

    def _detach(self, node: Node) -> None:
        if node.view is not self.view:
            node.view.removed.add(node.path)
        parent = node.parent
        if parent is not None and parent.children and parent.children.get(node.name) is node:
            del parent.children[node.name]

    def watchable(self) -> Iterator[Node]:
        """All nodes of the plain view whose events a program can watch for, each once, in order.

        Nodes may come, go and be moved between two steps.
        """
        seen: set[Node] = set()
        for inode in list(self):
            node = inode.node
            is_watched = inode.user_visible and inode.kind is InodeKind.DIRECTORY
            children = node.children if is_watched and node.children else {}
            for each in (node, *(children[name] for name in sorted(children))):
                if each in seen or each.view is not self.view:
                    continue
                seen.add(each)
                if each.announced is not None and each.watchable and each.alive:
                    yield each
