# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client in a process that eventlet has patched: green threads share it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

PROGRAM = """
import sys
{first}
{second}
eventlet.monkey_patch()

with xsfs.Client(sys.argv[1], timeout_s=10) as client, client.monitor() as monitor:
    client[b"/a"] = b"1"
    monitor.watch(b"/a", b"token")
    next(monitor.wait())
    # One green thread waits while others are served.
    waiting = eventlet.spawn(lambda: next(monitor.wait(timeout_s=10)))
    eventlet.sleep(0)
    threads = [eventlet.spawn(client.batch, [xsfs.protocol.requests.read(b"/a")] * 300)
               for _ in range(10)]
    assert all(thread.wait() == [b"1"] * 300 for thread in threads)
    client[b"/a"] = b"2"
    assert waiting.wait() == (b"/a", b"token")
"""


@pytest.mark.parametrize("first", ["eventlet", "xsfs"])
def test_green_threads(xenstored: Daemon, first: str) -> None:
    imports = {"eventlet": "import eventlet", "xsfs": "import xsfs, xsfs.client.client"}
    lines = {"first": imports.pop(first), "second": imports.popitem()[1]}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(**lines), str(xenstored.socket)],
        check=True,
        timeout=30,
    )
