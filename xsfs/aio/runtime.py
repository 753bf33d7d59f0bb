# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What the asynchronous client needs of the library that runs it: trio or asyncio.

The client is written once, on these few primitives. On trio they are trio's own functions where
speed matters, so the file system loses none; on asyncio no package is needed but Python. anyio
would offer the same, at the cost of a dependency and one more layer in each wait.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Event(Protocol):
    """Set once; any number of tasks can wait for it."""

    def set(self) -> object:
        """Wake all that wait for it."""

    def is_set(self) -> bool:
        """Whether it was set."""

    async def wait(self) -> object:
        """Wait until it is set."""


class Deadline(Protocol):
    """A block that is cancelled at a given time, without raising an error."""

    @property
    def has_passed(self) -> bool:
        """Whether the block was cancelled for it."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> bool | None: ...


class Task(Protocol):
    """A background task."""

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended, even if the caller is cancelled."""


class Runtime(Protocol):
    """The primitives."""

    def event(self) -> Event:
        """A new event."""

    def now(self) -> float:
        """The time by the clock of deadlines, in seconds."""

    def deadline(self, at_s: float) -> Deadline:
        """A block that is cancelled at `at_s`."""

    def spawn(self, function: Callable[[], Awaitable[None]]) -> Task:
        """Run a function that does not raise as a background task."""

    async def checkpoint(self) -> None:
        """Raise a pending cancellation, if there is one."""

    async def pause(self) -> None:
        """Let other tasks run."""

    async def readable(self, fd: int) -> None:
        """Wait until there is something to read, or `close` was called."""

    async def writable(self, fd: int) -> None:
        """Wait until there is room to write, or `close` was called."""

    def close(self, fd: int) -> None:
        """Wake the tasks that wait for a descriptor."""

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that blocks in a thread."""


def current() -> Runtime:
    """The runtime of the running task.

    Raises:
        RuntimeError: no event loop runs here.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        from xsfs.aio.on_trio import TrioRuntime

        return TrioRuntime()
    from xsfs.aio.on_asyncio import AsyncioRuntime

    return AsyncioRuntime()
