# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How long a task waits for the store: with each call, or with many calls together.

A cancel scope costs as much as a short request does, so none is opened before there is
something to wait for.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from xsfs.errors import Timeout

if TYPE_CHECKING:
    from xsfs.aio.runtime import Runtime


class StoreUnavailable(Timeout):
    """The store has been down for longer than the timeout, as the log says already."""


class Awaited(Protocol):
    """A connection whose replies are waited for."""

    timeout_s: float

    @property
    def runtime(self) -> Runtime:
        """The loop whose clock is used."""

    @property
    def progress(self) -> tuple[int, int]:
        """A value that changes with each reply."""

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """The error for a wait that began at progress `before` and has taken too long."""


class _Deadline(NamedTuple):
    # By the runtime's clock.
    at_s: float
    # The progress when it was set.
    before: tuple[int, int]


# A deadline that starts with the next wait: most requests never wait.
_NOT_YET = _Deadline(math.inf, (0, 0))

# None: each wait has a deadline of its own.
_of_task: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


def begin() -> None:
    """From its next wait on, all waits of this task share one deadline."""
    _of_task.set(_NOT_YET)


class WithinDeadline:
    """A block that raises `Timeout` when replies take too long."""

    __slots__ = ("_awaited", "_before", "_scope")

    def __init__(self, awaited: Awaited) -> None:
        deadline = _of_task.get()
        if deadline is None or deadline is _NOT_YET:
            at_s = awaited.runtime.now() + awaited.timeout_s
            fresh = _Deadline(at_s, awaited.progress)
            if deadline is _NOT_YET:
                _of_task.set(fresh)
            deadline = fresh
        self._awaited = awaited
        self._before = deadline.before
        self._scope = awaited.runtime.deadline(deadline.at_s)

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()

    async def __aexit__(self, *exc: Any) -> bool | None:
        swallowed = await self._scope.__aexit__(*exc)
        if self._scope.has_passed:
            raise self._awaited.overdue(self._before)
        return swallowed
