# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The loop for pyfuse3: who gets which request, and who must wait for it. A pipe is the device."""

from __future__ import annotations

import functools
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyfuse3
import pytest
import trio
import trio.testing

from tests.deadline import DEADLINE_S
from xsfs.aio import spinning
from xsfs.fs.fuse import loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


def in_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is run by trio."""

    @functools.wraps(test)
    def run(**values: object) -> None:
        trio.run(functools.partial(test, **values))

    return run


class Device:
    """Requests of a byte each, and workers as pyfuse3 has them."""

    def __init__(self, has_other_work: Callable[[], bool]) -> None:
        self.fd, self._kernel = os.pipe2(os.O_NONBLOCK)
        self.trio = loop.Loop(has_other_work)
        self.served: list[str] = []
        self.ended: list[str] = []

    def ask(self, requests: bytes) -> None:
        """As a kernel with so many requests."""
        os.write(self._kernel, requests)

    def unmount(self) -> None:
        """As a kernel that asks no more."""
        os.close(self._kernel)
        self._kernel = -1

    async def work(self, name: str, serve: Callable[[str], Awaitable[None]]) -> None:
        """As `_session_loop` in pyfuse3's internal.pxi, a worker that is there from the start."""
        while True:
            try:
                async with self.trio.Lock():
                    await self.trio.lowlevel.wait_readable(self.fd)
            except self.trio.ClosedResourceError:
                self.ended.append(name)
                return
            # Nothing there is a BlockingIOError; nothing any more is the end.
            if not os.read(self.fd, 1):
                self.ended.append(name)
                return
            self.served.append(name)
            await serve(name)

    def close(self) -> None:
        os.close(self.fd)
        if self._kernel >= 0:
            self.unmount()


@contextmanager
def opened(has_other_work: Callable[[], bool] = lambda: False) -> Iterator[Device]:
    device = Device(has_other_work)
    try:
        yield device
    finally:
        device.close()


async def at_once(name: str) -> None:
    """A request that waits for nothing."""


async def passes(ended: Callable[[], bool]) -> AsyncIterator[None]:
    """Passes of trio's, each giving all others a turn."""
    with trio.fail_after(DEADLINE_S):
        while not ended():
            await trio.lowlevel.checkpoint()
            yield


@in_trio
async def test_requests_that_are_there_are_taken_without_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A busy machine takes its time.
    monkeypatch.setattr(loop, "_STREAK_S", 60.0)
    with opened() as device:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.work, "a", at_once)
            await trio.testing.wait_all_tasks_blocked()
            device.ask(b"." * 16)
            count = 0
            async for _ in passes(lambda: len(device.served) == 16):
                count += 1
            # One to be told by epoll, and one to have the turn.
            assert count <= 2
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("workers", ["a", "ab", "abcd"])
@in_trio
async def test_a_stream_of_requests_leaves_the_others_their_turns(
    workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_STREAK_S", 60.0)
    with opened() as device:
        async with trio.open_nursery() as nursery:
            for name in workers:
                nursery.start_soon(device.work, name, at_once)
            device.ask(b"." * 4000)
            longest = before = 0
            async for _ in passes(lambda: len(device.served) == 4000):
                longest = max(longest, len(device.served) - before)
                before = len(device.served)
            # Trio shuffles its tasks: who had the last turn in one pass may have the first
            # in the next.
            assert 1 < longest <= 2 * (16 + len(workers))
            nursery.cancel_scope.cancel()


@in_trio
async def test_it_does_not_spin_when_there_is_something_else_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spinning, "_SPIN_S", 60.0)
    monkeypatch.setattr(loop, "_STREAK_S", 60.0)
    with opened(has_other_work=lambda: True) as device:
        start_s = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.work, "a", at_once)
            for count in (1, 2):
                device.ask(b".")
                async for _ in passes(lambda n=count: len(device.served) == n):  # type: ignore[misc]
                    pass
            nursery.cancel_scope.cancel()
        assert time.monotonic() < start_s + 30


