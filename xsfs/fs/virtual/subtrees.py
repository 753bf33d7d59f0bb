# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Whole subtrees of the store: read as one snapshot, patched all or nothing.

Knows no FUSE; used from the trio thread alone; work that grows with a subtree is done in turns
(turns.py).
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import trio

from xsfs import jsontree
from xsfs.errors import NotFound, StoreError, TooBig
from xsfs.fs.store.reads import FSError
from xsfs.fs.turns import Turns, collect
from xsfs.fs.virtual import merge
from xsfs.protocol import paths, procedures, requests
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline
    from xsfs.fs.inotify.watcher import Watcher
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.virtual.refusals import Refusals
    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

# How many times a snapshot is tried, and a patch that conflicts with other clients.
SNAPSHOT_ATTEMPTS = 5
PATCH_ATTEMPTS = 10

# How many nodes are read or changed in one batch: it is sent as a whole, and has a time limit of
# its own (the more nodes a transaction has touched, the longer xenstored takes for each).
_STEP = 200

# A transaction id that no daemon gives: they count from 1.
_NO_TX_ID = 0xFFFFFFF0


class _Nodes(NamedTuple):
    """By path, parents first; permissions only where they were asked for."""

    values: dict[bytes, bytes]
    permissions: dict[bytes, list[bytes]]


class Subtrees:
    """Reads and patches whole subtrees, each at one moment of the store."""

    def __init__(self, client: Pipeline, watcher: Watcher, refusals: Refusals) -> None:
        self._client = client
        self._watcher = watcher
        self.refusals = refusals
        # How much memory all patches take that are being written.
        self.unfinished = 0
        # The connection of which it is known whether its transactions are snapshots.
        self._asked = 0
        self._snapshots = False

    async def read(self, node: Node, *, permissions: bool) -> bytes:
        """The subtree as JSON.

        Raises:
            StoreError: the node itself cannot be read.
        """
        path = node.path
        try:
            nodes = await self._nodes(node, permissions=permissions)
        except NotFound:
            if node.parent is not None:
                raise
            # The node mounted as root does not exist (yet).
            nodes = _Nodes({path: b""}, {})
        pieces = jsontree.pieces(nodes.values, path, nodes.permissions)
        return "".join(await collect(pieces)).encode("ascii")

    async def owners(self, node: Node) -> Counter[int]:
        """How many nodes each domain owns, from a node on down.

        Raises:
            StoreError: the node itself cannot be read.
        """
        permissions = (await self._sweep(node.path, True, 0)).permissions.values()
        return Counter(await collect(int(entries[0][1:]) for entries in permissions))

    async def _nodes(self, node: Node, *, permissions: bool) -> _Nodes:
        """A node and all below it."""
        path, tx_id = node.path, node.view.tx_id
        sweep = partial(self._sweep, path, permissions)
        if tx_id:
            return await sweep(tx_id)
        if await self._has_snapshots():
            try:
                return await self._client.run_in_transaction(sweep)
            except StoreError as error:
                # A quota; or the node does not exist, which the next attempt reports.
                log.debug("%s: no snapshot: %s", path.decode(), error)
        # To xenstored a transaction is no snapshot, but a check, when all is read, that
        # nothing of it has changed; and one that grows slow with the square of what is read
        # (48 s for 16,500 nodes). Watch events show the same at no cost: those for a change
        # come before the reply to any later request.
        enough_s = trio.current_time() + self._client.timeout_s / 2
        for _ in range(SNAPSHOT_ATTEMPTS):
            since = node.view.clock
            nodes = await sweep(0)
            if self._watcher.is_unchanged(node, since):
                return nodes
            if trio.current_time() > enough_s:
                break
        self._watcher.counts["unsteady_snapshots"] += 1
        return nodes

    async def _sweep(self, top: bytes, permissions: bool, tx_id: int) -> _Nodes:
        """Level by level; nodes that vanish meanwhile or may not be read are left out."""
        nodes = _Nodes({}, {})
        turns = Turns()
        level = [top]
        while level:
            below: list[bytes] = []
            for start in range(0, len(level), _STEP):
                # A batch that is answered at once lets no other task run.
                await turns.over()
                wanted = level[start : start + _STEP]
                batch: list[Request[object]] = []
                for path in wanted:
                    batch += (requests.read(path), requests.directory(path))
                    if permissions:
                        batch.append(requests.get_perms(path))
                replies = iter(await self._client.batch(batch, tx_id))
                for path in wanted:
                    value, names = next(replies), next(replies)
                    entries = next(replies) if permissions else []
                    if isinstance(value, StoreError) and path == top:
                        raise value
                    if isinstance(value, StoreError) or isinstance(entries, StoreError):
                        continue
                    nodes.values[path] = cast("bytes", value)
                    if permissions:
                        nodes.permissions[path] = cast("list[bytes]", entries)
                    below += await self._children(path, names, tx_id)
            level = below
        return nodes

    async def _children(self, path: bytes, names: object, tx_id: int) -> list[bytes]:
        if isinstance(names, TooBig):
            try:
                names = await self._client.perform(procedures.listing(path), tx_id)
            except StoreError as error:
                names = error
        if isinstance(names, StoreError):
            return []
        if path == b"/":
            # Nodes to oxenstored; to the protocol, and so to xenstored, no paths at all.
            names = [name for name in cast("list[bytes]", names) if not name.startswith(b"@")]
        children = (paths.join(path, name) for name in cast("list[bytes]", names))
        # The daemons let a path become longer than a request may name.
        return await collect(child for child in children if paths.fits(child))

    async def _has_snapshots(self) -> bool:
        """Whether a transaction sees the store as it was at its start: oxenstored's does."""
        if self._asked != self._client.epoch:
            try:
                await self._client.call(requests.read(b"/"), _NO_TX_ID)
            except StoreError as error:
                # Of a transaction that is not there, xenstored says ENOENT.
                self._snapshots = error.errno == errno.EIO
            self._asked = self._client.epoch
        return self._snapshots

    async def patch(self, node: Node, plan: list[Request[None]]) -> None:
        """Patch the subtree, all or nothing.

        Raises:
            FSError: ENOENT when the node is gone.
            Conflict: other clients interfered each time.
            StoreError: the store refused a part of it.
        """
        tx_id = node.view.tx_id
        if not tx_id:
            await self._client.run_in_transaction(
                partial(self._perform, node, plan), PATCH_ATTEMPTS
            )
            await self._watcher.settle()
            return
        try:
            await self._perform(node, plan, tx_id)
        except BaseException as error:
            node.view.poisoned = f"a patch was refused half-way: {error}"
            raise
        node.view.removed.update(merge.path_of(r) for r in plan if r.op == Op.RM)

    async def _perform(self, node: Node, plan: list[Request[None]], tx_id: int) -> None:
        if node.parent is not None:
            try:
                await self._client.call(requests.read(node.path), tx_id)
            except NotFound:
                raise FSError(errno.ENOENT) from None
        turns = Turns()
        for start in range(0, len(plan), _STEP):
            # A batch that is answered at once lets no other task run.
            await turns.over()
            step = plan[start : start + _STEP]
            results = await self._client.batch(step, tx_id)
            for request, result in zip(step, results, strict=True):
                if isinstance(result, StoreError):
                    result.add_note(f"{merge.path_of(request).decode()}: {Op(request.op).name}")
                    raise result
