# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Another client removes a large tree that is known and watched: its events, and what goes on."""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.inotify import Heard, Inotify
from tests.mount.mounting import Mounted
from tests.outcome import until
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon

DIRECTORIES = [f"d{number}" for number in range(10)]
FILES = [f"n{number}" for number in range(200)]

# inotify(7): CREATE, DELETE and DELETE_SELF.
MASK = 0x700
DELETE_SELF = 0x400

# What is heard of the removal, and how often: at each directory, at a file, at the top.
WATCHED = [f"many/{name}" for name in DIRECTORIES]
EXPECTED = Counter(
    {
        **{Heard(at, "DELETE", name): 1 for at in WATCHED for name in FILES},
        **{Heard(at, "DELETE_SELF"): 1 for at in (*WATCHED, "many", "many/d5/n7")},
        **{Heard("many", "DELETE,ISDIR", name): 1 for name in DIRECTORIES},
        Heard("", "DELETE,ISDIR", "many"): 1,
    }
)


@pytest.fixture
def store(daemon: Daemon) -> Iterator[xsfs.Client]:
    with xsfs.Client(daemon.socket) as client:
        client[b"/quiet"] = b"1"
        for name in DIRECTORIES:
            client.batch([requests.write(f"/many/{name}/{file}".encode(), b"1") for file in FILES])
        yield client


@pytest.fixture
def mounted(fuse: None, daemon: Daemon, store: xsfs.Client) -> Iterator[Mounted]:
    with Mounted(daemon.socket) as mounted:
        yield mounted


@pytest.fixture
def heard(mounted: Mounted) -> Iterator[Inotify]:
    """The mount's root, and all of the tree, looked up and watched."""
    with Inotify() as heard:
        heard.watch(mounted.path, "", MASK)
        for path in ("many", *WATCHED):
            assert [entry.stat() for entry in (mounted.path / path).iterdir()]
            heard.watch(mounted.path / path, path, MASK)
        heard.watch(mounted.path / "many/d5/n7", "many/d5/n7", MASK)
        yield heard


def removed(events: list[Heard]) -> Counter[Heard]:
    """How often each removal was heard."""
    return Counter(event for event in events if event.what.startswith("DELETE"))


def is_gone(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def test_each_removal_is_heard_once_in_order(
    mounted: Mounted, store: xsfs.Client, heard: Inotify
) -> None:
    store.delete(b"/many")
    events = heard.until(Heard("", "DELETE,ISDIR", "many").__eq__, 40)
    assert removed([*events, Heard("", "DELETE,ISDIR", "many")]) == EXPECTED
    for at in WATCHED:
        names = [e.name for e in events if e.watched == at and e.what == "DELETE"]
        assert names == sorted(FILES)
    assert is_gone(mounted.path / "many")


def test_the_same_path_is_used_again_meanwhile(
    mounted: Mounted, store: xsfs.Client, heard: Inotify
) -> None:
    store.delete(b"/many")
    first = heard.take()
    store[b"/many/d0/n0"] = b"new"
    # Answered after the event.
    mounted.stats()
    for _ in range(20):
        assert (mounted.path / "many/d0/n0").read_text() == "new\n"
        assert is_gone(mounted.path / "many/d0/n1")
        assert is_gone(mounted.path / "many/d9")
    events = heard.until(Heard("", "CREATE,ISDIR", "many").__eq__, 40)
    assert removed([first, *events]) == EXPECTED
    heard.watch(mounted.path / "many/d0", "new", MASK)
    store[b"/many/d0/end"] = b""
    heard.until(Heard("new", "CREATE", "end").__eq__)


def test_the_store_restarts_meanwhile(
    mounted: Mounted, store: xsfs.Client, heard: Inotify, daemon: Daemon
) -> None:
    store.delete(b"/many")
    first = heard.take()
    mounted.expected = ("connection lost", "connected again")
    daemon.restart()
    events = heard.until(Heard("", "DELETE", "quiet").__eq__, 40)
    assert removed([first, *events]) == EXPECTED
    assert mounted.forgets_everything()


def test_an_unmount_meanwhile(
    root: None, mounted: Mounted, store: xsfs.Client, heard: Inotify
) -> None:
    # For a user it may be busy: his event helper cannot clone the mount.
    store.delete(b"/many")
    heard.take()
    mounted.unmount()
    assert not mounted.wait()


@pytest.mark.parametrize("events", ["full", "off"])
@pytest.mark.parametrize("name", [".value", ".events", ".json"])
@pytest.mark.parametrize("by_mount", [False, True], ids=["by the store", "by rmdir"])
def test_what_is_open_in_a_directory_does_not_keep_it(
    fuse: None, daemon: Daemon, store: xsfs.Client, events: str, name: str, by_mount: bool
) -> None:
    store[b"/d/x"] = b""
    with Mounted(daemon.socket, f"events={events}") as mounted, Inotify() as heard:
        top = mounted.path / "d"
        with open(os.open(top / name, os.O_RDONLY | os.O_NONBLOCK)):
            heard.watch(top, "d", DELETE_SELF)
            if by_mount:
                (top / "x").unlink()
                top.rmdir()
            else:
                store.delete(b"/d")
            until(lambda: is_gone(top))
        assert heard.take() == Heard("d", "DELETE_SELF")
