# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Requests on many nodes: done in turns, seen by nobody half done, with everything in order."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.server.conversation import connect
from tests.xen.wire import HEADER, Op, Wire
from xsfs.server import C_XENSTORED, OXENSTORED, Rules, Store
from xsfs.server.dispatch import handle
from xsfs.server.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xsfs.server.peer import Peer

BY_RULES = pytest.mark.parametrize("rules", [C_XENSTORED, OXENSTORED], ids=lambda rules: rules.name)

# Enough for several turns; with all above them.
NODES = [b"/t/%d/%d" % (number // 100, number) for number in range(4000)]
ALL = 4000 + 40 + 1

# What a turn may take, in calls of functions and their returns: a removed node takes some 66.
CALLS_MAX = 100_000


def filled(rules: Rules) -> Store:
    """A store with the nodes, which are a guest's."""
    store = Store(rules)
    store.load(dict.fromkeys(NODES, b""))
    store.domains[5].introduced = True
    peer = store.connect(0, lambda: None)
    for path in store.values():
        if path.startswith(b"/t"):
            handle(store, peer, Op.SET_PERMS, 1, 0, path + b"\0n5\0")
    return store


def with_transaction(store: Store, peer: Peer, *requests: tuple[int, bytes]) -> int:
    """A transaction in which these were asked."""
    handle(store, peer, Op.TRANSACTION_START, 1, 0, b"\0")
    (number,) = peer.transactions
    for op, payload in requests:
        handle(store, peer, op, 1, number, payload)
        while store.unfinished:
            store.unfinished.go_on()
    return number


def commit(store: Store, peer: Peer) -> None:
    writes = [(Op.WRITE, path + b"\0new") for path in NODES]
    number = with_transaction(store, peer, *writes)
    handle(store, peer, Op.TRANSACTION_END, 2, number, b"T\0")


def commit_after_others(store: Store, peer: Peer) -> None:
    writes = [(Op.WRITE, path + b"\0new") for path in NODES]
    number = with_transaction(store, peer, *writes)
    handle(store, peer, Op.WRITE, 1, 0, b"/t/1\0")
    handle(store, peer, Op.TRANSACTION_END, 2, number, b"T\0")


def removal(store: Store, peer: Peer) -> None:
    handle(store, peer, Op.RM, 2, 0, b"/t\0")


def removal_in_a_transaction(store: Store, peer: Peer) -> None:
    number = with_transaction(store, peer)
    handle(store, peer, Op.RM, 2, number, b"/t\0")


def commit_of_a_removal(store: Store, peer: Peer) -> None:
    number = with_transaction(store, peer, (Op.RM, b"/t\0"))
    handle(store, peer, Op.TRANSACTION_END, 2, number, b"T\0")


def release(store: Store, peer: Peer) -> None:
    handle(store, peer, Op.RELEASE, 2, 0, b"5\0")


def check(store: Store, peer: Peer) -> None:
    handle(store, peer, Op.CONTROL, 2, 0, b"check\0")


REQUESTS = (
    *(commit, commit_after_others, removal, removal_in_a_transaction),
    *(commit_of_a_removal, release, check),
)


@BY_RULES
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.__name__)
def test_no_turn_takes_long(rules: Rules, request_: Callable[[Store, Peer], None]) -> None:
    if request_ is check and rules is OXENSTORED:
        pytest.skip("oxenstored does nothing for it")
    store = filled(rules)
    watcher, peer = (store.connect(0, lambda: None) for _ in range(2))
    handle(store, watcher, Op.WATCH, 1, 0, b"/t\0t\0")
    request_(store, peer)
    peer.take()
    turns = []
    while store.unfinished:
        calls = itertools.count()
        sys.setprofile(lambda *_, calls=calls: next(calls))
        try:
            store.unfinished.go_on()
        finally:
            sys.setprofile(None)
        turns.append(next(calls))
    assert len(turns) >= 3
    assert max(turns) < CALLS_MAX
    # The reply came at the end.
    op, req_id, _, _ = HEADER.unpack_from(peer.take())
    assert op != Op.ERROR
    assert req_id == 2


# --- through sockets ---


@pytest.fixture
def listener(rundir: Path) -> Iterator[Listener]:
    """A store that does something only in `turn`."""
    with Listener(Store(), {0: f"{rundir}/store"}) as listener:
        yield listener


@pytest.fixture
def wires(listener: Listener, rundir: Path) -> Iterator[list[Wire]]:
    """Three clients."""
    with contextlib.ExitStack() as stack:
        wires = [Wire(stack.enter_context(connect(f"{rundir}/store"))) for _ in range(3)]
        listener.turn(1)
        yield wires


def send(listener: Listener, wire: Wire, op: int, payload: bytes, tx_id: int = 0) -> None:
    wire.send(op, payload, 1, tx_id)
    listener.turn(1)


def ask(listener: Listener, wire: Wire, op: int, payload: bytes, tx_id: int = 0) -> bytes:
    send(listener, wire, op, payload, tx_id)
    return wire.receive().payload


def committing(listener: Listener, wire: Wire) -> None:
    """Leave a commit of all the nodes half done."""
    number = int(ask(listener, wire, Op.TRANSACTION_START, b"\0")[:-1])
    for path in NODES:
        ask(listener, wire, Op.WRITE, path + b"\0new", number)
    send(listener, wire, Op.TRANSACTION_END, b"T\0", number)
    assert listener.is_busy


def finish(listener: Listener) -> int:
    """Let it be finished; in how many turns."""
    for turn in itertools.count():
        if not listener.is_busy:
            return turn
        listener.turn(0)
    raise AssertionError


def test_nobody_is_answered_before_a_commit_is_done(listener: Listener, wires: list[Wire]) -> None:
    wire, watcher, other = wires
    ask(listener, watcher, Op.WATCH, b"/t\0t\0")
    assert watcher.receive().op == Op.WATCH_EVENT
    committing(listener, wire)
    other.send(Op.READ, NODES[-1] + b"\0", 1, 0)
    other.send(Op.WRITE, b"/t/later\0", 2, 0)
    assert finish(listener) > 3
    assert wire.receive().op == Op.TRANSACTION_END
    listener.turn(1)
    assert other.receive().payload == b"new"
    assert other.receive().op == Op.WRITE
    # All events of the commit, in order, and before that of the later write.
    heard = [watcher.receive().payload for _ in range(len(NODES) + 1)]
    assert heard == [path + b"\0t\0" for path in [*NODES, b"/t/later"]]


def test_events_come_before_the_reply_to_the_commit(listener: Listener, wires: list[Wire]) -> None:
    wire, *_ = wires
    ask(listener, wire, Op.WATCH, b"/t\0t\0")
    assert wire.receive().op == Op.WATCH_EVENT
    committing(listener, wire)
    wire.send(Op.READ, NODES[0] + b"\0", 7, 0)
    finish(listener)
    listener.turn(1)
    ops = [wire.receive().op for _ in range(len(NODES) + 2)]
    assert ops == [Op.WATCH_EVENT] * len(NODES) + [Op.TRANSACTION_END, Op.READ]


def test_a_client_that_stops_sending_gets_the_reply(listener: Listener, wires: list[Wire]) -> None:
    wire, *_ = wires
    committing(listener, wire)
    assert isinstance(wire.stream, socket.socket)
    wire.stream.shutdown(socket.SHUT_WR)
    finish(listener)
    assert wire.receive().op == Op.TRANSACTION_END


@pytest.mark.parametrize("who", ["committer", "watcher"])
def test_a_client_that_goes_leaves_nothing_half_done(
    listener: Listener, wires: list[Wire], who: str
) -> None:
    wire, watcher, other = wires
    ask(listener, watcher, Op.WATCH, b"/t\0t\0")
    committing(listener, wire)
    stream = (wire if who == "committer" else watcher).stream
    assert isinstance(stream, socket.socket)
    stream.close()
    finish(listener)
    while len(listener.store.peers) > 2:
        listener.turn(1)
    assert ask(listener, other, Op.READ, NODES[-1] + b"\0") == b"new"
    assert len(listener.store.tree) == ALL + 3


def test_the_end_of_the_server_leaves_nothing_half_done(rundir: Path) -> None:
    with (
        Listener(Store(), {0: f"{rundir}/store"}) as listener,
        connect(f"{rundir}/store") as stream,
    ):
        listener.turn(1)
        committing(listener, Wire(stream))
    assert not listener.store.unfinished
    assert listener.store.values()[NODES[-1]] == b"new"
