# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client on a bad link: it waits, gives up, comes back, in bounds."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from tests.deadline import DEADLINE_S
from tests.xen.lies import ERRORS, LIES, ODDITIES
from tests.xen.link import Link, Way
from tests.xen.wire import HEADER, Op
from xsfs.aio.pipeline import Pipeline
from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.errors import StoreError, Timeout
from xsfs.protocol import requests

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable

    from tests.xen.daemons import Daemon

# For a busy machine, where nothing is to time out; and where something is.
PATIENT_S = 15.0
TIMEOUT_S = 1.0
# For a machine that has much else to do.
SLACK_S = 3.0


def run(loop: str, link: Link, body: Callable[[Pipeline], Awaitable[None]]) -> None:
    async def main() -> None:
        with anyio.fail_after(2 * PATIENT_S):
            async with Pipeline(str(link.socket), timeout_s=PATIENT_S) as client:
                await body(client)

    anyio.run(main, backend=loop)


async def happened(event: threading.Event) -> None:
    assert await anyio.to_thread.run_sync(event.wait, 5)


async def reconnected(client: Pipeline, epoch: int) -> None:
    """Until the client is connected for the time after `epoch`; `run` has the deadline."""
    while client.epoch <= epoch:
        # On a busy machine a connection, or an answer, may take longer than a call waits for it.
        with suppress(Timeout):
            await client.call(requests.read(b"/"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_write_whose_reply_was_lost_is_not_repeated(
    loop: str, daemon: Daemon, link: Link
) -> None:
    async def body(client: Pipeline) -> None:
        await client.mkdir(b"/w")
        swallowed = link.swallow()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, client)
            await happened(swallowed)
            # Whoever writes now is not to be overwritten.
            daemon.tool("xenstore-write", "/w/x", "theirs")
            link.cut()
        await reconnected(client, 1)
        assert await client.read(b"/w/x") == b"theirs"

    async def write(client: Pipeline) -> None:
        with pytest.raises(StoreConnectionError):
            await client.write(b"/w/x", b"ours")

    run(loop, link, body)


def test_a_read_whose_reply_was_lost_is_asked_for_again(
    loop: str, daemon: Daemon, link: Link
) -> None:
    async def body(client: Pipeline) -> None:
        await client.write(b"/r", b"1")
        cut = link.cut(after=HEADER.size)
        assert await client.read(b"/r") == b"1"
        assert cut.is_set()

    run(loop, link, body)


@pytest.mark.parametrize("way", Way)
def test_a_stalled_store_is_given_up_in_time(
    loop: str, link: Link, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(client: Pipeline) -> None:
        client.timeout_s = TIMEOUT_S
        link.stall(way)
        for attempt in range(2):
            start_s = anyio.current_time()
            with pytest.raises(Timeout):
                await client.write(b"/never", b"%d" % attempt)
            assert anyio.current_time() - start_s < TIMEOUT_S + SLACK_S
        link.resume()
        await reconnected(client, 1)

    run(loop, link, body)
    assert [line.split(": ", 1)[1][:15] for line in warnings(caplog)] == [
        "connection lost",
        "connected again",
    ]


def test_what_was_not_sent_in_time_is_never_done(loop: str, daemon: Daemon, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        client.timeout_s = TIMEOUT_S
        link.stall(Way.TO_DAEMON)
        big = bytes(4000)

        async def write(number: int) -> None:
            with pytest.raises(StoreConnectionError):
                await client.write(b"/late/%d" % number, big)

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(write, number)
        link.resume()
        await reconnected(client, 1)
        # What the sockets held may be done yet.
        await client.mkdir(b"/late")
        assert len(await client.list(b"/late")) < 200

    run(loop, link, body)


def test_transactions_end_with_their_connection(loop: str, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        old = await client.call(requests.transaction_start())
        link.cut()
        await reconnected(client, 1)
        new = await client.call(requests.transaction_start())
        # The store counts from 1 again.
        with pytest.raises(StoreConnectionError):
            await client.call(requests.write(b"/x", b"by the old one"), old)
        await client.call(requests.write(b"/y", b"by the new one"), new)
        await client.call(requests.transaction_end(True), new)
        assert await client.read(b"/y") == b"by the new one"
        assert b"x" not in await client.list(b"/")

    run(loop, link, body)


def test_a_transaction_lost_before_its_commit_starts_over(loop: str, link: Link) -> None:
    attempts = 0

    async def work(client: Pipeline, tx_id: int) -> None:
        nonlocal attempts
        attempts += 1
        await client.call(requests.write(b"/t/%d" % attempts, b""), tx_id)
        if attempts < 3:
            link.cut()
        await client.call(requests.write(b"/t/done", b""), tx_id)

    async def body(client: Pipeline) -> None:
        await client.run_in_transaction(lambda tx_id: work(client, tx_id))
        assert sorted(await client.list(b"/t")) == [b"3", b"done"]

    run(loop, link, body)


def test_a_commit_whose_reply_was_lost_is_not_repeated(
    loop: str, daemon: Daemon, link: Link
) -> None:
    async def body(client: Pipeline) -> None:
        client.timeout_s = TIMEOUT_S
        attempts = 0

        async def work(tx_id: int) -> None:
            nonlocal attempts
            attempts += 1
            await client.call(requests.write(b"/c/%d" % attempts, b""), tx_id)
            link.swallow(op=Op.TRANSACTION_END)

        with pytest.raises(Timeout):
            await client.run_in_transaction(work)
        assert attempts == 1
        assert await client.list(b"/c") == [b"1"]

    run(loop, link, body)


def test_a_frozen_store_holds_a_transaction_no_longer_than_the_timeout(
    loop: str, daemon: Daemon, link: Link
) -> None:
    async def body(client: Pipeline) -> None:
        client.timeout_s = TIMEOUT_S

        async def work(tx_id: int) -> None:
            daemon.freeze()
            await client.call(requests.write(b"/f", b""), tx_id)

        start_s = anyio.current_time()
        with pytest.raises(Timeout):
            await client.run_in_transaction(work)
        assert anyio.current_time() - start_s < TIMEOUT_S + SLACK_S
        with pytest.raises(Timeout):
            await client.run_in_transaction(work)
        daemon.thaw()
        await reconnected(client, 1)
        assert b"f" not in await client.list(b"/")

    run(loop, link, body)


def test_watches_are_set_again_and_fire(loop: str, daemon: Daemon, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        async with client.watch(b"/a") as watch:
            assert (await anext(watch)).path == b"/a"
            daemon.restart()
            assert (await anext(watch)).path == b"/a"
            daemon.tool("xenstore-write", "/a/b", "1")
            assert (await anext(watch)).path == b"/a/b"

    run(loop, link, body)


def test_a_watch_renewed_while_the_store_goes_is_set_again(
    loop: str, daemon: Daemon, link: Link
) -> None:
    async def body(client: Pipeline) -> None:
        watch = await client.watch(b"/a").open()
        await anext(watch)
        link.swallow(op=Op.UNWATCH)
        cut = link.cut(after=2 * HEADER.size)
        with pytest.raises(StoreConnectionError):
            await watch.renew()
        await happened(cut)
        assert (await anext(watch)).path == b"/a"
        await watch.renew()
        assert (await anext(watch)).path == b"/a"
        await client.write(b"/a", b"1")
        assert (await anext(watch)).path == b"/a"

    run(loop, link, body)


def test_a_store_that_hangs_up_at_once_is_not_asked_in_a_loop(
    loop: str, daemon: Daemon, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(client: Pipeline) -> None:
        client.timeout_s = TIMEOUT_S
        # The link takes connections still, and closes them.
        daemon.kill()
        with pytest.raises(Timeout):
            await client.read(b"/")
        daemon.start()
        await reconnected(client, 1)

    run(loop, link, body)
    assert link.accepted < 30
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize("lie", LIES)
def test_a_peer_that_lies_is_left_once(
    loop: str, link: Link, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    forgery, reason = LIES[lie]

    async def body(client: Pipeline) -> None:
        await client.write(b"/a", b"true")
        again = anyio.Event()
        client._connection.on_reconnect = again.set
        link.forge(forgery, op=Op.READ)
        # Asked again where it was not answered.
        assert await client.read(b"/a") == b"true"
        await again.wait()
        assert await client.read(b"/a") == b"true"
        assert client.epoch == 2

    run(loop, link, body)
    lost, connected_again = warnings(caplog)
    assert "connection lost" in lost
    assert reason in lost
    assert "connected again" in connected_again


def test_a_peer_that_never_stops_lying_is_given_up_in_time(loop: str, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        await client.write(b"/a", b"true")
        client.timeout_s = TIMEOUT_S
        link.forge(LIES["a type of no request"][0], count=1_000_000, op=Op.READ)
        start_s = anyio.current_time()
        with pytest.raises(Timeout):
            await client.read(b"/a")
        assert anyio.current_time() - start_s < TIMEOUT_S + SLACK_S
        link.forge(bytes)
        await reconnected(client, 1)
        assert await client.read(b"/a") == b"true"

    run(loop, link, body)
    assert link.accepted < 30


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_nobody_asked_for_is_passed_over(
    loop: str, link: Link, oddity: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(client: Pipeline) -> None:
        await client.write(b"/a", b"true")
        link.forge(ODDITIES[oddity], op=Op.READ)
        assert await client.read(b"/a") == b"true"
        assert client.epoch == 1

    run(loop, link, body)
    assert warnings(caplog) == []


@pytest.mark.parametrize("error", ERRORS)
def test_any_error_is_an_error(loop: str, link: Link, error: str) -> None:
    forgery, number = ERRORS[error]

    async def body(client: Pipeline) -> None:
        link.forge(forgery, op=Op.READ)
        with pytest.raises(StoreError) as caught:
            await client.read(b"/")
        assert caught.value.errno == number
        assert str(caught.value).isprintable()
        assert client.epoch == 1

    run(loop, link, body)


def test_nothing_is_left_behind_by_many_losses(loop: str, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        await client.write(b"/a", b"1")
        async with client.watch(b"/a"):
            await reconnected(client, 0)
            tasks = len(anyio.get_running_tasks())
            descriptors = len(os.listdir("/proc/self/fd"))
            for epoch in range(1, 21):
                link.cut()
                await reconnected(client, epoch)
            await anyio.wait_all_tasks_blocked()
            assert len(anyio.get_running_tasks()) == tasks
        # The link's own threads may not have closed their ends yet.
        with anyio.fail_after(DEADLINE_S):
            while len(os.listdir("/proc/self/fd")) > descriptors:
                await anyio.lowlevel.checkpoint()

    run(loop, link, body)


def test_replies_split_at_each_byte(loop: str, link: Link) -> None:
    async def body(client: Pipeline) -> None:
        link.split(1)
        for number in range(20):
            await client.write(b"/s/%d" % number, b"v" * number)
        assert len(await client.list(b"/s")) == 20
        assert await client.read(b"/s/19") == b"v" * 19
        assert client.epoch == 1

    run(loop, link, body)


def test_a_receiver_that_fails_costs_no_connection(
    loop: str, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(client: Pipeline) -> None:
        def fail(event: object, first: bool) -> None:
            raise RuntimeError("a fault")

        suspected = anyio.Event()
        client._connection.on_reconnect = suspected.set
        await client.watch(b"/a", deliver=fail).open()
        await suspected.wait()
        assert await client.read(b"/") == b""
        assert client.epoch == 1

    run(loop, link, body)
    assert ["was not handled" in line for line in warnings(caplog)] == [True]


def test_a_store_that_does_not_answer_at_first(loop: str, link: Link) -> None:
    link.stall(Way.TO_CLIENT)

    async def main() -> None:
        with pytest.raises(Timeout):
            await Pipeline(str(link.socket), timeout_s=0.3).__aenter__()

    anyio.run(main, backend=loop)
    link.resume()
