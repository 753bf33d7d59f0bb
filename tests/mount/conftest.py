# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fixtures of the mount tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.inotify import Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside, Tap
from tests.xen.daemons import KINDS, Daemon
from tests.xen.link import Link
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.packages import Xen

_numbers = itertools.count(1)


@pytest.fixture(params=KINDS, scope="module")
def shared_daemon(request: pytest.FixtureRequest, xen: Xen) -> Iterator[Daemon]:
    """A real daemon of each kind for all tests of a module.

    What the embedded store does like them is its own tests' to say.
    """
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon(request.param, Path(folder), xen) as daemon,
    ):
        yield daemon


@pytest.fixture
def mount(fuse: None, daemon: Daemon) -> Iterator[Path]:
    """The mountpoint of a fresh daemon's store, for one test."""
    with Mounted(daemon.socket) as mounted:
        yield mounted.path


@pytest.fixture(scope="module")
def shared_mount(fuse: None, shared_daemon: Daemon) -> Iterator[Path]:
    """The mountpoint of a daemon's store, for all tests of a module."""
    with Mounted(shared_daemon.socket) as mounted:
        yield mounted.path


@pytest.fixture
def guest_home(fuse: None) -> Iterator[Mounted]:
    """A guest's mount of its home, in which it owns `mine` and may only read `theirs`."""
    home = b"/local/domain/5"
    values = {home + b"/mine": b"1", home + b"/theirs": b"1"}
    perms = {home: [b"n5"], home + b"/theirs": [b"n0", b"r5"]}
    with (
        running(values, perms=perms, domains=[5]) as path,
        Mounted(path.domains[5], f"root={home.decode()}") as mounted,
    ):
        yield mounted


@dataclass
class Here:
    """A directory of a test's own, seen from the mount and from outside."""

    path: Path
    node: bytes
    mounted: Mounted
    store: Outside
    tap: Tap
    daemon: Daemon

    def at(self, name: bytes) -> bytes:
        """The store path of what is called `name` here."""
        return self.node + b"/" + name

    def have(self, *files: str) -> None:
        """Nodes with the value 1, and all told that there is to tell of them."""
        with Inotify() as heard:
            heard.watch(self.path, "d")
            for file in files:
                self.store.write(self.at(file.encode()), b"1")
            self.store.write(self.at(b"announced"), b"")
            heard.until(Heard("d", "CREATE", "announced").__eq__)

    def forgets(self) -> bool:
        """Have the kernel forget all it can, as only root can; whether xsfs then holds no inode."""
        return self.mounted.forgets_everything()


@pytest.fixture(scope="module")
def tapped(fuse: None, shared_daemon: Daemon) -> Iterator[tuple[Mounted, Tap]]:
    """A mount for all tests of a module, and what is heard on its way to the daemon."""
    tap = Tap()
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Link(Path(folder) / "link", shared_daemon.socket, tap) as link,
        Mounted(link.socket) as mounted,
    ):
        yield mounted, tap


@pytest.fixture
def here(shared_daemon: Daemon, tapped: tuple[Mounted, Tap]) -> Iterator[Here]:
    """An empty directory for one test; at its end, xsfs must forget all inodes (asked by root)."""
    mounted, tap = tapped
    name = f"t{next(_numbers)}"
    store = Outside(shared_daemon)
    node = b"/" + name.encode()
    path = mounted.path / name
    path.mkdir()
    tap.start()
    yield Here(path, node, mounted, store, tap, shared_daemon)
    tap.start()
    store.rm(node)
    store.close()
    assert mounted.leaks_no_inode()
