# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One client, many threads: whoever waits reads for all, and nobody waits for ever."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.client.conftest import TOP
from tests.deadline import DEADLINE_S
from tests.xen.link import Link
from xsfs import Client, Timeout
from xsfs.protocol import requests
from xsfs.protocol.packet import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tests.xen.daemons import Daemon
    from xsfs.client.client import Transaction

THREADS = 8


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def all_of(pool: ThreadPoolExecutor, body: Callable[[int], object]) -> list[object]:
    """What `body(number)` returns in each of THREADS threads, started together."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> object:
        start.wait(DEADLINE_S)
        return body(number)

    return list(pool.map(run, range(THREADS), timeout=DEADLINE_S))


def test_replies_go_to_those_who_asked(client: Client, pool: ThreadPoolExecutor) -> None:
    def body(number: int) -> None:
        path = TOP + b"/%d" % number
        for turn in range(200):
            client[path] = b"%d %d" % (number, turn)
            assert client[path] == b"%d %d" % (number, turn)

    all_of(pool, body)


def test_long_batches_and_short_calls_together(client: Client, pool: ThreadPoolExecutor) -> None:
    def body(number: int) -> None:
        path = TOP + b"/%d" % number
        value = b"%d" % number * 500
        client[path] = value
        for _ in range(3):
            assert client.batch([requests.read(path)] * 1500) == [value] * 1500
            assert client.list(path) == []

    all_of(pool, body)


def test_each_thread_has_its_own_transaction(client: Client, pool: ThreadPoolExecutor) -> None:
    """One thread's transaction does not swallow what another writes."""
    in_transaction, written = threading.Event(), threading.Event()

    def transact() -> bool:
        client.transaction()
        in_transaction.set()
        assert written.wait(DEADLINE_S)
        client[TOP + b"/inside"] = b"1"
        assert client.tx_id
        client.rollback()
        return client.exists(TOP + b"/inside")

    def write() -> bytes:
        assert in_transaction.wait(DEADLINE_S)
        assert client.tx_id == 0
        client[TOP + b"/outside"] = b"1"
        written.set()
        return client[TOP + b"/outside"]

    first, second = pool.submit(transact), pool.submit(write)
    assert first.result(DEADLINE_S) is False
    assert second.result(DEADLINE_S) == b"1"
    assert client[TOP + b"/outside"] == b"1"


def test_a_transaction_can_be_handed_over(client: Client, pool: ThreadPoolExecutor) -> None:
    tx_id = client.transaction()
    client[TOP] = b"1"

    def finish() -> bool:
        client.tx_id = tx_id
        return client.commit()

    assert pool.submit(finish).result(DEADLINE_S) is True
    client.tx_id = 0
    assert client[TOP] == b"1"


def test_a_counter_that_all_increment(client: Client, pool: ThreadPoolExecutor) -> None:
    client[TOP] = b"0"

    def increment(c: Transaction) -> None:
        c[TOP] = b"%d" % (int(c[TOP]) + 1)

    all_of(pool, lambda _: [client.run_in_transaction(increment, 1000) for _ in range(10)])
    assert client[TOP] == b"%d" % (10 * THREADS)


def test_waiting_for_events_reads_for_others(client: Client, pool: ThreadPoolExecutor) -> None:
    monitor = client.monitor()
    monitor.watch(TOP + b"/signal", b"token")
    events = monitor.wait()
    next(events)
    waiting = pool.submit(next, events)
    for _ in range(100):
        client[TOP + b"/noise"] = b""
    assert not waiting.done()
    client[TOP + b"/signal"] = b"1"
    assert waiting.result(DEADLINE_S) == (TOP + b"/signal", b"token")


def test_each_event_goes_to_one_of_the_threads_that_wait(
    client: Client, other: Client, pool: ThreadPoolExecutor
) -> None:
    monitor = client.monitor()
    monitor.watch(TOP, b"token")
    assert next(monitor.wait()) == (TOP, b"token")
    waiting = [pool.submit(lambda: next(monitor.wait())) for _ in range(5)]
    for number in range(5):
        other[TOP + b"/%d" % number] = b""
    assert {event.result(DEADLINE_S).path for event in waiting} == {
        TOP + b"/%d" % number for number in range(5)
    }


