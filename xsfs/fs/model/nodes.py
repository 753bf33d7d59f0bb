# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nodes of the store as far as they are known, and the inodes by which the kernel knows them.

A `Node` is a node of the store; an `Inode` is what the kernel knows of it (a file, a
directory, ...). The kind of an inode never changes: a file that becomes a directory is a new
inode. No input or output and no waiting here; used from the trio thread alone.

Theory of operation
===================

A node has four groups of facts, each with its own writers:

In the store: `value`, `perms`, as of the request stamped `fetched_at`. Written by `observe`,
    and by our own writes once the store accepted them.
Announced to watchers: `announced`, and for a directory `names`, the names of its children in the
    store. Written when the node is first observed (a program that looks at it then needs no event
    for what it sees), later only by the difference, which makes a notice of every step, and by
    our own changes, whose events the kernel raises itself.
Held by the kernel: `inodes` with their lookup counts, written by the handlers' replies and by
    forget; `directory`, `mtime_ns`, as shown to it; `pins`, written by notices under way.
Our own changes under way: `pending`, `draft_size`, `hidden_from`, `pollers`, written by open
    files and handlers; `written`, `made_at`, `perms_are_set`, written by changes.

There are two lists of children. `names` are those of the store, as announced: all of them, or
None when unknown. `children` are the nodes that we keep for any of the reasons above: only some,
and also nodes that are not in the store yet or any more.

Time is the view's clock, which counts watch events, our own creations and the model's turns of
questions. Stamps end in `_at`; one is the clock when a request was sent, not answered. The rules:

1. A fetched fact is valid until a later event that may concern it: at the node, at a node above
   it (which may have been removed and created again with all below), or, for a file, below it
   (which makes it a directory). See `is_fresh`.
2. Announcing and observing are independent. For each event the difference fetches a state of its
   own and compares it with what was announced.
3. While the kernel holds a directory for a user, `names` is not None, and each child that comes or
   goes is announced. While it does not, nothing is announced, and an event makes `names` None.
4. An announced node is kept while the kernel holds its directory (table.py, KEPT_MAX), so that the
   next event can be classified: value or permissions changed.
5. A node that is a directory remains one for as long as it lives.
6. A removal takes effect at once, for a node with all below it: no path leads there, no node there
   is `alive`. It is announced step by step; until then `NodeTable.leaving` keeps what was there.
7. Replies are handled in any order: what was requested before we stored a node's value (`made_at`)
   does not show its value, nor before it was found (`seen_at`) that it is gone.
8. A directory that the kernel holds is announced as removed when the store was asked again after
   the kernel had dropped its entry (`closed_at`): see `Doubt` in notices.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xsfs.errors import NotFound
