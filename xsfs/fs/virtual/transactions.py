# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Transactions as directories: `.transactions/NAME` is the store as that transaction sees it.

What is below such a directory is served as the plain store is, through a view of its own.
Knows no FUSE; used from the trio thread alone.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING

import trio

from xsfs.errors import Conflict, XenStoreError
from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.fs.model.nodes import View
from xsfs.fs.store.handles import Handle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualFile
from xsfs.fs.virtual.refusals import NAME as ERROR
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from xsfs.aio.pipeline import Pipeline
    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.virtual.refusals import Refusals

log = logging.getLogger(__name__)

# Writing to it commits; at the top of each transaction's directory.
COMMIT = b".commit"

# How many may be open at once. The daemons let a guest have ten, and root as many as it likes;
# but each makes every other's commit slower, and a script may forget to end them.
MAX_OPEN = 100

# After how long without use a transaction is aborted, in seconds.
IDLE_S = 86400.0
# How often that is looked at.
_LOOK_S = 3600.0


class Transaction:
    """One open transaction, and the view of the store in it."""

    def __init__(self, name: bytes, view: View, now_s: float, started: int) -> None:
        self.name = name
        self.view = view
        # The plain view's clock at its start.
        self.started = started
        # When it was last found to have been used, and its number of uses then.
        self.seen_s = now_s
        self.seen_uses = view.uses

    def idle_s(self, now_s: float) -> float:
        """For how long it has not been used, as of the last check."""
        if self.view.uses != self.seen_uses:
            self.seen_s, self.seen_uses = now_s, self.view.uses
        return now_s - self.seen_s


