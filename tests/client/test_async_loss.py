# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client: calls are cancelled, stores fall silent, connections are lost."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

import xsfs
from tests.client.conftest import TOP
from tests.deadline import DEADLINE_S
from tests.xen.link import Link, Way
from tests.xen.wire import Op
from xsfs import Client, Event, NotFound, Timeout
from xsfs.aio.pipeline import Pipeline
from xsfs.protocol import requests
from xsfs.protocol.packet import pack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.xen.daemons import Daemon


@asynccontextmanager
async def connected(path: Path | str) -> AsyncIterator[Pipeline]:
    """A running client, with what the file system uses of it."""
    with anyio.fail_after(DEADLINE_S):
        async with Pipeline(str(path), timeout_s=10) as client:
            yield client


def test_cancelled_at_any_point(loop: str, daemon: Daemon) -> None:
    """Whatever was cancelled, wherever: replies find their requests, nothing is left behind."""
    chance = random.Random(1)

    async def main() -> None:
        async with connected(daemon.socket) as client:
            await client.write(TOP, b"value" * 100)

            async def transact() -> None:
                async def body(tx_id: int) -> None:
                    await client.call(requests.write(TOP + b"/tx", b"1"), tx_id)
                    await client.call(requests.read(TOP), tx_id)

                await client.run_in_transaction(body)

            async def watch() -> None:
                async with client.watch(TOP) as watch:
                    async for _ in watch:
                        pass

            calls = [
                lambda: client.read(TOP),
                lambda: client.batch([requests.read(TOP)] * 200),
                lambda: client.read_tree(b"/"),
                transact,
                watch,
            ]
            for _ in range(300):
                with anyio.move_on_after(chance.expovariate(1000)):
                    await chance.choice(calls)()
                assert await client.read(TOP) == b"value" * 100
            # Watches are taken back, and transactions ended: there is no next of theirs.
            assert not client._connection.subscriptions
            await client.exists(TOP)
            for number in range(1, client._last_token + 1):
                with pytest.raises(NotFound):
                    await client.call(requests.unwatch(TOP, b"xsfs-%d" % number))
            last = await client.call(requests.transaction_start())
            for tx_id in range((client.epoch << 32) + 1, last):
                with pytest.raises(xsfs.StoreError):
                    await client.call(requests.read(TOP), tx_id)

    anyio.run(main, backend=loop)


@pytest.mark.parametrize("op", [Op.TRANSACTION_START, Op.WATCH])
def test_what_comes_too_late_is_undone(loop: str, daemon: Daemon, op: Op) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client:
            await client.write(TOP, b"")
            daemon.freeze()
            client.timeout_s = 0.2
            late = (
                client.watch(TOP).open()
                if op == Op.WATCH
                else client.call(requests.transaction_start())
            )
            with pytest.raises(Timeout):
                await late
            daemon.thaw()
            client.timeout_s = 10
            await client.exists(TOP)
            # Undone when the reply came, so before this reply.
            if op == Op.WATCH:
                with pytest.raises(NotFound):
                    await client.call(requests.unwatch(TOP, b"xsfs-1"))
            else:
                with pytest.raises(xsfs.StoreError):
                    await client.call(requests.read(TOP), (client.epoch << 32) | 1)

    anyio.run(main, backend=loop)


def test_timeouts(loop: str, daemon: Daemon) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client:
            await client.write(TOP, b"old")
            daemon.freeze()
            client.timeout_s = 0.1
            for _ in range(3):
                with pytest.raises(Timeout):
                    await client.read(TOP)
            with pytest.raises(TimeoutError):
                await client.batch([requests.read(TOP)] * 3000)
            with pytest.raises(Timeout):
                await client.write(TOP, b"new")
            daemon.thaw()
            client.timeout_s = 10
            # It was not to be done whenever the store wakes up.
            assert await client.read(TOP) == b"old"

    anyio.run(main, backend=loop)


