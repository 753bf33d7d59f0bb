# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.json` in every directory: reading it is a snapshot of the subtree, writing it a patch.

What a patch means is in merge.py. Knows no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

import trio

from xsfs import jsontree
from xsfs.errors import NotFound, StoreError, XenStoreError
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual import merge
from xsfs.fs.virtual.files import VirtualFile
from xsfs.jsontext import Reader
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from xsfs.aio.client import Client
    from xsfs.fs.inotify.watcher import Watcher
    from xsfs.fs.model.nodes import Node
    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

NAME = b".json"

# How often a snapshot is tried, and a patch when other clients are in its way.
SNAPSHOT_ATTEMPTS = 5
PATCH_ATTEMPTS = 10

# So many requests share one time limit: the more nodes a transaction has touched, the longer
# xenstored takes for each (it looks them up one after the other).
_STEP = 500

# A longer plan is not rehearsed: nobody types it into an `echo`.
_REHEARSED_MAX = 1000

# An id that no daemon gives: they count from 1.
_NO_TX_ID = 0xFFFFFFF0

# A longer patch is refused, in bytes: it would all be held in memory.
PATCH_MAX = 16 << 20


class _DryRun(Exception):
    """The store took all of a patch, and is to forget it."""


class Subtrees:
    """Reads and patches whole subtrees, each at one moment of the store."""

    def __init__(self, client: Client, watcher: Watcher) -> None:
        self._client = client
        self._watcher = watcher
        # For which connection it is known whether its transactions are snapshots.
        self._asked = 0
        self._snapshots = False

    def virtual_file(self, node: Node) -> VirtualFile:
        """The `.json` of a node."""
        return _JsonFile(self, node)

    async def read(self, node: Node) -> bytes:
        """The subtree as JSON.

        Raises:
            StoreError: the node itself cannot be read.
        """
        path = node.path
        try:
            values = await self._values(node)
        except NotFound:
            if node.parent is not None:
                raise
            # The mounted root itself is not there (yet).
            values = {path: b""}
        if path == b"/":
            # Nodes to oxenstored; to the protocol, and so to xenstored, no paths at all.
            values = {p: value for p, value in values.items() if not p.startswith(b"/@")}
        return jsontree.dumps(values, path)

    async def _values(self, node: Node) -> dict[bytes, bytes]:
        path, tx_id = node.path, node.view.tx_id
        if tx_id:
            return await self._client.read_tree(path, tx_id)
        if await self._has_snapshots():
            try:
                return await self._client.run_in_transaction(partial(self._client.read_tree, path))
            except StoreError as error:
                # A quota; or the node is not there, which is found again.
                log.debug("%s: no snapshot: %s", path.decode(), error)
        # To xenstored a transaction is no snapshot, but a check, when all is read, that
        # nothing of it has changed; and one that grows slow with the square of what is read
        # (48 s for 16,500 nodes). Watch events tell the same for nothing: those for a change
        # come before the reply to any later request.
        enough_s = trio.current_time() + self._client.timeout_s / 2
        for _ in range(SNAPSHOT_ATTEMPTS):
            since = node.view.clock
            values = await self._client.read_tree(path)
            if self._watcher.is_unchanged(node, since):
                return values
            if trio.current_time() > enough_s:
                break
        self._watcher.counts["unsteady_snapshots"] += 1
        return values

    async def _has_snapshots(self) -> bool:
        """Whether a transaction sees the store as it was at its start: oxenstored's does."""
        if self._asked != self._client.epoch:
            try:
                await self._client.read(b"/", _NO_TX_ID)
            except StoreError as error:
                # Of a transaction that is not there, xenstored says ENOENT.
                self._snapshots = error.errno == errno.EIO
            self._asked = self._client.epoch
        return self._snapshots

    async def dry_run(self, node: Node, plan: list[Request[None]]) -> None:
        """See what the store would say to a patch; nothing of it stays.

        Raises:
            FSError, StoreError: as `patch`, but for a conflict.
        """
        if node.view.tx_id or len(plan) > _REHEARSED_MAX:
            # There is no transaction in a transaction.
            return

        async def try_all(tx_id: int) -> None:
            await self._perform(node, plan, tx_id)
            raise _DryRun

        try:
            await self._client.run_in_transaction(try_all)
        except _DryRun:
            return

    async def patch(self, node: Node, plan: list[Request[None]]) -> None:
        """Patch the subtree, all or nothing.

        Raises:
            FSError: ENOENT when the node is gone.
            Conflict: other clients were in the way, time and again.
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
        except BaseException:
            node.view.poisoned = True
            raise
        node.view.removed.update(merge.changed(r) for r in plan if r.op == Op.RM)

    async def _perform(self, node: Node, plan: list[Request[None]], tx_id: int) -> None:
        if node.parent is not None:
            try:
                await self._client.read(node.path, tx_id)
            except NotFound:
                raise FSError(errno.ENOENT) from None
        for start in range(0, len(plan), _STEP):
            for result in await self._client.batch(plan[start : start + _STEP], tx_id):
                if isinstance(result, StoreError):
                    raise result


class _JsonFile(VirtualFile):
    """The file, as one node's directory has it."""

    mode = stat.S_IFREG | 0o644

    def __init__(self, subtrees: Subtrees, node: Node) -> None:
        super().__init__(NAME)
        self._subtrees = subtrees
        self._node = node
        self._size = 0

    @property
    def size(self) -> int:
        """The length of the last snapshot: programs ask for it when they have opened the file.

        Whatever it is, reading ends where the reader's own snapshot does.
        """
        return self._size

    async def open(self, flags: int) -> Handle:
        """Open it: to be read, it is made now."""
        if not self._node.alive:
            raise FSError(errno.ESTALE)
        text = b""
        if not flags & os.O_WRONLY:
            text = await self._subtrees.read(self._node)
            self._size = len(text)
        return _JsonHandle(self._subtrees, self._node, text, append=bool(flags & os.O_APPEND))


