# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The primitives of runtime.py by asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class AsyncioDeadline:
    """A timeout that is recorded, not raised."""

    def __init__(self, at_s: float) -> None:
        self._timeout = asyncio.timeout_at(at_s)
        self.has_passed = False

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exc: Any) -> bool | None:
        try:
            await self._timeout.__aexit__(*exc)
        except TimeoutError:
            self.has_passed = True
            return True
        return None


class AsyncioTask:
    """A task that ends by `stop`."""

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await function()

        self._task = asyncio.create_task(run())

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self._task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


class AsyncioRuntime:
    """The primitives on the running event loop."""

    event = asyncio.Event
    deadline = AsyncioDeadline
    spawn = AsyncioTask

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        # The futures of tasks that wait for a descriptor: to read (False) or to write (True).
        self._waiting: dict[tuple[int, bool], asyncio.Future[None]] = {}

    async def checkpoint(self) -> None:
        """Nothing: asyncio delivers a cancellation at the next wait."""

    async def pause(self) -> None:
        """Let other tasks run."""
        await asyncio.sleep(0)

    async def readable(self, fd: int) -> None:
        """Wait until there is something to read, or `close` was called."""
        await self._wait(fd, False)

    async def writable(self, fd: int) -> None:
        """Wait until there is room to write, or `close` was called."""
        await self._wait(fd, True)

    async def _wait(self, fd: int, writing: bool) -> None:
        add, remove = (
            (self._loop.add_writer, self._loop.remove_writer)
            if writing
            else (self._loop.add_reader, self._loop.remove_reader)
        )
        waiting = self._waiting[fd, writing] = self._loop.create_future()
        add(fd, _finish, waiting)
        try:
            await waiting
        finally:
            del self._waiting[fd, writing]
            remove(fd)

    def close(self, fd: int) -> None:
        """Wake the tasks that wait for a descriptor."""
        for writing in (False, True):
            if waiting := self._waiting.get((fd, writing)):
                _finish(waiting)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that blocks."""
        return await asyncio.to_thread(function)


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