class Transactions(VirtualFile):
    """The directory `.transactions`.

    Args:
        settle: called after a commit; when it returns, the kernel and all watchers have been
            notified of what the commit changed.
        refusals: takes why a commit was refused, for the `.error` here: the transaction's own
            directory is gone by then.
    """

    mode = stat.S_IFDIR | 0o755

    def __init__(
        self,
        client: Pipeline,
        table: NodeTable,
        settle: Callable[[], Awaitable[None]],
        refusals: Refusals,
    ) -> None:
        super().__init__(b".transactions")
        self._refusals = refusals
        self._place = table.view, self.name
        self.unlisted = {ERROR: refusals.file_at(*self._place)}
        self._client = client
        self._table = table
        self._settle = settle
        self._open: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._open)

    def entries(self) -> Mapping[bytes, Node]:
        """The open ones: each the root of its view."""
        return {name: transaction.view.root for name, transaction in self._open.items()}

    async def mkdir(self, name: bytes) -> Node:
        """Start a transaction.

        Raises:
            FSError: EEXIST; EDQUOT at the limit of their number.
            StoreError: a quota of the domain, among others.
        """
        if name in self._open:
            raise FSError(errno.EEXIST)
        if len(self._open) >= MAX_OPEN:
            log.warning(
                "%d transactions are open, which is the limit: commit them, or rmdir them in "
                ".transactions",
                len(self._open),
            )
            raise FSError(errno.EDQUOT)
        tx_id = await self._client.call(requests.transaction_start())
        plain = self._table.view
        view = View(plain.root.path, tx_id, plain)
        transaction = Transaction(name, view, trio.current_time(), plain.clock)
        self._open[name] = transaction
        return view.root

    def commit_file(self, node: Node) -> VirtualFile | None:
        """The `.commit` of a node that is the top of a transaction's directory."""
        for transaction in self._open.values():
            if transaction.view.root is node:
                return _CommitFile(self, transaction)
        return None

    async def rmdir(self, name: bytes) -> None:
        """Abort a transaction.

        Raises:
            FSError: ENOENT.
        """
        transaction = self._open.get(name)
        if transaction is None:
            raise FSError(errno.ENOENT)
        await self.abort(transaction)

    async def abort(self, transaction: Transaction) -> None:
        """Abort it: nothing of it is stored."""
        tx_id = self._close(transaction)
        try:
            await self._client.call(requests.transaction_end(False), tx_id)
        except XenStoreError as error:
            # It is gone all the same, at the latest with the connection.
            log.info(
                "transaction %r could not be aborted, it ends with the connection: %s",
                transaction.name,
                error,
            )

    async def commit(self, transaction: Transaction, uid: int) -> None:
        """Commit it: all of it is stored, or nothing.

        Args:
            uid: the user who asks.

        Raises:
            Conflict: another client interfered.
            FSError: ECANCELED when a change of several nodes failed half-way in it.
            StoreError, ConnectionError: what became of the commit.
        """
        try:
            await self._commit(transaction)
        except Exception as error:
            error.add_note(f"transaction {repr(transaction.name)[1:]}")
            self._refusals.note(*self._place, uid, error)
            raise
        self._refusals.clear(*self._place, uid)

    async def _commit(self, transaction: Transaction) -> None:
        view = transaction.view
        if view.poisoned:
            await self.abort(transaction)
            raise _noted(FSError(errno.ECANCELED), view.poisoned)
        seen = [node.path for node in view.root.subtree()]
        directories = [n.path for n in view.root.subtree() if n.alive and n.names == set()]
        tx_id = self._close(transaction)
        try:
            with self._table.coming(directories):
                await self._client.call(requests.transaction_end(True), tx_id)
                self._table.adopt(directories)
        except StoreConnectionError:
            log.warning(
                "it is not known whether transaction %r was committed: look at its nodes",
                transaction.name,
            )
            raise
        except Conflict as error:
            changed = self._changed_since(transaction.started, seen)
            raise _noted(error, f"changed meanwhile: {b', '.join(changed).decode()}") from None
        await self._settle()

    def _changed_since(self, stamp: int, seen: Iterable[bytes]) -> list[bytes]:
        """Those of the paths that events named after the plain view's clock stood at `stamp`."""
        found = ((path, self._table.view.find(path)) for path in seen)
        return [p for p, at in found if at is not None and not at[1] and at[0].event_at > stamp]

    def _close(self, transaction: Transaction) -> int:
        """Remove its directory."""
        view = transaction.view
        tx_id = view.tx_id
        del self._open[transaction.name]
        view.over = True
        self._table.drop(view.root)
        return tx_id

    def lost(self) -> None:
        """Remove all: they are lost with the connection."""
        for transaction in list(self._open.values()):
            log.warning(
                "transaction %r was lost with the connection, with all its changes: start over",
                transaction.name,
            )
            self._close(transaction)

    async def abort_idle(self) -> None:
        """The task: abort transactions that are not used any more."""
        while True:
            await trio.sleep(_LOOK_S)
            now_s = trio.current_time()
            for transaction in list(self._open.values()):
                if transaction.idle_s(now_s) >= IDLE_S:
                    log.warning("transaction %r was idle for a day: aborted", transaction.name)
                    await self.abort(transaction)


class _CommitFile(VirtualFile):
    """The file `.commit` at the top of a transaction's directory."""

    mode = stat.S_IFREG | 0o200

    def __init__(self, transactions: Transactions, transaction: Transaction) -> None:
        super().__init__(COMMIT)
        self._transactions = transactions
        self._transaction = transaction

    async def open(self, flags: int, uid: int) -> Handle:
        """Open it, to write."""
        if not flags & (os.O_WRONLY | os.O_RDWR):
            raise FSError(errno.EACCES)
        return _CommitHandle(self._transactions, self._transaction, uid)


class _CommitHandle(Handle):
    """Commits when `1` is written; that write gets the error if the commit fails."""

    def __init__(self, transactions: Transactions, transaction: Transaction, uid: int) -> None:
        self._transactions = transactions
        self._transaction = transaction
        self._uid = uid
        self._committed = False

    async def truncate(self, size: int) -> None:
        """It is empty anyway."""

    async def write(self, offset: int, data: bytes) -> int:
        """Commit.

        Raises:
            FSError: EINVAL for anything but `1`.
            StoreError: EAGAIN when another client was in the way.
        """
        text = data.strip()
        if text == b"1":
            await self._transactions.commit(self._transaction, self._uid)
            self._committed = True
        elif text or not self._committed:
            raise FSError(errno.EINVAL)
        return len(data)


def _noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error
