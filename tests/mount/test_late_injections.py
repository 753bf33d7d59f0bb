# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Injections that come late: what they are about has been moved or removed meanwhile."""

from __future__ import annotations

import os
import signal
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.inotify import Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.outcome import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon


class Late:
    """A mount of a store with two directories, `old` and `new`, both watched."""

    def __init__(self, mounted: Mounted, store: Outside, inotify: Inotify) -> None:
        self._mounted = mounted
        self._inotify = inotify
        self.old, self.new = mounted.path / "old", mounted.path / "new"
        self.store = store
        inotify.watch(self.old, "old")
        inotify.watch(self.new, "new")

    @contextmanager
    def helper_frozen(self) -> Iterator[None]:
        """The helper does nothing until the block is over."""
        helper = self._mounted.helper()
        os.kill(helper, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(helper, signal.SIGCONT)

    @contextmanager
    def noticed(self, count: int) -> Iterator[None]:
        """The block's changes have become so many notices."""
        before = self._mounted.stats()["notices"]
        yield
        until(lambda: self._mounted.stats()["notices"] >= before + count)

    def heard(self) -> list[str]:
        """What watchers have heard by the time that all was told, opening and closing aside."""
        heard = []
        # What fails before the first is told is tried again before the second.
        for _ in range(2):
            self.store.write(b"/new/last", b"1")
            heard += self._inotify.until(Heard("new", "CLOSE_WRITE", "last").__eq__)
        return [
            f"{at.watched} {at.what} {at.name}"
            for at in heard
            if at.name != "last" and not at.what.startswith(("OPEN", "CLOSE", "ACCESS"))
        ]


@pytest.fixture
def late(fuse: None, daemon: Daemon) -> Iterator[Late]:
    with closing(Outside(daemon)) as store:
        for path in (b"/old/x", b"/new/last"):
            store.write(path, b"1")
        with Mounted(daemon.socket) as mounted, Inotify() as inotify:
            yield Late(mounted, store, inotify)


def test_a_creation_of_what_was_moved_away_is_not_told(late: Late) -> None:
    """Else the kernel would take it to be in both places."""
    with late.helper_frozen():
        with late.noticed(2):
            late.store.write(b"/old/n", b"v")
        (late.old / "n").rename(late.new / "n")
    assert late.heard() == ["old MOVED_FROM n", "new MOVED_TO n", "new MODIFY n"]
    assert os.listdir(late.old) == ["x"]
    assert not (late.old / "n").exists()
    assert (late.new / "n").read_text() == "v\n"


def test_a_creation_of_a_directory_that_was_moved_away_is_not_told(late: Late) -> None:
    with late.helper_frozen():
        with late.noticed(1):
            late.store.write(b"/old/n/below", b"v")
        (late.old / "n").rename(late.new / "n")
    assert late.heard() == ["old MOVED_FROM,ISDIR n", "new MOVED_TO,ISDIR n"]
    assert not (late.old / "n").exists()
    assert (late.new / "n/below").read_text() == "v\n"


def test_a_change_of_what_was_moved_is_told_where_it_is(late: Late) -> None:
    assert (late.old / "x").read_text() == "1\n"
    with late.helper_frozen():
        with late.noticed(1):
            late.store.write(b"/old/x", b"2")
        (late.old / "x").rename(late.new / "y")
    assert late.heard() == ["old MOVED_FROM x", "new MOVED_TO y", "new MODIFY y"]
    assert not (late.old / "x").exists()
    assert (late.new / "y").read_text() == "2\n"


def test_a_creation_of_what_was_removed_is_told_with_the_removal(late: Late) -> None:
    with late.helper_frozen():
        with late.noticed(2):
            late.store.write(b"/old/n", b"v")
        (late.old / "n").unlink()
    assert not (late.old / "n").exists()
    assert "new MODIFY n" not in late.heard()


def test_a_removed_directory_is_watched_until_its_removal_is_told(late: Late) -> None:
    """Also when it was looked at in between, and its name asked for."""
    folder = os.open(late.old, os.O_PATH)
    with late.helper_frozen():
        with late.noticed(2):
            late.store.rm(b"/old")
        os.fstat(folder)
        until(lambda: not late.old.exists())
    os.close(folder)
    assert late.heard() == ["old DELETE x", "old DELETE_SELF ", "old IGNORED "]


def test_a_directory_made_again_is_entered_while_its_removal_is_not_told(late: Late) -> None:
    with late.helper_frozen():
        with late.noticed(2):
            late.store.rm(b"/old")
        late.store.write(b"/old/x", b"2")
        assert (late.old / "x").read_text() == "2\n"
    assert late.heard() == ["old DELETE x", "old DELETE_SELF ", "old IGNORED "]
    assert (late.old / "x").read_text() == "2\n"
