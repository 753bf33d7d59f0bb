# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nodes of the store as far as they are known, and the inodes by which the kernel knows them.

A `Node` is a node of the store; an `Inode` is what the kernel knows of it (a file, a
directory, ...). The kind of an inode never changes: a file that becomes a directory is a new
inode. No input or output and no waiting here; used from the trio thread alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from xsfs.errors import NotFound
from xsfs.fs.model.states import Announced, InodeKind
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.fs.model.states import State


class View:
    """One way to see the store: the plain one, or a transaction's.

    Args:
        root_path: the store path at its top.
        tx_id: the transaction, or 0.
        plain: of a transaction's view, the plain one.
    """

    def __init__(self, root_path: bytes, tx_id: int = 0, plain: View | None = None) -> None:
        self._tx_id = tx_id
        self._plain = plain
        # The paths of what was removed or moved away in the transaction.
        self.removed: set[bytes] = set()
        # Whether watch events say when what is known of it is out of date.
        self.cached = not tx_id
        # How often the transaction was asked for; it ends when nobody does for long.
        self.uses = 0
        # The transaction was committed or aborted, or lost.
        self.over = False
        # A change of several nodes failed half-way in it: it is not to be committed.
        self.poisoned = False
        # Counts watch events; what was fetched before an event is stamped with less.
        self.clock = 0
        # The clock at the last event.
        self.changed = 0
        self.root = Node(self, None, root_path)

    @property
    def tx_id(self) -> int:
        """The transaction for the next request; 0 for none.

        Raises:
            NotFound: the transaction is over.
        """
        if self.over:
            raise NotFound(b"ENOENT")
        self.uses += 1
        return self._tx_id

    def inherits(self, parent: Node, name: bytes) -> bool:
        """Whether a node is a directory because the plain view shows it as one."""
        if self._plain is None:
            return False
        path = paths.join(parent.path, name)
        if self.removed and not self.removed.isdisjoint((path, *paths.ancestors(path))):
            return False
        found = self._plain.find(path)
        return found is not None and not found[1] and found[0].directory

    def find(self, path: bytes) -> tuple[Node, list[bytes]] | None:
        """The nearest node known at or above `path`, and the names from there to `path`.

        None when `path` is not in this view.
        """
        top = self.root.name
        if path == top:
            return self.root, []
        if not paths.is_below(path, top):
            return None
        names = path[1:].split(b"/") if top == b"/" else path[len(top) + 1 :].split(b"/")
        node = self.root
        for index, name in enumerate(names):
            child = node.children.get(name) if node.children else None
            if child is None:
                return node, names[index:]
            node = child
        return node, []

    def record(self, path: bytes, mtime_ns: int) -> tuple[Node, list[bytes]] | None:
        """Note that `path` changed: what was asked for before is not to be trusted.

        Args:
            mtime_ns: the time of the change; 0 to let that be.

        Returns what `find` returns.
        """
        found = self.find(path)
        if found is not None:
            self._tick()
            node, rest = found
            if rest:
                node.subtree_changed = self.clock
            else:
                node.changed = node.subtree_changed = self.clock
                if mtime_ns:
                    node.changed_at(mtime_ns)
            above = node.parent
            while above is not None:
                above.subtree_changed = self.clock
                above = above.parent
        return found

    def invalidate_all(self) -> None:
        """Nothing that was asked for before is to be trusted."""
        self._tick()
        self.root.changed = self.root.subtree_changed = self.clock

    def _tick(self) -> None:
        self.clock += 1
        self.changed = self.clock


class Poller(Protocol):
    """Somebody who polls for a change of a node's value."""

    def wake(self, *, certain: bool = False) -> None:
        """It changed, or is gone; not `certain`: perhaps before it was read."""


