# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Both clients on Linux's XenBus driver, which answers some requests in ways of its own."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import trio

from tests.deadline import DEADLINE_S
from tests.xen.guest import Guest
from tests.xen.xenbus import XenBus
from xsfs import (
    Client,
    Event,
    InvalidOperation,
    NotFound,
    Router,
    StoreError,
    TooBig,
    UnexpectedPacket,
)
from xsfs.aio.pipeline import Pipeline
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.xen.daemons import Daemon

HOME = b"/local/domain/5"

# More than the quota of watches that either daemon gives a guest (128).
MANY = 200


@pytest.fixture
def bus(daemon: Daemon) -> Iterator[XenBus]:
    """The driver in a guest whose home is HOME."""
    with Guest(daemon, daemon.rundir / "guest") as guest, XenBus(guest.socket) as bus:
        yield bus


def opened(bus: XenBus) -> Client:
    return Client(router=Router(bus), timeout_s=10.0)


def run(bus: XenBus, body: Callable[[Pipeline], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(DEADLINE_S):
            async with Pipeline(bus) as client:
                await body(client)
                assert client.epoch == 1

    trio.run(main)


def test_a_refused_watch_fails_alone(bus: XenBus) -> None:
    with opened(bus) as client, client.monitor() as monitor:

        def watch_many() -> None:
            for number in range(MANY):
                monitor.watch(HOME, b"%d" % number)

        with pytest.raises(StoreError) as refused:
            watch_many()
        assert refused.value.errno in (errno.E2BIG, errno.ENOSPC, errno.EINVAL)
        client[HOME] = b"1"
        assert client[HOME] == b"1"
        monitor.unwatch(HOME, b"0")
        monitor.watch(HOME, b"again")
        for event in monitor.wait(timeout_s=10):
            if event == Event(HOME, b"again"):
                break


def test_a_refused_watch_fails_alone_in_a_batch(bus: XenBus) -> None:
    async def body(client: Pipeline) -> None:
        watches = [requests.watch(HOME, b"%d" % number) for number in range(MANY)]
        *results, value = await client.batch([*watches, requests.read(HOME)])
        assert value == b""
        taken = results.index(next(result for result in results if result is not None))
        assert 0 < taken < MANY
        assert all(isinstance(result, StoreError) for result in results[taken:])
        with pytest.raises(StoreError):
            await client.watch(HOME).open()
        await client.write(HOME, b"1")
        assert await client.read(HOME) == b"1"

    run(bus, body)


def test_a_packet_too_long_for_the_driver_fails_alone(xenstored: Daemon) -> None:
    """Its buffer holds the header and 4080 bytes more."""
    longest = bytes(4080 - len(HOME) - 1)
    with XenBus(xenstored.socket) as bus, opened(bus) as client:
        with pytest.raises(TooBig):
            client[HOME] = longest + b"x"
        client[HOME] = longest
        assert client[HOME] == longest


def test_watches_as_the_driver_has_them(bus: XenBus) -> None:
    with opened(bus) as client:
        watch, unwatch = requests.watch(HOME, b"token"), requests.unwatch(HOME, b"token")
        # Duplicates are set, and what is not there can be taken back.
        assert client.batch([watch, watch, unwatch, unwatch, unwatch]) == [None] * 5


def test_processes_share_the_connection(bus: XenBus) -> None:
    """Replies, events and transactions are each file's own."""
    with opened(bus) as one, opened(bus) as other, one.monitor() as monitor:
        monitor.watch(HOME, b"token")
        assert next(monitor.wait(timeout_s=10)) == Event(HOME, b"token")
        tx_id = other.transaction()
        other[HOME + b"/a"] = b"1"
        one.tx_id = tx_id
        with pytest.raises(NotFound):
            one.read(HOME)
        one.tx_id = 0
        assert other.commit()
        assert next(monitor.wait(timeout_s=10)) == Event(HOME + b"/a", b"token")
        assert one.batch([requests.read(HOME + b"/a")] * 300) == [b"1"] * 300
        with other.monitor() as others:
            others.watch(HOME, b"token")
            assert next(others.wait(timeout_s=10)) == Event(HOME, b"token")


def test_resetting_watches_would_take_the_kernel_s(bus: XenBus) -> None:
    with opened(bus) as client:
        with pytest.raises(InvalidOperation, match="XenBus"):
            client.reset_watches()
        with pytest.raises(InvalidOperation, match="XenBus"):
            client.call(requests.raw(21, b"\0"))
        assert client[HOME] == b""

    async def body(client: Pipeline) -> None:
        with pytest.raises(InvalidOperation, match="XenBus"):
            await client.call(requests.reset_watches())
        assert await client.read(HOME) == b""

    run(bus, body)


@pytest.mark.parametrize("linux", [(4, 9), (4, 14)])
def test_old_kernels_take_one_request_at_a_time(
    xenstored: Daemon, linux: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with XenBus(xenstored.socket, linux) as bus, opened(bus) as client:
        with client.monitor() as monitor:
            client[HOME] = b"1"
            monitor.watch(HOME, b"token")
            assert next(monitor.wait(timeout_s=10)) == Event(HOME, b"token")
        assert client[HOME] == b"1"
        changes = linux == (4, 14)
        assert [record.levelname for record in caplog.records] == ["WARNING"] * changes
        if changes:
            with pytest.raises(UnexpectedPacket):
                client.batch([requests.read(HOME)] * 2)
        else:
            assert client.batch([requests.read(HOME)] * 2) == [b"1"] * 2
