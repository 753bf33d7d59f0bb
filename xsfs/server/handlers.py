# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The table of operations, and those on what a connection has open: watches, transactions.

One short function for each operation; nodes.py, administration.py and control.py have the
others. A handler takes the store, the connection, the view (the tree, or a transaction's) and
the payload; it returns the reply's payload or raises `Refused`. The order of its checks is
the order in which errors take precedence, which is xenstored's. Pure.
Source: xenstore.txt; the errors are xenstored's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from xsfs.errors import InvalidPath
from xsfs.protocol.packet import Op
from xsfs.server import administration, control, nodes, quota
from xsfs.server.domains import FEATURE_WATCHDEPTH
from xsfs.server.errors import Refused
from xsfs.server.payload import OK, number, some, strings
from xsfs.server.transactions import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.server.connection import Connection
    from xsfs.server.store import Store
    from xsfs.server.tree import View

    Handler: TypeAlias = Callable[[Store, Connection, View, bytes], bytes]


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


TABLE: dict[int, Operation] = {
    Op.CONTROL: Operation(control.control, privileged=True),
    Op.DIRECTORY: Operation(nodes.directory, replayable=True),
    Op.READ: Operation(nodes.read, replayable=True),
    Op.GET_PERMS: Operation(nodes.get_perms, replayable=True),
    Op.WATCH: Operation(watch, outside=True),
    Op.UNWATCH: Operation(unwatch, outside=True),
    Op.TRANSACTION_START: Operation(transaction_start),
    Op.TRANSACTION_END: Operation(transaction_end),
    Op.INTRODUCE: Operation(administration.introduce, privileged=True),
    Op.RELEASE: Operation(administration.release, privileged=True),
    Op.GET_DOMAIN_PATH: Operation(administration.get_domain_path),
    Op.WRITE: Operation(nodes.write, replayable=True),
    Op.MKDIR: Operation(nodes.mkdir, replayable=True),
    Op.RM: Operation(nodes.rm, replayable=True),
    Op.SET_PERMS: Operation(nodes.set_perms, replayable=True),
    Op.IS_DOMAIN_INTRODUCED: Operation(administration.is_domain_introduced, privileged=True),
    Op.RESUME: Operation(administration.resume, privileged=True),
    Op.SET_TARGET: Operation(administration.set_target, privileged=True),
    Op.RESET_WATCHES: Operation(reset_watches),
    Op.DIRECTORY_PART: Operation(nodes.directory_part, extension=True),
    Op.GET_FEATURE: Operation(administration.get_feature, extension=True),
    Op.SET_FEATURE: Operation(administration.set_feature, privileged=True, extension=True),
    Op.GET_QUOTA: Operation(administration.get_quota, privileged=True, extension=True),
    Op.SET_QUOTA: Operation(administration.set_quota, privileged=True, extension=True),
}
