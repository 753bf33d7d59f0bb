# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Nothing that one user hands in, or asks for, holds the others up for more than a few ms.

What is measured is the processor time that passes in the trio thread between two turns of a task
that is always ready to run: that does not depend on what else the machine does.
"""

from __future__ import annotations

import gc
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3
import pytest
import trio

from tests.fs.kernel import CONTEXT, Kernel, kernel
from xsfs.protocol import requests
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from xsfs.server import Running

ROOT = pyfuse3.ROOT_INODE

# What one write(2) brings at most (libfuse's default), in bytes.
WRITE = 1 << 17

# The most that nobody notices, in seconds, with room for a slow machine.
HELD_S = 0.05


class Bystander:
    """Is always ready to run, and measures for how long it was not let."""

    def __init__(self) -> None:
        self.held_s = 0.0

    async def run(self) -> None:
        while True:
            before_s = time.thread_time()
            await trio.lowlevel.checkpoint()
            self.held_s = max(self.held_s, time.thread_time() - before_s)


def object_of(members: Iterator[str]) -> bytes:
    return b"{" + ",".join(members).encode() + b"}"


NUMBERS = range(30_000)
TEXTS = {
    "deep": b'{"a":' * 200_000 + b"null" + b"}" * 200_000,
    "deep, without names": b'{"":' * 200_000,
    "as deep as it may be, often": b"{%b}"
    % b",".join(b'"n%d":%b"1"%b' % (n, b'{"a":' * 1500, b"}" * 1500) for n in range(20)),
    "wide": object_of(f'"n{n}":"1"' for n in NUMBERS),
    "removing": object_of(f'"n{n}":null' for n in NUMBERS),
    "one key, often": object_of('"a":"1"' for n in NUMBERS),
    "objects": object_of(f'"n{n}":{{}}' for n in NUMBERS),
    "no names": object_of(f'"n.{n}":"1"' for n in NUMBERS),
    "a long string": b'"' + b"x" * 2_000_000,
    "escapes": b'"' + b"\\u0041" * 300_000 + b'"',
    "broken escapes": b'"' + b"\\" * 500_001,
    "space": b" " * 3_000_000 + b'"1"',
    "numbers": object_of(f'"n{n}":{"9" * 300}.5e-3' for n in range(3000)),
    "a long number": b"1" * 2_000_000,
    "not UTF-8": b'"' + b"\xff" * 100_000,
    "permissions": object_of(f'"n{n}":{{".perms":"n0,r5"}}' for n in NUMBERS),
}


@pytest.fixture(scope="module")
def store() -> Iterator[Running]:
    """A store with a large directory, and one that is deep."""
    values = {b"/many/n%d" % n: b"1" for n in range(20_000)}
    values |= {b"/deep" + b"/d" * 700: b"1"}
    with running(values) as path:
        yield path


async def held(
    store: Running,
    monkeypatch: pytest.MonkeyPatch,
    test: Callable[[Kernel], Awaitable[None]],
    listed: Sequence[bytes] = (),
) -> float:
    """For how long the loop was held while a test ran, after directories had been listed."""
    async with kernel(Path(store), monkeypatch) as at, trio.open_nursery() as nursery:
        for path in listed:
            assert await at.list(await at.walk(path))
        bystander = Bystander()
        # What Python collects meanwhile is not of the test's making.
        gc.collect()
        gc.freeze()
        nursery.start_soon(bystander.run)
        await test(at)
        nursery.cancel_scope.cancel()
    return bystander.held_s


def least(measure: Callable[[], float]) -> float:
    """The least of a few measurements, if the first is too much.

    A hypervisor may take time that counts as this thread's; what is ours is there each time.
    """
    held_s = measure()
    for _ in range(2):
        if held_s < HELD_S:
            break
        held_s = min(held_s, measure())
    return held_s


@pytest.fixture
def measured(store: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """See `held`."""
    return lambda test: least(lambda: trio.run(held, store, monkeypatch, test))


async def write(at: Kernel, text: bytes, size: int = WRITE) -> None:
    """Write to `.json` in a transaction: outside one, a flood of events would follow."""
    await at.mkdir(await at.walk(b".transactions"), b"t")
    ino = await at.walk(b".transactions/t/.json")
    info = await at.ops.open(ino, os.O_WRONLY, CONTEXT)
    with suppress(pyfuse3.FUSEError):
        for start in range(0, len(text), size):
            await at.ops.write(info.fh, start, text[start : start + size])
    with suppress(pyfuse3.FUSEError):
        await at.ops.flush(info.fh)
    await at.ops.release(info.fh)
    await at.ops.rmdir(await at.walk(b".transactions"), b"t", CONTEXT)


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_patch(measured: Callable[..., float], name: str) -> None:
    async def test(at: Kernel) -> None:
        await write(at, TEXTS[name])

    assert measured(test) < HELD_S


@pytest.mark.parametrize("name", ["a long string", "wide", "escapes", "a long number"])
def test_a_hostile_patch_in_many_small_writes(measured: Callable[..., float], name: str) -> None:
    async def test(at: Kernel) -> None:
        await write(at, TEXTS[name][:9_000], 3)

    assert measured(test) < HELD_S


@pytest.mark.parametrize("name", [b".json", b".backup"])
def test_a_large_snapshot(measured: Callable[..., float], name: bytes) -> None:
    async def test(at: Kernel) -> None:
        info = await at.ops.open(await at.walk(name), os.O_RDONLY, CONTEXT)
        text.append(await at.ops.read(info.fh, 0, 1 << 24))
        await at.ops.release(info.fh)

    text: list[bytes] = []
    assert measured(test) < HELD_S
    assert len(json.loads(text[0])["many"]) >= 20_000


def test_a_large_directory(measured: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        assert len(await at.list(await at.walk(b"many"))) == 20_000

    assert measured(test) < HELD_S


def test_a_deep_path(measured: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        await at.walk(b"deep" + b"/d" * 700)

    assert measured(test) < HELD_S


def test_many_transactions(measured: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        top = await at.walk(b".transactions")
        for number in range(200):
            with suppress(pyfuse3.FUSEError):
                await at.mkdir(top, b"t%d" % number)
        for number in range(100):
            await at.ops.rmdir(top, b"t%d" % number, CONTEXT)

    assert measured(test) < HELD_S


def test_long_attributes(measured: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        ino = await at.walk(b"many")
        for value in (b"n0," * 20_000, b"x" * 65536, b"n0" + b",r1" * 2000):
            with pytest.raises(pyfuse3.FUSEError):
                await at.ops.setxattr(ino, b"user.xenstore.perms", value, CONTEXT)

    assert measured(test) < HELD_S


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """As `measured`, where 30,000 nodes have been listed, of a store of its own."""
    values = {b"/many/d%d/n%d" % (d, n): b"1" for d in range(3) for n in range(10_000)}
    listed = [b"many/d%d" % d for d in range(3)]

    def measure(test: Callable[[Kernel], Awaitable[None]]) -> float:
        with running(values) as path:
            return trio.run(held, path, monkeypatch, test, listed)

    return lambda test: least(lambda: measure(test))


async def told(at: Kernel, count: int) -> None:
    """Wait until that many notices were made and nothing is left to be compared."""
    with trio.fail_after(30):
        while at.difference.counts["notices"] < count or at.difference.is_waiting:
            await at.watcher.settle()


def test_a_removal_of_what_is_known(known: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        await at.client.call(requests.rm(b"/many"))
        await told(at, 30_004)

    assert known(test) < HELD_S


def test_a_removal_of_each_of_many(known: Callable[..., float]) -> None:
    """Their events were lost: that they are gone is seen in a listing."""

    async def test(at: Kernel) -> None:
        for d in range(3):
            await at.client.call(requests.rm(b"/many/d%d" % d))
            await at.client.call(requests.mkdir(b"/many/d%d" % d))
        await told(at, 30_000)

    assert known(test) < HELD_S


def test_a_lost_connection_with_much_known(known: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        at.watcher.reconnected()
        await at.client.call(requests.write(b"/many/d0/n0", b"2"))
        await told(at, 1)

    assert known(test) < HELD_S


def test_many_that_are_forgotten(known: Callable[..., float]) -> None:
    async def test(at: Kernel) -> None:
        await at.forget()

    assert known(test) < HELD_S
