# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client on a character device."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.client.conftest import TOP
from tests.deadline import DEADLINE_S
from tests.xen.device import Device
from xsfs import Client, Event, Timeout
from xsfs.protocol import requests
from xsfs.protocol.packet import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon


@pytest.fixture
def device(daemon: Daemon) -> Iterator[Device]:
    with Device(daemon.socket) as device:
        yield device


@pytest.fixture
def bus(device: Device) -> Iterator[Client]:
    with Client(xen_bus_path=device.path, timeout_s=10.0) as bus:
        yield bus


def test_verbs(bus: Client) -> None:
    bus[TOP] = b"\n\0\x03\x04\x11\x13\x1a\xff\r"
    assert bus[TOP] == b"\n\0\x03\x04\x11\x13\x1a\xff\r"
    assert bus.list(TOP) == []
    bus.run_in_transaction(lambda c: c.write(TOP + b"/a", b"1"))
    assert bus.read_tree(TOP)[TOP + b"/a"] == b"1"
    assert repr(bus).startswith("Client(XenBusConnection('/dev/pts/")


def test_monitors(bus: Client) -> None:
    with bus.monitor() as monitor:
        monitor.watch(TOP, b"token")
        assert next(monitor.wait()) == Event(TOP, b"token")
        bus[TOP] = b"1"
        assert next(monitor.wait()) == Event(TOP, b"token")


def test_each_write_is_one_packet(bus: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def spied(fd: int, data: bytes) -> int:
        sent = write(fd, data)
        if fd == bus.router.link().fileno():
            written.append(bytes(data[:sent]))
        return sent

    monkeypatch.setattr(os, "write", spied)
    bus[TOP] = bytes(2000)
    assert bus.batch([requests.read(TOP)] * 300) == [bytes(2000)] * 300
    assert bus.batch([requests.write(TOP, bytes(2000))] * 30) == [None] * 30
    # What the device does not take in one go is finished before the next begins.
    packets, left = 0, 0
    for data in written:
        if not left:
            packets += 1
            left = HEADER.size + HEADER.unpack_from(data)[3]
        assert len(data) <= left
        left -= len(data)
    assert (packets, left) == (331, 0)


def test_more_than_the_device_takes(bus: Client, device: Device) -> None:
    device.stall()
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(bus.batch, [requests.write(TOP + b"/%d" % number, bytes(1000))] * 100)
            for number in range(4)
        ]
        device.resume()
        for call in calls:
            assert call.result(DEADLINE_S) == [None] * 100


def test_timeout(bus: Client, daemon: Daemon) -> None:
    bus.timeout_s = 0.1
    daemon.freeze()
    with pytest.raises(Timeout):
        bus.read(b"/tool")
    daemon.thaw()
    bus.timeout_s = 10.0
    assert bus.exists(b"/tool")


def test_close_wakes(bus: Client, daemon: Daemon) -> None:
    daemon.freeze()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bus.read, b"/tool")
        while not bus.router.link()._is_led:
            os.sched_yield()
        bus.close()
        with pytest.raises(xsfs.ConnectionError):
            waiting.result(10)
    daemon.thaw()


def test_hang_up(daemon: Daemon) -> None:
    with Device(daemon.socket) as device:
        bus = Client(xen_bus_path=device.path)
        bus.connect()
        assert bus.exists(b"/tool")
    for _ in range(2):
        with pytest.raises(xsfs.ConnectionError):
            bus.read(b"/tool")
    bus.close()


def test_a_socket_in_the_device_s_place(daemon: Daemon) -> None:
    with Client(xen_bus_path=daemon.socket) as bus:
        assert bus.exists(b"/tool")


def test_no_device(daemon: Daemon) -> None:
    with pytest.raises(xsfs.ConnectionError):
        Client(xen_bus_path=daemon.rundir / "nothing").connect()
