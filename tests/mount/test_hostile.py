# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Stores that no sane guest would make: long names, many children, depth, every byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import sh
from tests.outcome import until
from tests.xen.wire import Op, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon

LIMIT = {"xenstored": 2048, "oxenstored": 1024}


def fill(store: Outside, top: bytes, count: int, mount: Path | None = None) -> None:
    """Make `count` children, pipelined, but no faster than a mount reads their events.

    oxenstored 4.17 reads no more of a client for whose changes some 2,100 events are unread, not
    even when they are read: a busy machine may keep a mount from running for so long.
    """
    at_once = 500
    for start in range(0, count, at_once):
        numbers = range(start, min(start + at_once, count))
        for number in numbers:
            store.wire.send(Op.WRITE, b"%s/n%06d\0%d" % (top, number, number))
        for _ in numbers:
            assert store.wire.receive().op == Op.WRITE
        if mount is not None:
            # The reply to its request comes after the events.
            os.listdir(mount)


@pytest.fixture
def quiet(fuse: None, shared_daemon: Daemon) -> Iterator[tuple[Path, Outside, Mounted]]:
    """A mount with no link in between, on a folder of its own of the store."""
    store = Outside(shared_daemon)
    store.mkdir(b"/hostile")
    with Mounted(shared_daemon.socket, "root=/hostile") as mounted:
        yield mounted.path, store, mounted
    store.rm(b"/hostile")
    store.close()


@pytest.mark.parametrize("length", [255, 256, 1000, 1024, 2000, 3000])
def test_a_name_too_long_is_left_out_of_listings_with_one_warning(
    quiet: tuple[Path, Outside, Mounted], shared_daemon: Daemon, length: int
) -> None:
    path, store, mounted = quiet
    store.write(b"/hostile/d/short", b"1")
    if len(b"/hostile/d/") + length > LIMIT[shared_daemon.kind]:
        with pytest.raises(Refused):
            store.write(b"/hostile/d/" + b"n" * length, b"2")
        length = 0
    else:
        store.write(b"/hostile/d/" + b"n" * length, b"2")
    expected = {"short"} | ({"n" * 255} if length == 255 else set())
    for _ in range(3):
        assert set(os.listdir(path / "d")) == expected
        assert len(sh("ls -l d", path).splitlines()) == 1 + len(expected)
    warnings = mounted.logs("name is too long" if length > 255 else "").count("name is too long")
    assert warnings == (length > 255)
    mounted.expected = ("name is too long",)
    store.rm(b"/hostile/d")


def test_thousands_of_children_are_listed_each_once(
    quiet: tuple[Path, Outside, Mounted],
) -> None:
    path, store, mounted = quiet
    fill(store, b"/hostile/many", 5000, path)
    names = [f"n{number:06}" for number in range(5000)]
    assert sorted(os.listdir(path / "many")) == names
    with os.scandir(path / "many") as entries:
        assert sorted(entry.name for entry in entries if entry.is_file()) == names
    assert mounted.leaks_no_inode()
    sizes = sh("find many -type f -printf '%s %f\\n' | sort -k2", path).splitlines()
    assert sizes == [f"{len(str(n)) + 1} n{n:06}" for n in range(5000)]


def test_a_listing_is_a_snapshot_while_children_come_and_go(
    quiet: tuple[Path, Outside, Mounted],
) -> None:
    path, store, _ = quiet
    fill(store, b"/hostile/many", 2000, path)
    stable = {f"n{number:06}" for number in range(0, 2000, 2)}
    seen: list[str] = []
    with os.scandir(path / "many") as entries:
        for index, entry in enumerate(entries):
            seen.append(entry.name)
            if index % 100 == 0:
                store.rm(b"/hostile/many/n%06d" % (2 * index + 1 if 2 * index < 2000 else 1))
                store.write(b"/hostile/many/new%d" % index, b"")
    assert len(seen) == len(set(seen)), "each name once"
    assert stable <= set(seen), "what was there all along is listed"


def test_a_directory_is_read_again_from_the_start(
    root: None, quiet: tuple[Path, Outside, Mounted]
) -> None:
    path, store, mounted = quiet
    fill(store, b"/hostile/many", 1000, path)
    fd = os.open(path / "many", os.O_RDONLY)
    first = os.listdir(fd)
    mounted.drops_entries()
    # os.listdir rewinds the descriptor it is given.
    assert sorted(os.listdir(fd)) == sorted(first)
    os.close(fd)


def test_the_deepest_path_is_reached_and_goes(
    quiet: tuple[Path, Outside, Mounted], shared_daemon: Daemon
) -> None:
    path, store, mounted = quiet
    depth = (LIMIT[shared_daemon.kind] - len(b"/hostile")) // 2
    store.write(b"/hostile" + b"/d" * depth, b"bottom")
    until((path / "d").is_dir)
    assert sh("find d | wc -l; find d -type f -execdir cat {} +", path).split() == [
        str(depth),
        "bottom",
    ]
    store.rm(b"/hostile/d")
    until(lambda: not (path / "d").exists(), timeout_s=30)
    assert mounted.leaks_no_inode()


def test_values_of_every_length_survive(
    quiet: tuple[Path, Outside, Mounted], shared_daemon: Daemon
) -> None:
    path, store, _ = quiet
    file, node = path / "f", b"/hostile/f"
    longest = 4096 - len(node) - 1 if shared_daemon.kind == "xenstored" else 2048
    for length in [*range(20), *range(20, longest, 97), *range(longest - 3, longest + 1)]:
        value = bytes(index % 251 for index in range(length))
        store.write(node, value)
        assert file.read_bytes() == (value + b"\n" if value else b"")
        file.write_bytes(value[::-1] + b"\n")
        assert store.read(node) == value[::-1]


def test_values_of_every_byte_survive(quiet: tuple[Path, Outside, Mounted]) -> None:
    path, store, _ = quiet
    file, node = path / "f", b"/hostile/f"
    for byte in range(256):
        for value in (bytes([byte]), b"x" + bytes([byte]), b"\n" + bytes([byte])):
            store.write(node, value)
            text = file.read_bytes()
            assert text == value + b"\n"
            store.write(node, b"")
            file.write_bytes(text)
            assert store.read(node) == value


def test_tens_of_thousands_of_children_are_listed_each_once(
    fuse: None, shared_daemon: Daemon
) -> None:
    # For xenstored the time to make them grows with the square of their number.
    count = 50_000 if shared_daemon.kind == "oxenstored" else 10_000
    store = Outside(shared_daemon)
    fill(store, b"/hostile/many", count)
    with Mounted(shared_daemon.socket, "root=/hostile") as mounted:
        listed = os.listdir(mounted.path / "many")
        assert len(listed) == len(set(listed)) == count
        assert mounted.leaks_no_inode()
    store.rm(b"/hostile")
    store.close()
