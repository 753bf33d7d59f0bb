# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The requests on domains, features and quotas: handlers as in dispatch.py. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.errors import StoreError
from xsfs.server.access import DOMID_FIRST_RESERVED
from xsfs.server.domains import FEATURES
from xsfs.server.payload import OK, number, one, some, strings

if TYPE_CHECKING:
    from xsfs.server.domains import Domain
    from xsfs.server.peer import Peer
    from xsfs.server.store import Store
    from xsfs.server.tree import View
    from xsfs.server.turns import Turns


def introduce(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Introduce a domain, or reset one that is introduced."""
    text, _, port, *_ = some(payload, 3)
    domid = number(text)
    if number(port) <= 0 or domid >= DOMID_FIRST_RESERVED:
        raise StoreError(b"EINVAL")
    store.introduce(store.domains[domid])
    return OK


def release(store: Store, peer: Peer, view: View, payload: bytes) -> Turns[bytes]:
    """Forget a domain."""
    yield from store.release(_introduced(store, number(one(payload))))
    return OK


def resume(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Nothing to do, as no domain shuts down here."""
    _introduced(store, number(one(payload)))
    return OK


def set_target(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Give a domain the rights of another."""
    domid, target = (number(text) for text in strings(payload, 2))
    if not (store.domains.is_introduced(domid) and store.domains.is_introduced(target)):
        raise StoreError(b"ENOENT")
    store.domains[domid].target = target
    return OK


def get_domain_path(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The home of a domain."""
    return b"/local/domain/%d\0" % number(one(payload))


def is_domain_introduced(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Whether a domain may speak to the store."""
    return b"T\0" if store.domains.is_introduced(number(one(payload))) else b"F\0"


def get_feature(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The features that the caller, or a domain, is offered."""
    domain = peer.domain
    if payload.strip(b"\0"):
        if not peer.privileged:
            raise StoreError(b"EACCES")
        domain = _domain(store, one(payload))
    return b"%d\0" % domain.features


def set_feature(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """What features a domain, not yet introduced, shall be offered."""
    domid, text = strings(payload, 2)
    domain = _domain(store, domid)
    features = number(text)
    if domain.introduced:
        raise StoreError(b"EBUSY")
    if features & ~FEATURES:
        raise StoreError(b"EINVAL")
    domain.features = features
    return OK


def get_quota(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The names of all quotas, or one's value."""
    if not payload.strip(b"\0"):
        return b" ".join(store.quotas.names) + b"\0"
    *domid, name = some(payload, 1, 2)
    whom = _domain(store, domid[0]).domid if domid else None
    return b"%d\0" % store.quotas.get(_quota(store, name), whom)


def set_quota(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Set a quota, for all or for one domain."""
    *domid, name, value = some(payload, 2, 3)
    whom = _domain(store, domid[0]).domid if domid else None
    store.quotas.set(_quota(store, name), number(value), whom)
    return OK


def _introduced(store: Store, domid: int) -> Domain:
    if domid == 0:
        raise StoreError(b"EINVAL")
    if not store.domains.is_introduced(domid) or domid >= DOMID_FIRST_RESERVED:
        raise StoreError(b"ENOENT")
    return store.domains[domid]


def _domain(store: Store, text: bytes) -> Domain:
    domid = number(text)
    if not store.domains.exists(domid):
        raise StoreError(b"ENOENT")
    return store.domains[domid]


def _quota(store: Store, name: bytes) -> bytes:
    if name not in store.quotas.names:
        raise StoreError(b"EINVAL")
    return name