class Node:
    """A node of the store, as far as it is known.

    `value` and `perms` are as of the request stamped `fetched`; what watchers have been told
    stands in `told` and `names`, and is moved by events alone.
    """

    __slots__ = (
        "alive",
        "announced",
        "changed",
        "children",
        "compared",
        "directory",
        "draft_size",
        "fetched",
        "fetched_s",
        "hidden_from",
        "inodes",
        "listed",
        "listing",
        "made",
        "mtime_ns",
        "name",
        "names",
        "parent",
        "pending",
        "perms",
        "pins",
        "pollers",
        "subtree_changed",
        "touched",
        "value",
        "view",
        "written",
    )

    def __init__(self, view: View, parent: Node | None, name: bytes) -> None:
        self.view = view
        self.parent = parent
        # One component; of a root, the whole path.
        self.name = name
        self.children: dict[bytes, Node] | None = None
        self.inodes: list[Inode] = []
        # Shown as a directory; stays so for as long as the node lives.
        self.directory = parent is None
        self.alive = True
        # The view's clock when we made it or brought it here.
        self.made = 0
        # How many notices about it are under way: it is not forgotten meanwhile.
        self.pins = 0
        # Created through the mount, and not stored yet.
        self.pending = False
        # How often its value was stored through the mount.
        self.written = 0
        # The size in bytes that its text has for whoever truncated it, while not stored.
        self.draft_size: int | None = None
        # The thread that made the directory or unlinked its `.value`, and so expects to create
        # that exclusively (as cp and tar do); until something is written. 0 is any thread of
        # another pid namespace.
        self.hidden_from: int | None = None
        self.value: bytes | None = None
        self.perms: bytes | None = None
        # Kept where listings may come from memory (cache=watch), with the clock as of asking.
        self.listing: list[bytes] | None = None
        self.listed = -1
        self.announced: Announced | None = None
        # Open files whose readers poll for a change.
        self.pollers: set[Poller] | None = None
        # The children's names, as told to whoever watches the directory; None while they are
        # not known, which must not be while the kernel holds the directory.
        self.names: set[bytes] | None = None
        # The view's clock at the last event here; here or below; when the data was asked for.
        self.changed = 0
        self.subtree_changed = 0
        self.fetched = -1
        self.fetched_s = 0.0
        # The view's clock when what was told was last compared with the store.
        self.compared = -1
        # When it was seen to change last; None for not since the mount.
        self.mtime_ns: int | None = None
        # That time is one that somebody set.
        self.touched = False

    def __repr__(self) -> str:
        return f"<Node {self.path!r}>"

    @property
    def path(self) -> bytes:
        """The node's path in the store."""
        if self.parent is None:
            return self.name
        names = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        if node.name != b"/":
            names.append(node.name[1:])
        names.append(b"")
        return b"/".join(reversed(names))

    @property
    def depth(self) -> int:
        """How many levels it is below its view's root."""
        depth = 0
        node = self
        while node.parent is not None:
            node = node.parent
            depth += 1
        return depth

    @property
    def known(self) -> bool:
        """Whether the kernel holds an inode of it, and not for the event helper alone."""
        return any(inode.user_visible for inode in self.inodes)

    @property
    def looked_up(self) -> bool:
        """Whether the kernel holds its directory, so that somebody may watch that."""
        kind = self.inode(InodeKind.DIRECTORY)
        return kind is not None and kind.user_visible

    @property
    def watchable(self) -> bool:
        """Whether anybody can be waiting for its events: at the node, or at its parent."""
        return self.known or (self.parent is not None and self.parent.looked_up)

    @property
    def is_announced_directory(self) -> bool:
        """Whether watchers were told that it is a directory."""
        return self.announced is not None and self.announced.directory

    @property
    def shown(self) -> InodeKind:
        """The kind of inode that its directory lists."""
        return InodeKind.DIRECTORY if self.directory else InodeKind.FILE

    def changed_at(self, now_ns: int) -> None:
        """It is seen to change: a time that somebody set is over."""
        self.mtime_ns, self.touched = now_ns, False

    def inode(self, kind: InodeKind) -> Inode | None:
        """Its inode of that kind, if there is one."""
        for inode in self.inodes:
            if inode.kind is kind:
                return inode
        return None

    def observe(self, state: State, stamp: int, now_s: float) -> bool:
        """Remember a state, asked for when the view's clock stood at `stamp`.

        Returns whether it is a directory by now of which watchers were told as of a file.
        """
        self.value, self.perms = state.value, state.perms
        self.pending = False
        parent = self.parent
        if self.fetched < 0 and parent is not None and parent.subtree_changed > stamp:
            # An event that came meanwhile may have been about it, and did not find it here.
            stamp = -1
        self.fetched, self.fetched_s = stamp, now_s
        became_directory = bool(state.names) and not self.directory
        self.directory |= became_directory
        if self.announced is None:
            became_directory = False
            self.announced = Announced(state.value, state.perms, self.directory)
            self.compared = stamp
        if self.announced.directory and not self.looked_up:
            # With an event since, whoever comes to watch it would be told anew of what he saw.
            self.names = set(state.names) if self.subtree_changed <= stamp else None
        elif self.announced.directory and self.names is None:
            self.names = set(state.names)
        return became_directory

    def is_fresh(self, now_s: float, max_age_s: float) -> bool:
        """Whether `value` and `perms` are no older than the last event that may concern them."""
        if self.value is None or now_s - self.fetched_s > max_age_s:
            return False
        if self.subtree_changed > self.fetched and not self.directory:
            # What happened below makes it a directory.
            return False
        return not self.changed_since(self.fetched)

    def changed_since(self, stamp: int) -> bool:
        """Whether an event that concerns it came after the view's clock stood at `stamp`."""
        if stamp >= self.view.changed:
            return False
        node: Node | None = self
        while node is not None:
            if node.changed > stamp:
                return True
            node = node.parent
        return False

    def subtree(self) -> Iterator[Node]:
        """The known nodes from here on down, children before parents, sorted."""
        # Not by recursion: a guest's tree may be deeper than Python's stack.
        parents_first, left = [], [self]
        while left:
            node = left.pop()
            parents_first.append(node)
            if node.children:
                left += [node.children[name] for name in sorted(node.children)]
        return reversed(parents_first)


class Inode:
    """One inode of a node, of one kind, with the kernel's lookup count."""

    __slots__ = ("ino", "kind", "lookups", "node", "user_visible")

    def __init__(self, ino: int, node: Node, kind: InodeKind) -> None:
        self.ino = ino
        self.node = node
        self.kind = kind
        self.lookups = 0
        # Somebody other than the event helper has asked for it: before anybody can watch what
        # the kernel holds for the helper alone, it asks again.
        self.user_visible = False

    def count_lookup(self) -> None:
        """The kernel looks it up for somebody who asked."""
        self.lookups += 1
        self.user_visible = True

    def __repr__(self) -> str:
        return f"<Inode {self.ino} {self.kind.name} of {self.node.path!r}, {self.lookups} lookups>"
