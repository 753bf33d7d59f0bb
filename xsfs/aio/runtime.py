# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What the asynchronous client needs of the library that runs it: trio or asyncio.

The client is written once, on these few primitives. trio's are trio's own, unwrapped where it
matters, so that the file system loses nothing by it; asyncio needs no package beside Python.
anyio offers the same, as one more dependency and one more layer in each wait.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

T = TypeVar("T")


class Event(Protocol):
    """Set once; for as many tasks as wait for it."""

    def set(self) -> object:
        """Let all go on."""

    def is_set(self) -> bool:
        """Whether it was set."""

    async def wait(self) -> object:
        """Wait until it is set."""


class Deadline(Protocol):
    """A block that is cancelled at a time; it does not raise for that."""

    @property
    def has_passed(self) -> bool:
        """Whether the block was cancelled for it."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...


class Task(Protocol):
    """Something that runs beside the rest."""

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended; not cancelled itself."""


class Runtime(Protocol):
    """The primitives."""

    def event(self) -> Event:
        """A new event."""

    def now(self) -> float:
        """The time by the clock of deadlines, in seconds."""

    def deadline(self, at_s: float) -> Deadline:
        """A block that is cancelled at `at_s`."""

    def spawn(self, function: Callable[[], Awaitable[None]]) -> Task:
        """Run a function that does not raise, beside the rest."""

    async def checkpoint(self) -> None:
        """Be cancelled, if that is asked for."""

    async def pause(self) -> None:
        """Let others run."""

    async def readable(self, fd: int) -> None:
        """Wait until there is something to read, or `close` was called."""

    async def writable(self, fd: int) -> None:
        """Wait until there is room to write, or `close` was called."""

    def close(self, fd: int) -> None:
        """Let those go on who wait for a descriptor."""

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that blocks."""


def current() -> Runtime:
    """That of the running task.

    Raises:
        RuntimeError: there is none.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        from xsfs.aio.on_trio import TrioRuntime

        return TrioRuntime()
    from xsfs.aio.on_asyncio import AsyncioRuntime

    return AsyncioRuntime()
