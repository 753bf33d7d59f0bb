# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client on a bad link to the real daemons: errors in time, never a hang.

It does not connect anew by itself: its user is told, and does.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.xen.lies import ERRORS, LIES, ODDITIES
from tests.xen.link import Link, Way
from tests.xen.wire import HEADER, Op
from xsfs import Client, StoreError, Timeout, UnexpectedPacket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

TIMEOUT_S = 0.3


@pytest.fixture
def client(link: Link) -> Iterator[Client]:
    with Client(link.socket, timeout_s=DEADLINE_S) as client:
        client.write(b"/a", b"true")
        yield client


@pytest.mark.parametrize("lie", LIES)
def test_a_peer_that_lies_is_left(client: Client, link: Link, lie: str) -> None:
    forgery, reason = LIES[lie]
    link.forge(forgery, op=Op.READ)

    def read_twice() -> None:
        # What came before the lie counts.
        for _ in range(2):
            assert client.read(b"/a") == b"true"

    with pytest.raises(UnexpectedPacket, match=reason) as caught:
        read_twice()
    assert str(caught.value).isprintable()
    with pytest.raises(xsfs.ConnectionError):
        client.read(b"/a")
    client.connect()
    assert client.read(b"/a") == b"true"
    assert link.accepted == 2


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_nobody_asked_for_is_passed_over(client: Client, link: Link, oddity: str) -> None:
    link.forge(ODDITIES[oddity], op=Op.READ)
    assert client.read(b"/a") == b"true"
    assert client.read(b"/a") == b"true"
    assert link.accepted == 1


@pytest.mark.parametrize("error", ERRORS)
def test_any_error_is_an_error(client: Client, link: Link, error: str) -> None:
    forgery, number = ERRORS[error]
    link.forge(forgery, op=Op.READ)
    with pytest.raises(StoreError) as caught:
        client.read(b"/a")
    assert caught.value.errno == number
    assert str(caught.value).isprintable()
    assert client.read(b"/a") == b"true"


@pytest.mark.parametrize("after", [0, 1, HEADER.size, HEADER.size + 2])
def test_a_link_cut_in_a_reply(client: Client, link: Link, after: int) -> None:
    monitor = client.monitor()
    monitor.watch(b"/b", b"token")
    events = monitor.wait()
    next(events)
    cut = link.cut(after=after)
    with pytest.raises(xsfs.ConnectionError):
        client.read(b"/a")
    assert cut.wait(DEADLINE_S)
    with pytest.raises(xsfs.ConnectionError):
        next(events)
    client.connect()
    assert client.read(b"/a") == b"true"


@pytest.mark.parametrize("way", Way)
def test_a_stalled_link_is_given_up_in_time(client: Client, link: Link, way: Way) -> None:
    client.timeout_s = TIMEOUT_S
    link.stall(way)
    for _ in range(2):
        start_s = time.monotonic()
        with pytest.raises(Timeout):
            client.read(b"/a")
        assert time.monotonic() - start_s < DEADLINE_S / 2
    link.resume()
    client.timeout_s = DEADLINE_S
    assert client.read(b"/a") == b"true"


def test_a_write_whose_reply_was_lost_is_not_repeated(
    daemon: Daemon, client: Client, link: Link
) -> None:
    swallowed = link.swallow(op=Op.WRITE)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(client.write, b"/a", b"ours")
        assert swallowed.wait(DEADLINE_S)
        # Whoever writes now is not to be overwritten.
        daemon.tool("xenstore-write", "/a", "theirs")
        link.cut()
        with pytest.raises(xsfs.ConnectionError):
            writing.result(DEADLINE_S)
    client.connect()
    assert client.read(b"/a") == b"theirs"


def test_a_transaction_ends_with_its_connection(daemon: Daemon, client: Client, link: Link) -> None:
    client.transaction()
    client.write(b"/a", b"never")
    link.cut()
    with pytest.raises(xsfs.ConnectionError):
        client.commit()
    client.connect()
    assert client.read(b"/a") == b"true"
    client.write(b"/a", b"outside of it")
    assert daemon.tool("xenstore-read", "/a").stdout == b"outside of it\n"


def test_no_descriptor_is_left_by_many_losses(daemon: Daemon) -> None:
    with Client(daemon.socket, timeout_s=DEADLINE_S) as client:
        client.read(b"/")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            daemon.restart()
            with pytest.raises(xsfs.ConnectionError):
                client.read(b"/")
            client.connect()
            client.read(b"/")
        assert len(os.listdir("/proc/self/fd")) == before
