# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A request on many nodes, carried out in turns of some milliseconds. Pure.

Between two turns the store answers no other request, so nobody sees it half done; but its owner
can do something else.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# Work in steps: yields what each one took, as a number of nodes and events.
Turns: TypeAlias = Generator[int, None, T]

# How many nodes and events there are in a turn: one takes some 3 us.
_TURN = 1000


class Unfinished:
    """The request that is not finished, if there is one."""

    def __init__(self) -> None:
        # Whose request it is; None: there is none.
        self.peer: object = None
        self._work: Turns[None] | None = None

    def __bool__(self) -> bool:
        return self._work is not None

    def start(self, peer: object, work: Turns[None]) -> None:
        """Do the first turn of a peer's request."""
        self.peer, self._work = peer, work
        self.go_on()

    def go_on(self) -> None:
        """Do the next turn."""
        peer, work, left = self.peer, self._work, _TURN
        self.peer = self._work = None
        for took in work or ():
            left -= took
            if left <= 0:
                self.peer, self._work = peer, work
                return


def completed(outcome: T | Turns[T]) -> Turns[T]:
    """What came of a request, which may have been carried out already."""
    if isinstance(outcome, Generator):
        return (yield from outcome)
    return outcome
