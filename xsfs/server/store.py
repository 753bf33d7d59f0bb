# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store: its state, and what requests share.

Access, firing watches, commits, the life of peers and domains. Requests come in by dispatch.py;
replies and events go to the peers' queues. What concerns many nodes is done in turns (turns.py).
Sans-IO and not thread-safe.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath, StoreError
from xsfs.protocol import paths
from xsfs.server import access, quota
from xsfs.server.access import DOM0_ONLY, Perms, Right, parse
from xsfs.server.domains import Domains
from xsfs.server.faults import Faults
from xsfs.server.peer import Peer
from xsfs.server.quota import Quotas
from xsfs.server.rules import C_XENSTORED, Rules
from xsfs.server.transactions import Change, SnapshotTransaction, Transaction
from xsfs.server.tree import (
    INTRODUCE,
    RELEASE,
    SPECIAL,
    Tree,
    forget_child,
    nearest,
    plan_creation,
    walk_down,
    walk_up,
)
from xsfs.server.turns import Unfinished, completed
from xsfs.server.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from xsfs.jsontree import Node as JsonNode
    from xsfs.server.domains import Domain
    from xsfs.server.tree import Node, Put, View
    from xsfs.server.turns import Turns

# What a request that is done again takes, as in turns.py.
_REQUEST = 5

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
        self.faults = Faults()
        self.peers: set[Peer] = set()
        # The request at hand if it takes several turns; no other is to be handled before its end.
        self.unfinished = Unfinished()
        # Events to be queued after the reply to the request at hand.
        self.late: list[tuple[Peer, bytes, bytes]] = []
        self.load({b"/tool/xenstored": b""})

    # --- content ---

    def load_nodes(self, nodes: Iterable[JsonNode]) -> None:
        """`load` what JSON text said.

        Raises:
            InvalidPath: a path is malformed, or not absolute.
        """
        loaded = list(nodes)
        perms = {node.path: Perms(parse(node.perms) or ()) for node in loaded if node.perms}
        self.load({node.path: node.value for node in loaded}, perms)

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
        made: set[bytes] = set()
        for path, value in values.items():
            if not path.startswith(b"/"):
                raise InvalidPath(path)
            node = self.tree.get(paths.check(path))
            if node is not None:
                self.tree.put(path, value, node.perms, node.children)
            else:
                plan = plan_creation(self.tree, path, value, None)
                for put in plan:
                    self.tree.put(*put)
                made |= {put.path for put in plan[:-1]}
        if not perms:
            return
        # From the top, as a node inherits what its parent is given here.
        for path, node in walk_down(self.tree, b"/"):
            parent = self.tree.get(paths.parent(path)) or node
            inherited = parent.perms if path in made else node.perms
            self.tree.put(path, node.value, perms.get(path, inherited), node.children)

    def values(self) -> dict[bytes, bytes]:
        """The value of every node, by path, parents before children."""
        return {path: node.value for path, node in walk_down(self.tree, b"/")}

    # --- peers ---

    def connect(self, domid: int, wake: Callable[[], None]) -> Peer:
        """A new client, on behalf of a domain that is introduced.

        Args:
            wake: called when an event was queued for it, or it is to be closed.
        """
        peer = Peer(self.domains[domid], self.rules.merge_events, wake)
        self.peers.add(peer)
        return peer

    def disconnect(self, peer: Peer) -> None:
        """Forget a client, its watches and its transactions."""
        self.reset(peer)
        self.peers.discard(peer)

    def reset(self, peer: Peer) -> None:
        """Drop all watches and transactions of a peer."""
        self.watches.drop(peer)
        for transaction in peer.transactions.values():
            transaction.close()
        peer.transactions.clear()

    def of_domain(self, domain: Domain) -> list[Peer]:
        """The peers that speak on behalf of a domain."""
        return [peer for peer in self.peers if peer.domain is domain]

    # --- access ---

    def canonical(self, peer: Peer, text: bytes) -> bytes:
        """The absolute path that a client means.

        Raises:
            InvalidPath: it is none.
        """
        path = text if text.startswith(b"/") else peer.home + b"/" + text
        limit = self.quotas.limit(quota.PATH_MAX, peer.domain.domid)
        if len(path) > limit:
            home = _HOME.match(path)
            if home is None or len(path) - home.end() > limit:
                raise InvalidPath(text)
        return paths.check(path)

    def rights(self, peer: Peer, node: Node) -> Right:
        """What a peer may do with a node."""
        if peer.privileged:
            return Right.ALL
        return access.rights(node.perms, peer.domain.domids, self.domains.born)

    def find(self, peer: Peer, view: View, path: bytes, right: Right) -> Node | None:
        """The node at `path`, None if there is none.

        Raises:
            StoreError: EACCES if the peer may not do this; or if there is no node and the
                permissions of the nearest node above do not let the peer know that.
        """
        node = view.get(path)
        if node is None:
            _, above, _ = nearest(view, path)
            if not self.rights(peer, above) & right:
                raise StoreError(b"EACCES")
            return None
        if self.rights(peer, node) & right != right:
            raise StoreError(b"EACCES")
        if right is Right.READ and isinstance(view, SnapshotTransaction):
            view.read.add(path)
        return node

    # --- changes ---

    def put(self, peer: Peer, view: View, nodes: list[Put]) -> None:
        """Store nodes, all or none.

        Args:
            nodes: the last one exists, those before it are new.

        Raises:
            StoreError: the connection's domain would have too many nodes, or one too large.
        """
        if not peer.privileged:
            self._check_quotas(peer.domain.domid, view, nodes)
        for node in nodes:
            view.put(*node)

    def _check_quotas(self, domid: int, view: View, nodes: list[Put]) -> None:
        limit = self.quotas.limit(quota.NODES, domid)
        owned, new = self.tree.owned(domid), len(nodes) - 1
        # What a transaction makes is counted at the commit.
        if new and (owned >= limit or (view is self.tree and owned + new > limit)):
            raise StoreError(self.rules.over_quota)
        if max(map(quota.node_size, nodes)) >= self.quotas.limit(quota.NODE_SIZE, domid):
            if isinstance(view, Transaction):
                view.failed = True
            raise StoreError(self.rules.over_quota)

    def remove(self, view: View, path: bytes, node: Node, silent: bool = False) -> Turns[None]:
        """Remove a node and all below it, and fire watches unless `silent`."""
        removed = {}
        for below, each in walk_up(view, path, node):
            view.delete(below)
            removed[below] = each
            fired = 0
            if not (silent or self.rules.root_first):
                fired = self.fire(view, Change(below, below != path, each, None))
            yield 1 + fired
        forget_child(view, path)
        if not silent and self.rules.root_first:
            yield from self._fire_root_first(view, path, removed)

    def _fire_root_first(self, view: View, top: bytes, removed: dict[bytes, Node]) -> Turns[None]:
        # oxenstored also fires watches on missing children of a removed node.
        missing: dict[bytes, list[bytes]] = {}
        for path in self.watches.paths():
            above = paths.parent(path)
            if above in removed and path not in removed:
                missing.setdefault(above, []).append(paths.name(path))
            yield 1
        pending = [top]
        while pending:
            path = pending.pop()
            node = removed.get(path) or removed[paths.parent(path)]
            yield 1 + self.fire(view, Change(path, path != top, node, None))
            if path in removed:
                names = sorted([*node.names, *missing.get(path, ())], reverse=True)
                pending += [paths.join(path, name) for name in names]

    def introduce(self, domain: Domain) -> None:
        """Accept requests of a domain from now on; one that is introduced already is reset."""
        if not domain.introduced:
            domain.introduced = True
            self.fire_special(INTRODUCE, domain.domid)
        elif domain.domid:
            for peer in self.of_domain(domain):
                self.reset(peer)

    def release(self, domain: Domain) -> Turns[None]:
        """Forget a domain: its connections, its nodes, and what others granted it."""
        for peer in self.of_domain(domain):
            self.reset(peer)
            peer.close()
        domid = domain.domid
        self.domains.release(domid)
        self.quotas.forget(domid)
        for path in (b"/", *SPECIAL):
            node = self.tree.get(path)
            if node is not None and node.owner == domid:
                self.tree.put(path, node.value, DOM0_ONLY, node.children)
        for path, node in walk_down(self.tree, b"/"):
            yield 1
            if node.owner == domid:
                yield from self.remove(self.tree, path, node, silent=not self.rules.release_events)
        for path, node in self.tree.items():
            yield 1
            kept = node.perms.without(domid)
            if kept != node.perms and (path in SPECIAL or not self.rules.stale_entries):
                self.tree.put(path, node.value, kept, node.children)
        self.fire_special(RELEASE, domid)

    # --- transactions ---

    def transaction(self, peer: Peer, tx_id: int) -> Transaction:
        """The open transaction of a peer that has this id.

        Raises:
            StoreError: there is none.
        """
        try:
            return peer.transactions[tx_id]
        except KeyError:
            raise StoreError(self.rules.unknown_transaction) from None

    def begin(self, peer: Peer) -> Transaction:
        """A new transaction."""
        domid = peer.domain.domid
        kind = SnapshotTransaction if self.rules.snapshots else Transaction
        limit = None
        if not peer.privileged:
            limit = self.quotas.limit(quota.TRANSACTION_NODES, domid)
        return kind(self.tree, limit, self.rules.over_quota)

    def commit(self, peer: Peer, transaction: Transaction) -> Turns[None]:
        """Carry out a transaction and fire watches.

        Raises:
            StoreError: ENOMEM if a request failed half-way; EAGAIN on a conflict; the domain
                would have too many nodes.
        """
        domid = peer.domain.domid
        if transaction.failed:
            raise StoreError(b"ENOMEM")
        if transaction.created and not peer.privileged:
            limit = self.quotas.limit(quota.NODES, domid)
            if self.tree.owned(domid) + transaction.gained(domid) >= limit:
                raise StoreError(self.rules.over_quota)
        if not (yield from transaction.conflicts()):
            yield from self._apply(transaction)
        elif isinstance(transaction, SnapshotTransaction):
            yield from self._replay(peer, transaction)
        else:
            raise StoreError(b"EAGAIN")

    def _apply(self, transaction: Transaction) -> Turns[None]:
        for change in transaction.apply():
            yield 1 if change is None else 1 + self._fire_now(change)

    def _replay(self, peer: Peer, transaction: SnapshotTransaction) -> Turns[None]:
        again = self.begin(peer)
        try:
            for request, reply in transaction.log:
                if request is None or (yield from completed(request(again)))[1] != reply:
                    raise StoreError(b"EAGAIN")
                yield _REQUEST
            for _ in again.apply():
                yield 1
            # Watches fire for what the requests did at first.
            for change in transaction.changes:
                yield 1 + self._fire_now(change)
        finally:
            again.close()

    # --- watches ---

    def fire(self, view: View, change: Change) -> int:
        """Fire the watches that a change concerns; of a transaction's change, at its commit.

        Returns:
            how many were fired now.
        """
        if isinstance(view, Transaction):
            view.fire(change)
            return 0
        return self._fire_now(change, late=self.rules.reply_first)

    def fire_special(self, name: bytes, domid: int) -> None:
        """Fire the special watches for a domain; before the reply, in both daemons."""
        change = Change(name, False, self.tree.get(name), None)
        for path, watch in self.watches.special(name, domid):
            if self._may_read(watch.peer, change):
                self.send(watch.peer, path, watch.token)

    def send(self, peer: Peer, path: bytes, token: bytes, late: bool = False) -> None:
        """Send one event."""
        if late:
            self.late.append((peer, path, token))
        else:
            peer.event(path, token)

    def send_late(self) -> Turns[None]:
        """Send the events that had to wait for the reply to the request that caused them."""
        late, self.late = self.late, []
        for peer, path, token in late:
            peer.event(path, token)
            yield 1

    def _fire_now(self, change: Change, late: bool = False) -> int:
        path = change.path
        found = self.watches.on(path) if change.exact else self.watches.concerned(path)
        for watch in found:
            if self._may_read(watch.peer, change):
                self.send(watch.peer, path[watch.prefix :], watch.token, late)
        return len(found)

    def _may_read(self, peer: Peer, change: Change) -> bool:
        """Whether a peer may read, or could before the change, the node or else its parent."""
        if change.before is not None and self.rights(peer, change.before) & Right.READ:
            return True
        node = change.node or self.tree.get(change.path)
        if node is None or peer.privileged:
            return node is not None
        if self.rights(peer, node) & Right.READ:
            return True
        parent = self.tree.get(paths.parent(change.path) or b"/")
        return parent is not None and bool(self.rights(peer, parent) & Right.READ)
