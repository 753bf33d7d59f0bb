# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The harness itself: guests talk to the real daemons through rings, come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.xen.daemons import Daemon, DomainState
from tests.xen.rings import RING_SIZE, Hypervisor, Ring
from tests.xen.wire import HEADER, Op, Refused, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

GUEST = 5


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Wire]:
    """Domain 0's toolstack, through the socket."""
    with daemon.connect() as client:
        yield Wire(client)


@pytest.fixture
def hypervisor(daemon: Daemon) -> Iterator[Hypervisor]:
    with Hypervisor(daemon.rundir) as hypervisor:
        yield hypervisor


@pytest.fixture
def guest(daemon: Daemon, host: Wire, hypervisor: Hypervisor) -> Iterator[Wire]:
    """An introduced domain with a home of its own."""
    hypervisor.create(GUEST)
    with Ring(daemon.rundir, GUEST, port=9) as ring:
        host.ask(Op.INTRODUCE, b"5\0001\0009\0")
        host.ask(Op.MKDIR, b"/local/domain/5\0")
        host.ask(Op.SET_PERMS, b"/local/domain/5\0n5\0")
        yield Wire(ring)


def errno_of(wire: Wire, op: Op, payload: bytes) -> bytes:
    with pytest.raises(Refused) as refused:
        wire.ask(op, payload)
    return bytes(refused.value.args[0])


def test_guest_reads_and_writes_its_home_alone(guest: Wire, host: Wire) -> None:
    guest.ask(Op.WRITE, b"name\0web")
    assert host.ask(Op.READ, b"/local/domain/5/name\0") == b"web"
    assert errno_of(guest, Op.READ, b"/tool\0") == b"EACCES"
    assert errno_of(guest, Op.WRITE, b"/tool\0x") == b"EACCES"
    assert errno_of(guest, Op.INTRODUCE, b"6\0001\0001\0") == b"EACCES"


def test_packets_longer_than_the_ring(guest: Wire) -> None:
    value = bytes(range(1, 256)) * 7
    assert len(value) > RING_SIZE
    for _ in range(3):  # across the ring's end at several places
        guest.ask(Op.WRITE, b"long\0" + value)
        assert guest.ask(Op.READ, b"long\0") == value


def test_guest_that_never_reads_is_held_back(guest: Wire) -> None:
    assert isinstance(guest.stream, Ring)
    guest.stream.timeout_s = 0.2
    request = HEADER.pack(Op.READ, 1, 0, 2) + b"x\0"
    with pytest.raises(TimeoutError):
        guest.stream.sendall(request * 10_000)
    guest.stream.timeout_s = 5.0
    assert guest.receive().op == Op.ERROR


def test_guest_hears_changes_in_its_home(guest: Wire, host: Wire) -> None:
    guest.ask(Op.WATCH, b"control\0token\0")
    assert guest.event() == (b"control", b"token")
    host.ask(Op.WRITE, b"/local/domain/5/control/shutdown\0poweroff")
    assert guest.event() == (b"control/shutdown", b"token")


def test_guest_meets_quotas(guest: Wire, daemon: Daemon) -> None:
    watches, error = (129, b"E2BIG") if daemon.kind == "xenstored" else (101, b"EQUOTA")
    for number in range(watches):
        guest.ask(Op.WATCH, b"x\0%d\0" % number)
    assert errno_of(guest, Op.WATCH, b"x\0more\0") == error
    for _ in range(11):
        guest.ask(Op.TRANSACTION_START, b"\0")
    full = b"ENOSPC" if daemon.kind == "xenstored" else b"EQUOTA"
    assert errno_of(guest, Op.TRANSACTION_START, b"\0") == full


def test_introduction_and_shutdown_and_death_are_announced(
    host: Wire, hypervisor: Hypervisor, daemon: Daemon
) -> None:
    for special in (b"@introduceDomain", b"@releaseDomain"):
        host.ask(Op.WATCH, special + b"\0t\0")
        assert host.event() == (special, b"t")
    hypervisor.create(GUEST)
    with Ring(daemon.rundir, GUEST):
        host.ask(Op.INTRODUCE, b"5\0001\0001\0")
        assert host.event() == (b"@introduceDomain", b"t")
        assert host.ask(Op.IS_DOMAIN_INTRODUCED, b"5\0") == b"T\0"
        for state in (DomainState.SHUTDOWN, DomainState.DYING):
            hypervisor.change(GUEST, state)
            assert host.event() == (b"@releaseDomain", b"t")
        assert host.ask(Op.IS_DOMAIN_INTRODUCED, b"5\0") == b"F\0"


def test_domain_that_does_not_exist_cannot_be_introduced(host: Wire) -> None:
    assert errno_of(host, Op.INTRODUCE, b"5\0001\0001\0") == b"EINVAL"


def test_domain_0_has_a_ring_too(daemon: Daemon) -> None:
    with Ring(daemon.rundir, 0) as ring:
        kernel = Wire(ring)
        kernel.ask(Op.WRITE, b"/a\0one")
        assert kernel.ask(Op.READ, b"/a\0") == b"one"
