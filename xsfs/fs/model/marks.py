# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What watch events reported of a path that is yet to be compared. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsfs.fs.model.echoes import Echo
    from xsfs.fs.model.states import State


class Mark:
    """The events that came for one path since it was last compared."""

    __slots__ = ("clock", "echoes", "foreign", "hit", "subtree_hit", "time_ns")

    def __init__(self) -> None:
        # The view's clock at the last event.
        self.clock = -1
        # The time of the last event that named this very path, in ns since the epoch.
        self.time_ns = 0
        # An event named this very path; False: it is compared for another reason.
        self.hit = False
        # An event named a path below it.
        self.subtree_hit = False
        # At least one event cannot be the echo of a change of our own.
        self.foreign = False
        self.echoes: list[Echo] = []

    def add(self, echoes: Sequence[Echo], clock: int, time_ns: int) -> None:
        """One more event, which may be the echo of one of these changes."""
        self.clock = clock
        self.time_ns = time_ns
        self.hit = True
        if echoes:
            self.echoes += echoes
        else:
            self.foreign = True

    def add_subtree(self, clock: int) -> None:
        """An event named a path below this one, of which nothing is known."""
        self.clock = clock
        self.subtree_hit = self.foreign = True

    def merge(self, earlier: Mark) -> None:
        """Add the events of an earlier mark for the path."""
        self.subtree_hit |= earlier.subtree_hit
        self.clock = max(self.clock, earlier.clock)
        self.time_ns = max(self.time_ns, earlier.time_ns)
        self.hit |= earlier.hit
        self.foreign |= earlier.foreign
        self.echoes += earlier.echoes

    @property
    def is_maybe_ours(self) -> bool:
        """Whether events named this very path that may have been the echo of our own changes."""
        return self.hit and bool(self.echoes)

    def is_echo(self, state: State | None) -> bool:
        """Whether the events are explained by changes of our own."""
        return not self.foreign and any(echo.matches(state) for echo in self._ours())

    def wrote(self, value: bytes) -> bool:
        """Whether a change of our own may have stored that value."""
        return any(echo.exists and echo.value == value for echo in self._ours())

    def permitted(self, perms: bytes) -> bool:
        """Whether a change of our own may have set those permissions."""
        return any(echo.exists and echo.perms == perms for echo in self._ours())

    def _ours(self) -> Iterator[Echo]:
        return (echo for echo in self.echoes if not echo.cancelled)
