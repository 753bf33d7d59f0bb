# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Slow, hostile and many clients: what each gets, and that no other client is affected."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.server.conversation import connect
from tests.xen.wire import HEADER, Op, Refused, Wire
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xsfs.server import Running

OK = b"OK\0"


@pytest.fixture
def path() -> Iterator[Running]:
    with running(domains=[5]) as path:
        yield path


@contextlib.contextmanager
def client(path: str) -> Iterator[Wire]:
    """A client that goes at the end."""
    with connect(path) as stream:
        yield Wire(stream)


def pack(op: int, payload: bytes, req_id: int = 1) -> bytes:
    """One request."""
    return HEADER.pack(op, req_id, 0, len(payload)) + payload


def send_until_stuck(stream: socket.socket, data: bytes) -> int:
    """How many bytes the other side takes before it takes no more for half a second."""
    sent = 0
    while sent < len(data):
        if not select.select([], [stream], [], 0.5)[1]:
            break
        sent += stream.send(data[sent : sent + 4096], socket.MSG_DONTWAIT)
    return sent


def receive_all(wire: Wire) -> None:
    """Everything up to the end, which raises."""
    while True:
        wire.receive()


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_store() -> None:
    with running(domains=[5]) as path:
        for name in (path, path.domains[5]):
            assert stat.S_IMODE(os.stat(name).st_mode) == 0o600
    assert not os.path.exists(path)


def test_a_request_byte_by_byte(path: Running) -> None:
    with client(path) as wire:
        for byte in pack(Op.WRITE, b"/a\0v"):
            wire.stream.sendall(bytes([byte]))
        assert wire.receive().payload == OK


def test_a_thousand_requests_at_once_are_answered_in_order(path: Running) -> None:
    with client(path) as wire:
        wire.stream.sendall(b"".join(pack(Op.READ, b"/\0", number) for number in range(1000)))
        assert [wire.receive().req_id for _ in range(1000)] == list(range(1000))


def test_all_is_answered_to_a_client_that_stops_sending(path: Running) -> None:
    with connect(path) as stream:
        stream.sendall(b"".join(pack(Op.READ, b"/\0", number) for number in range(50)))
        stream.shutdown(socket.SHUT_WR)
        wire = Wire(stream)
        assert [wire.receive().req_id for _ in range(50)] == list(range(50))
        with pytest.raises(EOFError):
            wire.receive()


@pytest.mark.parametrize("length", [4097, 0x7FFFFFFF, 0xFFFFFFFF])
def test_an_oversize_packet_ends_the_connection(path: Running, length: int) -> None:
    with client(path) as wire, client(path) as other:
        wire.stream.sendall(pack(Op.WRITE, b"/before\0v"))
        assert wire.receive().payload == OK
        wire.stream.sendall(HEADER.pack(Op.WRITE, 2, 0, length) + b"/after\0v")
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.receive()
        assert other.ask(Op.READ, b"/before\0") == b"v"
        with pytest.raises(Refused, match="ENOENT"):
            other.ask(Op.READ, b"/after\0")


def test_the_longest_payload_is_served(path: Running) -> None:
    value = bytes(4096 - len(b"/a\0"))
    with client(path) as wire:
        assert wire.ask(Op.WRITE, b"/a\0" + value) == OK
        assert wire.ask(Op.READ, b"/a\0") == value


def test_half_a_request_holds_nobody_up(path: Running) -> None:
    with client(path) as half, client(path) as other:
        half.stream.sendall(pack(Op.READ, b"/\0")[:-1])
        assert other.ask(Op.READ, b"/\0") == b""
        half.stream.sendall(b"\0")
        assert half.receive().payload == b""


def test_what_a_client_leaves_goes_with_it(path: Running) -> None:
    with client(path) as other:
        with client(path) as wire:
            wire.ask(Op.WATCH, b"/\0t\0")
            number = int(wire.ask(Op.TRANSACTION_START, b"\0")[:-1])
            wire.ask(Op.WRITE, b"/a\0", number)
            wire.stream.sendall(pack(Op.READ, b"/\0")[:-1])
        with pytest.raises(Refused, match="ENOENT"):
            other.ask(Op.READ, b"/a\0")
        assert other.ask(Op.WRITE, b"/a\0") == OK


def write_long(path: Running) -> None:
    """A node that anyone may read, of nearly a packet."""
    with client(path) as wire:
        wire.ask(Op.WRITE, b"/long\0" + bytes(4000))
        wire.ask(Op.SET_PERMS, b"/long\0r0\0")


