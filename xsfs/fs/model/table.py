# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The node table: all inodes by number, their lookup counts, and the nodes behind them.

No input or output and no waiting here; used from the trio thread alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from xsfs.fs.model.nodes import Inode, Node, View
from xsfs.fs.model.states import InodeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

InodeType = TypeVar("InodeType", bound=Inode)

# fuse_lowlevel.h, FUSE_ROOT_ID.
ROOT_INO = 1

# Of how many children that the kernel does not hold, in directories that it does, is kept what
# watchers were told, so that a later event can be told apart (about 1 KB each).
KEPT_MAX = 16384


class NodeTable:
    """All inodes by number, and the tree of nodes behind them.

    Numbers are never given twice. The root's inode is there for as long as the mount.
    """

    def __init__(self, root_path: bytes) -> None:
        self.view = View(root_path)
        self.root = Inode(ROOT_INO, self.view.root, InodeKind.DIRECTORY)
        self.root.count_lookup()
        self.view.root.inodes.append(self.root)
        self._inodes = {ROOT_INO: self.root}
        self._next_ino = ROOT_INO + 1
        # Nodes kept for what was told of them; the oldest goes first.
        self._kept: dict[Node, None] = {}

    def __len__(self) -> int:
        return len(self._inodes)

    def __getitem__(self, ino: int) -> Inode:
        return self._inodes[ino]

    def __iter__(self) -> Iterator[Inode]:
        return iter(self._inodes.values())

    def child(self, parent: Node, name: bytes) -> Node:
        """The node of that name, known from now on."""
        if parent.children is None:
            parent.children = {}
        node = parent.children.get(name)
        if node is None or not node.alive:
            node = parent.children[name] = Node(parent.view, parent, name)
            node.directory = parent.view.inherits(parent, name)
        return node

    def adopt(self, directories: Iterable[bytes]) -> None:
        """Show nodes as directories that a transaction made, and that have no children."""
        for path in directories:
            found = self.view.find(path)
            if found is not None:
                node, rest = found
                for name in rest:
                    node = self.child(node, name)
                    node.directory = True

    def inode(self, node: Node, kind: InodeKind) -> Inode:
        """The inode of a node's kind, made when there is none."""
        inode = node.inode(kind)
        return self.add(lambda ino: Inode(ino, node, kind)) if inode is None else inode

    def add(self, make: Callable[[int], InodeType]) -> InodeType:
        """A new inode, made with the number that is given to it."""
        inode = make(self._next_ino)
        self._next_ino += 1
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
            if inode.kind is InodeKind.DIRECTORY or not node.inodes:
                self._shed(node)
            self.prune(node)

    def discard(self, inode: Inode) -> None:
        """Drop an inode that was made for an answer and never reached the kernel."""
        if not inode.lookups:
            self.forget(inode.ino, 0)

    def retire(self, inode: Inode) -> None:
        """The kernel holds an inode for removed, though its node is not: that gets another."""
        node = inode.node
        node.inodes.remove(inode)
        inode.node = Node(node.view, node.parent, node.name)
        inode.node.alive = False
        inode.node.inodes.append(inode)

    def _shed(self, node: Node) -> None:
        """Let go of what was asked for ahead below a node that the kernel no more knows."""
        for below in node.subtree():
            if below is not node:
                self.prune(below)

    def prune(self, node: Node) -> None:
        """Let a node go, and those above it, when nothing is left to remember of it."""
        while (
            node.parent is not None
            and not node.inodes
            and not node.children
            and not node.pins
            and not (node.directory and node.alive)
        ):
            if (
                node.alive
                and node.announced is not None
                and node.view.cached
                and node.parent.looked_up
            ):
                self.keep(node)
                return
            self._detach(node)
            node.alive = False
            node = node.parent

    def keep(self, node: Node) -> None:
        """Remember what was told of a node that the kernel does not hold."""
        self._kept.pop(node, None)
        self._kept[node] = None
        while len(self._kept) > KEPT_MAX:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            if not (oldest.inodes or oldest.children or oldest.pins or oldest.directory):
                self._detach(oldest)
                oldest.alive = False

    def drop(self, node: Node) -> None:
        """The node is gone from the store, with all below it; the kernel may hold inodes yet."""
        for gone in node.subtree():
            gone.alive = False
            self._kept.pop(gone, None)
            if not gone.inodes and not gone.children:
                self._detach(gone)
        self._detach(node)

    def move(self, node: Node, parent: Node, name: bytes) -> None:
        """The node, with all below it, is now the child `name` of `parent`."""
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

    def watchable(self) -> Iterable[Node]:
        """All nodes of the plain view whose events somebody can wait for, parents first."""
        nodes = reversed(list(self.view.root.subtree()))
        return [n for n in nodes if n.alive and n.announced is not None and n.watchable]