class _JsonHandle(Handle):
    """The file, open: a snapshot to read, and a patch that comes in any number of writes.

    The patch is done at the first flush or sync after the write that made it whole. Not every
    program looks at what a flush says (a shell's `echo` does not), so what can be known before
    is said by the write: that the text is malformed, and, by a rehearsal, what the store would
    refuse. Then a new patch may follow.
    """

    def __init__(self, subtrees: Subtrees, node: Node, text: bytes, *, append: bool) -> None:
        self._subtrees = subtrees
        self._node = node
        self._text = text
        self._append = append
        self._begin()

    def _begin(self) -> None:
        self._patch = Reader()
        self._plan: list[Request[None]] | None = None
        self._refusal: Exception | None = None
        self._length = 0
        # Where the next write goes on.
        self._end: int | None = None

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there in the snapshot."""
        return self._text[offset : offset + size]

    async def write(self, offset: int, data: bytes) -> int:
        """Take a piece of a patch.

        Raises:
            FSError: EINVAL when the patch is malformed, or not written from start to end.
            StoreError, InvalidPath, InvalidPayload: the store would refuse it.
        """
        if self._refusal is None:
            try:
                await self._take(offset, data)
            except Exception as error:
                self._refuse(error)
        if self._refusal is not None:
            raise self._refusal
        return len(data)

    async def _take(self, offset: int, data: bytes) -> None:
        if self._end not in (None, offset) and not self._append:
            raise ValueError("a patch is written from its start to its end")
        self._end = offset + len(data)
        self._length += len(data)
        if self._length > PATCH_MAX:
            raise FSError(errno.EFBIG)
        self._patch.feed(data)
        if self._patch.complete and self._plan is None:
            node, patch = self._node, self._patch.value
            if patch is None and node.parent is None:
                raise FSError(errno.EBUSY)
            plan = merge.plan(patch, node.path)
            await self._subtrees.dry_run(node, plan)
            self._plan = plan

    def _refuse(self, error: Exception) -> None:
        self._log(error)
        # What the store's own limits rule out says so itself.
        malformed = isinstance(error, ValueError) and not isinstance(error, XenStoreError)
        self._refusal = FSError(errno.EINVAL) if malformed else error

    def _log(self, error: Exception) -> None:
        reason = os.strerror(error.errno) if isinstance(error, FSError) else error
        log.warning("%s: patch refused: %s", self._node.path.decode(), reason)

    async def truncate(self, size: int) -> None:
        """Start the patch anew.

        Raises:
            FSError: EINVAL for another size than 0.
        """
        if size:
            raise FSError(errno.EINVAL)
        self._begin()

    async def flush(self) -> None:
        """Do the patch, if it is whole.

        Raises:
            FSError: EINVAL when it is not; more may yet be written.
            StoreError: the store refused it.
        """
        if self._refusal is not None:
            refusal = self._refusal
            self._begin()
            raise refusal
        if self._patch.blank:
            return
        plan = self._plan
        if plan is None:
            log.warning("%s: the patch is not complete", self._node.path.decode())
            raise FSError(errno.EINVAL)
        self._begin()
        try:
            await self._subtrees.patch(self._node, plan)
        except Exception as error:
            self._log(error)
            raise

    sync = flush
