# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""mkdir, O_EXCL, unlink, rmdir and rename are exact when another client steps in.

The other client acts between two requests of the mount's: before a transaction starts, before
it is committed, or each time it is about to be.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mount.conftest import Here

MOMENTS = (Op.TRANSACTION_START, Op.TRANSACTION_END)


@pytest.fixture(params=MOMENTS, ids=lambda op: f"at {op.name}")
def moment(request: pytest.FixtureRequest) -> Op:
    """When the other client steps in."""
    chosen: Op = request.param
    return chosen


def fails(number: int, attempt: Callable[[], object]) -> bool:
    """Whether it fails with that errno; what it fails with else is raised."""
    try:
        attempt()
    except OSError as error:
        if error.errno != number:
            raise
        return True
    return False


def test_mkdir_of_what_another_just_made_is_eexist(here: Here, moment: Op) -> None:
    here.tap.before(moment, lambda: here.store.mkdir(here.at(b"d")))
    assert fails(errno.EEXIST, lambda: os.mkdir(here.path / "d"))


def test_mknod_of_what_another_just_made_is_eexist(here: Here, moment: Op) -> None:
    here.tap.before(moment, lambda: here.store.write(here.at(b"f"), b"theirs"))
    assert fails(errno.EEXIST, lambda: os.mknod(here.path / "f"))
    assert here.store.read(here.at(b"f")) == b"theirs"


def test_o_excl_of_what_another_just_made_is_eexist(root: None, here: Here, moment: Op) -> None:
    here.tap.before(moment, lambda: here.store.write(here.at(b"f"), b"theirs"))
    fd = os.open(here.path / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert fails(errno.EEXIST, lambda: os.write(fd, b"ours"))
    os.close(fd)
    assert here.forgets()
    assert here.store.read(here.at(b"f")) == b"theirs"


def test_o_excl_is_not_held_against_ourselves(here: Here) -> None:
    fd = os.open(here.path / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.utime(here.path / "f")
    os.setxattr(here.path / "f", "user.xenstore.perms", b"n0,r1")
    os.write(fd, b"ours")
    os.close(fd)
    assert here.store.read(here.at(b"f")) == b"ours"
    assert here.store.perms(here.at(b"f")) == b"n0,r1"


def test_creation_fails_where_the_directory_was_just_removed(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"d/x"), b"")
    fd = os.open(here.path / "d", os.O_RDONLY)
    here.tap.before(moment, lambda: here.store.rm(here.at(b"d")))
    assert fails(errno.ENOENT, lambda: os.mkdir("new", dir_fd=fd))
    os.close(fd)
    assert here.store.read(here.at(b"d")) is None, "creation must not bring back the parent"


def test_mkdir_goes_on_when_another_makes_something_else(here: Here, moment: Op) -> None:
    here.tap.before(moment, lambda: here.store.mkdir(here.at(b"other")))
    os.mkdir(here.path / "d")
    assert here.store.names(here.node) == {b"d", b"other"}


def test_unlink_never_removes_a_subtree(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"f"), b"1")
    here.tap.before(moment, lambda: here.store.write(here.at(b"f/child"), b"theirs"))
    assert fails(errno.EISDIR, lambda: os.unlink(here.path / "f"))
    assert here.store.read(here.at(b"f/child")) == b"theirs"


def test_unlink_of_what_another_just_removed_is_enoent(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"f"), b"1")
    os.stat(here.path / "f")
    here.tap.before(moment, lambda: here.store.rm(here.at(b"f")))
    assert fails(errno.ENOENT, lambda: os.unlink(here.path / "f")) or moment == Op.TRANSACTION_END
    assert here.store.read(here.at(b"f")) is None


def test_rmdir_never_removes_a_child_that_it_did_not_see(here: Here, moment: Op) -> None:
    os.mkdir(here.path / "d")
    here.tap.before(moment, lambda: here.store.write(here.at(b"d/child"), b"theirs"))
    assert fails(errno.ENOTEMPTY, lambda: os.rmdir(here.path / "d"))
    assert here.store.read(here.at(b"d/child")) == b"theirs"


def test_rmdir_never_removes_a_value_that_it_did_not_see(here: Here, moment: Op) -> None:
    os.mkdir(here.path / "d")
    here.tap.before(moment, lambda: here.store.write(here.at(b"d"), b"theirs"))
    assert fails(errno.ENOTEMPTY, lambda: os.rmdir(here.path / "d"))
    assert here.store.read(here.at(b"d")) == b"theirs"


def test_rename_takes_along_a_child_that_just_came(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"d/one"), b"1")
    here.tap.before(moment, lambda: here.store.write(here.at(b"d/two"), b"2"))
    os.rename(here.path / "d", here.path / "e")
    assert here.store.tree(here.at(b"e")) == {b"": b"", b"/one": b"1", b"/two": b"2"}
    assert here.store.read(here.at(b"d")) is None


def test_rename_takes_along_a_value_that_just_changed(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"f"), b"old")
    here.tap.before(moment, lambda: here.store.write(here.at(b"f"), b"new"))
    os.rename(here.path / "f", here.path / "g")
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"new"}


def test_rename_of_what_another_just_removed_is_enoent(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"f"), b"1")
    os.stat(here.path / "f")
    here.tap.before(moment, lambda: here.store.rm(here.at(b"f")))
    assert fails(errno.ENOENT, lambda: os.rename(here.path / "f", here.path / "g"))
    assert here.store.tree(here.node) == {b"": b""}


def test_rename_does_not_replace_a_directory_that_just_came(here: Here, moment: Op) -> None:
    here.store.write(here.at(b"f"), b"1")
    here.tap.before(moment, lambda: here.store.write(here.at(b"g/child"), b"theirs"))
    assert fails(errno.EISDIR, lambda: os.rename(here.path / "f", here.path / "g"))
    assert here.store.tree(here.node) == {
        b"": b"", b"/f": b"1", b"/g": b"", b"/g/child": b"theirs",
    }  # fmt: skip


def test_a_directory_is_not_renamed_into_one_that_is_not_empty_any_more(
    here: Here, moment: Op
) -> None:
    os.mkdir(here.path / "d")
    os.mkdir(here.path / "e")
    here.tap.before(moment, lambda: here.store.write(here.at(b"e/child"), b"theirs"))
    assert fails(errno.ENOTEMPTY, lambda: os.rename(here.path / "d", here.path / "e"))
    assert here.store.tree(here.at(b"e")) == {b"": b"", b"/child": b"theirs"}


def test_conflicts_are_retried_a_bounded_number_of_times(here: Here) -> None:
    count = iter(range(1000))

    def interfere() -> None:
        here.store.write(here.at(b"d/%d" % next(count)), b"")

    here.store.write(here.at(b"d/x"), b"")
    for attempt in (
        lambda: os.mkdir(here.path / "d/new"),
        lambda: os.rename(here.path / "d", here.path / "e"),
    ):
        here.tap.start()
        here.tap.before(Op.TRANSACTION_END, interfere, times=1000)
        assert fails(errno.EAGAIN, attempt)
        assert 1 < here.tap.count(Op.TRANSACTION_START) <= 100
    here.tap.start()
    assert here.store.names(here.node) == {b"d"}
    assert b"new" not in here.store.names(here.at(b"d"))