def test_a_lost_connection_is_made_anew(loop: str, daemon: Daemon) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client:
            told: list[str] = []
            client._connection.on_loss = lambda: told.append("lost")
            client._connection.on_reconnect = lambda: told.append("connected")
            watch = await client.watch(TOP).open()
            assert (await anext(watch)).path == TOP
            tx_id = await client.call(requests.transaction_start())
            daemon.restart()
            # Reads are repeated; watches are set again, and fire.
            assert await client.exists(b"/tool")
            assert told == ["lost", "connected"]
            assert client.epoch == 2
            assert await anext(watch) == Event(TOP, watch.token)
            await client.write(TOP + b"/a", b"")
            assert (await anext(watch)).path == TOP + b"/a"
            # A transaction of before is none of this connection's, whatever its number.
            again = await client.call(requests.transaction_start())
            assert again & 0xFFFFFFFF == tx_id & 0xFFFFFFFF
            with pytest.raises(xsfs.ConnectionError, match="transaction"):
                await client.call(requests.write(TOP, b"lost"), tx_id)
            await client.call(requests.write(TOP, b"kept"), again)
            await client.call(requests.transaction_end(True), again)
            assert await client.read(TOP) == b"kept"

    anyio.run(main, backend=loop)


def test_what_may_have_been_done_is_not_repeated(loop: str, daemon: Daemon) -> None:
    with Link(daemon.rundir / "link", daemon.socket) as link:

        async def main() -> None:
            async with connected(link.socket) as client:
                link.stall(Way.TO_CLIENT)

                async def cut() -> None:
                    await anyio.wait_all_tasks_blocked()
                    link.cut()
                    link.resume()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cut)
                    with pytest.raises(xsfs.ConnectionError):
                        await client.write(TOP, b"once")
                assert await client.exists(b"/tool")

                link.stall(Way.TO_CLIENT)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cut)
                    # A read is.
                    assert await client.exists(b"/tool")

        anyio.run(main, backend=loop)


def test_a_store_that_stays_away(loop: str, daemon: Daemon) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client:
            client.timeout_s = 0.3
            daemon.kill()
            with pytest.raises(Timeout):
                await client.read(b"/tool")
            start = anyio.current_time()
            with pytest.raises(xsfs.PyXSError):
                await client.write(TOP, b"")
            assert anyio.current_time() - start < 5
            daemon.start()
            client.timeout_s = 10
            assert await client.exists(b"/tool")

    anyio.run(main, backend=loop)


def test_a_peer_that_breaks_the_protocol(
    loop: str, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    with Link(daemon.rundir / "link", daemon.socket) as link:

        async def main() -> None:
            async with connected(link.socket) as client:
                # The link has to know of us.
                assert await client.exists(b"/tool")
                link.inject(pack(2, 0xDEAD, 0, b"whose?"))
                await anyio.to_thread.run_sync(link.await_accepted, 2)
                assert await client.exists(b"/tool")
                assert client.epoch == 2

        anyio.run(main, backend=loop)
    assert "not in flight" in caplog.text


def test_byte_by_byte(loop: str, daemon: Daemon) -> None:
    with Link(daemon.rundir / "link", daemon.socket) as link:
        link.split(1)
        link.split(1, way=Way.TO_DAEMON)

        async def main() -> None:
            async with connected(link.socket) as client, client.watch(TOP) as watch:
                await client.write(TOP, b"value\0")
                assert await client.read(TOP) == b"value\0"
                assert await anext(watch) == Event(TOP, watch.token)

        anyio.run(main, backend=loop)


def test_two_clients_in_one_process(loop: str, daemon: Daemon) -> None:
    """One of each kind, for what comes of it to be seen by the other."""

    async def main() -> None:
        async with connected(daemon.socket) as client, client.watch(TOP) as watch:
            await anext(watch)

            def work() -> None:
                with Client(daemon.socket) as other:
                    other[TOP] = b"from a thread"

            await anyio.to_thread.run_sync(work)
            with anyio.fail_after(DEADLINE_S):
                assert (await anext(watch)).path == TOP
            assert await client.read(TOP) == b"from a thread"

    anyio.run(main, backend=loop)
