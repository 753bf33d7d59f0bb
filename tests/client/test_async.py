# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client as its users meet it, under trio and asyncio, on both real daemons."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import anyio
import pytest
import trio

import xsfs
from tests.client.conftest import TOP
from tests.deadline import DEADLINE_S
from tests.xen.device import Device
from tests.xen.rings import Hypervisor, Ring
from xsfs import (
    Conflict,
    Event,
    EventsLost,
    InvalidOperation,
    InvalidPath,
    NotFound,
    NotSupported,
    StoreError,
)
from xsfs.aio import watch as aio_watch
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.xen.daemons import Daemon
    from xsfs.aio import Client, Transaction, Watch

Run: TypeAlias = "Callable[[Callable[[Client], Awaitable[None]]], None]"


@pytest.fixture(params=["trio", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """Both, also with each daemon."""
    name: str = request.param
    return name


@pytest.fixture(params=["socket", "device"])
def run(request: pytest.FixtureRequest, daemon: Daemon, loop: str) -> Run:
    """Runs a coroutine function with a client of a fresh daemon, by a socket or a device."""

    async def on(path: Path | str, body: Callable[[Client], Awaitable[None]]) -> None:
        with anyio.fail_after(DEADLINE_S):
            async with xsfs.aio.Client(str(path)) as client:
                await body(client)

    def run(body: Callable[[Client], Awaitable[None]]) -> None:
        if request.param == "socket":
            anyio.run(on, daemon.socket, body, backend=loop)
        else:
            with Device(daemon.socket) as device:
                anyio.run(on, device.path, body, backend=loop)

    return run


def test_nodes(run: Run) -> None:
    async def body(client: Client) -> None:
        with pytest.raises(NotFound):
            await client.read(TOP + b"/a")
        assert await client.read(TOP + b"/a", b"d") == b"d"
        await client.write(TOP + b"/a", b"1\0\n")
        assert await client.read(TOP + b"/a") == b"1\0\n"
        await client.mkdir(TOP + b"/b/c")
        assert sorted(await client.list(TOP)) == [b"a", b"b"]
        assert await client.exists(TOP + b"/b/c") is True
        await client.set_perms(TOP, [b"n0", b"r1"])
        assert await client.get_perms(TOP) == [b"n0", b"r1"]
        assert await client.read_tree(TOP) == {
            TOP: b"",
            TOP + b"/a": b"1\0\n",
            TOP + b"/b": b"",
            TOP + b"/b/c": b"",
        }
        await client.delete(TOP + b"/b")
        assert await client.exists(TOP + b"/b") is False
        with pytest.raises(InvalidPath):
            await client.read(TOP + b"/")

    run(body)


def test_walk(run: Run) -> None:
    async def body(client: Client) -> None:
        for path in (b"/a/x", b"/a/y", b"/b"):
            await client.write(TOP + path, b"v")
        below = [path async for path, _, _ in client.walk(TOP)]
        assert below == [TOP + path for path in (b"", b"/a", b"/a/x", b"/a/y", b"/b")]
        below = [path async for path, _, _ in client.walk(TOP, False)]
        assert below == [TOP + path for path in (b"/a/x", b"/a/y", b"/a", b"/b", b"")]
        with pytest.raises(NotFound):
            await anext(client.walk(TOP + b"/c"))

    run(body)


def test_batch(run: Run) -> None:
    async def body(client: Client) -> None:
        wanted = [requests.write(TOP + b"/%d" % number, b"%d" % number) for number in range(3000)]
        assert await client.batch(wanted) == [None] * 3000
        results = await client.batch(
            [requests.read(TOP + b"/%d" % (number % 3001)) for number in range(3001)]
        )
        assert results[:3000] == [b"%d" % number for number in range(3000)]
        assert isinstance(results[3000], NotFound)
        assert len(await client.list(TOP)) == 3000
        assert len(await client.read_tree(TOP)) == 3001
        assert await client.batch([]) == []

    run(body)


def test_many_tasks(run: Run) -> None:
    async def body(client: Client) -> None:
        async def one(number: int) -> None:
            path = TOP + b"/%d" % number
            for turn in range(20):
                await client.write(path, b"%d" % turn)
                assert await client.read(path) == b"%d" % turn

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)

    run(body)


def test_who_asks_all_the_time_lets_others_run(run: Run) -> None:
    async def body(client: Client) -> None:
        with anyio.move_on_after(0.01):
            while True:
                await client.exists(TOP)

    run(body)


def test_transactions(run: Run) -> None:
    async def body(client: Client) -> None:
        async with client.begin() as transaction:
            await transaction.write(TOP, b"1")
            assert not await client.exists(TOP)
            assert await transaction.read(TOP) == b"1"
            assert await transaction.list(TOP) == []
        assert await client.read(TOP) == b"1"
        async with client.begin() as transaction:
            await transaction.delete(TOP)
            await transaction.rollback()
            with pytest.raises(InvalidOperation, match="not open"):
                await transaction.read(TOP)
        assert await client.exists(TOP)
        with pytest.raises(ZeroDivisionError):
            await write_and_fail(client)
        assert await client.read(TOP) == b"1"
        with pytest.raises(Conflict):
            await conflict(client)
        assert await client.read(TOP) == b"2"

    async def write_and_fail(client: Client) -> None:
        async with client.begin() as transaction:
            await transaction.write(TOP, b"lost")
            raise ZeroDivisionError

    async def conflict(client: Client) -> None:
        async with client.begin() as transaction:
            await transaction.write(TOP, await transaction.read(TOP))
            await client.write(TOP, b"2")

    run(body)


def test_run_in_transaction(run: Run) -> None:
    async def body(client: Client) -> None:
        await client.write(TOP, b"0")

        async def increment(transaction: Transaction) -> int:
            value = int(await transaction.read(TOP)) + 1
            await transaction.write(TOP, b"%d" % value)
            return value

        async def often() -> None:
            for _ in range(5):
                await client.run_in_transaction(increment, 1000)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(often)
        assert await client.read(TOP) == b"25"

        async def interfered(transaction: Transaction) -> None:
            value = await transaction.read(TOP)
            await transaction.write(TOP, b"")
            await client.write(TOP, value + b"0")

        with pytest.raises(Conflict):
            await client.run_in_transaction(interfered, attempts=3)
        assert await client.read(TOP) == b"25000"

        async def failing(transaction: Transaction) -> None:
            await transaction.delete(TOP)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.run_in_transaction(failing)
        assert await client.read(TOP) == b"25000"

    run(body)


def test_watches(run: Run) -> None:
    async def body(client: Client) -> None:
        async with client.watch(TOP) as watch, client.watch(TOP + b"/a") as other:
            assert await anext(watch) == (TOP, watch.token)
            assert await anext(other) == (TOP + b"/a", other.token)
            await client.write(TOP + b"/a/b", b"1")
            assert await anext(watch) == Event(TOP + b"/a/b", watch.token)
            assert await anext(other) == Event(TOP + b"/a/b", other.token)
            await client.write(TOP + b"/b", b"1")
            async for event in watch:
                assert event == Event(TOP + b"/b", watch.token)
                break
        # What is closed ends.
        assert [event async for event in watch] == []
        with pytest.raises(StoreError):
            await client.call(requests.unwatch(TOP, watch.token))
        with pytest.raises(StoreError):
            await client.watch(TOP, 1).open()

    run(body)


def test_a_reader_ends_when_its_watch_is_closed(run: Run) -> None:
    async def body(client: Client) -> None:
        ended = anyio.Event()

        async def read(watch: Watch) -> None:
            async for _ in watch:
                pass
            ended.set()

        async with anyio.create_task_group() as tasks:
            async with client.watch(TOP) as watch:
                tasks.start_soon(read, watch)
                await anyio.wait_all_tasks_blocked()
            await ended.wait()

    run(body)


def test_readers_of_one_watch_share_its_events(run: Run) -> None:
    async def body(client: Client) -> None:
        async with client.watch(TOP) as watch:
            await anext(watch)
            heard = []

            async def read() -> None:
                heard.append((await anext(watch)).path)

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                for number in range(3):
                    await client.write(TOP + b"/%d" % number, b"")
            assert sorted(heard) == [TOP + b"/%d" % number for number in range(3)]

    run(body)


def test_who_reads_too_slowly_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_watch, "BUFFER", 10)

    async def body(client: Client) -> None:
        async with client.watch(TOP) as watch:
            await anext(watch)
            for number in range(30):
                await client.write(TOP + b"/%d" % number, b"")
            await client.exists(TOP)
            paths = [(await anext(watch)).path for _ in range(10)]
            assert paths == [TOP + b"/%d" % number for number in range(10)]
            await client.write(TOP + b"/late", b"")
            await client.exists(TOP)
            with pytest.raises(EventsLost, match="21"):
                await anext(watch)
            await client.write(TOP + b"/later", b"")
            assert (await anext(watch)).path == TOP + b"/later"

    run(body)


