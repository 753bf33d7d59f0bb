# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A removal is asked about twice, takes effect at once, and is announced step by step.

What may happen between the questions, and between two steps: first with no event loop, then by the
handlers, where the watcher waits after the first notice.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyfuse3
import pytest
import trio

from tests.deadline import DEADLINE_S
from tests.fs.kernel import CONTEXT, Kernel, fails
from tests.fs.watched_store import Store, WatchedStore, describe
from xsfs.fs.filesystem import FileSystem
from xsfs.fs.model.notices import Removal
from xsfs.fs.options import Options
from xsfs.protocol import requests
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Run = Callable[[Callable[["At"], Awaitable[None]]], None]

D: Store = {"/d": "", "/d/x": "1"}
DEEP: Store = {**D, "/d/s": "", "/d/s/a": "1", "/d/s/b": "1", "/d/s/t/c": "2"}
KNOWN = ["/d/s/t/c", "/d/s/a", "/d/s/b", "/d/x"]
TOLD = ["removed /d/s/a", "removed /d/s/b", "removed /d/s/t/c", "removed/ /d/s/t", "removed/ /d/s"]


class Interrupted:
    """A change of /d/s by another client, and what is done after the first notice of a removal.

    Args:
        events: others that come before the removal of the directory is certain.
    """

    def __init__(self, *events: str) -> None:
        self.watched = WatchedStore(DEEP, KNOWN)
        self.table, self.difference = self.watched.table, self.watched.difference
        self.nodes = {node.path: node for node in self.table.view.root.subtree()}
        self._events = events

    def tell(self, after: Store, between: Callable[[], object]) -> list[str]:
        """What is told in all when the store is `after`."""
        self.watched.store = after
        self.watched.event("/d/s")
        self.watched.meanwhile = self._more
        told: list[str] = []
        is_first = True
        for step in self.watched.steps():
            for notice in step.notices if isinstance(step, Removal) else [step]:
                told.append(describe(notice))
                if isinstance(step, Removal) and is_first:
                    is_first = False
                    between()
                    self.difference.outdated()
        return told

    def _more(self) -> None:
        for path in self._events:
            self.watched.event(path)

    def ended(self) -> None:
        """Nothing is kept when the kernel has forgotten all."""
        assert not self.table.leaving
        for ino in [inode.ino for inode in self.table if inode is not self.table.root]:
            self.table.forget(ino, self.table[ino].lookups)
        assert list(self.table) == [self.table.root]
        for path, node in self.nodes.items():
            assert not path.startswith(b"/d/s") or not node.children


def test_all_of_it_is_gone_before_anything_is_told() -> None:
    at = Interrupted()

    def between() -> None:
        assert {path for path, node in at.nodes.items() if not node.alive} == {
            path for path in at.nodes if path.startswith(b"/d/s")
        }
        found = at.table.view.find(b"/d/s/t/c")
        assert found == (at.nodes[b"/d"], [b"s", b"t", b"c"])

    assert at.tell(D, between) == TOLD
    at.ended()


def test_what_comes_at_the_same_path_meanwhile_is_told_after_it() -> None:
    at = Interrupted()

    def between() -> None:
        at.watched.store = {**D, "/d/s/a": "new"}
        at.watched.event("/d/s/a")
        at.watched.learn("/d/s/a")
        found = at.table.view.find(b"/d/s/a")
        assert found is not None
        assert found[0].alive
        assert found[0] is not at.nodes[b"/d/s/a"]

    assert at.tell(D, between) == [*TOLD, "created/ /d/s", "created /d/s/a", "modified /d/s/a"]
    at.ended()


def test_what_was_asked_before_is_asked_again() -> None:
    """Our own removal meanwhile: the reply from before it shows a node that is no more."""
    at = Interrupted("/d/x")

    def between() -> None:
        echo = at.difference.echoes.expect(b"/d/x", exists=False)
        at.watched.store = {"/d": ""}
        at.difference.echoes.acknowledge(echo, 0)
        names = at.nodes[b"/d"].names
        assert names is not None
        names.discard(b"x")
        at.table.drop(at.nodes[b"/d/x"])

    assert at.tell({**D, "/d/x": "2"}, between) == TOLD
    at.ended()


