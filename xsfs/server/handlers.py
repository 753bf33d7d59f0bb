# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What each operation does: one short function each, and the table that finds it.

A handler takes the store, the connection, the view (the tree, or a transaction's) and the
payload; it returns the reply's payload or raises `Refused`. The order of its checks is the
order in which errors take precedence, which is xenstored's. Pure.
Source: xenstore.txt; the errors are xenstored's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from xsfs.errors import InvalidPath
from xsfs.protocol import paths
from xsfs.protocol.packet import PAYLOAD_MAX, Op
from xsfs.server import access, control, quota
from xsfs.server.access import DOMID_FIRST_RESERVED, Right
from xsfs.server.domains import FEATURE_WATCHDEPTH, FEATURES
from xsfs.server.errors import Refused
from xsfs.server.payload import leading_number, number, one, some, strings
from xsfs.server.transactions import Change, Transaction
from xsfs.server.tree import INTRODUCE, RELEASE, SPECIAL, Put, plan_creation

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.server.connection import Connection
    from xsfs.server.domains import Domain
    from xsfs.server.store import Store
    from xsfs.server.tree import Node, View

    Handler: TypeAlias = Callable[[Store, Connection, View, bytes], bytes]

OK = b"OK\0"


class Operation(NamedTuple):
    """A handler, and what has to be known before it is called."""

    handler: Handler
    # Only domain 0 may.
    privileged: bool = False
    # It takes no notice of the transaction id.
    outside: bool = False
    # oxenstored does not know it.
    extension: bool = False
    # It belongs to what a transaction did, and is done again where that is replayed.
    replayable: bool = False


# --- nodes ---


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
    perms = access.parse(entries)
    if perms is None:
        raise Refused(b"EINVAL")
    if not store.domains.exists(perms[0].domid):
        raise Refused(b"ENOENT")
    special = path_text.startswith(b"@")
    path = path_text if special else store.canonical(connection, path_text)
    if special and path not in SPECIAL:
        raise InvalidPath(path)
    node = store.find(connection, view, path, Right.WRITE | Right.OWNER)
    if node is None:
        raise Refused(b"ENOENT")
    if not connection.privileged and perms[0].domid != node.owner:
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


# --- watches ---


def watch(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Set a watch; the event that tells it is there follows the reply."""
    text, token, *rest = some(payload, 2, 3)
    depth = None
    if rest:
        if not (store.rules.extensions and connection.domain.features & FEATURE_WATCHDEPTH):
            raise Refused(b"EINVAL")
        depth = number(rest[0])
    path = _watched(store, connection, text)
    if (path, token) in connection.watches:
        raise Refused(b"EEXIST")
    domain = connection.domain
    if not connection.privileged:
        count = sum(len(other.watches) for other in store.of_domain(domain))
        if count > store.quotas.limit(quota.WATCHES, domain.domid):
            raise Refused(store.rules.over_watches)
    prefix = 0 if path == text else len(path) - len(text)
    connection.watches[path, token] = store.watches.add(connection, path, token, prefix, depth)
    store.send(connection, text, token, late=True)
    return OK


def unwatch(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Take a watch back."""
    text, token = strings(payload, 2)
    there = connection.watches.pop((_watched(store, connection, text), token), None)
    if there is None:
        raise Refused(b"ENOENT")
    store.watches.remove(there)
    return OK


def _watched(store: Store, connection: Connection, text: bytes) -> bytes:
    """The path of a watch; what starts with `@` may have any syntax (xenstore.txt)."""
    if not text.startswith(b"@"):
        return store.canonical(connection, text)
    if len(text) > store.quotas.limit(quota.PATH_MAX, connection.domain.domid):
        raise InvalidPath(text)
    return text


def reset_watches(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Drop all watches and transactions of the connection."""
    store.reset(connection)
    return OK


# --- transactions ---


def transaction_start(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The id of a new transaction."""
    if isinstance(view, Transaction):
        raise Refused(b"EBUSY")
    domain = connection.domain
    if not connection.privileged:
        count = sum(len(other.transactions) for other in store.of_domain(domain))
        if count > store.quotas.limit(quota.TRANSACTIONS, domain.domid):
            raise Refused(store.rules.over_quota)
    return b"%d\0" % connection.open_transaction(store.begin(connection))


def transaction_end(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Commit the transaction, or drop it; either way it is over."""
    if payload not in (b"T\0", b"F\0"):
        raise Refused(b"EINVAL")
    if not isinstance(view, Transaction):
        raise Refused(b"ENOENT")
    del connection.transactions[view.number]
    try:
        if payload == b"T\0":
            store.commit(connection, view)
    finally:
        view.close()
    return OK


# --- domains ---


def introduce(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Let a domain speak to the store; once more, and it starts anew."""
    text, _, port, *_ = some(payload, 3)
    domid = number(text)
    if number(port) <= 0 or domid >= DOMID_FIRST_RESERVED:
        raise Refused(b"EINVAL")
    domain = store.domains[domid]
    if not domain.introduced:
        domain.introduced = True
        store.fire_special(INTRODUCE, domid)
    elif domid:
        for other in store.of_domain(domain):
            store.reset(other)
    return OK


def release(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Stop speaking to a domain."""
    domain = _introduced(store, number(one(payload)))
    store.release(domain)
    store.fire_special(RELEASE, domain.domid)
    return OK


def resume(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Nothing to do where no domain shuts down."""
    _introduced(store, number(one(payload)))
    return OK


def set_target(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Give a domain the rights of another."""
    domid, target = (number(text) for text in strings(payload, 2))
    if not (store.domains.is_introduced(domid) and store.domains.is_introduced(target)):
        raise Refused(b"ENOENT")
    store.domains[domid].target = target
    return OK


def get_domain_path(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The home of a domain."""
    return b"/local/domain/%d\0" % number(one(payload))


def is_domain_introduced(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Whether a domain may speak to the store."""
    return b"T\0" if store.domains.is_introduced(number(one(payload))) else b"F\0"


def get_feature(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The features that the caller, or a domain, is offered."""
    domain = connection.domain
    if payload.strip(b"\0"):
        if not connection.privileged:
            raise Refused(b"EACCES")
        domain = _domain(store, one(payload))
    return b"%d\0" % domain.features


def set_feature(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """What features a domain, not yet introduced, shall be offered."""
    domid, text = strings(payload, 2)
    domain = _domain(store, domid)
    features = number(text)
    if domain.introduced:
        raise Refused(b"EBUSY")
    if features & ~FEATURES:
        raise Refused(b"EINVAL")
    domain.features = features
    return OK


def get_quota(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """The names of all quotas, or one's value."""
    if not payload.strip(b"\0"):
        return b" ".join(store.quotas.names) + b"\0"
    *domid, name = some(payload, 1, 2)
    whom = _domain(store, domid[0]).domid if domid else None
    return b"%d\0" % store.quotas.get(_quota(store, name), whom)


def set_quota(store: Store, connection: Connection, view: View, payload: bytes) -> bytes:
    """Set a quota, for all or for one domain."""
    *domid, name, value = some(payload, 2, 3)
    whom = _domain(store, domid[0]).domid if domid else None
    store.quotas.set(_quota(store, name), number(value), whom)
    return OK


def _introduced(store: Store, domid: int) -> Domain:
    if domid == 0:
        raise Refused(b"EINVAL")
    if not store.domains.is_introduced(domid) or domid >= DOMID_FIRST_RESERVED:
        raise Refused(b"ENOENT")
    return store.domains[domid]


def _domain(store: Store, text: bytes) -> Domain:
    domid = number(text)
    if not store.domains.exists(domid):
        raise Refused(b"ENOENT")
    return store.domains[domid]


def _quota(store: Store, name: bytes) -> bytes:
    if name not in store.quotas.names:
        raise Refused(b"EINVAL")
    return name


TABLE: dict[int, Operation] = {
    Op.CONTROL: Operation(control.control, privileged=True),
    Op.DIRECTORY: Operation(directory, replayable=True),
    Op.READ: Operation(read, replayable=True),
    Op.GET_PERMS: Operation(get_perms, replayable=True),
    Op.WATCH: Operation(watch, outside=True),
    Op.UNWATCH: Operation(unwatch, outside=True),
    Op.TRANSACTION_START: Operation(transaction_start),
    Op.TRANSACTION_END: Operation(transaction_end),
    Op.INTRODUCE: Operation(introduce, privileged=True),
    Op.RELEASE: Operation(release, privileged=True),
    Op.GET_DOMAIN_PATH: Operation(get_domain_path),
    Op.WRITE: Operation(write, replayable=True),
    Op.MKDIR: Operation(mkdir, replayable=True),
    Op.RM: Operation(rm, replayable=True),
    Op.SET_PERMS: Operation(set_perms, replayable=True),
    Op.IS_DOMAIN_INTRODUCED: Operation(is_domain_introduced, privileged=True),
    Op.RESUME: Operation(resume, privileged=True),
    Op.SET_TARGET: Operation(set_target, privileged=True),
    Op.RESET_WATCHES: Operation(reset_watches),
    Op.DIRECTORY_PART: Operation(directory_part, extension=True),
    Op.GET_FEATURE: Operation(get_feature, extension=True),
    Op.SET_FEATURE: Operation(set_feature, privileged=True, extension=True),
    Op.GET_QUOTA: Operation(get_quota, privileged=True, extension=True),
    Op.SET_QUOTA: Operation(set_quota, privileged=True, extension=True),
}
