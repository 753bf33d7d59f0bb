# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.json` in every directory: reading it is a snapshot of the subtree, writing it a patch.

`.backup` is the same, and shows permissions too: a file of its own, since in `.json` each value
is a string that jq finds under the node's name. What a patch means is in merge.py. Knows no FUSE;
used from the trio thread alone, in which whatever grows with a text is done in turns.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

import trio

from xsfs import jsontree
from xsfs.errors import NotFound, StoreError, TooBig, XenStoreError
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual import merge
from xsfs.fs.virtual.files import VirtualFile
from xsfs.fs.virtual.turns import Turns, collect
from xsfs.jsontext import Reader
from xsfs.protocol import paths, procedures, requests
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline
    from xsfs.fs.inotify.watcher import Watcher
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.virtual.refusals import Refusals
    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

NAME = b".json"
BACKUP = b".backup"

# How often a snapshot is tried, and a patch when other clients are in its way.
SNAPSHOT_ATTEMPTS = 5
PATCH_ATTEMPTS = 10

# So many nodes are asked for, or changed, at a time: a batch is made in one go, and has a time
# limit of its own (the more nodes a transaction has touched, the longer xenstored takes for each).
_STEP = 200

# An id that no daemon gives: they count from 1.
_NO_TX_ID = 0xFFFFFFF0

# What a patch may take in memory, and all unfinished ones together, in bytes: its text, and so
# much for each key.
PATCH_MAX = 16 << 20
_ALL_MAX = 4 * PATCH_MAX
_KEY_COST = 100

# How much of a text is parsed at a time, in bytes.
_SLICE = 1024


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
        # What all patches that are being written take.
        self.unfinished = 0
        # For which connection it is known whether its transactions are snapshots.
        self._asked = 0
        self._snapshots = False

    def json_file(self, node: Node) -> VirtualFile:
        """The `.json` of a node."""
        return _SubtreeFile(NAME, self, node)

    def backup_file(self, node: Node) -> VirtualFile:
        """The `.backup` of a node."""
        return _SubtreeFile(BACKUP, self, node)

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
            # The mounted root itself is not there (yet).
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
                # A quota; or the node is not there, which is found again.
                log.debug("%s: no snapshot: %s", path.decode(), error)
        # To xenstored a transaction is no snapshot, but a check, when all is read, that
        # nothing of it has changed; and one that grows slow with the square of what is read
        # (48 s for 16,500 nodes). Watch events tell the same for nothing: those for a change
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
                # A batch that is answered at once has let nobody in.
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
        # The daemons let a path grow longer than the protocol lets anyone ask for.
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
        except BaseException as error:
            node.view.poisoned = f"a patch was refused half-way: {error}"
            raise
        node.view.removed.update(merge.changed(r) for r in plan if r.op == Op.RM)

    async def _perform(self, node: Node, plan: list[Request[None]], tx_id: int) -> None:
        if node.parent is not None:
            try:
                await self._client.call(requests.read(node.path), tx_id)
            except NotFound:
                raise FSError(errno.ENOENT) from None
        turns = Turns()
        for start in range(0, len(plan), _STEP):
            # A batch that is answered at once has let nobody in.
            await turns.over()
            step = plan[start : start + _STEP]
            results = await self._client.batch(step, tx_id)
            for request, result in zip(step, results, strict=True):
                if isinstance(result, StoreError):
                    result.add_note(f"{merge.changed(request).decode()}: {Op(request.op).name}")
                    raise result


class _SubtreeFile(VirtualFile):
    """The file, as one node's directory has it."""

    mode = stat.S_IFREG | 0o644

    def __init__(self, name: bytes, subtrees: Subtrees, node: Node) -> None:
        super().__init__(name)
        self._subtrees = subtrees
        self._node = node
        self._size = 0

    @property
    def size(self) -> int:
        """The length of the last snapshot: programs ask for it when they have opened the file.

        Whatever it is, reading ends where the reader's own snapshot does.
        """
        return self._size

    async def open(self, flags: int, uid: int) -> Handle:
        """Open it: to be read, it is made now."""
        if not self._node.alive:
            raise FSError(errno.ESTALE)
        text = b""
        if not flags & os.O_WRONLY:
            text = await self._subtrees.read(self._node, permissions=self.name == BACKUP)
            self._size = len(text)
        patch = _Patch(self._subtrees, self._node, uid)
        return _SubtreeHandle(text, patch, append=bool(flags & os.O_APPEND))


