# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The trio client's verbs, batches and watches, on both real daemons."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import pytest
import trio

import xsfs
from tests.client.conftest import TOP
from tests.xen.device import Device
from tests.xen.rings import Hypervisor, Ring
from xsfs import Conflict, Event, EventsLost, InvalidPath, NotFound, NotSupported, StoreError
from xsfs.aio import client as aio
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.xen.daemons import Daemon

DEADLINE_S = 20.0

Run: TypeAlias = "Callable[[Callable[[aio.Client], Awaitable[None]]], None]"


@asynccontextmanager
async def connected(path: Path | str, timeout_s: float = 10.0) -> AsyncIterator[aio.Client]:
    """A trio client while it runs."""
    client = aio.Client(str(path), timeout_s=timeout_s)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            yield client
            nursery.cancel_scope.cancel()


@pytest.fixture(params=["socket", "device"])
def run(request: pytest.FixtureRequest, daemon: Daemon) -> Run:
    """Runs a coroutine function with a client of a fresh daemon, by a socket or a device."""

    async def on(path: Path | str, body: Callable[[aio.Client], Awaitable[None]]) -> None:
        async with connected(path) as client:
            await body(client)

    def run(body: Callable[[aio.Client], Awaitable[None]]) -> None:
        if request.param == "socket":
            trio.run(on, daemon.socket, body)
        else:
            with Device(daemon.socket) as device:
                trio.run(on, device.path, body)

    return run


def test_the_same_verbs() -> None:
    """With the same arguments, but that a transaction is named and not of the thread."""
    for name, verb in inspect.getmembers(xsfs.Client, inspect.isfunction):
        # Connecting is `run`, monitors are watches.
        if name.startswith("_") or name in ("connect", "close", "monitor"):
            continue
        ours = inspect.signature(getattr(aio.Client, name)).parameters
        theirs = inspect.signature(verb).parameters
        assert [n for n in ours if n != "tx_id"] == list(theirs), name


def test_nodes(run: Run) -> None:
    async def body(client: aio.Client) -> None:
        with pytest.raises(NotFound):
            await client.read(TOP + b"/a")
        assert await client.read(TOP + b"/a", default=b"d") == b"d"
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
    async def body(client: aio.Client) -> None:
        for path in (b"/a/x", b"/a/y", b"/b"):
            await client.write(TOP + path, b"v")
        below = [path async for path, _, _ in client.walk(TOP)]
        assert below == [TOP + path for path in (b"", b"/a", b"/a/x", b"/a/y", b"/b")]
        below = [path async for path, _, _ in client.walk(TOP, topdown=False)]
        assert below == [TOP + path for path in (b"/a/x", b"/a/y", b"/a", b"/b", b"")]
        with pytest.raises(NotFound):
            await anext(client.walk(TOP + b"/c"))

    run(body)


def test_batch(run: Run) -> None:
    async def body(client: aio.Client) -> None:
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
    async def body(client: aio.Client) -> None:
        async def one(number: int) -> None:
            path = TOP + b"/%d" % number
            for turn in range(20):
                await client.write(path, b"%d" % turn)
                assert await client.read(path) == b"%d" % turn

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)

    run(body)


def test_transactions(run: Run) -> None:
    async def body(client: aio.Client) -> None:
        tx_id = await client.transaction()
        await client.write(TOP, b"1", tx_id)
        assert not await client.exists(TOP)
        assert await client.read(TOP, tx_id) == b"1"
        assert await client.commit(tx_id) is True
        assert await client.read(TOP) == b"1"
        tx_id = await client.transaction()
        await client.delete(TOP, tx_id)
        await client.rollback(tx_id)
        assert await client.exists(TOP)
        tx_id = await client.transaction()
        await client.write(TOP, await client.read(TOP, tx_id), tx_id)
        await client.write(TOP, b"2")
        assert await client.commit(tx_id) is False

    run(body)


def test_run_in_transaction(run: Run) -> None:
    async def body(client: aio.Client) -> None:
        await client.write(TOP, b"0")

        async def increment(tx_id: int) -> int:
            value = int(await client.read(TOP, tx_id)) + 1
            await client.write(TOP, b"%d" % value, tx_id)
            return value

        async def often() -> None:
            for _ in range(5):
                await client.run_in_transaction(increment, 1000)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(often)
        assert await client.read(TOP) == b"25"

        async def interfered(tx_id: int) -> None:
            value = await client.read(TOP, tx_id)
            await client.write(TOP, b"", tx_id)
            await client.write(TOP, value + b"0")

        with pytest.raises(Conflict):
            await client.run_in_transaction(interfered, attempts=3)
        assert await client.read(TOP) == b"25000"

        async def failing(tx_id: int) -> None:
            await client.delete(TOP, tx_id)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.run_in_transaction(failing)
        assert await client.read(TOP) == b"25000"

    run(body)


def test_watches(run: Run) -> None:
    async def body(client: aio.Client) -> None:
        async with await client.watch(TOP) as watch, await client.watch(TOP + b"/a") as other:
            assert await anext(watch) == (TOP, watch.token)
            assert await anext(other) == (TOP + b"/a", other.token)
            await client.write(TOP + b"/a/b", b"1")
            assert await anext(watch) == Event(TOP + b"/a/b", watch.token)
            assert await anext(other) == Event(TOP + b"/a/b", other.token)
            await client.write(TOP + b"/b", b"1")
            assert await anext(watch) == Event(TOP + b"/b", watch.token)
        # What is closed ends.
        assert [event async for event in watch] == []
        with pytest.raises(StoreError):
            await client.call(requests.unwatch(TOP, watch.token))
        with pytest.raises(StoreError):
            await client.watch(TOP, depth=1)

    run(body)


def test_readers_of_one_watch_share_its_events(daemon: Daemon) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client, await client.watch(TOP) as watch:
            await anext(watch)
            heard = []

            async def read() -> None:
                heard.append((await anext(watch)).path)

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                for number in range(3):
                    await client.write(TOP + b"/%d" % number, b"")
            assert sorted(heard) == [TOP + b"/%d" % number for number in range(3)]

    trio.run(main)


def test_events_as_they_are_read(daemon: Daemon) -> None:
    """Before the reply to any later request."""

    async def main() -> None:
        async with connected(daemon.socket) as client, connected(daemon.socket) as other:
            heard: list[Event] = []
            watch = await client.watch(TOP, lambda event, _: heard.append(event))
            for number in range(50):
                await other.write(TOP + b"/%d" % number, b"")
                await client.exists(b"/tool")
                assert heard[-1].path == TOP + b"/%d" % number
            await client.unwatch(watch)
            await client.unwatch(watch)
            await other.write(TOP, b"")
            await client.exists(b"/tool")
            assert heard[-1].path == TOP + b"/49"

    trio.run(main)


def test_who_reads_too_slowly_is_told(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "WATCH_BUFFER", 10)

    async def main() -> None:
        async with connected(daemon.socket) as client, await client.watch(TOP) as watch:
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

    trio.run(main)


def test_domains_and_the_daemon(daemon: Daemon) -> None:
    async def main() -> None:
        async with connected(daemon.socket) as client:
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
            await client.watch(TOP)
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

    trio.run(main)
