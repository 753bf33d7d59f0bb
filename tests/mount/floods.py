# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A client that does to the store the worst that it may, as fast as it can, and ends by itself.

python -m tests.mount.floods SOCKET nodes|values|events|churn [FILE]

FILE, in a mount, is read now and then, which waits until the mount has heard all so far:
oxenstored freezes writers for good when a watcher is some 2,000 events behind.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    Requests = Iterator[tuple[Op, bytes]]

# Requests sent before the first is answered.
AHEAD = 100
# From one reading of FILE to the next.
PACE = 500

NODES = 100_000
IN_A_DIRECTORY = 500
CHANGES = 40_000
VALUE = b"v" * 2000


def nodes() -> Requests:
    """Very many nodes."""
    for at in range(NODES):
        yield Op.WRITE, b"/hostile/d%d/n%d\0%d" % (at // IN_A_DIRECTORY, at, at)


def values() -> Requests:
    """Long values, each another, to a few nodes."""
    for at in range(CHANGES):
        yield Op.WRITE, b"/hostile/known/n%d\0%d" % (at % 10, at) + VALUE


def events() -> Requests:
    """One node changes all the time."""
    for at in range(CHANGES):
        yield Op.WRITE, b"/hostile/known/n0\0%d" % at


def churn() -> Requests:
    """Nodes come and go."""
    for at in range(CHANGES // 2):
        path = b"/hostile/known/new%d\0" % (at % 100)
        yield Op.WRITE, path
        yield Op.RM, path


FLOODS = {flood.__name__: flood for flood in (nodes, values, events, churn)}


def main() -> None:
    path, flood, *paced = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(path)
        wire = Wire(stream)
        waiting = 0
        for at, (op, payload) in enumerate(FLOODS[flood]()):
            if waiting == AHEAD:
                assert wire.receive().op != Op.ERROR
                waiting -= 1
            wire.send(op, payload)
            waiting += 1
            if at % PACE == 0:
                for file in paced:
                    Path(file).read_bytes()
        for _ in range(waiting):
            assert wire.receive().op != Op.ERROR
    print("done", flush=True)


if __name__ == "__main__":
    main()
