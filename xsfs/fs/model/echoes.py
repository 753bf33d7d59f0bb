# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Our own changes: the kernel raises their events itself, so theirs from the store are ignored.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsfs.fs.model.states import State


class Echo:
    """A change of our own, whose watch event is expected or has come."""

    __slots__ = ("acknowledged", "cancelled", "exists", "path", "perms", "value")

    def __init__(self, path: bytes, exists: bool, value: bytes | None, perms: bytes | None) -> None:
        self.path = path
        self.exists = exists
        # What the node will hold; None where the change does not determine it.
        self.value = value
        self.perms = perms
        # The ordinal of the last request sent when the change was acknowledged.
        self.acknowledged: int | None = None
        # It did not happen, or it is not known whether it did.
        self.cancelled = False

    def matches(self, state: State | None) -> bool:
        """Whether this state is the result of the change."""
        if state is None or not self.exists:
            return state is None and not self.exists
        return self.value in (None, state.value) and self.perms in (None, state.perms)


class Echoes:
    """Our own changes, by path, until their events have certainly come.

    The event of a change comes before the reply to any request that was sent after the change
    was acknowledged (both daemons guarantee that), so counting requests shows when an event
    cannot be an echo any more. Counting events would not, as C xenstored merges them.
    """

    def __init__(self) -> None:
        self._by_path: dict[bytes, list[Echo]] = {}

    def expect(
        self, path: bytes, *, exists: bool, value: bytes | None = None, perms: bytes | None = None
    ) -> Echo:
        """A change is about to be sent."""
        echo = Echo(path, exists, value, perms)
        self._by_path.setdefault(path, []).append(echo)
        return echo

    def acknowledge(self, echo: Echo, sent: int) -> None:
        """The store confirmed it, after `sent` requests had been sent."""
        echo.acknowledged = sent

    def cancel(self, echo: Echo) -> None:
        """The store refused it, or it is not known what the store did."""
        echo.cancelled = True
        self._drop([echo], echo.path)

    def outstanding(self, path: bytes, answered: int) -> list[Echo]:
        """The changes whose echo an event for `path` may be, after `answered` replies."""
        echoes = self._by_path.get(path)
        if not echoes:
            return []
        past = [e for e in echoes if e.acknowledged is not None and answered > e.acknowledged]
        self._drop(past, path)
        return list(self._by_path.get(path, ()))

    def under_way(self, path: bytes) -> Sequence[Echo]:
        """The changes of a path that the store may have made by now, event or not."""
        return self._by_path.get(path, ())

    def is_removing(self, path: bytes) -> bool:
        """Whether a change of ours removes the node, or one above it, and is yet to be answered."""
        return any(
            echo.acknowledged is None and not echo.exists
            for above in (path, *paths.ancestors(path))
            for echo in self.under_way(above)
        )

    def expire(self, answered: int) -> None:
        """Forget all whose events have come or were merged into others."""
        for path in list(self._by_path):
            self.outstanding(path, answered)

    def clear(self) -> None:
        """Forget all: the connection was lost, and their events with it."""
        self._by_path.clear()

    def __len__(self) -> int:
        return len(self._by_path)

    def _drop(self, past: Sequence[Echo], path: bytes) -> None:
        left = [echo for echo in self._by_path.get(path, ()) if echo not in past]
        if left:
            self._by_path[path] = left
        else:
            self._by_path.pop(path, None)
