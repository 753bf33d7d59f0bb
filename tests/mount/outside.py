# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store as other clients see and change it, and what the mount asks of it on the way.

Not the package's own client: what the tests of the mount judge it by.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.deadline import DEADLINE_S
from tests.xen.wire import HEADER, Op, Refused, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.xen.daemons import Daemon

# What changes the store; a commit is recorded as TRANSACTION_END with b"T".
CHANGES = (Op.WRITE, Op.MKDIR, Op.RM, Op.SET_PERMS)


class Outside:
    """A second connection to the daemon. One thread at a time."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = daemon.connect()
        self.wire = Wire(self._socket)

    def close(self) -> None:
        """End the connection, and what it watches."""
        self._socket.close()

    def read(self, path: bytes) -> bytes | None:
        """A node's value; None when there is no such node."""
        try:
            return self.wire.ask(Op.READ, path + b"\0")
        except Refused as error:
            if error.args[0] != b"ENOENT":
                raise
            return None

    def write(self, path: bytes, value: bytes) -> None:
        """Set a value; makes the node and its parents."""
        self.wire.ask(Op.WRITE, path + b"\0" + value)

    def mkdir(self, path: bytes) -> None:
        """Make a node, empty."""
        self.wire.ask(Op.MKDIR, path + b"\0")

    def rm(self, path: bytes) -> None:
        """Remove a node with all below it."""
        self.wire.ask(Op.RM, path + b"\0")

    def names(self, path: bytes) -> set[bytes]:
        """The names of a node's children."""
        return set(self.wire.ask(Op.DIRECTORY, path + b"\0").split(b"\0")[:-1])

    def perms(self, path: bytes) -> bytes:
        """Permissions, as `n0,r5`."""
        return self.wire.ask(Op.GET_PERMS, path + b"\0").rstrip(b"\0").replace(b"\0", b",")

    def set_perms(self, path: bytes, perms: bytes) -> None:
        """Set permissions, given as `n0,r5`."""
        self.wire.ask(Op.SET_PERMS, path + b"\0" + perms.replace(b",", b"\0") + b"\0")

    def tree(self, top: bytes) -> dict[bytes, bytes]:
        """All values from `top` on down, by path relative to it; `top` itself is b""."""
        values: dict[bytes, bytes] = {}
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            value = self.read(top + path)
            if value is not None:
                values[path] = value
                waiting += [path + b"/" + name for name in self.names(top + path)]
        return values

    def watch(self, path: bytes, token: bytes = b"t") -> None:
        """Have events from now on."""
        self.wire.ask(Op.WATCH, path + b"\0" + token + b"\0")
        assert self.wire.event() == (path, token)

    def event(self) -> bytes:
        """The path of the next event; a TimeoutError when none comes."""
        return self.wire.event()[0]


class Request(NamedTuple):
    """What the mount asked of the store."""

    op: int
    tx_id: int
    path: bytes
    rest: bytes


class Tap:
    """On the way from the mount to the daemon: records requests, and steps in between two.

    Called by the link's thread; the rest by the test's.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._requests: list[Request] = []
        self._before: dict[int, tuple[Callable[[], None], int]] = {}

    def __call__(self, packet: bytes) -> None:
        op, _, tx_id, _ = HEADER.unpack_from(packet)
        path, _, rest = packet[HEADER.size :].partition(b"\0")
        with self._state:
            action, times = self._before.pop(op, (None, 0))
            if times > 1 and action is not None:
                self._before[op] = (action, times - 1)
        if action is not None:
            action()
        with self._state:
            self._requests.append(Request(op, tx_id, path, rest))
            self._state.notify_all()

    def before(self, op: Op, action: Callable[[], None], times: int = 1) -> None:
        """Have something done before the next requests of this type reach the daemon."""
        with self._state:
            self._before[op] = (action, times)

    def start(self) -> None:
        """Forget what was recorded, and what was to be done."""
        with self._state:
            self._requests.clear()
            self._before.clear()

    def count(self, op: Op) -> int:
        """How many requests of this type there were."""
        with self._state:
            return sum(request.op == op for request in self._requests)

    def changes(self) -> list[tuple[str, bytes, bytes]]:
        """What changed the store: operation, path, and what was written."""
        with self._state:
            return [(Op(r.op).name, r.path, r.rest) for r in self._requests if r.op in CHANGES]

    def values(self, path: bytes) -> list[bytes]:
        """The values written to a node."""
        return [rest for op, at, rest in self.changes() if (op, at) == ("WRITE", path)]

    def await_change(self, path: bytes, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the mount asks for a change of a node.

        Raises:
            TimeoutError: it did not.
        """

        def came() -> bool:
            return any(r.op in CHANGES and r.path == path for r in self._requests)

        with self._state:
            if not self._state.wait_for(came, timeout_s):
                raise TimeoutError(path)
