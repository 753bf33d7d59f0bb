# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is refused, and with which errno."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.outcome import error_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mount.conftest import Here


BAD_NAMES = ["a.b", "a b", "a:b", "a+b", "a~", "\xe4", "a\nb", "*", ".x", "..."]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_the_store_cannot_hold_is_einval_when_creating(here: Here, name: str) -> None:
    path = here.path / name
    assert error_of(path.mkdir) == errno.EINVAL
    assert error_of(lambda: path.write_text("1")) == errno.EINVAL
    assert error_of(lambda: os.mknod(path)) == errno.EINVAL


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_the_store_cannot_hold_is_enoent_when_looking_up(here: Here, name: str) -> None:
    path = here.path / name
    for attempt in (path.stat, path.read_bytes, path.unlink, path.rmdir):
        assert error_of(attempt) == errno.ENOENT


def test_links_devices_pipes_and_sockets_are_eperm(here: Here) -> None:
    (here.path / "f").write_text("1")
    new = here.path / "new"
    assert error_of(lambda: os.link(here.path / "f", new)) == errno.EPERM
    assert error_of(lambda: os.symlink("f", new)) == errno.EPERM
    assert error_of(lambda: os.mkfifo(new)) == errno.EPERM
    assert error_of(lambda: os.mknod(new, 0o20644, os.makedev(1, 3))) == errno.EPERM
    with socket.socket(socket.AF_UNIX) as unix:
        assert error_of(lambda: unix.bind(os.fspath(new))) == errno.EPERM
    assert here.store.names(here.node) == {b"f"}


def test_a_name_of_255_bytes_can_be_made_and_a_longer_one_not(here: Here) -> None:
    path = here.path / ("n" * 255)
    path.write_text("1")
    assert here.store.read(here.at(b"n" * 255)) == b"1"
    path.unlink()
    path.mkdir()
    assert error_of((here.path / ("n" * 256)).mkdir) == errno.ENAMETOOLONG


def test_a_path_over_the_daemons_limit_is_enametoolong(here: Here) -> None:
    fd = os.open(here.path, os.O_RDONLY)
    length = len(here.node)
    limit = {"xenstored": 2048, "oxenstored": 1024}[here.daemon.kind]
    while length + 1 + 100 < limit:
        os.mkdir("d" * 99, dir_fd=fd)
        above, fd = fd, os.open("d" * 99, os.O_RDONLY, dir_fd=fd)
        os.close(above)
        length += 100
    room = limit - length - 1
    os.mkdir("e" * room, dir_fd=fd)
    os.rmdir("e" * room, dir_fd=fd)
    new = "e" * (room + 1)
    assert error_of(lambda: os.mkdir(new, dir_fd=fd)) == errno.ENAMETOOLONG
    assert error_of(lambda: os.stat(new, dir_fd=fd)) == errno.ENAMETOOLONG
    assert error_of(lambda: os.open(new, os.O_CREAT, dir_fd=fd)) == errno.ENAMETOOLONG
    os.close(fd)


def test_what_a_file_system_refuses_is_refused_alike(here: Here) -> None:
    (here.path / "f").write_text("1")
    (here.path / "d/sub").mkdir(parents=True)
    cases: list[tuple[Callable[[], object], int]] = [
        (lambda: (here.path / "d").mkdir(), errno.EEXIST),
        (lambda: (here.path / "f").mkdir(), errno.EEXIST),
        (lambda: (here.path / "f/x").mkdir(), errno.ENOTDIR),
        (lambda: (here.path / "none/x").mkdir(), errno.ENOENT),
        (lambda: (here.path / "d").rmdir(), errno.ENOTEMPTY),
        (lambda: (here.path / "f").rmdir(), errno.ENOTDIR),
        (lambda: (here.path / "none").rmdir(), errno.ENOENT),
        (lambda: (here.path / "d").unlink(), errno.EISDIR),
        (lambda: (here.path / "none").unlink(), errno.ENOENT),
        (lambda: (here.path / "d").write_text("1"), errno.EISDIR),
        (lambda: (here.path / "none/x").write_text("1"), errno.ENOENT),
        (lambda: os.open(here.path / "f", os.O_CREAT | os.O_EXCL), errno.EEXIST),
        (lambda: os.open(here.path / "f", os.O_DIRECTORY), errno.ENOTDIR),
        (lambda: os.truncate(here.path / "d", 0), errno.EISDIR),
        (lambda: os.truncate(here.path / "none", 0), errno.ENOENT),
        (lambda: os.listdir(here.path / "f"), errno.ENOTDIR),
        (lambda: os.readlink(here.path / "f"), errno.EINVAL),
    ]
    for attempt, number in cases:
        assert error_of(attempt) == number


def test_a_directory_with_a_value_is_not_empty(here: Here) -> None:
    (here.path / "d").mkdir()
    (here.path / "d/.value").write_text("own")
    assert error_of((here.path / "d").rmdir) == errno.ENOTEMPTY
    (here.path / "d/.value").unlink()
    (here.path / "d").rmdir()
    assert here.store.read(here.at(b"d")) is None


def test_access_modes_of_open_files_are_kept(here: Here) -> None:
    path: Path = here.path / "f"
    path.write_text("1")
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
    assert error_of(lambda: os.write(reader, b"x")) == errno.EBADF
    assert error_of(lambda: os.ftruncate(reader, 0)) in (errno.EINVAL, errno.EBADF)
    assert error_of(lambda: os.read(writer, 1)) == errno.EBADF
    os.close(reader)
    os.close(writer)
