# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""From a request to its reply: the table of operations, and `handle`, which looks them up.

A handler takes the store, the peer, the view (the tree, or a transaction's) and the payload;
it returns the reply's payload or raises `StoreError`. The order of its checks is the order in
which errors take precedence, which is xenstored's. Pure. Source: xenstore.txt; the errors are
xenstored's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from xsfs.errors import InvalidPath, StoreError
from xsfs.protocol.packet import PAYLOAD_MAX, Op
from xsfs.server import control, domain_requests, node_requests, peer_requests
from xsfs.server.transactions import SnapshotTransaction, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.server.peer import Peer
    from xsfs.server.store import Store
    from xsfs.server.tree import View

    Handler: TypeAlias = Callable[[Store, Peer, View, bytes], bytes]


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


TABLE: dict[int, Operation] = {
    Op.CONTROL: Operation(control.control, privileged=True),
    Op.DIRECTORY: Operation(node_requests.directory, replayable=True),
    Op.READ: Operation(node_requests.read, replayable=True),
    Op.GET_PERMS: Operation(node_requests.get_perms, replayable=True),
    Op.WATCH: Operation(peer_requests.watch, outside=True),
    Op.UNWATCH: Operation(peer_requests.unwatch, outside=True),
    Op.TRANSACTION_START: Operation(peer_requests.transaction_start),
    Op.TRANSACTION_END: Operation(peer_requests.transaction_end),
    Op.INTRODUCE: Operation(domain_requests.introduce, privileged=True),
    Op.RELEASE: Operation(domain_requests.release, privileged=True),
    Op.GET_DOMAIN_PATH: Operation(domain_requests.get_domain_path),
    Op.WRITE: Operation(node_requests.write, replayable=True),
    Op.MKDIR: Operation(node_requests.mkdir, replayable=True),
    Op.RM: Operation(node_requests.rm, replayable=True),
    Op.SET_PERMS: Operation(node_requests.set_perms, replayable=True),
    Op.IS_DOMAIN_INTRODUCED: Operation(domain_requests.is_domain_introduced, privileged=True),
    Op.RESUME: Operation(domain_requests.resume, privileged=True),
    Op.SET_TARGET: Operation(domain_requests.set_target, privileged=True),
    Op.RESET_WATCHES: Operation(peer_requests.reset_watches),
    Op.DIRECTORY_PART: Operation(node_requests.directory_part, extension=True),
    Op.GET_FEATURE: Operation(domain_requests.get_feature, extension=True),
    Op.SET_FEATURE: Operation(domain_requests.set_feature, privileged=True, extension=True),
    Op.GET_QUOTA: Operation(domain_requests.get_quota, privileged=True, extension=True),
    Op.SET_QUOTA: Operation(domain_requests.set_quota, privileged=True, extension=True),
}


def handle(store: Store, peer: Peer, op: int, req_id: int, tx_id: int, payload: bytes) -> None:
    """Carry out a request: its reply and the events that it causes are queued after this."""
    try:
        operation = _admit(store, peer, op)
        view: View = store.tree
        if tx_id and not operation.outside:
            view = store.transaction(peer, tx_id)
        if store.faults:
            _meet_fault(store, peer, op, payload, view)
    except StoreError as refused:
        peer.reply(Op.ERROR, req_id, tx_id, refused.name + b"\0")
        return
    failed, reply = _answer(store, peer, operation.handler, payload, view)
    if isinstance(view, SnapshotTransaction) and view.number in peer.transactions:
        again = partial(_answer, store, peer, operation.handler, payload)
        if not view.remember(again if operation.replayable else None, reply):
            failed, reply = True, store.rules.over_quota + b"\0"
    peer.reply(Op.ERROR if failed else op, req_id, tx_id, reply)
    store.send_late()


def _admit(store: Store, peer: Peer, op: int) -> Operation:
    operation = TABLE.get(op)
    if operation is None or (operation.extension and not store.rules.extensions):
        raise StoreError(b"ENOSYS")
    if operation.privileged and not peer.privileged:
        raise StoreError(b"EACCES")
    return operation


def _meet_fault(store: Store, peer: Peer, op: int, payload: bytes, view: View) -> None:
    name = store.faults.meet(peer, op, payload)
    if name is not None:
        if op == Op.TRANSACTION_END and isinstance(view, Transaction):
            # However a commit ends, the transaction is over.
            peer_requests.transaction_end(store, peer, view, b"F\0")
        raise StoreError(name)


def _answer(
    store: Store, peer: Peer, handler: Handler, payload: bytes, view: View
) -> tuple[bool, bytes]:
    """Whether it failed, and the payload of the reply."""
    try:
        reply = handler(store, peer, view, payload)
    except StoreError as refused:
        return True, refused.name + b"\0"
    except InvalidPath:
        return True, b"EINVAL\0"
    if len(reply) > PAYLOAD_MAX and not (store.rules.long_listings and peer.privileged):
        return True, b"E2BIG\0"
    return False, reply