def test_events_for_another_path_that_came_before_are_told_before_later_ones() -> None:
    at = Interrupted("/d/x")

    def between() -> None:
        at.watched.store = {**D, "/d/x": "2", "/d/n": ""}
        at.watched.event("/d/n")

    assert at.tell({**D, "/d/x": "2"}, between) == [*TOLD, "modified /d/x", "created /d/n"]


def test_what_the_kernel_forgets_meanwhile_is_told_as_what_it_was() -> None:
    at = Interrupted()

    def between() -> None:
        for path in (b"/d/s/t/c", b"/d/s/t"):
            for inode in list(at.nodes[path].inodes):
                at.table.forget(inode.ino, inode.lookups)

    assert at.tell(D, between) == TOLD
    at.ended()


def test_what_we_moved_out_meanwhile_is_not_removed() -> None:
    """Our rename was done first; its reply comes after the event of the removal."""
    at = Interrupted()
    node = at.nodes[b"/d/s/t"]

    def between() -> None:
        at.watched.store = {**D, "/new": "", "/new/c": "2"}
        names = at.nodes[b"/d/s"].names
        assert names is not None
        names.discard(b"t")
        at.table.move(node, at.table.root.node, b"new")

    told = at.tell(D, between)
    assert told == ["removed /d/s/a", "removed /d/s/b", "removed/ /d/s"]
    assert node.alive
    assert at.nodes[b"/d/s/t/c"].path == b"/new/c"


def test_what_is_made_again_before_its_turn_stays() -> None:
    """A listing from before does not have it."""
    at = Interrupted()
    without = {**D, "/d/s": "", "/d/s/t/c": "2"}

    def between() -> None:
        at.watched.store = {**without, "/d/s/b": "2"}
        at.watched.event("/d/s/b")
        at.watched.learn("/d/s/b")

    assert at.tell(without, between) == ["removed /d/s/a", "modified/ /d/s", "modified /d/s/b"]
    assert at.nodes[b"/d/s/b"].alive


def test_everything_becomes_suspect_meanwhile() -> None:
    at = Interrupted()

    def between() -> None:
        at.watched.store = {**D, "/d/x": "2"}
        at.difference.reconnected()

    assert at.tell(D, between) == [*TOLD, "modified /d/x"]
    at.ended()


@pytest.mark.parametrize("first", [True, False], ids=["at once", "while it is asked again"])
def test_a_directory_that_is_back_before_its_removal_is_certain_stays(first: bool) -> None:
    """Who has entered it since would find nothing there."""
    watched = WatchedStore(DEEP, ["/d/s/a"])
    node = watched.table.child(watched.table.child(watched.table.root.node, b"d"), b"s")
    watched.store = D
    watched.event("/d/s")

    def back() -> None:
        watched.store = {**D, "/d/s": "", "/d/s/a": "2"}
        watched.event("/d/s/a")
        if not first:
            watched.learn("/d/s/a")

    def later() -> None:
        watched.meanwhile = back

    watched.meanwhile = back if first else later
    told = ["removed /d/s/b", "removed/ /d/s/t", "modified/ /d/s", "modified /d/s/a"]
    assert watched.look() == told
    assert node.alive


def test_what_was_found_since_it_was_asked_for_is_not_gone() -> None:
    watched = WatchedStore(D, ["/d/x"])
    node = watched.table.child(watched.table.child(watched.table.root.node, b"d"), b"x")
    watched.store = {"/d": ""}
    watched.event("/d/x")

    def found() -> None:
        watched.store = D
        watched.event("/d/x")
        watched.learn("/d/x")

    watched.meanwhile = found
    assert watched.look() == ["modified /d/x"]
    assert node.alive


# -- by the handlers ------------------------------------------------------------------------------

ROOT = pyfuse3.ROOT_INODE
HELPER: Any = SimpleNamespace(pid=4712, uid=0, gid=0, umask=0)


class Held:
    """Turns of the watcher: the first ends after the first notice, the second when it may."""

    def __init__(self) -> None:
        self.reached, self.go = trio.Event(), trio.Event()

    async def over(self) -> bool:
        self.reached.set()
        await self.go.wait()
        return True