@pytest.mark.parametrize("domid", [0, 5])
def test_who_does_not_read_replies_is_read_no_further_and_loses_nothing(
    path: Running, domid: int
) -> None:
    request = pack(Op.READ, b"/long\0")
    write_long(path)
    with connect(path.domains.get(domid, path)) as stream, client(path) as other:
        # More than the store and the sockets' buffers hold back.
        sent = send_until_stuck(stream, request * 20000)
        assert 0 < sent < 20000 * len(request)
        assert other.ask(Op.READ, b"/\0") == b""
        deaf = Wire(stream)
        for _ in range(sent // len(request)):
            assert len(deaf.receive().payload) == 4000


def test_a_guest_that_sends_all_at_once_and_reads_later_gets_all(path: Running) -> None:
    write_long(path)
    with connect(path.domains[5]) as stream:
        # More than may wait in events, and more than one receive's worth of requests.
        requests = b"".join(pack(Op.READ, b"/long\0", number) for number in range(4000))
        stream.sendall(requests)
        stream.shutdown(socket.SHUT_WR)
        wire = Wire(stream)
        for number in range(4000):
            packet = wire.receive()
            assert (packet.req_id, len(packet.payload)) == (number, 4000)
        with pytest.raises(EOFError):
            wire.receive()


def test_what_comes_before_a_broken_packet_is_answered(path: Running) -> None:
    write_long(path)
    with connect(path) as stream:
        stream.sendall(pack(Op.READ, b"/long\0") * 700 + HEADER.pack(Op.READ, 1, 0, 4097))
        wire = Wire(stream)
        for _ in range(700):
            assert len(wire.receive().payload) == 4000
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.receive()


def test_a_client_that_goes_with_replies_unread_is_let_go(path: Running) -> None:
    write_long(path)
    with client(path) as other:
        with connect(path.domains[5]) as stream:
            stream.sendall(pack(Op.WATCH, b"/long\0t\0"))
            send_until_stuck(stream, pack(Op.READ, b"/long\0") * 20000)
            assert watches_of_domain_5(other) == 1
        deadline_s = time.monotonic() + 5
        while watches_of_domain_5(other):
            assert time.monotonic() < deadline_s


def watches_of_domain_5(wire: Wire) -> int:
    """How many watches the domain has, as the store counts them."""
    said = wire.ask(Op.CONTROL, b"quota\0005\0")
    return int(said.partition(b"watches")[2].split()[1])


def test_who_does_not_read_events_is_given_up(path: Running) -> None:
    token = b"t" * 3900
    with client(path.domains[5]) as deaf, client(path) as other:
        deaf.ask(Op.WATCH, b"/shared\0" + token + b"\0")
        other.ask(Op.WRITE, b"/shared\0")
        other.ask(Op.SET_PERMS, b"/shared\0r0\0")
        # 2 MiB is what xenstored lets a domain have; the sockets' buffers come on top.
        for number in range(1000):
            other.ask(Op.WRITE, b"/shared/%d\0" % number)
        with pytest.raises((EOFError, ConnectionResetError)):
            receive_all(deaf)
        assert other.ask(Op.READ, b"/shared/999\0") == b""


def test_equal_events_wait_once(path: Running) -> None:
    with client(path) as deaf, client(path) as other:
        deaf.ask(Op.WATCH, b"/a\0" + b"t" * 3900 + b"\0")
        for number in range(2000):
            other.send(Op.WRITE, b"/a\0%d" % number)
            other.receive()
        events = 0
        deaf.send(Op.READ, b"/a\0", 9)
        while (packet := deaf.receive()).op == Op.WATCH_EVENT:
            events += 1
        assert packet.payload == b"1999"
        # What the socket's buffers hold, and one.
        assert 1 < events < 500


def test_an_event_for_a_later_change_is_never_merged_into_one_before_a_reply(
    path: Running,
) -> None:
    """A cache that believes the reply has to hear of every change after it."""
    with client(path) as wire:
        wire.ask(Op.WATCH, b"/a\0t\0")
        wire.event()
        wire.stream.sendall(
            pack(Op.WRITE, b"/a\0001", 1)
            + pack(Op.READ, b"/a\0", 2)
            + pack(Op.WRITE, b"/a\0002", 3)
        )
        ops = [wire.receive().op for _ in range(5)]
        assert ops == [Op.WATCH_EVENT, Op.WRITE, Op.READ, Op.WATCH_EVENT, Op.WRITE]


def test_a_domain_that_is_released_is_cut_off(path: Running) -> None:
    with client(path) as dom0, client(path.domains[5]) as guest:
        assert guest.ask(Op.GET_DOMAIN_PATH, b"5\0") == b"/local/domain/5\0"
        dom0.ask(Op.RELEASE, b"5\0")
        with pytest.raises((EOFError, ConnectionResetError)):
            guest.receive()
        with client(path.domains[5]) as again, pytest.raises((EOFError, OSError)):
            again.ask(Op.READ, b"/\0")
        dom0.ask(Op.INTRODUCE, b"5\0001\0001\0")
        with client(path.domains[5]) as again:
            assert again.ask(Op.GET_DOMAIN_PATH, b"5\0") == b"/local/domain/5\0"


@contextlib.contextmanager
def process(path: Path, descriptors: int) -> Iterator[None]:
    """The store as a process that may have so many descriptors."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with subprocess.Popen(
        [sys.executable, "-m", "xsfs.server", "--socket", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline()
        try:
            yield
        finally:
            started.terminate()
            started.communicate(timeout=DEADLINE_S)
    assert started.returncode == 0


def test_thousands_of_connections(rundir: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with process(rundir / "s", 4096), contextlib.ExitStack() as stack:
            wires = [stack.enter_context(client(str(rundir / "s"))) for _ in range(3000)]
            for number, wire in enumerate(wires):
                wire.send(Op.WATCH, b"/a\0%d\0" % number)
            for wire in wires:
                assert wire.receive().payload == OK
                assert wire.receive().op == Op.WATCH_EVENT
            wires[0].ask(Op.WRITE, b"/a\0")
            for number, wire in enumerate(wires):
                assert wire.event() == (b"/a", b"%d" % number)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_those_who_are_in_are_served_and_others_wait(rundir: Path) -> None:
    with process(rundir / "s", 40), contextlib.ExitStack() as stack:
        streams = [stack.enter_context(connect(str(rundir / "s"))) for _ in range(60)]
        assert Wire(streams[0]).ask(Op.READ, b"/\0") == b""
        late = Wire(streams[-1])
        late.send(Op.READ, b"/\0")
        for stream in streams[:-1]:
            stream.close()
        assert late.receive().payload == b""
