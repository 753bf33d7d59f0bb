# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Lookup, attributes, listing, reading: the store's nodes brought into the node table.

Knows the store through the trio client, and no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
import itertools
import logging
import time
from typing import TYPE_CHECKING, cast

import trio

from xsfs.errors import NotFound, StoreError, TooBig
from xsfs.fs.model import names as filenames
from xsfs.fs.model.states import State
from xsfs.protocol import paths, procedures, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from xsfs.aio.pipeline import Pipeline
    from xsfs.fs.model.nodes import Inode, Node
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.options import Options
    from xsfs.fs.store.states import States
    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

# For how long a fetched fact is valid at most, in seconds: some changes raise no event at all.
MAX_AGE_S = 60.0

# How many known children are fetched along with a listing.
_GUESSES = 512

# Up to how many children a directory may have to have them fetched when it is looked up.
_PREFETCHED = 256

# How many nodes below those that a listing shows are fetched along with it.
_AHEAD = 64


class FSError(Exception):
    """What a request to the file system fails with."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def _longest_name(node: Node) -> int:
    """How long a child's name may be to be listed, and asked for."""
    return min(filenames.NAME_MAX, paths.ABSOLUTE_MAX - len(node.path) - 1)


class Tree:
    """The store as a tree of nodes, read through and remembered in the node table.

    Args:
        suspect: called with a node that was found to be gone or replaced, with no event yet.
    """

    def __init__(
        self,
        client: Pipeline,
        table: NodeTable,
        options: Options,
        states: States,
        suspect: Callable[[Node], None],
    ) -> None:
        self.client = client
        self.table = table
        self.options = options
        self.started_ns = time.time_ns()
        self.suspect = suspect
        self._states = states
        self._warned: set[bytes] = set()

    def now_ns(self) -> int:
        """The time to give to a change seen now, in ns since the epoch."""
        return time.time_ns()

    # -- from the store -----------------------------------------------------------------------

    async def refresh(self, parent: Node, names: Iterable[bytes]) -> dict[bytes, Node]:
        """Ask the store for the children of these names; those that exist, by name.

        Raises:
            FSError: ESTALE when another node has taken the parent's place: look that up again.
        """
        wanted = list(names)
        view = parent.view
        stamp = view.clock
        top = parent.path
        states = await self._states.fetch(view, [paths.join(top, name) for name in wanted])
        found = {}
        for name, state in zip(wanted, states, strict=True):
            if isinstance(state, State):
                if not parent.alive:
                    # Another node has taken the parent's place.
                    raise FSError(errno.ESTALE)
                found[name] = self.observe(self.table.child(parent, name), state, stamp)
                continue
            if not isinstance(state, NotFound):
                raise state
            node = parent.children.get(name) if parent.children else None
            if node is not None and node.pending:
                found[name] = node
            elif node is not None and node.announced is None and not node.inodes:
                self.table.drop(node)
            elif node is not None:
                self.suspect(node)
        return found

    async def refresh_node(self, node: Node) -> None:
        """Ask the store for a node.

        Raises:
            StoreError: NotFound when it is gone, among others.
        """
        if node.pending:
            return
        stamp = node.view.clock
        (state,) = await self._states.fetch(node.view, [node.path])
        if isinstance(state, State):
            self.observe(node, state, stamp)
            return
        if isinstance(state, NotFound):
            if node.parent is None:
                # The node mounted as root does not exist (yet): shown as an empty directory.
                self.observe(node, State(b"", []), stamp)
                return
            self.suspect(node)
        raise state

    def observe(self, node: Node, state: State, stamp: int) -> Node:
        """Remember a node's state, requested when the view's clock stood at `stamp`."""
        if node.observe(state, stamp, trio.current_time()):
            self.suspect(node)
        return node

    async def prefetch(self, node: Node) -> None:
        """Fetch the children of a directory that a program may be about to watch.

        It need not look them up itself, but the first event of each must be classified: a
        value was written, or permissions were changed.
        """
        if node.directory and node.names is None:
            await self.refresh_node(node)
        names, children = node.names or (), node.children or {}
        if self._states.want_perms and node.view.cached and len(names) <= _PREFETCHED:
            untold = [
                n for n in names if (child := children.get(n)) is None or child.announced is None
            ]
            if untold:
                for child in (await self.refresh(node, untold)).values():
                    self.table.keep(child)

    # -- for the file system ------------------------------------------------------------------

    def is_fresh(self, node: Node) -> bool:
        """Whether what is known of a node may be used without asking the store."""
        return node.pending or (
            node.view.cached
            and self.options.cache != "off"
            and not (node.directory and node.names is None)
            and node.is_fresh(trio.current_time(), MAX_AGE_S)
        )

    async def lookup(self, parent: Node, name: bytes) -> Node:
        """The child of that name.

        Raises:
            FSError: ENOENT; ESTALE as in `refresh`.
            StoreError: what the store said.
        """
        if not filenames.is_node_name(name):
            raise FSError(errno.ENOENT)
        node = parent.children.get(name) if parent.children else None
        if node is not None and self.is_fresh(node):
            return node
        found = await self.refresh(parent, [name])
        if name not in found:
            raise FSError(errno.ENOENT)
        return found[name]

    async def attributes(self, inode: Inode) -> None:
        """Fetch the node behind an inode, unless what is known of it is valid.

        Raises:
            StoreError: NotFound when it is gone and the inode has no other reason to be.
        """
        node = inode.node
        if node.alive and not self.is_fresh(node):
            await self.refresh_node(node)

    async def value(self, node: Node) -> bytes:
        """The value, from the store unless `cache=watch` knows it.

        Raises:
            StoreError: what the store said.
        """
        if node.pending:
            return b""
        if self.options.cache == "watch" and self.is_fresh(node) and node.value is not None:
            return node.value
        try:
            return await self.client.call(requests.read(node.path), node.view.tx_id)
        except NotFound:
            if node.parent is None:
                return b""
            self.suspect(node)
            raise

    async def listing(self, node: Node) -> list[bytes]:
        """The names of a directory's entries for nodes, sorted.

        The directory itself, and known children that may have changed, are fetched with it: a
        listing with attributes takes one round trip.

        Raises:
            FSError: ESTALE when another node has taken its place: look that up again.
            StoreError: what the store said.
        """
        if (
            node.names is not None
            and node.subtree_event_at <= node.listed_at
            and self.is_fresh(node)
        ):
            return self._listed(node, node.names)
        view, stamp, path = node.view, node.view.clock, node.path
        wanted = [] if self.is_fresh(node) else [path]
        stale = self.stale(node, itertools.islice(node.names or (), _GUESSES))
        wanted += [paths.join(path, name) for name in stale]
        batch: list[Request[object]] = [requests.directory(path), requests.read(path)]
        for other in wanted:
            batch += self._states.requests_for(other)
        listing, value, *replies = await self.client.batch(batch, view.tx_id)
        if isinstance(listing, TooBig):
            listing = await self.client.perform(procedures.listing(path), view.tx_id)
        if isinstance(listing, NotFound) and node.parent is None:
            # The node mounted as root does not exist (yet).
            listing = []
        if isinstance(listing, StoreError):
            self.suspect(node)
            raise listing
        if not node.alive:
            raise FSError(errno.ESTALE)
        states = await self._states.of(view, wanted, replies)
        if len(states) > len(stale):
            self._remember(node, states.pop(0), stamp)
        found = [self._child(node, *each, stamp) for each in zip(stale, states, strict=True)]
        await self._read_ahead(found)
        if not isinstance(value, StoreError):
            # Whether `.value` is listed.
            node.value = cast("bytes", value)
        names = cast("list[bytes]", listing)
        if self.options.cache == "watch" and node.names == set(names):
            node.listed_at = stamp
        return self._listed(node, names)

    async def _read_ahead(self, nodes: Iterable[Node | None]) -> None:
        """Fetch what is below nodes just listed: a program that walks the tree needs it next."""
        left = _AHEAD
        level = [node for node in nodes if node is not None]
        while level and left > 0:
            view, stamp = level[0].view, level[0].view.clock
            wanted = list(
                itertools.islice(
                    ((node, name) for node in level for name in self.stale(node, node.names or ())),
                    left,
                )
            )
            left -= len(wanted)
            below = [paths.join(node.path, name) for node, name in wanted]
            states = await self._states.fetch(view, below)
            found = [
                self._child(node, name, state, stamp)
                for (node, name), state in zip(wanted, states, strict=True)
            ]
            level = [node for node in found if node is not None]

    def _child(
        self, parent: Node, name: bytes, state: State | StoreError, stamp: int
    ) -> Node | None:
        if not isinstance(state, State) or not parent.alive:
            return None
        return self.observe(self.table.child(parent, name), state, stamp)

    def _remember(self, node: Node, state: State | StoreError, stamp: int) -> None:
        if isinstance(state, State):
            self.observe(node, state, stamp)

    def stale(self, node: Node, names: Iterable[bytes]) -> list[bytes]:
        """The names of those children whose state in the store is not known."""
        children = node.children or {}
        unknown = [
            name
            for name in names
            if (child := children.get(name)) is None or not self.is_fresh(child)
        ]
        if not unknown:
            return []
        longest = _longest_name(node)
        return [n for n in unknown if len(n) <= longest and filenames.is_node_name(n)]

    def _listed(self, node: Node, names: Collection[bytes]) -> list[bytes]:
        longest = _longest_name(node)
        listed = [name for name in names if len(name) <= longest]
        if len(listed) < len(names):
            for name in set(names).difference(listed):
                self._warn(node, name)
        if node.children:
            listed += [
                name for name, child in node.children.items() if child.pending and name not in names
            ]
        return sorted(listed)

    def _warn(self, node: Node, name: bytes) -> None:
        path = paths.join(node.path, name)
        if path not in self._warned and len(self._warned) < 1000:
            self._warned.add(path)
            log.warning("%r is left out of listings: its name is too long", path[:300])