@dataclass
class At:
    """Handlers over a store whose /d is known and has been removed, which is not all told yet."""

    kernel: Kernel
    fs: FileSystem
    inodes: dict[bytes, int]
    go: trio.Event

    async def goes_on(self) -> None:
        """Return when all is told."""
        self.go.set()
        await self.fs.watcher.settle()
        assert not self.fs.table.leaving


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a test in the middle of a removal, and checks that all is forgotten after it."""

    async def know(at: Kernel) -> dict[bytes, int]:
        paths = [b"d", *(b"d/s%d" % s for s in range(3))]
        paths += [b"d/s%d/n%d" % (s, n) for s in range(3) for n in range(3)]
        return {path: await at.walk(path) for path in paths}

    def run(test: Callable[[At], Awaitable[None]]) -> None:
        async def main(path: str) -> None:
            held = Held()
            monkeypatch.setattr("xsfs.fs.inotify.watcher.Turns", lambda *_: held)
            fs = FileSystem(path, Options())
            fs.queue.helper_pid = HELPER.pid
            async with fs.client, trio.open_nursery() as nursery:
                at = Kernel(fs, monkeypatch)
                await fs.start()
                nursery.start_soon(fs.watcher.run)
                with trio.fail_after(DEADLINE_S):
                    inodes = await know(at)
                    await at.client.call(requests.rm(b"/d"))
                    await held.reached.wait()
                    await test(At(at, fs, inodes, held.go))
                nursery.cancel_scope.cancel()
            await at.forget()
            assert list(fs.table) == [fs.table.root]

        with running({b"/d/s%d/n%d" % (s, n): b"1" for s in range(3) for n in range(3)}) as path:
            trio.run(main, str(path))

    return run


def test_nobody_sees_half_of_it(run: Run) -> None:
    async def test(at: At) -> None:
        ops, inodes = at.kernel.ops, at.inodes
        await fails(errno.ENOENT, ops.lookup(ROOT, b"d", CONTEXT))
        await fails(errno.ENOENT, ops.lookup(inodes[b"d"], b"s2", CONTEXT))
        await fails(errno.ENOENT, ops.lookup(inodes[b"d/s2"], b"n2", CONTEXT))
        await fails(errno.ESTALE, ops.open(inodes[b"d/s2/n2"], os.O_RDONLY, CONTEXT))
        await fails(errno.ENOENT, ops.mkdir(inodes[b"d/s2"], b"new", 0o755, CONTEXT))
        await fails(errno.ENOENT, ops.create(inodes[b"d/s2"], b"new", 0o644, os.O_WRONLY, CONTEXT))
        await at.goes_on()

    run(test)


def test_the_path_can_be_used_again_at_once(run: Run) -> None:
    async def test(at: At) -> None:
        new = await at.kernel.mkdir(ROOT, b"d")
        assert new != at.inodes[b"d"]
        assert await at.kernel.list(new) == []
        # The old one has the same path: nothing may be made in the new one through it.
        ops, old = at.kernel.ops, at.inodes[b"d"]
        await fails(errno.ENOENT, ops.mkdir(old, b"new", 0o755, CONTEXT))
        await at.kernel.mkdir(ROOT, b"other")
        await fails(errno.ENOENT, ops.rename(ROOT, b"other", old, b"new", 0, CONTEXT))
        await at.goes_on()
        assert await at.kernel.walk(b"d") == new

    run(test)


def test_the_helper_finds_the_old_one_until_all_is_told(run: Run) -> None:
    async def test(at: At) -> None:
        ops, inodes = at.kernel.ops, at.inodes
        new = await at.kernel.mkdir(ROOT, b"d")

        async def walk() -> None:
            for directory, name, path in (
                (ROOT, b"d", b"d"),
                (inodes[b"d"], b"s2", b"d/s2"),
                (inodes[b"d/s2"], b"n2", b"d/s2/n2"),
            ):
                attr = await ops.lookup(directory, name, HELPER)
                at.kernel.lookups[attr.st_ino] += 1
                assert attr.st_ino == inodes[path]
                # Without links a watch would end when the kernel drops the entry.
                assert attr.st_nlink == 1
                assert not attr.entry_timeout
            # Nor does the kernel keep the new one: the helper comes this way again.
            attr = await ops.lookup(ROOT, b"d", CONTEXT)
            at.kernel.lookups[attr.st_ino] += 1
            assert (attr.st_ino, attr.entry_timeout) == (new, 0)

        await walk()
        at.go.set()
        while at.fs.table.leaving:
            await trio.lowlevel.checkpoint()
        await walk()

    run(test)


def test_the_end_of_the_mount_in_between(run: Run) -> None:
    async def test(at: At) -> None:
        assert at.fs.table.leaving

    run(test)
