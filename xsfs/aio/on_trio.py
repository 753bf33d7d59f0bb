# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The primitives of runtime.py by trio."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class TrioDeadline:
    """A cancel scope."""

    __slots__ = ("_scope",)

    def __init__(self, at_s: float) -> None:
        self._scope = trio.CancelScope(deadline=at_s)

    @property
    def has_passed(self) -> bool:
        """Whether the block was cancelled for it."""
        return self._scope.cancelled_caught

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(self, *exc: Any) -> bool | None:
        return self._scope.__exit__(*exc)


class TrioTask:
    """A system task: not bound to a nursery, it ends by `stop`."""

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self._function = function
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._function()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()


class TrioRuntime:
    """The primitives on the running trio loop."""

    event = trio.Event
    deadline = TrioDeadline
    spawn = TrioTask
    now = staticmethod(trio.current_time)
    checkpoint = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    pause = staticmethod(trio.lowlevel.checkpoint)
    close = staticmethod(trio.lowlevel.notify_closing)

    async def readable(self, fd: int) -> None:
        """Wait until there is something to read, or `close` was called."""
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(fd)

    async def writable(self, fd: int) -> None:
        """Wait until there is room to write, or `close` was called."""
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_writable(fd)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function that blocks."""
        return await trio.to_thread.run_sync(function)
