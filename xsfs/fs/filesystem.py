# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The whole file system, assembled: the one place where its parts are created and connected.

The mount's session and every test of fs/ build it here. A part gets what it needs of the others
when it is created; nothing is set afterwards.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xsfs.aio.pipeline import Pipeline
from xsfs.fs.fuse.attributes import Attributes
from xsfs.fs.fuse.door import Door
from xsfs.fs.fuse.helper_requests import HelperRequests
from xsfs.fs.fuse.operations import Operations
from xsfs.fs.inotify.queue import NotificationQueue
from xsfs.fs.inotify.watcher import Watcher
from xsfs.fs.model.difference import Difference
from xsfs.fs.model.table import NodeTable
from xsfs.fs.store.changes import Changes
from xsfs.fs.store.reads import Tree
from xsfs.fs.store.states import States
from xsfs.fs.virtual import json_file
from xsfs.fs.virtual.domains import Domains
from xsfs.fs.virtual.entries import Entries
from xsfs.fs.virtual.event_file import NAME as EVENTS
from xsfs.fs.virtual.event_file import EventFiles
from xsfs.fs.virtual.files import VirtualFiles
from xsfs.fs.virtual.json_file import SubtreeFile
from xsfs.fs.virtual.metrics import MetricsFile
from xsfs.fs.virtual.readers import Readers
from xsfs.fs.virtual.refusals import NAME as ERROR
from xsfs.fs.virtual.refusals import Refusals
from xsfs.fs.virtual.subtrees import Subtrees
from xsfs.fs.virtual.transactions import COMMIT, Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xsfs.fs.options import Options


class FileSystem:
    """The store at a socket or device, as files.

    The client is to be run, then `start` called, then the watcher and the queue run.

    Args:
        path: the store's socket or device.
        client: what connects there.
        more_counts: for `.xsfs/stats`, of the process around it.
    """

    def __init__(
        self,
        path: str,
        options: Options,
        client: type[Pipeline] = Pipeline,
        more_counts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._more_counts = more_counts
        self.client = client(
            path,
            timeout_s=options.timeout_s,
            on_loss=self._on_loss,
            on_reconnect=self.events_lost,
        )
        self.table = NodeTable(options.root)
        states = States(self.client, want_perms=options.events == "full")
        self.difference = Difference(self.table)
        self.queue = NotificationQueue(self.table, options.events)
        self.watcher = Watcher(self.client, self.table, states, self.difference, self.queue)
        self.tree = Tree(self.client, self.table, options, states, self.watcher.suspect)
        refusals = Refusals()
        self.transactions = Transactions(self.client, self.table, self.watcher.settle, refusals)
        self.readers = Readers()
        self.subtrees = Subtrees(self.client, self.watcher, refusals)
        self.domains = Domains(self.client, partial(self.subtrees.owners, self.table.root.node))
        metrics = MetricsFile(self.counts, self.watcher.domain_events, self.domains)
        entries = Entries(
            self.tree,
            VirtualFiles(
                self.table.root.node,
                self.counts,
                metrics,
                hidden=[self.transactions],
                everywhere={
                    COMMIT: self.transactions.commit_file,
                    json_file.NAME: partial(SubtreeFile, json_file.NAME, self.subtrees),
                    json_file.BACKUP: partial(SubtreeFile, json_file.BACKUP, self.subtrees),
                    ERROR: refusals.virtual_file,
                    EVENTS: EventFiles(self.client, self.readers).virtual_file,
                },
            ),
        )
        attributes = Attributes(self.tree, entries, self.queue.is_unsettled)
        self.operations = Door(
            Operations(
                self.tree,
                Changes(
                    self.tree,
                    self.difference.echoes,
                    self.queue.became_directory,
                    self.queue.drop_own_entries,
                ),
                entries,
                attributes,
            ),
            HelperRequests(self.table, entries, attributes, self.queue),
            self.queue,
        )

    async def start(self) -> None:
        """Set the watches and read the root; the client runs.

        Raises:
            XenStoreError: what the store said.
        """
        await self.watcher.watch()
        await self.tree.refresh_node(self.table.root.node)
        await self.tree.prefetch(self.table.root.node)

    def counts(self) -> dict[str, int]:
        """What `.xsfs/stats` shows."""
        return {
            "inodes": len(self.table),
            "connections": self.client.epoch,
            "transactions": len(self.transactions),
            **self._more_counts(),
            **self.difference.counts,
            **self.watcher.counts,
            **self.queue.counts,
        }

    def events_lost(self) -> None:
        """Events may have been lost: compare everything with the store again."""
        self.watcher.reconnected()

    def _on_loss(self) -> None:
        self.transactions.lost()
