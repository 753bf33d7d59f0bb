# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A daemon in a pid namespace of its own: to it, all who call from outside have the number 0."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

# As a container that shares what it mounts with the host.
CONTAINER = (
    *("unshare", "--pid", "--fork", "--mount", "--propagation", "unchanged"),
    *("sh", "-c", 'mount --make-private /proc; mount -t proc proc /proc; exec "$@"', "sh"),
)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=DEADLINE_S)


def children(pid: int) -> list[int]:
    """The processes that a process has started and not waited for yet."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Contained(Mounted):
    """An xsfs that is the first process of its pid namespace."""

    def __init__(self, daemon: Daemon, mountpoint: Path) -> None:
        super().__init__(daemon.socket, mountpoint=mountpoint, prefix=CONTAINER)

    @property
    def inside(self) -> int:
        """Its process id, outside."""
        assert self.process is not None
        return children(self.process.pid)[0]

    def helpers(self) -> list[int]:
        return children(self.inside)

    def finish(self, *, check: bool) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.inside, signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                os.kill(self.inside, signal.SIGKILL)
        super().finish(check=check)


@pytest.fixture
def shared(fuse: None, root: None) -> Iterator[Path]:
    """A folder below which mounts are seen in all namespaces."""
    with TemporaryDirectory(prefix="xsfs-") as name, ExitStack() as stack:
        folder = Path(name)
        run("mount", "-t", "tmpfs", "none", folder)
        stack.callback(run, "umount", "-R", folder)
        run("mount", "--make-shared", folder)
        (folder / "m").mkdir()
        yield folder


@pytest.fixture
def store(daemon: Daemon) -> Iterator[Outside]:
    store = Outside(daemon)
    store.write(b"/a", b"old")
    yield store
    store.close()


def writes(top: Path, store: Outside, value: bytes) -> None:
    """What is written through the mount is in the store."""
    (top / "a").write_bytes(value)
    assert store.read(b"/a") == value


def test_writes_from_outside_are_stored_while_there_is_no_helper(
    shared: Path, daemon: Daemon, store: Outside
) -> None:
    with Contained(daemon, shared / "m") as mounted, Inotify() as inotify:
        mounted.expected = ("the event helper ended",)
        top = mounted.path
        killed = mounted.helper()
        gone = os.pidfd_open(killed)
        os.kill(killed, signal.SIGKILL)
        assert select.select([gone], [], [], 5)[0]
        os.close(gone)
        rounds = 0
        while mounted.stats()["helpers"] == 1:
            rounds += 1
            writes(top, store, b"%d" % rounds)
        assert rounds
        # The next one raises events for those outside.
        inotify.watch(top / "a", "a", MODIFY)
        store.write(b"/a", b"by somebody else")
        assert inotify.take() == Heard("a", "MODIFY")


def test_changes_of_all_kinds_from_outside_are_stored_where_no_helper_can_be(
    shared: Path, daemon: Daemon, store: Outside, tmp_path: Path
) -> None:
    with Contained(daemon, shared / "m") as mounted, ExitStack() as stack:
        top = tmp_path
        run("mount", "--bind", mounted.path, top)
        run("mount", "--make-private", top)
        (helper,) = mounted.helpers()
        gone = os.pidfd_open(helper)
        run("umount", mounted.path)
        # Wherever the daemon can see, it is mounted no more; only here.
        stack.callback(run, "umount", top)
        assert select.select([gone], [], [], 5)[0]
        os.close(gone)

        writes(top, store, b"new")
        (top / "d").mkdir()
        (top / "d/.value").write_bytes(b"own\n")
        (top / "d/x").write_bytes(b"below\n")
        os.mknod(top / "n")
        assert store.tree(b"/d") == {b"": b"own", b"/x": b"below"}
        assert store.read(b"/n") == b""
        os.truncate(top / "a", 1)
        assert store.read(b"/a") == b"n"
        # cp makes the directory, then its `.value`, which must not be there yet.
        run("cp", "-a", top / "d", top / "e")
        assert store.tree(b"/e") == {b"": b"own", b"/x": b"below"}
        (top / "n").unlink()
        (top / "d/x").unlink()
        (top / "d/.value").unlink()
        (top / "d").rmdir()
        assert store.names(b"/") >= {b"a", b"e"}
        assert store.names(b"/").isdisjoint({b"d", b"n"})
        assert store.read(b"/a") == b"n"

        transaction = top / ".transactions/t"
        transaction.mkdir()
        (transaction / "a").write_bytes(b"in it\n")
        run("cp", "-a", transaction / "e", transaction / "f")
        assert store.read(b"/a") == b"n"
        (transaction / ".commit").write_bytes(b"1\n")
        assert store.read(b"/a") == b"in it"
        assert store.tree(b"/f") == store.tree(b"/e")
