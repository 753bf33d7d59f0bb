# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Faults that a test asks for: which requests to refuse, and how often. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsfs.protocol import paths

if TYPE_CHECKING:
    from xsfs.server.peer import Peer


@dataclass(slots=True)
class Fault:
    """An error for the next requests of a kind; None means any."""

    name: bytes
    op: int | None = None
    path: bytes | None = None
    domid: int | None = None
    # How many requests are still to be refused; None: all from now on.
    times: int | None = 1

    def concerns(self, peer: Peer, op: int, payload: bytes) -> bool:
        """Whether a request is one to refuse."""
        if self.op not in (None, op) or self.domid not in (None, peer.domain.domid):
            return False
        if self.path is None:
            return True
        text = payload.partition(b"\0")[0]
        path = text if text.startswith((b"/", b"@")) else peer.home + b"/" + text
        return path == self.path or paths.is_below(path, self.path)


class Faults:
    """The faults that are still to come, the oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Refuse what the fault concerns."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Refuse nothing any more."""
        self._faults.clear()

    def meet(self, peer: Peer, op: int, payload: bytes) -> bytes | None:
        """The name of the error that a request gets, None if it is to be carried out."""
        for fault in self._faults:
            if fault.concerns(peer, op, payload):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault.name
        return None
