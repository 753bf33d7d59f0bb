# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A file system over /dev/xen/xenbus, where Linux may pass events on after later replies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from tests.deadline import DEADLINE_S
from tests.fs.kernel import CONTEXT, Kernel
from tests.xen.wire import Op, Wire
from tests.xen.xenbus import XenBus
from xsfs.aio.pipeline import Pipeline
from xsfs.fs.filesystem import FileSystem
from xsfs.fs.inotify.lateness import LATE_S, Lateness
from xsfs.fs.options import Options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from tests.xen.daemons import Daemon
    from xsfs.protocol.conversation import Event


async def own_changes(at: Kernel) -> None:
    """A file made and written, one made and removed, and requests that are answered later."""
    top = await at.walk(b"top")
    for name in (b"kept", b"removed"):
        fh, ino = await at.create(top, name)
        await at.ops.write(fh, 0, b"value")
        await at.ops.flush(fh)
        await at.ops.release(fh)
        assert await at.read(ino) == b"value\n"
    await at.ops.unlink(top, b"removed", CONTEXT)
    for _ in range(3):
        assert await at.client.read(b"/top/kept") == b"value"


def run(
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    body: Callable[[Kernel, XenBus], Awaitable[None]],
) -> None:
    with daemon.connect() as other:
        Wire(other).ask(Op.MKDIR, b"/top/there\0")
    with XenBus(daemon.socket) as bus:

        class Driver(Pipeline):
            """A pipeline over the driver, whatever the path."""

            def __init__(self, path: str, **options: Any) -> None:
                super().__init__(bus, **options)

        async def main() -> None:
            fs = FileSystem(bus.path, Options(events="off"), Driver)
            async with fs.client, trio.open_nursery() as nursery:
                at = Kernel(fs, monkeypatch)
                await fs.start()
                nursery.start_soon(fs.watcher.run)
                with trio.fail_after(DEADLINE_S):
                    await body(at, bus)
                nursery.cancel_scope.cancel()

        trio.run(main)


def test_our_own_changes_are_announced_by_no_late_event(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(at: Kernel, bus: XenBus) -> None:
        ended = trio.Event()

        def came(event: Event, first: bool) -> None:
            if not first:
                ended.set()

        end = at.client.watch(b"/top/end", deliver=came)
        await end.open()
        with bus.busy():
            await own_changes(at)
        with daemon.connect() as other:
            Wire(other).ask(Op.MKDIR, b"/top/end\0")
        # Events come in their order.
        await ended.wait()
        await at.watcher.settle()
        assert at.difference.counts["events"] > 3
        # That the last one was created.
        assert at.difference.counts["notices"] == 1

    run(daemon, monkeypatch, body)


def test_a_change_of_ours_passes_also_when_no_event_comes() -> None:
    """Else the same change by another client would be taken for it, however long after."""
    client: Any = SimpleNamespace(answered=7, delays_events=True)
    lateness = Lateness(client)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lateness.run)
            await trio.sleep(LATE_S / 2)
            assert lateness.pass_answered() == 0
            client.answered = 8
            await trio.sleep(LATE_S * 3)
            assert lateness.pass_answered() == 8
            lateness.reconnected()
            assert lateness.pass_answered() == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_over_a_socket_a_reply_is_enough() -> None:
    client: Any = SimpleNamespace(answered=7, delays_events=False)
    assert Lateness(client).pass_answered() == 7
