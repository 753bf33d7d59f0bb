# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Snapshots, patches and transactions over the real daemons, with rivals and without a kernel."""

from __future__ import annotations

import errno
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from xsfs.aio.pipeline import Pipeline
from xsfs.errors import Conflict, NotFound
from xsfs.fs.filesystem import FileSystem
from xsfs.fs.options import Options
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.json_file import NAME, SubtreeFile
from xsfs.fs.virtual.subtrees import PATCH_ATTEMPTS, SNAPSHOT_ATTEMPTS
from xsfs.fs.virtual.transactions import MAX_OPEN
from xsfs.protocol import requests
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.xen.daemons import Daemon
    from xsfs.fs.store.handles import Handle
    from xsfs.protocol.requests import Request

T = TypeVar("T")


class Rival(Pipeline):
    """A client that changes `/a` whenever it is told that we are in the middle."""

    left = 0

    async def interfere(self) -> None:
        if self.left:
            self.left -= 1
            await self.write(b"/a", b"%d" % self.left)


class Interrupted(Pipeline):
    """Lets the rival in between the levels of a sweep, and before a transaction's commit."""

    rival: Rival
    sweeping = False

    def __init__(self, path: str, *, on_loss: Callable[[], None], **others: Any) -> None:
        self.lost = trio.Event()

        def lose() -> None:
            on_loss()
            self.lost.set()

        super().__init__(path, on_loss=lose, **others)

    async def batch(self, batch: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
        results = await super().batch(batch, tx_id)
        # The watcher asks for permissions, too.
        sweeping = self.sweeping and {request.op for request in batch} == {Op.READ, Op.DIRECTORY}
        if sweeping or (tx_id and any(request.op == Op.WRITE for request in batch)):
            await self.rival.interfere()
        return results


class Raced(FileSystem):
    """A file system with a rival."""

    client: Interrupted

    def __init__(self, socket: Path) -> None:
        super().__init__(str(socket), Options(timeout_s=60), Interrupted)
        self.rival = self.client.rival = Rival(str(socket))

    async def open(self, path: bytes, flags: int) -> Handle:
        node = self.table.view.root
        for name in path.split(b"/")[1:]:
            node = await self.tree.lookup(node, name)
        self.client.sweeping = flags == os.O_RDONLY
        try:
            return await SubtreeFile(NAME, self.subtrees, node).open(flags, 0)
        finally:
            self.client.sweeping = False

    async def patch(self, path: bytes, text: bytes) -> None:
        handle = await self.open(path, os.O_WRONLY)
        await handle.write(0, text)
        await handle.flush()

    @property
    def unsteady(self) -> int:
        return self.watcher.counts["unsteady_snapshots"]


@asynccontextmanager
async def house(socket: Path) -> AsyncIterator[Raced]:
    made = Raced(socket)
    async with made.client, made.rival, trio.open_nursery() as nursery:
        await made.start()
        nursery.start_soon(made.watcher.run)
        await made.rival.write(b"/a/b", b"1")
        yield made
        nursery.cancel_scope.cancel()


def test_a_snapshot_is_taken_again_when_something_changed(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            at.rival.left = 1
            handle = await at.open(b"/a", os.O_RDONLY)
            snapshot = await handle.read(0, 100)
            if daemon.kind == "oxenstored":
                # Its transactions are snapshots, of the time before.
                assert snapshot == b'{"b": "1"}\n'
            else:
                assert snapshot == b'{"": "0", "b": "1"}\n'
            assert at.unsteady == 0

    trio.run(main)


def test_without_a_steady_moment_the_last_sweep_is_given_and_counted(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            at.rival.left = 100
            await at.open(b"/a", os.O_RDONLY)
            if daemon.kind == "oxenstored":
                assert at.unsteady == 0
            else:
                assert at.unsteady == 1
                assert at.rival.left <= 100 - SNAPSHOT_ATTEMPTS

    trio.run(main)


def test_changes_elsewhere_do_not_disturb_a_snapshot(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            await at.rival.write(b"/c", b"")
            at.rival.left = 100
            await at.open(b"/c", os.O_RDONLY)
            assert at.unsteady == 0

    trio.run(main)


def test_a_patch_is_repeated_on_conflict(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            at.rival.left = PATCH_ATTEMPTS - 1
            await at.patch(b"/a", b'{"b": "2", "c": {"d": "3"}}')
            assert await at.client.read_tree(b"/a") == {
                b"/a": b"0",
                b"/a/b": b"2",
                b"/a/c": b"",
                b"/a/c/d": b"3",
            }

    trio.run(main)


def test_a_patch_that_never_gets_through_changes_nothing(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            at.rival.left = 100
            with pytest.raises(Conflict):
                await at.patch(b"/a", b'{"b": "2", "c": {"d": "3"}}')
            assert at.rival.left == 100 - PATCH_ATTEMPTS
            assert await at.client.read_tree(b"/a") == {b"/a": b"90", b"/a/b": b"1"}

    trio.run(main)


def test_a_patch_does_not_bring_back_a_node_that_is_gone(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            handle = await at.open(b"/a", os.O_WRONLY)
            await at.rival.delete(b"/a")
            with pytest.raises(FSError) as caught:
                await handle.write(0, b'{"b": "2"}')
            assert caught.value.errno == errno.ENOENT

    trio.run(main)


def test_an_idle_transaction_ends_after_a_day(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    clock = MockClock()

    async def main() -> None:
        async with house(daemon.socket) as at, trio.open_nursery() as nursery:
            nursery.start_soon(at.transactions.abort_idle)
            used = await at.transactions.mkdir(b"used")
            idle = await at.transactions.mkdir(b"idle")
            tx_id = idle.view.tx_id
            for _ in range(26):
                await wait_all_tasks_blocked()
                assert await at.tree.value(used) == b""
                clock.jump(3600)
            while b"idle" in at.transactions.entries():
                await trio.lowlevel.checkpoint()
            assert list(at.transactions.entries()) == [b"used"]
            assert "b'idle' was idle for a day" in caplog.text
            with pytest.raises(NotFound):
                await at.tree.lookup(idle, b"a")
            # The store has forgotten it too; one that is known would start another: EBUSY.
            (said,) = await at.client.batch([requests.transaction_start()], tx_id)
            assert getattr(said, "errno", None) in (errno.ENOENT, errno.EIO)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


def test_there_is_a_limit_to_open_transactions(daemon: Daemon) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            for number in range(MAX_OPEN):
                await at.transactions.mkdir(b"%d" % number)
            with pytest.raises(FSError) as caught:
                await at.transactions.mkdir(b"more")
            assert caught.value.errno == errno.EDQUOT
            await at.transactions.rmdir(b"0")
            await at.transactions.mkdir(b"more")

    trio.run(main)


def test_a_lost_connection_ends_all(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with house(daemon.socket) as at:
            root = await at.transactions.mkdir(b"one")
            daemon.restart()
            await at.client.lost.wait()
            assert not at.transactions.entries()
            assert not root.alive
            assert "transaction b'one' was lost" in caplog.text
            with pytest.raises(NotFound):
                await at.tree.lookup(root, b"a")
            # The same number may be another transaction by now.
            again = await at.transactions.mkdir(b"one")
            assert again is not root

    trio.run(main)
