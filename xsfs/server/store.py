# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store: a request and its connection in; replies and events in the queues out.

What each operation does is in handlers.py; here is what they share: dispatch, access, telling
watches, commits, the life of connections and domains. Sans-IO and not thread-safe.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath
from xsfs.protocol import paths
from xsfs.protocol.packet import PAYLOAD_MAX, Op
from xsfs.server import access, quota
from xsfs.server.access import DOM0_ONLY, Right
from xsfs.server.connection import Connection
from xsfs.server.domains import Domains
from xsfs.server.errors import Refused
from xsfs.server.handlers import TABLE
from xsfs.server.quota import Quotas
from xsfs.server.rules import C_XENSTORED, Rules
from xsfs.server.transactions import Change, SnapshotTransaction, Transaction
from xsfs.server.tree import (
    SPECIAL,
    Tree,
    forget_child,
    nearest,
    plan_creation,
    walk_down,
    walk_up,
)
from xsfs.server.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xsfs.server.access import Perms
    from xsfs.server.domains import Domain
    from xsfs.server.handlers import Operation
    from xsfs.server.tree import Node, Put, View

# What the limit on the length of a path does not count.
_HOME = re.compile(rb"/local/domain/[0-9]{1,5}/")


class Store:
    """A XenStore.

    Args:
        rules: which of the real daemons it follows where they differ.
    """

    def __init__(self, rules: Rules = C_XENSTORED) -> None:
        self.rules = rules
        self.tree = Tree()
        self.domains = Domains()
        self.quotas = Quotas(rules.path_max)
        self.watches = Watches(rules.root_first)
        self.connections: set[Connection] = set()
        # Events to be queued after the reply to the request at hand.
        self._late: list[tuple[Connection, bytes, bytes]] = []
        self.load({b"/tool/xenstored": b""})

    # --- content ---

    def load(
        self, values: Mapping[bytes, bytes], perms: Mapping[bytes, Perms] | None = None
    ) -> None:
        """Put nodes into the store, before anybody watches it.

        Args:
            values: by absolute path; missing parents are made.
            perms: by path; nodes that have none here get their parent's.

        Raises:
            InvalidPath: a path is malformed, or not absolute.
        """
        for path, value in values.items():
            if not path.startswith(b"/"):
                raise InvalidPath(path)
            node = self.tree.get(paths.check(path))
            if node is not None:
                self.tree.put(path, value, node.perms, node.children)
            else:
                for put in plan_creation(self.tree, path, value, None):
                    self.tree.put(*put)
        for path, wanted in (perms or {}).items():
            node = self.tree.get(path)
            if node is not None:
                self.tree.put(path, node.value, wanted, node.children)

    def values(self) -> dict[bytes, bytes]:
        """The value of every node, by path, parents before children."""
        return {path: node.value for path, node in walk_down(self.tree, b"/")}

    # --- connections ---

    def connect(self, domid: int, wake: Callable[[], None]) -> Connection:
        """A new client, on behalf of a domain that is introduced.

        Args:
            wake: called when an event was queued for it, or it is to be closed.
        """
        connection = Connection(self.domains[domid], self.rules.merge_events, wake)
        self.connections.add(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """The client is gone, with its watches and transactions."""
        self.reset(connection)
        self.connections.discard(connection)

    def reset(self, connection: Connection) -> None:
        """Drop all watches and transactions of a connection."""
        for watch in connection.watches.values():
            self.watches.remove(watch)
        connection.watches.clear()
        for transaction in connection.transactions.values():
            transaction.close()
        connection.transactions.clear()

    def of_domain(self, domain: Domain) -> list[Connection]:
        """The connections on behalf of a domain."""
        return [other for other in self.connections if other.domain is domain]

    # --- requests ---

    def handle(
        self, connection: Connection, op: int, req_id: int, tx_id: int, payload: bytes
    ) -> None:
        """Carry out a request: its reply and the events that it causes are queued after this."""
        try:
            operation = self._admit(connection, op)
            view: View = self.tree
            if tx_id and not operation.outside:
                view = self._transaction(connection, tx_id)
        except Refused as refused:
            connection.reply(Op.ERROR, req_id, tx_id, refused.name + b"\0")
            return
        error, reply = self._answer(operation, connection, view, payload)
        if (
            isinstance(view, SnapshotTransaction)
            and view.number in connection.transactions
            and not view.remember(operation, payload, reply)
        ):
            error, reply = True, self.rules.over_quota + b"\0"
        connection.reply(Op.ERROR if error else op, req_id, tx_id, reply)
        for other, path, token in self._late:
            other.event(path, token)
        self._late.clear()

    def _admit(self, connection: Connection, op: int) -> Operation:
        operation = TABLE.get(op)
        if operation is None or (operation.extension and not self.rules.extensions):
            raise Refused(b"ENOSYS")
        if operation.privileged and not connection.privileged:
            raise Refused(b"EACCES")
        return operation

    def _transaction(self, connection: Connection, tx_id: int) -> Transaction:
        try:
            return connection.transactions[tx_id]
        except KeyError:
            raise Refused(self.rules.unknown_transaction) from None

    def _answer(
        self, operation: Operation, connection: Connection, view: View, payload: bytes
    ) -> tuple[bool, bytes]:
        """Whether it failed, and the payload of the reply."""
        try:
            reply = operation.handler(self, connection, view, payload)
        except Refused as refused:
            return True, refused.name + b"\0"
        except InvalidPath:
            return True, b"EINVAL\0"
        if len(reply) > PAYLOAD_MAX and not (self.rules.long_listings and connection.privileged):
            return True, b"E2BIG\0"
        return False, reply

    # --- access ---

    def canonical(self, connection: Connection, text: bytes) -> bytes:
        """The absolute path that a client means.

        Raises:
            InvalidPath: it is none.
        """
        path = text if text.startswith(b"/") else connection.home + b"/" + text
        limit = self.quotas.limit(quota.PATH_MAX, connection.domain.domid)
        if len(path) > limit:
            home = _HOME.match(path)
            if home is None or len(path) - home.end() > limit:
                raise InvalidPath(text)
        return paths.check(path)

    def rights(self, connection: Connection, node: Node) -> Right:
        """What a connection may do with a node."""
        if connection.privileged:
            return Right.ALL
        return access.rights(node.perms, connection.domain.domids, self.domains.born)

    def find(self, connection: Connection, view: View, path: bytes, right: Right) -> Node | None:
        """The node at `path`, None if there is none.

        Raises:
            Refused: EACCES if the connection may not do this, or may not know that there is
                no node, which the nearest node above tells.
        """
        node = view.get(path)
        if node is None:
            _, above, _ = nearest(view, path)
            if not self.rights(connection, above) & right:
                raise Refused(b"EACCES")
            return None
        if self.rights(connection, node) & right != right:
            raise Refused(b"EACCES")
        if right is Right.READ and isinstance(view, SnapshotTransaction):
            view.read.add(path)
        return node

    # --- changes ---

    def put(self, connection: Connection, view: View, nodes: list[Put]) -> None:
        """Store nodes, all or none.

        Args:
            nodes: the last one exists, those before it are new.

        Raises:
            Refused: the connection's domain would have too many nodes, or one too large.
        """
        if not connection.privileged:
            self._check_quotas(connection.domain.domid, view, nodes)
        for node in nodes:
            view.put(*node)

    def _check_quotas(self, domid: int, view: View, nodes: list[Put]) -> None:
        limit = self.quotas.limit(quota.NODES, domid)
        owned, new = self.tree.owned(domid), len(nodes) - 1
        # What a transaction makes is counted at the commit.
        if new and (owned >= limit or (view is self.tree and owned + new > limit)):
            raise Refused(self.rules.over_quota)
        if max(map(quota.node_size, nodes)) >= self.quotas.limit(quota.NODE_SIZE, domid):
            if isinstance(view, Transaction):
                view.failed = True
            raise Refused(self.rules.over_quota)

    def remove(self, view: View, path: bytes, node: Node, silent: bool = False) -> None:
        """Remove a node and all below it, and tell watches unless `silent`."""
        removed = {}
        for below, each in walk_up(view, path, node):
            view.delete(below)
            removed[below] = each
            if not (silent or self.rules.root_first):
                self.fire(view, Change(below, below != path, each, None))
        forget_child(view, path)
        if not silent and self.rules.root_first:
            self._fire_root_first(view, path, removed)

    def _fire_root_first(self, view: View, top: bytes, removed: dict[bytes, Node]) -> None:
        # oxenstored also tells watches on what a removed node might have had below it.
        told = removed | {
            path: removed[paths.parent(path)]
            for path in self.watches.paths()
            if path not in removed and paths.parent(path) in removed
        }
        for path in sorted(told, key=lambda path: path.split(b"/")):
            self.fire(view, Change(path, path != top, told[path], None))

    def release(self, domain: Domain) -> None:
        """A domain is gone, with its connections, its nodes, and what others granted it."""
        for connection in self.of_domain(domain):
            self.reset(connection)
            connection.close()
        domid = domain.domid
        self.domains.release(domid)
        self.quotas.forget(domid)
        for path in (b"/", *SPECIAL):
            node = self.tree.get(path)
            if node is not None and node.owner == domid:
                self.tree.put(path, node.value, DOM0_ONLY, node.children)
        for path, node in walk_down(self.tree, b"/"):
            if node.owner == domid:
                self.remove(self.tree, path, node, silent=not self.rules.release_events)
        for path, node in self.tree.items():
            kept = node.perms.without(domid)
            if kept != node.perms and (path in SPECIAL or not self.rules.stale_entries):
                self.tree.put(path, node.value, kept, node.children)

    # --- transactions ---

    def begin(self, connection: Connection) -> Transaction:
        """A new transaction."""
        domid = connection.domain.domid
        kind = SnapshotTransaction if self.rules.snapshots else Transaction
        limit = None
        if not connection.privileged:
            limit = self.quotas.limit(quota.TRANSACTION_NODES, domid)
        return kind(self.tree, limit, self.rules.over_quota)

    def commit(self, connection: Connection, transaction: Transaction) -> None:
        """Carry out a transaction and tell watches.

        Raises:
            Refused: ENOMEM if a request failed half-way; EAGAIN on a conflict; the domain
                would have too many nodes.
        """
        domid = connection.domain.domid
        if transaction.failed:
            raise Refused(b"ENOMEM")
        if transaction.created and not connection.privileged:
            limit = self.quotas.limit(quota.NODES, domid)
            if self.tree.owned(domid) + transaction.gained(domid) >= limit:
                raise Refused(self.rules.over_quota)
        if not transaction.conflicts():
            for change in transaction.apply():
                self._tell(change)
        elif isinstance(transaction, SnapshotTransaction):
            self._replay(connection, transaction)
        else:
            raise Refused(b"EAGAIN")

    def _replay(self, connection: Connection, transaction: SnapshotTransaction) -> None:
        again = self.begin(connection)
        try:
            for operation, payload, reply in transaction.log:
                if (
                    not operation.replayable
                    or self._answer(operation, connection, again, payload)[1] != reply
                ):
                    raise Refused(b"EAGAIN")
            for change in again.apply():
                self._tell(change)
        finally:
            again.close()

    # --- watches ---

    def fire(self, view: View, change: Change) -> None:
        """Tell watches of a change, or have them told at the commit."""
        if isinstance(view, Transaction):
            view.fire(change)
        else:
            self._tell(change, late=self.rules.reply_first)

    def fire_special(self, name: bytes, domid: int) -> None:
        """Tell special watches of a domain; before the reply, in both daemons."""
        change = Change(name, False, self.tree.get(name), None)
        for path, watch in self.watches.special(name, domid):
            if self._may_hear(watch.connection, change):
                self.send(watch.connection, path, watch.token)

    def send(self, connection: Connection, path: bytes, token: bytes, late: bool = False) -> None:
        """Send one event."""
        if late:
            self._late.append((connection, path, token))
        else:
            connection.event(path, token)

    def _tell(self, change: Change, late: bool = False) -> None:
        path = change.path
        found = self.watches.on(path) if change.exact else self.watches.concerned(path)
        for watch in found:
            if self._may_hear(watch.connection, change):
                self.send(watch.connection, path[watch.prefix :], watch.token, late)

    def _may_hear(self, connection: Connection, change: Change) -> bool:
        """Whether it may read, or could read before, the node or else its parent."""
        if change.before is not None and self.rights(connection, change.before) & Right.READ:
            return True
        node = change.node or self.tree.get(change.path)
        if node is None:
            return False
        if self.rights(connection, node) & Right.READ:
            return True
        parent = self.tree.get(paths.parent(change.path) or b"/")
        return parent is not None and bool(self.rights(connection, parent) & Right.READ)