def test_domains_and_the_daemon(daemon: Daemon, loop: str) -> None:
    async def main() -> None:
        async with xsfs.aio.Client(str(daemon.socket)) as client:
            assert await client.get_domain_path(5) == b"/local/domain/5"
            with Hypervisor(daemon.rundir) as hypervisor:
                hypervisor.create(5)
                with Ring(daemon.rundir, 5, port=2):
                    await client.introduce_domain(5, 1, 2)
                    assert await client.is_domain_introduced(5) is True
                    await client.set_target(5, 0)
                    await client.resume_domain(5)
                    await client.release_domain(5)
            assert await client.is_domain_introduced(5) is False
            with pytest.raises(ValueError, match="domain 0"):
                await client.introduce_domain(0, 1, 2)
            assert await client.control(b"print", b"from a test") == b"OK"
            await client.reset_watches()
            for ask in (
                client.get_feature(),
                client.set_feature(5, 0),
                client.quota_names(),
                client.get_quota(b"nodes"),
                client.set_quota(b"nodes", 1000),
            ):
                with pytest.raises(NotSupported):
                    await ask

    anyio.run(main, backend=loop)


def test_without_anyio(xenstored: Daemon) -> None:
    async def main() -> None:
        async with xsfs.aio.Client(str(xenstored.socket)) as client, client.watch(TOP) as events:
            await client.write(TOP, b"1")
            async for event in events:
                assert event.path == TOP
                break

    asyncio.run(main())
    trio.run(main)
