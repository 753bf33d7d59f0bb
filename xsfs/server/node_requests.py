# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The requests on nodes: handlers as in dispatch.py. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath, StoreError
from xsfs.protocol import paths
from xsfs.protocol.packet import PAYLOAD_MAX
from xsfs.server import access, quota
from xsfs.server.access import Perms, Right
from xsfs.server.payload import OK, leading_number, one, strings
from xsfs.server.transactions import Change
from xsfs.server.tree import SPECIAL, Put, plan_creation

if TYPE_CHECKING:
    from xsfs.server.peer import Peer
    from xsfs.server.store import Store
    from xsfs.server.tree import Node, View
    from xsfs.server.turns import Turns


def directory(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The names of the children."""
    return _children(store, _existing(store, peer, view, one(payload)))


def directory_part(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The names of the children from an offset on, as many as fit, after the generation."""
    path, offset = strings(payload, 2)
    node = _existing(store, peer, view, path)
    start = leading_number(offset)
    head = b"%d\0" % node.generation
    rest = _children(store, node)[start:] if start >= 0 else b""
    room = PAYLOAD_MAX - len(head) - 1
    if len(rest) <= room:
        # An empty name marks the end.
        return head + rest + b"\0"
    return head + rest[: rest.rfind(b"\0", 0, room) + 1]


def read(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The value."""
    return _existing(store, peer, view, one(payload)).value


def write(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Set the value, and make the node and its parents if need be."""
    text, nul, value = payload.partition(b"\0")
    if not nul:
        raise StoreError(b"EINVAL")
    path = _path(store, peer, text)
    node = store.find(peer, view, path, Right.WRITE)
    if store.rules.value_max is not None and len(value) > store.rules.value_max:
        raise StoreError(b"E2BIG")
    if node is None:
        _create(store, peer, view, path, value)
    else:
        store.put(peer, view, [Put(path, value, node.perms, node.children)])
    store.fire(view, Change(path, False, view.get(path), None))
    return OK


def mkdir(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Make the node and its parents if it does not exist."""
    path = _path(store, peer, one(payload))
    if store.find(peer, view, path, Right.WRITE) is None:
        _create(store, peer, view, path, b"")
        store.fire(view, Change(path, False, view.get(path), None))
    return OK


def rm(store: Store, peer: Peer, view: View, payload: bytes) -> bytes | Turns[bytes]:
    """Remove the node and all below it."""
    path = _path(store, peer, one(payload))
    node = store.find(peer, view, path, Right.WRITE)
    if path == b"/":
        raise StoreError(b"EINVAL")
    if view.get(paths.parent(path)) is None:
        # A transaction may have seen the node before its parent went.
        raise StoreError(b"ENOENT" if node is None else b"EINVAL")
    return OK if node is None else _remove(store, view, path, node)


def get_perms(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """The permission entries."""
    return access.render(_existing(store, peer, view, one(payload)).perms)


def set_perms(store: Store, peer: Peer, view: View, payload: bytes) -> bytes:
    """Replace the permission entries."""
    path_text, *entries = payload.split(b"\0")[:-1] or [b""]
    if not entries:
        raise StoreError(b"EINVAL")
    domid = peer.domain.domid
    if not peer.privileged and len(entries) > store.quotas.limit(quota.PERMISSIONS, domid):
        raise StoreError(store.rules.over_quota)
    parsed = access.parse(entries)
    if parsed is None:
        raise StoreError(b"EINVAL")
    perms = Perms(parsed, store.domains.released)
    if not store.domains.exists(perms.owner):
        raise StoreError(b"ENOENT")
    special = path_text.startswith(b"@")
    path = path_text if special else store.canonical(peer, path_text)
    if special and path not in SPECIAL:
        raise InvalidPath(path)
    node = store.find(peer, view, path, Right.WRITE | Right.OWNER)
    if node is None:
        raise StoreError(b"ENOENT")
    if not peer.privileged and perms.owner != node.owner:
        raise StoreError(b"EPERM")
    store.put(peer, view, [Put(path, node.value, perms, node.children)])
    if not special:
        store.fire(view, Change(path, False, view.get(path), node))
    return OK


def _path(store: Store, peer: Peer, text: bytes) -> bytes:
    if text.startswith(b"@"):
        raise InvalidPath(text)
    return store.canonical(peer, text)


def _existing(store: Store, peer: Peer, view: View, text: bytes) -> Node:
    node = store.find(peer, view, _path(store, peer, text), Right.READ)
    if node is None:
        raise StoreError(b"ENOENT")
    return node


def _create(store: Store, peer: Peer, view: View, path: bytes, value: bytes) -> None:
    owner = peer.domain.domid if store.rules.creator_owns else 0
    plan = plan_creation(view, path, value, owner or None)
    store.put(peer, view, plan)


def _remove(store: Store, view: View, path: bytes, node: Node) -> Turns[bytes]:
    yield from store.remove(view, path, node)
    return OK


def _children(store: Store, node: Node) -> bytes:
    if store.rules.sorted_listings:
        return b"".join(name + b"\0" for name in sorted(node.names))
    return node.children
