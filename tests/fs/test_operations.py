# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The handlers without a kernel, over real daemons: lookup counts are exact in any case."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol

import pyfuse3
import pytest
import trio

from tests.fs.kernel import CONTEXT, Kernel, fails, kernel
from xsfs.fs.options import Options
from xsfs.protocol.conversation import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.xen.daemons import Daemon
    from xsfs.fs.options import CacheMode
    from xsfs.protocol.requests import Request

ROOT = pyfuse3.ROOT_INODE


class Run(Protocol):
    """Runs a test with a file system over a fresh daemon, and checks what is left of it."""

    def __call__(
        self,
        test: Callable[[Kernel], Awaitable[None]],
        options: Options | None = None,
        *,
        compares: bool = True,
    ) -> None: ...


@pytest.fixture
def run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Run:
    """See Run."""

    def run(
        test: Callable[[Kernel], Awaitable[None]],
        options: Options | None = None,
        *,
        compares: bool = True,
    ) -> None:
        async def main() -> None:
            async with kernel(daemon.socket, monkeypatch, options, compares=compares) as made:
                await test(made)

        trio.run(main)

    return run


def test_each_lookup_counts(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        one, two = await at.walk(b"a/b"), await at.walk(b"a/b")
        assert one == two
        assert at.table[one].lookups == 2
        await at.ops.forget([(one, 1)])
        assert at.table[one].lookups == 1
        at.lookups[one] -= 1

    run(test)


def test_a_file_that_the_kernel_forgets_keeps_its_number(run: Run) -> None:
    """cp(1) refuses a file that has another number when it is opened than by its name before."""

    async def test(at: Kernel) -> None:
        await at.client.write(b"/d/f", b"1")
        ino = await at.walk(b"d/f")
        await at.ops.forget([(ino, at.lookups.pop(ino))])
        assert await at.walk(b"d/f") == ino
        assert at.table[ino].lookups == 1
        await at.client.delete(b"/d/f")
        await at.client.write(b"/d/f", b"1")
        await at.watcher.settle()

    run(test)


def test_what_fails_counts_nothing(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/a", b"1")
        await at.client.write(b"/d/x", b"1")
        ops = at.ops
        for name in (b"none", b"a.b", b"none.d", b"a.link", b"..", b"n" * 300):
            await fails(errno.ENOENT, ops.lookup(ROOT, name, CONTEXT))
        await fails(errno.EINVAL, ops.mkdir(ROOT, b"a.b", 0o755, CONTEXT))
        await fails(errno.EEXIST, ops.mkdir(ROOT, b"a", 0o755, CONTEXT))
        await fails(errno.EEXIST, ops.mknod(ROOT, b"a", 0o100644, 0, CONTEXT))
        await fails(errno.EPERM, ops.mknod(ROOT, b"p", 0o010644, 0, CONTEXT))
        await fails(errno.EEXIST, ops.create(ROOT, b"a", 0o644, os.O_EXCL, CONTEXT))
        await fails(errno.EISDIR, ops.create(ROOT, b"d", 0o644, 0, CONTEXT))
        await fails(errno.EINVAL, ops.create(ROOT, b"a b", 0o644, 0, CONTEXT))
        await fails(errno.EPERM, ops.symlink(ROOT, b"l", b"a", CONTEXT))
        await fails(errno.EISDIR, ops.unlink(ROOT, b"d", CONTEXT))
        await fails(errno.ENOTDIR, ops.rmdir(ROOT, b"a", CONTEXT))
        await fails(errno.ENOTEMPTY, ops.rmdir(ROOT, b"d", CONTEXT))
        await fails(errno.EINVAL, ops.rename(ROOT, b"a", ROOT, b"a.b", 0, CONTEXT))

    run(test)


def test_every_face_of_a_node_is_an_inode_of_its_own(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/leaf", b"/dir/x")
        await at.client.write(b"/dir/x", b"1")
        names = [b"leaf", b"leaf.d", b"leaf.link", b"dir", b"dir.d", b"dir/.value", b"dir/x"]
        inodes = [await at.walk(name) for name in names]
        assert len(set(inodes)) == len(inodes)
        assert inodes == [await at.walk(name) for name in names]
        assert await at.ops.readlink(inodes[2], CONTEXT) == b"dir/x"
        assert await at.ops.readlink(inodes[4], CONTEXT) == b"dir"

    run(test)


def test_a_listing_gives_each_entry_once_whatever_is_forgotten_meanwhile(run: Run) -> None:
    async def test(at: Kernel) -> None:
        names = sorted(b"n%d" % number for number in range(23))
        for name in names:
            await at.client.write(b"/d/" + name, b"")
        ino = await at.walk(b"d")
        assert await at.list(ino) == names
        at.lookups[ino] -= 1

        async def forget() -> None:
            await at.forget()

        assert await at.list(ino, between=forget) == names
        at.lookups[ino] += 1

    run(test)


def test_entries_that_go_while_listed_are_left_out(run: Run) -> None:
    async def test(at: Kernel) -> None:
        for number in range(20):
            await at.client.write(b"/d/n%02d" % number, b"")

        async def remove() -> None:
            await at.client.delete(b"/d/n%02d" % 19)
            await at.watcher.settle()

        listed = await at.list(await at.walk(b"d"), between=remove)
        assert listed[:15] == [b"n%02d" % number for number in range(15)]
        assert len(listed) == len(set(listed))

    run(test)


def test_a_created_file_is_stored_once_and_forgotten(run: Run) -> None:
    async def test(at: Kernel) -> None:
        fh, ino = await at.create(ROOT, b"f")
        assert not await exists(at, b"/f"), "not before something is written"
        assert await at.walk(b"f") == ino
        assert await at.ops.write(fh, 0, b"text\n") == 5
        assert await at.client.read(b"/f") == b"text"
        await at.ops.release(fh)
        assert await at.read(ino) == b"text\n"
        fh, other = await at.create(ROOT, b"g")
        await at.ops.release(fh)
        assert await at.client.read(b"/g") == b""
        assert other != ino

    run(test)


async def exists(at: Kernel, path: bytes) -> bool:
    return path.rpartition(b"/")[2] in await at.client.list(path.rpartition(b"/")[0] or b"/")


def test_a_node_removed_by_another_is_forgotten_with_its_faces(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/d/e/f", b"1")
        await at.watcher.settle()
        inodes = [await at.walk(path) for path in (b"d", b"d/e", b"d/e/f", b"d/e/f.d")]
        await at.client.delete(b"/d")
        await at.watcher.settle()
        for ino in inodes:
            attr = await at.ops.getattr(ino, CONTEXT)
            assert attr.st_nlink == 0
        await fails(errno.ENOENT, at.ops.lookup(ROOT, b"d", CONTEXT))
        await fails(errno.ENOENT, at.ops.mkdir(inodes[1], b"new", 0o755, CONTEXT))

    run(test)


def test_nothing_is_created_in_a_removed_directory_before_that_is_compared(run: Run) -> None:
    """A file may be created without being stored: it must not bring the directory back."""

    async def test(at: Kernel) -> None:
        await at.client.write(b"/d/e/f", b"1")
        removed, made = await at.walk(b"d"), await at.mkdir(ROOT, b"made")
        await at.client.delete(b"/d")
        for flags in (0, os.O_EXCL):
            await fails(errno.ENOENT, at.ops.create(removed, b"new", 0o644, flags, CONTEXT))
        assert not await exists(at, b"/d")
        fh, _ = await at.create(made, b"new")
        await at.ops.release(fh)

    run(test, compares=False)


def test_renamed_nodes_keep_their_inodes(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/d/e/f", b"1")
        before = await at.walk(b"d/e/f")
        other = await at.mkdir(ROOT, b"other")
        await at.ops.rename(ROOT, b"d", other, b"new", 0, CONTEXT)
        assert await at.walk(b"other/new/e/f") == before
        await fails(errno.ENOENT, at.ops.lookup(ROOT, b"d", CONTEXT))
        await at.watcher.settle()
        assert await at.walk(b"other/new/e/f") == before

    run(test)


def test_depth_is_no_danger(daemon: Daemon, run: Run) -> None:
    depth = {"xenstored": 1000, "oxenstored": 500}[daemon.kind]

    async def test(at: Kernel) -> None:
        await at.client.write(b"/d" * depth, b"bottom")
        ino = await at.walk(b"/".join([b"d"] * depth))
        assert await at.read(ino) == b"bottom\n"
        await at.ops.rename(ROOT, b"d", ROOT, b"e", 0, CONTEXT)
        await at.client.delete(b"/e")
        await at.watcher.settle()

    run(test)


@pytest.mark.parametrize("cache", ["strict", "watch", "off"])
def test_own_writes_are_read_at_once_in_every_mode(run: Run, cache: CacheMode) -> None:
    async def test(at: Kernel) -> None:
        fh, ino = await at.create(ROOT, b"f")
        for number in range(20):
            text = b"%d\n" % number
            await at.ops.write(fh, 0, text)
            assert await at.read(ino) == text
            assert (await at.ops.getattr(ino, CONTEXT)).st_size == len(text)
        await at.ops.release(fh)

    run(test, Options(events="off", cache=cache))


async def reads(at: Kernel, ino: int) -> int:
    """How often reading a file asks the store for the value; the watcher's looks do not count."""
    asked = []
    call = at.client.call

    async def counted(request: Request[object], tx_id: int = 0) -> object:
        asked.append(request)
        return await call(request, tx_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at.client, "call", counted)
        assert await at.read(ino) == b"1\n"
    return len(asked)


def test_nothing_is_believed_for_longer_than_a_minute(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some changes have no event at all."""

    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        await at.watcher.settle()
        start_s = now_s = trio.current_time()
        monkeypatch.setattr(trio, "current_time", lambda: now_s)
        ino = await at.walk(b"a/b")
        now_s = start_s + 60
        assert await reads(at, ino) == 0
        assert (await at.ops.getattr(ino, CONTEXT)).attr_timeout <= 60
        now_s = start_s + 61
        assert await reads(at, ino) == 1

    run(test, Options(cache="watch", events="off"))


def test_a_reply_that_an_event_overtook_is_not_believed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C xenstored drops an event that is equal to one still unread: no other need follow."""

    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        await at.watcher.settle()
        await at.walk(b"a")
        batch = at.client.batch

        async def overtaken(wanted: Sequence[Request[object]], tx_id: int = 0) -> list[object]:
            replies = await batch(wanted, tx_id)
            # Noted alone: the watcher's own look would count among the requests.
            at.difference.note(b"/a/b", at.client.answered, 0)
            return replies

        with monkeypatch.context() as patch:
            patch.setattr(at.client, "batch", overtaken)
            ino = await at.walk(b"a/b")
        assert await reads(at, ino) == 1

    run(test, Options(cache="watch", events="off"))


def test_a_listing_from_memory_asks_nothing_and_shows_what_we_made(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        await at.watcher.settle()
        ino = await at.walk(b"a")
        assert await at.list(ino) == [b"b"]
        before = at.client.answered
        assert await at.list(ino) == [b"b"]
        assert at.client.answered == before
        await at.mkdir(ino, b"c")
        assert await at.list(ino) == [b"b", b"c"]
        await at.client.write(b"/a/d", b"1")
        await at.watcher.settle()
        assert await at.list(ino) == [b"b", b"c", b"d"]

    run(test, Options(cache="watch", events="off"))


def test_a_watchs_confirmation_is_no_change(run: Run) -> None:
    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        await at.watcher.settle()
        ino = await at.walk(b"a/b")
        at.watcher.event(Event(b"/", b""), True)
        assert await reads(at, ino) == 0

    run(test, Options(cache="watch", events="off"))


def test_nothing_is_believed_when_a_domain_went(run: Run) -> None:
    """oxenstored removes what a dead domain had with no other event."""

    async def test(at: Kernel) -> None:
        await at.client.write(b"/a/b", b"1")
        await at.watcher.settle()
        ino = await at.walk(b"a/b")
        assert await reads(at, ino) == 0
        at.watcher._special_event(Event(b"@releaseDomain", b""), False)
        assert await reads(at, ino) == 1

    run(test, Options(cache="watch", events="off"))
