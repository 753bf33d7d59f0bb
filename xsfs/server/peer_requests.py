# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The requests on what a peer has open, watches and transactions: handlers as in dispatch.py.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath, StoreError
from xsfs.server import quota
from xsfs.server.domains import FEATURE_WATCHDEPTH
from xsfs.server.payload import OK, number, some, strings
from xsfs.server.transactions import Transaction

if TYPE_CHECKING:
    from xsfs.server.peer import Peer
    from xsfs.server.store import Store
    from xsfs.server.tree import View
    from xsfs.server.turns import Turns


def watch(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Set a watch; its first event follows the reply."""
    text, token, *rest = some(payload, 2, 3)
    depth = None
    if rest:
        if not (store.rules.extensions and peer.domain.features & FEATURE_WATCHDEPTH):
            raise StoreError(b"EINVAL")
        depth = number(rest[0])
    path = _watched(store, peer, text)
    if store.watches.has(peer, path, token):
        raise StoreError(b"EEXIST")
    domain = peer.domain
    if not peer.privileged:
        count = sum(store.watches.count(other) for other in store.of_domain(domain))
        if count > store.quotas.limit(quota.WATCHES, domain.domid):
            raise StoreError(store.rules.over_watches)
    prefix = 0 if path == text else len(path) - len(text)
    store.watches.add(peer, path, token, prefix, depth)
    store.send(peer, text, token, late=True)
    return OK


def unwatch(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Take a watch back."""
    text, token = strings(payload, 2)
    store.watches.remove(peer, _watched(store, peer, text), token)
    return OK


def reset_watches(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Drop all watches and transactions of the peer."""
    store.reset(peer)
    return OK


def transaction_start(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The id of a new transaction."""
    if isinstance(view, Transaction):
        raise StoreError(b"EBUSY")
    domain = peer.domain
    if not peer.privileged:
        count = sum(len(other.transactions) for other in store.of_domain(domain))
        if count > store.quotas.limit(quota.TRANSACTIONS, domain.domid):
            raise StoreError(store.rules.over_quota)
    return b"%d\0" % peer.open_transaction(store.begin(peer))


def transaction_end(store: Store, peer: Peer, view: View, payload: bytes) -> bytes | Turns[bytes]:
    """Commit the transaction, or drop it; either way it is over."""
    if payload not in (b"T\0", b"F\0"):
        raise StoreError(b"EINVAL")
    if not isinstance(view, Transaction):
        raise StoreError(b"ENOENT")
    del peer.transactions[view.number]
    if payload == b"T\0":
        return _commit(store, peer, view)
    view.close()
    return OK


def _commit(store: Store, peer: Peer, transaction: Transaction) -> Turns[bytes]:
    try:
        yield from store.commit(peer, transaction)
    finally:
        transaction.close()
    return OK


def _watched(store: Store, peer: Peer, text: bytes) -> bytes:
    """The path of a watch; what starts with `@` may have any syntax (xenstore.txt)."""
    if not text.startswith(b"@"):
        return store.canonical(peer, text)
    if len(text) > store.quotas.limit(quota.PATH_MAX, peer.domain.domid):
        raise InvalidPath(text)
    return text
