# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""From a request to its reply: the table of operations, and `handle`, which looks them up.

A handler takes the store, the peer, the view (the tree, or a transaction's) and the payload;
it returns the reply's payload or the turns that end with it (turns.py), or raises `StoreError`.
The order of its checks is the order in which errors take precedence, which is xenstored's. Pure.
Source: xenstore.txt; the errors are xenstored's.
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
    from xsfs.server.transactions import Outcome
    from xsfs.server.tree import View
    from xsfs.server.turns import Turns

    # Of a request: its operation, its id, its transaction's.
    Head: TypeAlias = tuple[int, int, int]
    Handler: TypeAlias = Callable[[Store, Peer, View, bytes], bytes | Turns[bytes]]


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
    """Carry out a request: its reply and the events that it causes are queued after this.

    If it takes several turns, after those of `store.unfinished`; no other may be handled before.
    """
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
    outcome = _answer(store, peer, operation.handler, payload, view)
    head = op, req_id, tx_id
    if isinstance(outcome, tuple):
        _reply(store, peer, head, payload, view, outcome)
        if store.late:
            store.unfinished.start(peer, store.send_late())
    else:
        work = _reply_later(store, peer, head, payload, view, outcome)
        store.unfinished.start(peer, work)


def _reply(
    store: Store, peer: Peer, head: Head, payload: bytes, view: View, outcome: Outcome
) -> None:
    op, req_id, tx_id = head
    failed, reply = outcome
    if isinstance(view, SnapshotTransaction) and view.number in peer.transactions:
        operation = TABLE[op]
        again = partial(_answer, store, peer, operation.handler, payload)
        if not view.remember(again if operation.replayable else None, reply):
            failed, reply = True, store.rules.over_quota + b"\0"
    peer.reply(Op.ERROR if failed else op, req_id, tx_id, reply)


def _reply_later(
    store: Store, peer: Peer, head: Head, payload: bytes, view: View, work: Turns[Outcome]
) -> Turns[None]:
    _reply(store, peer, head, payload, view, (yield from work))
    yield from store.send_late()


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
) -> Outcome | Turns[Outcome]:
    """Whether it failed, and the payload of the reply."""
    try:
        reply = handler(store, peer, view, payload)
    except (StoreError, InvalidPath) as refused:
        return _refusal(refused)
    if not isinstance(reply, bytes):
        return _later(store, peer, reply)
    if len(reply) > PAYLOAD_MAX and not (store.rules.long_listings and peer.privileged):
        return True, b"E2BIG\0"
    return False, reply


def _later(store: Store, peer: Peer, work: Turns[bytes]) -> Turns[Outcome]:
    try:
        reply = yield from work
    except (StoreError, InvalidPath) as refused:
        return _refusal(refused)
    # It is short.
    return False, reply


def _refusal(refused: StoreError | InvalidPath) -> Outcome:
    return True, (refused.name if isinstance(refused, StoreError) else b"EINVAL") + b"\0"