class _SubtreeHandle(Handle):
    """The file, open: a snapshot to read, and patches that come in any number of writes.

    A patch is done in the write that completes it, and its error is that write's; a number or
    word at the very end is complete when nothing follows, so at the flush. Then a new patch may
    follow.
    """

    def __init__(self, text: bytes, patch: _Patch, *, append: bool) -> None:
        self._text = text
        self._patch = patch
        self._append = append
        # Where the next write goes on.
        self._end: int | None = None
        self._lock = trio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        """What stands there in the snapshot."""
        return self._text[offset : offset + size]

    async def write(self, offset: int, data: bytes) -> int:
        """Take a piece of a patch, and do it when it is complete by that.

        Raises:
            FSError: EINVAL when the patch is malformed, or not written from start to end.
            StoreError, InvalidPath, InvalidPayload: the store refuses it.
        """
        async with self._lock:
            if self._patch.begun and self._end not in (None, offset) and not self._append:
                self._patch.refuse(ValueError("a patch is written from its start to its end"))
            self._end = offset + len(data)
            await self._patch.write(data)
        return len(data)

    async def truncate(self, size: int) -> None:
        """Start the patch anew.

        Raises:
            FSError: EINVAL for another size than 0.
        """
        if size:
            raise FSError(errno.EINVAL)
        async with self._lock:
            self._patch.begin()

    async def flush(self) -> None:
        """Nothing may follow for now: what is complete by that is done.

        Raises:
            FSError: EINVAL when it is not; more may yet be written.
            StoreError: the store refused it.
        """
        async with self._lock:
            await self._patch.finish()

    sync = flush

    async def release(self) -> None:
        """What was written of a patch is dropped."""
        self._patch.begin()


class _Patch:
    """A patch of a node while it is being written."""

    def __init__(self, subtrees: Subtrees, node: Node, uid: int) -> None:
        self._subtrees = subtrees
        self._node = node
        self._uid = uid
        self._cost = 0
        self.begin()

    def begin(self) -> None:
        """Nothing was written yet."""
        self._reader = Reader(paths.ABSOLUTE_MAX - len(self._node.path))
        self._refusal: Exception | None = None
        self._length = 0
        self._count(0)

    @property
    def begun(self) -> bool:
        """Whether a part of it was written."""
        return not self._reader.blank

    def _count(self, cost: int) -> None:
        self._subtrees.unfinished += cost - self._cost
        self._cost = cost

    async def write(self, data: bytes) -> None:
        """The next piece of its text; what was refused stays so until the flush."""
        if self._refusal is not None:
            raise self._refusal
        try:
            await self._parse(data)
        except Exception as error:
            self.refuse(error)
        if self._reader.complete:
            await self._do()

    async def _parse(self, data: bytes) -> None:
        turns = Turns()
        for start in range(0, len(data), _SLICE):
            piece = data[start : start + _SLICE]
            self._reader.feed(piece)
            self._length += len(piece)
            self._count(self._length + _KEY_COST * self._reader.keys)
            if self._cost > PATCH_MAX or self._subtrees.unfinished > _ALL_MAX:
                raise FSError(errno.EFBIG)
            await turns.over()

    async def finish(self) -> None:
        """Nothing follows for now."""
        if self._refusal is not None:
            refusal = self._refusal
            self.begin()
            raise refusal
        if not self.begun:
            return
        try:
            self._reader.finish()
        except ValueError as error:
            # More may yet be written.
            raise self._noted(error) from None
        await self._do()

    async def _do(self) -> None:
        node, patch = self._node, self._reader.value
        try:
            if patch is None and node.parent is None:
                raise FSError(errno.EBUSY)
            plan = await collect(merge.plan(patch, node.path))
            await self._subtrees.patch(node, plan)
        except Exception as error:
            self.refuse(error)
        self._subtrees.refusals.clear(node.view, node.path, self._uid)
        self.begin()

    def refuse(self, error: Exception) -> NoReturn:
        """Say why by this write, and by those that follow until the flush."""
        self.begin()
        self._refusal = self._noted(error)
        raise self._refusal

    def _noted(self, error: Exception) -> Exception:
        self._subtrees.refusals.note(self._node.view, self._node.path, self._uid, error)
        # What the store's own limits rule out says so itself.
        malformed = isinstance(error, ValueError) and not isinstance(error, XenStoreError)
        return FSError(errno.EINVAL) if malformed else error