from xsfs.fs.model import names as filenames
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
        plain: for a transaction's view, the plain one.
    """

    def __init__(self, root_path: bytes, tx_id: int = 0, plain: View | None = None) -> None:
        self._tx_id = tx_id
        self.plain = plain
        # The paths of nodes that were removed or moved away in the transaction.
        self.removed: set[bytes] = set()
        # Whether watch events report changes, so that facts can be kept until then.
        self.cached = not tx_id
        # How many requests used the transaction; an idle one is aborted.
        self.uses = 0
        # The transaction was committed, aborted or lost.
        self.over = False
        # Which operation of several changes failed half-way in it: it must not be committed.
        self.poisoned = ""
        # Counts watch events and our own creations: see the theory of operation.
        self.clock = 0
        # The clock at the last event.
        self.event_at = 0
        self.root = Node(self, None, root_path, directory=True)

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

    def record_event(self, path: bytes, mtime_ns: int) -> tuple[Node, list[bytes]] | None:
        """Note that `path` changed: what was fetched before is out of date.

        Args:
            mtime_ns: the time of the change; 0 to keep the node's.

        Returns what `find` returns.
        """
        found = self.find(path)
        if found is not None:
            self.event_at = self.tick()
            node, rest = found
            if rest:
                node.subtree_event_at = self.clock
            else:
                node.event_at = node.subtree_event_at = self.clock
                if mtime_ns:
                    node.set_mtime(mtime_ns)
            above = node.parent
            while above is not None:
                above.subtree_event_at = self.clock
                above = above.parent
        return found

    def invalidate_all(self) -> None:
        """Everything that was fetched before is out of date."""
        self.event_at = self.tick()
        self.root.event_at = self.root.subtree_event_at = self.clock

    def tick(self) -> int:
        """Let the clock go on; what it shows now."""
        self.clock += 1
        return self.clock


class Poller(Protocol):
    """A reader that polls for a change of a node's value."""

    def wake(self, *, certain: bool = False) -> None:
        """The value changed or the node is gone; not `certain`: perhaps before it was read."""


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """A node of the store, as far as it is known: see the theory of operation."""

    # -- where it is ----------------------------------------------------------------------
    view: View
    parent: Node | None
    # One component; of a root, the whole path.
    name: bytes
    # The nodes that we keep, by name.
    children: dict[bytes, Node] | None = None
    # It was removed from the store with all below it, or there was no reason to keep it.
    dropped: bool = False
    # The last event at this node; at it or below it.
    event_at: int = 0
    subtree_event_at: int = 0

    # -- what the store has ---------------------------------------------------------------
    value: bytes | None = None
    perms: bytes | None = None
    # When it, or what is below it, was last found or made by us.
    seen_at: int = -1
    # When it was requested; the time of the reply, in seconds.
    fetched_at: int = -1
    fetched_s: float = 0.0

    # -- what was announced to watchers ---------------------------------------------------
    announced: Announced | None = None
    names: set[bytes] | None = None
    # When it was last compared with the store; when `names` last equalled the store's.
    compared_at: int = -1
    listed_at: int = -1

    # -- what the kernel holds ------------------------------------------------------------
    inodes: list[Inode] = field(default_factory=list)
    # When it was told to drop the entry of a directory that seems to be gone; else -1.
    closed_at: int = -1
    # Number and kind of the one that it forgot last: a program may still compare the number.
    former: tuple[int, InodeKind] | None = None
    # Shown as a directory.
    directory: bool = False
    # When it last changed, in ns since the epoch; None: not since the mount.
    mtime_ns: int | None = None
    # That time was set by utime(2).
    mtime_is_set: bool = False
    # How many notices about it are under way: the node is kept until they are done.
    pins: int = 0

    # -- our own changes under way --------------------------------------------------------
    # Created through the mount, and not stored yet.
    pending: bool = False
    # When we created it, stored or not, or moved it here.
    made_at: int = 0
    # How often its value was stored through the mount.
    written: int = 0
    # Its permissions were set through the mount, not inherited from its parent.
    perms_are_set: bool = False
    # The size in bytes of its text after a truncation that is not stored yet.
    draft_size: int | None = None
    # The thread that made the directory or unlinked its `.value`, and so expects to create
    # `.value` exclusively (as cp and tar do), until something is written. 0 is any thread
    # of another pid namespace.
    hidden_from: int | None = None
    # Open files whose readers poll for a change.
    pollers: set[Poller] | None = None

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
    def alive(self) -> bool:
        """Whether it was in the store at the last request, as far as is known."""
        node: Node | None = self
        while node is not None:
            if node.dropped:
                return False
            node = node.parent
        return True

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
    def user_visible(self) -> bool:
        """Whether the kernel holds an inode of it, and not for the event helper alone."""
        return any(inode.user_visible for inode in self.inodes)

    @property
    def looked_up(self) -> bool:
        """Whether the kernel holds its directory, so that a program may watch it."""
        kind = self.inode(InodeKind.DIRECTORY)
        return kind is not None and kind.user_visible

    @property
    def watchable(self) -> bool:
        """Whether a program can watch for its events: at the node, or at its parent."""
        return self.user_visible or (self.parent is not None and self.parent.looked_up)

    @property
    def is_announced_directory(self) -> bool:
        """Whether it was announced as a directory."""
        return self.announced is not None and self.announced.directory

    @property
    def shown(self) -> InodeKind:
        """The kind of inode that its directory lists."""
        return InodeKind.DIRECTORY if self.directory else InodeKind.FILE

    def set_mtime(self, now_ns: int) -> None:
        """It changed; this replaces a time set by utime(2)."""
        self.mtime_ns, self.mtime_is_set = now_ns, False

    def inode(self, kind: InodeKind) -> Inode | None:
        """Its inode of that kind, if there is one."""
        for inode in self.inodes:
            if inode.kind is kind:
                return inode
        return None

    def see(self, stamp: int) -> None:
        """It was there when the view's clock stood at `stamp`, and so was what is above it."""
        node: Node | None = self
        while node is not None and node.seen_at < stamp:
            node.seen_at = stamp
            node = node.parent

    def observe(self, state: State, stamp: int, now_s: float) -> bool:
        """Remember a state, requested when the view's clock stood at `stamp`.

        Returns whether it is a directory now but was announced as a file.
        """
        if self.pending and stamp < self.made_at:
            # Of what had the name before.
            return False
        self.see(stamp)
        self.closed_at = -1
        if self.value is None or stamp >= self.made_at:
            self.value = state.value
        self.perms = state.perms
        self.pending = False
        parent = self.parent
        if self.fetched_at < 0 and parent is not None and parent.subtree_event_at > stamp:
            # The event may have been about this node, which was not known when it came.
            stamp = -1
        self.fetched_at, self.fetched_s = stamp, now_s
        became_directory = bool(state.names) and not self.directory
        self.directory |= became_directory
        if self.announced is None:
            became_directory = False
            self.announced = Announced(state.value, state.perms, self.directory)
            self.compared_at = stamp
        if self.announced.directory and not self.looked_up:
            # After an event since, a new watcher would be notified again of what it has seen.
            self.names = set(state.names) if self.subtree_event_at <= stamp else None
        elif self.announced.directory and self.names is None:
            self.names = set(state.names)
        return became_directory

    def is_fresh(self, now_s: float, max_age_s: float) -> bool:
        """Whether `value` and `perms` are no older than the last event that may concern them."""
        if self.value is None or now_s - self.fetched_s > max_age_s:
            return False
        if self.subtree_event_at > self.fetched_at and not self.directory:
            # A child was created, which makes it a directory.
            return False
        return not self.has_event_since(self.fetched_at)

    def has_event_since(self, stamp: int) -> bool:
        """Whether an event that concerns it came after the view's clock stood at `stamp`."""
        if stamp >= self.view.event_at:
            return False
        node: Node | None = self
        while node is not None:
            if node.event_at > stamp:
                return True
            node = node.parent
        return False

    def subtree(self) -> Iterator[Node]:
        """The known nodes from here on down, children before parents, sorted.

        Nodes may be dropped or moved away between two steps.
        """
        # Not by recursion: a guest's tree may be deeper than Python's stack.
        path = [(self, iter(sorted(self.children or ())))]
        while path:
            node, names = path[-1]
            name = next(names, None)
            if name is None:
                yield node
                path.pop()
            elif (child := (node.children or {}).get(name)) is not None:
                path.append((child, iter(sorted(child.children or ()))))


class Inode:
    """One inode of a node, of one kind, with the kernel's lookup count."""

    __slots__ = ("ino", "kind", "lookups", "node", "user_visible")

    def __init__(self, ino: int, node: Node, kind: InodeKind) -> None:
        self.ino = ino
        self.node = node
        self.kind = kind
        self.lookups = 0
        # A process other than the event helper has looked it up. No program can watch an inode
        # that the kernel holds only for the helper: the kernel looks it up again first.
        self.user_visible = False

    @property
    def own_entry(self) -> bytes | None:
        """Its name in the directory that its own node is; None of what the parent lists."""
        return filenames.VALUE if self.kind is InodeKind.VALUE else None

    def count_lookup(self) -> None:
        """The kernel looked it up for a process other than the event helper."""
        self.lookups += 1
        self.user_visible = True

    def __repr__(self) -> str:
        return f"<Inode {self.ino} {self.kind.name} of {self.node.path!r}, {self.lookups} lookups>"
