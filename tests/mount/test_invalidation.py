# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What an event puts out of date, each with the race that would leave a stale answer.

With `cache=watch`, where answers come from memory for as long as no event forbids it. The rules
and what happens without them were measured on both daemons. Others stand where their cause
is: long bursts in test_bursts.py, lost connections in test_outages.py.
"""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.inotify import Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside, Tap
from tests.xen.link import Link
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon


class Place:
    """A directory `d` in a mount whose connection can be meddled with, and the store itself."""

    def __init__(self, top: Path, store: Outside, link: Link, tap: Tap) -> None:
        self.top = top
        self.d = top / "d"
        self.store = store
        self.link = link
        self.tap = tap

    def barrier(self) -> None:
        """What the store has done by now, xsfs has heard of: it comes before this answer."""
        os.getxattr(self.top, "user.xenstore.perms")

    def asked(self, op: Op) -> int:
        """How many requests of this type there were."""
        return self.tap.count(op)

    def change_unheard(self, op: Op, first: bytes, second: bytes) -> None:
        """Have a node made while the next request of this type is under way, and another.

        The first's event comes with the answer, before it, which so knows of the first. The
        second is made after the answer, and its event does not come: C xenstored drops one that
        is equal to one still unread.
        """
        unread = b""

        def heard(event: bytes) -> bytes:
            nonlocal unread
            unread = event
            self.link.forge(answered, 1, op)
            return b""

        def answered(reply: bytes) -> bytes:
            self.link.swallow(1, Op.WATCH_EVENT)
            self.store.write(*second.split(b"="))
            return unread + reply

        def asked() -> None:
            self.link.forge(heard, 1, Op.WATCH_EVENT)
            self.store.write(*first.split(b"="))

        self.tap.before(op, asked)


@pytest.fixture
def place(fuse: None, daemon: Daemon) -> Iterator[Place]:
    tap = Tap()
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        closing(Outside(daemon)) as store,
        Link(Path(folder) / "link", daemon.socket, tap) as link,
    ):
        store.write(b"/d/x", b"old")
        store.write(b"/d/s/t/y", b"old")
        with Mounted(link.socket, "cache=watch") as mounted:
            yield Place(mounted.path, store, link, tap)


def test_nothing_is_asked_for_twice_without_an_event(place: Place) -> None:
    """Else the tests below would show nothing."""
    assert (place.d / "x").read_text() == "old\n"
    assert sorted(os.listdir(place.d)) == ["s", "x"]
    before = place.asked(Op.READ), place.asked(Op.DIRECTORY)
    assert (place.d / "x").read_text() == "old\n"
    assert sorted(os.listdir(place.d)) == ["s", "x"]
    assert (place.asked(Op.READ), place.asked(Op.DIRECTORY)) == before


def test_the_node_itself(place: Place) -> None:
    assert (place.d / "x").read_text() == "old\n"
    place.store.write(b"/d/x", b"a new one")
    place.barrier()
    assert (place.d / "x").read_text() == "a new one\n"
    assert (place.d / "x").stat().st_size == len("a new one\n")


def test_all_below_it(place: Place) -> None:
    """A removal has one event, for its top."""
    assert (place.d / "s/t/y").read_text() == "old\n"
    place.store.rm(b"/d/s")
    place.barrier()
    with pytest.raises(FileNotFoundError):
        (place.d / "s/t/y").read_text()


def test_all_below_it_that_is_there_again(place: Place) -> None:
    assert (place.d / "s/t/y").read_text() == "old\n"
    assert sorted(os.listdir(place.d / "s/t")) == ["y"]
    place.store.rm(b"/d/s")
    place.store.write(b"/d/s/t/z", b"new")
    place.barrier()
    assert sorted(os.listdir(place.d / "s/t")) == ["z"]
    assert (place.d / "s/t/z").read_text() == "new\n"
    with pytest.raises(FileNotFoundError):
        (place.d / "s/t/y").read_text()


def test_a_directory_that_was_gone_for_a_moment(place: Place) -> None:
    """Who is in it would find nothing there if the kernel were told of its removal."""
    with Inotify() as inotify:
        inotify.watch(place.d, "d")
        inside = os.open(place.d, os.O_RDONLY | os.O_DIRECTORY)
        asked = iter((Op.DIRECTORY, Op.READ, Op.GET_PERMS))
        removed = threading.Event()

        def answered(reply: bytes) -> bytes:
            if next(asked) is Op.GET_PERMS and removed.wait(DEADLINE_S):
                place.store.write(b"/d/n", b"new")
            return reply

        gone = place.link.forge(answered, 3, Op.ERROR)
        place.store.rm(b"/d")
        removed.set()
        assert gone.wait(DEADLINE_S)
        inotify.until(lambda heard: heard == Heard("d", "CREATE", "n"))
    try:
        with open(os.open("n", os.O_RDONLY, dir_fd=inside), "rb") as file:
            assert file.read() == b"new\n"
        assert os.listdir(f"/proc/self/fd/{inside}") == ["n"]
    finally:
        os.close(inside)


def test_the_listing_of_its_parent(place: Place) -> None:
    assert sorted(os.listdir(place.d)) == ["s", "x"]
    place.store.write(b"/d/n", b"")
    place.barrier()
    assert sorted(os.listdir(place.d)) == ["n", "s", "x"]
    place.store.rm(b"/d/x")
    place.barrier()
    assert sorted(os.listdir(place.d)) == ["n", "s"]


def test_the_listing_of_every_ancestor(place: Place) -> None:
    """Missing parents are made on the way, with no event of their own."""
    assert sorted(os.listdir(place.d)) == ["s", "x"]
    place.store.write(b"/d/p/q/n", b"")
    place.barrier()
    assert sorted(os.listdir(place.d)) == ["p", "s", "x"]


def test_that_an_ancestor_does_not_exist(place: Place) -> None:
    assert not (place.d / "p").exists()
    assert not (place.d / "p/q").exists()
    place.store.write(b"/d/p/q/n", b"here")
    place.barrier()
    assert (place.d / "p").is_dir()
    assert (place.d / "p/q/n").read_text() == "here\n"


def test_a_value_that_was_under_way(place: Place) -> None:
    assert os.listdir(place.top) != []
    place.change_unheard(Op.READ, b"/d/x=new", b"/d/x=newest")
    assert (place.d / "x").read_text() in ("new\n", "newest\n")
    place.barrier()
    assert (place.d / "x").read_text() == "newest\n"


def test_a_listing_that_was_under_way(place: Place) -> None:
    assert place.d.is_dir()
    place.change_unheard(Op.DIRECTORY, b"/d/m=", b"/d/n=")
    assert "m" in os.listdir(place.d)
    place.barrier()
    assert sorted(os.listdir(place.d)) == ["m", "n", "s", "x"]
