# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The harness itself: a bad link does each kind of harm, and no other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.xen.link import Link, Way
from tests.xen.wire import HEADER, Op, Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon


@pytest.fixture
def client(daemon: Daemon, link: Link) -> Iterator[socket.socket]:
    with daemon.connect(path=link.socket) as client:
        yield client


def test_undisturbed_link_passes_everything(client: socket.socket, link: Link) -> None:
    link.await_accepted(1)
    wire = Wire(client)
    wire.ask(Op.WATCH, b"/a\0token\0")
    assert wire.event() == (b"/a", b"token")
    for number in range(100):
        wire.send(Op.WRITE, b"/b\0%d" % number, req_id=number)
    assert [wire.receive().req_id for _ in range(100)] == list(range(100))


def test_cut_breaks_now_and_lets_clients_come_again(
    client: socket.socket, link: Link, daemon: Daemon
) -> None:
    Wire(client).ask(Op.READ, b"/tool\0")
    assert link.cut().is_set()
    assert client.recv(1) == b""
    with daemon.connect(path=link.socket) as again:
        Wire(again).ask(Op.READ, b"/tool\0")
    link.await_accepted(2)


def test_cut_in_the_middle_of_a_reply(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    wire.ask(Op.WRITE, b"/a\0value")
    cut = link.cut(after=HEADER.size + 2)
    wire.send(Op.READ, b"/a\0")
    with client.makefile("rb") as replies:
        assert replies.read().endswith(b"va")
    assert cut.wait(DEADLINE_S)


def test_stalled_ways_hold_everything_back_until_resumed(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    for ways in ([], [Way.TO_DAEMON], [Way.TO_CLIENT]):
        link.stall(*ways)
        wire.send(Op.READ, b"/tool\0")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.receive()
        client.settimeout(DEADLINE_S)
        link.resume()
        assert wire.receive().op == Op.READ


@pytest.mark.parametrize("way", Way)
def test_split_byte_by_byte_with_a_delay(client: socket.socket, link: Link, way: Way) -> None:
    delay_s = 0.002
    link.split(1, delay_s, way)
    begin_s = time.monotonic()
    Wire(client).ask(Op.WRITE, b"/a\0value")
    least = len(b"OK\0") if way is Way.TO_CLIENT else len(b"/a\0value")
    assert time.monotonic() - begin_s >= (HEADER.size + least - 1) * delay_s


def test_swallowed_reply_never_comes(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    swallowed = link.swallow()
    wire.send(Op.WATCH, b"/a\0token\0", req_id=1)
    assert swallowed.wait(DEADLINE_S)
    wire.send(Op.READ, b"/tool\0", req_id=2)
    assert [wire.receive().op for _ in range(2)] == [Op.WATCH_EVENT, Op.READ]


def test_swallowed_event_never_comes(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    swallowed = link.swallow(op=Op.WATCH_EVENT)
    wire.ask(Op.WATCH, b"/a\0token\0")
    assert swallowed.wait(DEADLINE_S)
    wire.ask(Op.WRITE, b"/a/b\0")
    assert wire.event() == (b"/a/b", b"token")


def test_forged_reply_comes_instead(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    link.forge(lambda packet: packet[:-1] + b"?", op=Op.WRITE)
    assert wire.ask(Op.READ, b"/\0") == b""
    assert wire.ask(Op.WRITE, b"/a\0value") == b"OK?"
    assert wire.ask(Op.WRITE, b"/a\0value") == b"OK\0"


def test_injected_bytes_come_between_packets(client: socket.socket, link: Link) -> None:
    wire = Wire(client)
    wire.ask(Op.READ, b"/tool\0")
    link.inject(HEADER.pack(99, 7, 8, 4) + b"junk")
    assert wire.receive() == (99, 7, 8, b"junk")
    link.inject(HEADER.pack(Op.WRITE, 5, 0, 4) + b"/b\0x", Way.TO_DAEMON)
    assert wire.receive().req_id == 5
    assert wire.ask(Op.READ, b"/b\0") == b"x"


def test_death_of_the_daemon_reaches_the_client(
    client: socket.socket, link: Link, daemon: Daemon
) -> None:
    Wire(client).ask(Op.READ, b"/tool\0")
    daemon.kill()
    assert client.recv(1) == b""
    with daemon.connect(path=link.socket) as nobody, nobody.makefile("rb") as replies:
        assert replies.read() == b""
    daemon.start()
    with daemon.connect(path=link.socket) as again:
        Wire(again).ask(Op.READ, b"/tool\0")