@in_trio
async def test_slow_requests_leave_the_others_their_turns_sooner() -> None:
    async def slow(name: str) -> None:
        until_s = time.monotonic() + 0.001
        while time.monotonic() < until_s:
            pass

    with opened() as device:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.work, "a", slow)
            device.ask(b"." * 50)
            longest = before = 0
            async for _ in passes(lambda: len(device.served) == 50):
                longest = max(longest, len(device.served) - before)
                before = len(device.served)
            assert longest <= 2 * 3
            nursery.cancel_scope.cancel()


@in_trio
async def test_while_a_request_waits_the_next_is_taken_by_another_worker() -> None:
    gate = trio.Event()

    async def wait(name: str) -> None:
        await gate.wait()

    with opened() as device:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(device.work, name, wait)
            for count in range(1, 4):
                device.ask(b".")
                async for _ in passes(lambda n=count: len(device.served) == n):  # type: ignore[misc]
                    pass
            assert sorted(device.served) == ["a", "b", "c"]
            device.ask(b".")
            await trio.testing.wait_all_tasks_blocked()
            assert len(device.served) == 3
            gate.set()
            async for _ in passes(lambda: len(device.served) == 4):
                pass
            nursery.cancel_scope.cancel()


@in_trio
async def test_nobody_is_told_of_a_request_that_another_has_taken() -> None:
    async def hand_over(name: str) -> None:
        await trio.lowlevel.checkpoint()

    with opened() as device:
        async with trio.open_nursery() as nursery:
            for name in "abcde":
                nursery.start_soon(device.work, name, hand_over)
            for count in range(300):
                device.ask(b"." * (count % 3))
                await trio.lowlevel.checkpoint()
            async for _ in passes(lambda: len(device.served) == 300):
                pass
            nursery.cancel_scope.cancel()


@in_trio
async def test_a_worker_that_is_cancelled_is_replaced() -> None:
    with opened() as device:
        async with trio.open_nursery() as nursery:
            scopes: dict[str, trio.CancelScope] = {}

            async def work(name: str) -> None:
                with trio.CancelScope() as scopes[name]:
                    await device.work(name, at_once)

            for name in "abc":
                nursery.start_soon(work, name)
                await trio.testing.wait_all_tasks_blocked()
            scopes["a"].cancel()
            scopes["b"].cancel()
            await trio.testing.wait_all_tasks_blocked()
            device.ask(b"...")
            async for _ in passes(lambda: device.served == ["c", "c", "c"]):
                pass
            nursery.cancel_scope.cancel()


@in_trio
async def test_a_stream_of_requests_can_be_cancelled() -> None:
    with opened() as device:
        with trio.CancelScope() as scope:

            async def serve(name: str) -> None:
                device.ask(b".")
                if len(device.served) == 10:
                    scope.cancel()

            device.ask(b".")
            await device.work("a", serve)
        assert 10 <= len(device.served) <= 10 + 17


async def all_end_by(end: Callable[[Device], object]) -> None:
    with opened() as device, trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(device.work, name, at_once)
            await trio.testing.wait_all_tasks_blocked()
            end(device)
        assert sorted(device.ended) == ["a", "b", "c"]


@in_trio
async def test_closing_ends_all_workers() -> None:
    await all_end_by(lambda device: device.trio.lowlevel.notify_closing(device.fd))


@in_trio
async def test_the_end_of_the_device_ends_all_workers() -> None:
    await all_end_by(lambda device: device.unmount())


def in_use() -> object:
    return vars(pyfuse3)["trio"]


def test_it_is_used_with_the_pyfuse3_that_is_known() -> None:
    with loop.installed():
        assert isinstance(in_use(), loop.Loop)
    assert in_use() is trio


@pytest.mark.parametrize(("name", "value"), [("__version__", "3.6.0"), ("trio", object())])
def test_with_another_pyfuse3_its_own_loop_is_used(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyfuse3, name, value)
    before = in_use()
    with loop.installed():
        assert in_use() is before