# -- nobody waits for ever ----------------------------------------------------------------------


def blocked(daemon: Daemon, client: Client, pool: ThreadPoolExecutor) -> list[Future[object]]:
    """Threads that wait for replies and events of a daemon that is silent."""
    monitor = client.monitor()
    monitor.watch(b"/watched", b"token")
    events = monitor.wait()
    next(events)
    daemon.freeze()
    calls: list[Callable[[], object]] = [lambda: client.read(b"/tool")] * 3
    calls += [lambda: client.read_tree(b"/"), lambda: next(events)]
    waiting = [pool.submit(call) for call in calls]
    # One leads, the others sleep.
    deadline = time.monotonic() + DEADLINE_S
    link = client.router.link()
    while len(link._waiters) < len(calls) - 1:
        assert time.monotonic() < deadline
        os.sched_yield()
    return waiting


def test_the_daemon_dies(daemon: Daemon, pool: ThreadPoolExecutor) -> None:
    with Client(daemon.socket, timeout_s=100) as client:
        waiting = blocked(daemon, client, pool)
        daemon.kill()
        for call in waiting:
            with pytest.raises(xsfs.ConnectionError):
                call.result(DEADLINE_S)
        with pytest.raises(xsfs.ConnectionError):
            client.read(b"/")
        daemon.start()
        client.connect()
        assert client.exists(b"/tool")


def test_the_client_is_closed(daemon: Daemon, pool: ThreadPoolExecutor) -> None:
    with Client(daemon.socket, timeout_s=100) as client:
        waiting = blocked(daemon, client, pool)
        client.close()
        for call in waiting:
            with pytest.raises(xsfs.ConnectionError, match="closed"):
                call.result(DEADLINE_S)
        daemon.thaw()
        client.connect()
        assert client.exists(b"/tool")


def test_a_reply_that_makes_no_sense(daemon: Daemon, pool: ThreadPoolExecutor) -> None:
    with (
        Link(daemon.rundir / "link", daemon.socket) as link,
        Client(link.socket, timeout_s=100) as client,
    ):
        waiting = blocked(daemon, client, pool)
        link.inject(pack(2, 0xDEAD, 0, b"whose?"))
        for call in waiting:
            with pytest.raises(xsfs.UnexpectedPacket):
                call.result(DEADLINE_S)
        assert not client.router.is_connected
        daemon.thaw()


def test_timeouts(daemon: Daemon, pool: ThreadPoolExecutor) -> None:
    with Client(daemon.socket, timeout_s=0.2) as client:
        client[TOP] = b"old"
        daemon.freeze()
        calls: list[Callable[[], object]] = [
            lambda: client.read(TOP),
            lambda: client.write(TOP, b"new"),
            lambda: client.list(TOP),
            lambda: client.read_tree(TOP),
            lambda: next(client.walk(TOP)),
            client.transaction,
            lambda: client.monitor().watch(TOP, b"token"),
        ]
        start = time.monotonic()
        for call in calls:
            with pytest.raises(Timeout):
                call()
        # Together, too: followers have their own deadlines.
        for future in [pool.submit(call) for call in calls]:
            with pytest.raises(TimeoutError):
                future.result(DEADLINE_S)
        assert time.monotonic() - start < 10
        daemon.thaw()
        client.timeout_s = 10.0
        # Late replies upset nobody, and what was sent was carried out.
        assert client.read(TOP) == b"new"
        assert client.list(TOP) == []


def test_a_timeout_is_for_silence_not_for_work(daemon: Daemon) -> None:
    with (
        Link(daemon.rundir / "link", daemon.socket) as link,
        Client(link.socket, timeout_s=0.5) as client,
    ):
        client[TOP] = b"value"
        # Each reply takes 10 ms on the way, all of them twice the timeout.
        link.split(None, delay_s=0.01)
        assert client.batch([requests.read(TOP)] * 100) == [b"value"] * 100


def test_a_daemon_that_does_not_accept(daemon: Daemon) -> None:
    daemon.freeze()
    with ExitStack() as clients:

        def fill_the_queue() -> None:
            for _ in range(1000):
                clients.enter_context(Client(daemon.socket, timeout_s=0.1))

        with pytest.raises(Timeout):
            fill_the_queue()
    daemon.thaw()
