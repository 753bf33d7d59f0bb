# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The steps that changes consist of: transactions, echoes, and updates of the node table.

A change is registered with `Echoes` before it is sent, as its watch event may come before its
reply. Used from the trio thread alone.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xsfs.errors import NotFound, StoreError
from xsfs.fs.model import names as filenames
from xsfs.fs.model.states import State
from xsfs.fs.store.reads import FSError
from xsfs.protocol import paths, requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from xsfs.fs.model.echoes import Echoes
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.store.reads import Tree


def check_name(name: bytes) -> None:
    """Whether a node of this name can be made.

    Raises:
        FSError: EINVAL, ENAMETOOLONG.
    """
    if not filenames.is_node_name(name):
        raise FSError(errno.ENAMETOOLONG if len(name) > filenames.NAME_MAX else errno.EINVAL)


class Steps:
    """What creation, removal and renaming have in common.

    Args:
        became_directory: called with a file that our change made a directory, and whether to
            return only when that is visible.
        removed: called with a node that our change removed.
    """

    def __init__(
        self,
        tree: Tree,
        echoes: Echoes,
        became_directory: Callable[[Node, bool], Awaitable[None]],
        removed: Callable[[Node], None],
    ) -> None:
        self.tree = tree
        self.client = tree.client
        self.echoes = echoes
        self._became_directory = became_directory
        self._removed = removed

    # -- in the store -------------------------------------------------------------------------

    @contextmanager
    def expect(
        self,
        node: Node,
        path: bytes,
        *,
        exists: bool,
        value: bytes | None = None,
        perms: bytes | None = None,
    ) -> Iterator[None]:
        """Register the change that the block sends.

        Args:
            node: any node of the view in which it is made.
        """
        if node.view.tx_id:
            # No event before the commit, and then it is handled like another client's.
            yield
            return
        echo = self.echoes.expect(path, exists=exists, value=value, perms=perms)
        try:
            yield
        except BaseException:
            self.echoes.cancel(echo)
            raise
        self.echoes.acknowledge(echo, self.client.sent)

    async def transaction(self, node: Node, body: Callable[[int], Awaitable[None]]) -> None:
        """Run in a new transaction, or in the one that this is a view of."""
        if node.view.tx_id:
            await body(node.view.tx_id)
        else:
            await self.client.run_in_transaction(body)

    async def require_missing(self, parent: Node, name: bytes, tx_id: int) -> None:
        """Require that the parent exists and has no child of that name, up to the commit.

        The listing is for oxenstored, where a failed READ does not conflict with a creation.

        Raises:
            FSError: ENOENT, EEXIST.
            StoreError: what the store said.
        """
        top = parent.path
        listing, value = await self.client.batch(
            [requests.directory(top), requests.read(paths.join(top, name))], tx_id
        )
        if not isinstance(value, StoreError):
            raise FSError(errno.EEXIST)
        if isinstance(listing, NotFound) and parent.parent is not None:
            raise FSError(errno.ENOENT)
        if not isinstance(value, NotFound):
            raise value

    async def write(
        self,
        node: Node,
        value: bytes,
        *,
        exclusive: bool = False,
        late: bool = False,
        perms: bytes = b"",
    ) -> None:
        """Store a node's value; creates the node when it is pending.

        Args:
            exclusive: the node must not exist yet.
            late: as in `stored`.
            perms: permissions to be set with it, as `n0,r5`.

        Raises:
            FSError: ENOENT when the node is gone, EEXIST when it must not be there.
            InvalidPermission: an entry is malformed.
            StoreError: the store refused it; the old value stays.
        """
        path, parent = node.path, node.parent
        if not node.alive:
            raise FSError(errno.ENOENT)

        batch = [requests.write(path, value)]
        if perms:
            batch.append(requests.set_perms(path, perms.split(b",")))
        joined = perms.replace(b",", b"\0") + b"\0" if perms else None

        async def change(tx_id: int) -> None:
            if exclusive and parent is not None:
                await self.require_missing(parent, node.name, tx_id)
            for request in batch:
                await self.client.call(request, tx_id)

        with self.expect(node, path, exists=True, value=value, perms=joined):
            if exclusive or perms:
                await self._create(node, change)
            else:
                await change(node.view.tx_id)
        await self.stored(node, value, late=late)
        if joined is not None:
            node.perms_are_set = True
            if node.announced is not None:
                node.announced = node.announced._replace(perms=joined)

    async def _create(self, node: Node, create: Callable[[int], Awaitable[None]]) -> None:
        try:
            await self.transaction(node, create)
        except FSError as error:
            if error.errno == errno.EEXIST:
                # Another client created it: nothing is left to be stored.
                node.pending = False
            raise

    # -- in the node table --------------------------------------------------------------------

    async def stored(self, node: Node, value: bytes, *, late: bool = False) -> None:
        """Take what we wrote as known and announced.

        Args:
            late: it was truncated or created before; a time set since then is kept.
        """
        created, node.pending = node.pending, False
        node.hidden_from = None
        node.draft_size = None
        node.written += 1
        node.value = value
        if not (late and node.mtime_is_set):
            node.set_mtime(self.tree.now_ns())
        if node.announced is not None:
            node.announced = node.announced._replace(value=value)
            self._made(node)
            return
        self.tree.observe(node, State(value, []), node.view.clock - 1)
        await self.record_creation(node, wait=True, seen=created)

    def _made(self, node: Node) -> None:
        """Replies to earlier requests do not show the node yet: see `made_at`."""
        node.made_at = node.view.tick()
        node.see(node.made_at)

    async def record_creation(self, node: Node, *, wait: bool, seen: bool = False) -> None:
        """Our change put the node here; a file above it becomes a directory by that.

        Args:
            wait: return when that is visible; not for a request on the file's own directory.
            seen: its directory has listed it since it was created.
        """
        self._made(node)
        parent = node.parent
        if parent is None:
            return
        if not seen:
            parent.set_mtime(self.tree.now_ns())
        if parent.names is not None:
            parent.names.add(node.name)
        if not parent.directory:
            parent.directory = True
            await self._became_directory(parent, wait)

    def record_removal(self, node: Node) -> None:
        """Our change removed it."""
        parent = node.parent
        node.pending = False
        node.announced = None
        self.tree.table.drop(node)
        self._removed(node)
        if parent is not None:
            parent.set_mtime(self.tree.now_ns())
            if parent.names is not None:
                parent.names.discard(node.name)
