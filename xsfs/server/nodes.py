# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The operations on nodes: handlers as in handlers.py. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath
from xsfs.protocol import paths
from xsfs.protocol.packet import PAYLOAD_MAX
from xsfs.server import access, quota
from xsfs.server.access import Perms, Right
from xsfs.server.errors import Refused
from xsfs.server.payload import OK, leading_number, one, strings
from xsfs.server.transactions import Change
from xsfs.server.tree import SPECIAL, Put, plan_creation

if TYPE_CHECKING:
    from xsfs.server.connection import Connection
    from xsfs.server.store import Store
    from xsfs.server.tree import Node, View


def directory(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The names of the children."""
    return _children(store, _existing(store, connection, view, one(payload)))


def directory_part(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The names of the children from an offset on, as many as fit, after the generation."""
    path, offset = strings(payload, 2)
    node = _existing(store, connection, view, path)
    start = leading_number(offset)
    head = b"%d\0" % node.generation
    rest = _children(store, node)[start:] if start >= 0 else b""
    room = PAYLOAD_MAX - len(head) - 1
    if len(rest) <= room:
        # An empty name tells that this is the end.
        return head + rest + b"\0"
    return head + rest[: rest.rfind(b"\0", 0, room) + 1]


def read(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The value."""
    return _existing(store, connection, view, one(payload)).value


def write(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Set the value, and make the node and its parents if need be."""
    text, nul, value = payload.partition(b"\0")
    if not nul:
        raise Refused(b"EINVAL")
    path = _path(store, connection, text)
    node = store.find(connection, view, path, Right.WRITE)
    if store.rules.value_max is not None and len(value) > store.rules.value_max:
        raise Refused(b"E2BIG")
    if node is None:
        _create(store, connection, view, path, value)
    else:
        store.put(connection, view, [Put(path, value, node.perms, node.children)])
    store.fire(view, Change(path, False, view.get(path), None))
    return OK


def mkdir(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Make the node and its parents if it does not exist."""
    path = _path(store, connection, one(payload))
    if store.find(connection, view, path, Right.WRITE) is None:
        _create(store, connection, view, path, b"")
        store.fire(view, Change(path, False, view.get(path), None))
    return OK


def rm(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Remove the node and all below it."""
    path = _path(store, connection, one(payload))
    node = store.find(connection, view, path, Right.WRITE)
    if path == b"/":
        raise Refused(b"EINVAL")
    if view.get(paths.parent(path)) is None:
        # A transaction may have seen the node before its parent went.
        raise Refused(b"ENOENT" if node is None else b"EINVAL")
    if node is not None:
        store.remove(view, path, node)
    return OK


def get_perms(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The permission entries."""
    return access.render(_existing(store, connection, view, one(payload)).perms)


def set_perms(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Replace the permission entries."""
    path_text, *entries = payload.split(b"\0")[:-1] or [b""]
    if not entries:
        raise Refused(b"EINVAL")
    domid = connection.domain.domid
    if not connection.privileged and len(entries) > store.quotas.limit(quota.PERMISSIONS, domid):
        raise Refused(store.rules.over_quota)
    parsed = access.parse(entries)
    if parsed is None:
        raise Refused(b"EINVAL")
    perms = Perms(parsed, store.domains.released)
    if not store.domains.exists(perms.owner):
        raise Refused(b"ENOENT")
    special = path_text.startswith(b"@")
    path = path_text if special else store.canonical(connection, path_text)
    if special and path not in SPECIAL:
        raise InvalidPath(path)
    node = store.find(connection, view, path, Right.WRITE | Right.OWNER)
    if node is None:
        raise Refused(b"ENOENT")
    if not connection.privileged and perms.owner != node.owner:
        raise Refused(b"EPERM")
    store.put(connection, view, [Put(path, node.value, perms, node.children)])
    if not special:
        store.fire(view, Change(path, False, view.get(path), node))
    return OK


def _path(store: Store, connection: Connection, text: bytes) -> bytes:
    if text.startswith(b"@"):
        raise InvalidPath(text)
    return store.canonical(connection, text)


def _existing(store: Store, connection: Connection, view: View, text: bytes) -> Node:
    node = store.find(connection, view, _path(store, connection, text), Right.READ)
    if node is None:
        raise Refused(b"ENOENT")
    return node


def _create(store: Store, connection: Connection, view: View, path: bytes, value: bytes) -> None:
    owner = connection.domain.domid if store.rules.creator_owns else 0
    plan = plan_creation(view, path, value, owner or None)
    store.put(connection, view, plan)


def _children(store: Store, node: Node) -> bytes:
    if store.rules.sorted_listings:
        return b"".join(name + b"\0" for name in sorted(node.names))
    return node.children
