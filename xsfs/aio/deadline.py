# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How long a trio task waits for the store: with each call, or with many calls together.

A cancel scope costs as much as a short request does, so none is opened before there is
something to wait for.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

if TYPE_CHECKING:
    from types import TracebackType

    from xsfs.errors import Timeout


class Awaited(Protocol):
    """Whose answers are waited for."""

    timeout_s: float

    @property
    def progress(self) -> tuple[int, int]:
        """What moves with each answer."""

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """What was begun when `progress` stood there has taken too long; what to raise."""


class _Patience(NamedTuple):
    # By trio's clock.
    until_s: float
    before: tuple[int, int]


def _from_now(awaited: Awaited) -> _Patience:
    return _Patience(trio.current_time() + awaited.timeout_s, awaited.progress)


# Stands for one that starts with the next wait: most requests come to none.
_NOT_YET = _Patience(math.inf, (0, 0))

# None where each wait counts for itself.
_of_task: ContextVar[_Patience | None] = ContextVar("patience", default=None)


def begin() -> None:
    """From its next wait on, all waiting of this task counts together."""
    _of_task.set(_NOT_YET)


class InTime:
    """A block that is given up when the answers take too long."""

    __slots__ = ("_awaited", "_before", "_scope")

    def __init__(self, awaited: Awaited) -> None:
        self._awaited = awaited
        patience = _of_task.get()
        if patience is None:
            patience = _from_now(awaited)
        elif patience is _NOT_YET:
            patience = _from_now(awaited)
            _of_task.set(patience)
        self._before = patience.before
        self._scope = trio.CancelScope(deadline=patience.until_s)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        swallowed = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise self._awaited.overdue(self._before)
        return swallowed
