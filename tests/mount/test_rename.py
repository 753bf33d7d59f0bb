# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Renaming files and whole subtrees, with values and permissions, in one transaction."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.inotify import Heard, Inotify
from tests.mount.shell import run, sh
from tests.xen.wire import Op

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.conftest import Here

_libc = ctypes.CDLL(None, use_errno=True)
# linux/fs.h and linux/fcntl.h
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
_AT_FDCWD = -100


def renameat2(old: Path, new: Path, flags: int) -> int:
    """The errno of renameat2(2), or 0."""
    done = _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags)
    return ctypes.get_errno() if done else 0


def test_a_file_is_renamed_with_value_and_permissions(here: Here) -> None:
    here.store.write(here.at(b"f"), b"value\0\xff")
    here.store.set_perms(here.at(b"f"), b"n0,r3,b5")
    # Held, as an inode that nobody holds may be forgotten, and has another number then.
    held = os.open(here.path / "f", os.O_PATH)
    os.rename(here.path / "f", here.path / "g")
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"value\0\xff"}
    assert here.store.perms(here.at(b"g")) == b"n0,r3,b5"
    assert (here.path / "g").stat().st_ino == os.fstat(held).st_ino
    os.close(held)
    assert not (here.path / "f").exists()


def test_a_subtree_is_renamed_with_values_and_permissions(here: Here) -> None:
    values = {b"": b"top", b"/a": b"1", b"/a/b": b"", b"/a/b/c": b"3", b"/empty": b""}
    for number, (path, value) in enumerate(values.items()):
        here.store.write(here.at(b"d") + path, value)
        here.store.set_perms(here.at(b"d") + path, b"n0,r%d" % number)
    sh("mkdir to; find d > /dev/null; mv d to/e; cat to/e/a/b/c", here.path)
    assert here.tap.count(Op.TRANSACTION_END) == 2, "mkdir's and mv's"
    assert here.store.tree(here.at(b"to/e")) == values
    for number, path in enumerate(values):
        assert here.store.perms(here.at(b"to/e") + path) == b"n0,r%d" % number
    assert here.store.read(here.at(b"d")) is None
    assert sh("find to | sort", here.path).split() == [
        "to",
        "to/e",
        "to/e/.value",
        "to/e/a",
        "to/e/a/.value",
        "to/e/a/b",
        "to/e/a/b/c",
        "to/e/empty",
    ]


def test_a_rename_replaces_a_file(here: Here) -> None:
    sh("echo 1 > f; echo 2 > g; mv f g; cat g", here.path)
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"1"}
    assert os.listdir(here.path) == ["g"]


def test_a_rename_replaces_an_empty_directory_by_a_directory(here: Here) -> None:
    sh("mkdir d e; echo 1 > d/x; mv -T d e; cat e/x", here.path)
    assert here.store.tree(here.node) == {b"": b"", b"/e": b"", b"/e/x": b"1"}


@pytest.mark.parametrize(
    ("source", "target", "number"),
    [
        ("none", "x", errno.ENOENT),
        ("f", "none/x", errno.ENOENT),
        ("f", "f/x", errno.ENOTDIR),
        ("f", "d", errno.EISDIR),
        ("e", "f", errno.ENOTDIR),
        ("e", "d", errno.ENOTEMPTY),
        ("e", "v", errno.ENOTEMPTY),
        ("d", "d/x/y", errno.EINVAL),
        ("d/x", "d", errno.ENOTEMPTY),
        ("f", "a.b", errno.EINVAL),
        ("f", "a b", errno.EINVAL),
        ("f", "d/.value", errno.EPERM),
        ("v/.value", "x", errno.EPERM),
        ("f.d", "x", errno.EPERM),
        ("f", "x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_what_rename_refuses_leaves_everything_as_it_was(
    here: Here, source: str, target: str, number: int
) -> None:
    sh("mkdir d d/x e v; echo own > v/.value; echo 1 > f", here.path)
    before = here.store.tree(here.node)
    assert renameat2(here.path / source, here.path / target, 0) == number
    assert here.store.tree(here.node) == before


def test_rename_noreplace(here: Here) -> None:
    sh("echo 1 > f; echo 2 > g; mkdir d", here.path)
    for target in ("g", "d"):
        assert renameat2(here.path / "f", here.path / target, NOREPLACE) == errno.EEXIST
    assert renameat2(here.path / "f", here.path / "h", NOREPLACE) == 0
    assert here.store.read(here.at(b"h")) == b"1"


@pytest.mark.parametrize("flags", [EXCHANGE, WHITEOUT])
def test_other_kinds_of_rename_are_refused(here: Here, flags: int) -> None:
    sh("echo 1 > f; echo 2 > g", here.path)
    assert renameat2(here.path / "f", here.path / "g", flags) == errno.EINVAL


def test_rename_to_itself_does_nothing(here: Here) -> None:
    sh("echo 1 > f", here.path)
    here.tap.start()
    os.rename(here.path / "f", here.path / "f")
    os.rename(here.path / "f", here.mounted.path / here.path.name / "f")
    assert here.tap.changes() == []


def test_an_open_file_follows_its_node(here: Here) -> None:
    with open(here.path / "f", "wb", buffering=0) as file:
        os.rename(here.path / "f", here.path / "g")
        file.write(b"1")
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"1"}


def test_a_directory_stays_one_where_it_is_renamed_to(root: None, here: Here) -> None:
    sh("mkdir d; mv d e; test -d e; mkdir e/sub; rmdir e/sub; mv e f; test -d f", here.path)
    assert here.forgets()
    assert (here.path / "f").is_dir()


def test_a_renamed_file_can_be_made_anew_at_once(here: Here) -> None:
    for number in range(10):
        sh(f"echo {number} > f; mv f g; test $(cat g) = {number}; test ! -e f", here.path)
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"9"}


def test_a_rename_into_what_is_still_a_file(here: Here) -> None:
    sh("echo 1 > f; echo 2 > g; mv f g.d/child; cat g/child g/.value", here.path)
    assert here.store.tree(here.node) == {b"": b"", b"/g": b"2", b"/g/child": b"1"}


def test_nothing_moves_when_something_is_too_long_for_its_new_place(here: Here) -> None:
    limit = {"xenstored": 2048, "oxenstored": 1024}[here.daemon.kind]
    deep = ("x" * 200 + "/") * (limit // 250)
    # The node itself would fit there, its child not.
    name = "y" * (limit - len("leaf") - len(here.at(deep.encode())))
    sh(f"mkdir -p {deep}", here.path)
    here.store.write(here.at(b"s/leaf"), b"v")
    assert "File name too long" in run(f"mv s {deep}{name}", here.path).stderr
    assert here.store.tree(here.at(b"s")) == {b"": b"", b"/leaf": b"v"}
    assert here.store.names(here.at(deep.rstrip("/").encode())) == set()
    if here.daemon.kind == "xenstored":
        longest = b"v" * (4096 - len(here.at(b"f")) - 1)
        here.store.write(here.at(b"f"), longest)
        assert "File too large" in run(f"mv f {deep}g", here.path).stderr
        assert here.store.read(here.at(b"f")) == longest


# -- permissions that stay through a save -----------------------------------------------------


@pytest.fixture(params=[b"n0", b"n0,r7", b"b5,w7"])
def state(here: Here, request: pytest.FixtureRequest) -> Path:
    """A file with permissions that somebody gave it, where others inherit what is there."""
    # C xenstored knows only owners that are there.
    owned = request.param if here.daemon.kind == "oxenstored" else b"n0" + request.param[2:]
    here.store.set_perms(here.node, owned)
    here.store.write(here.at(b"state"), b"1")
    here.store.set_perms(here.at(b"state"), b"n0,r5")
    return here.path / "state"


@pytest.mark.parametrize(
    "save",
    [
        "sed -i s/1/2/ state",
        "perl -i -pe s/1/2/ state",
        "cp state new; echo 2 > new; mv new state",
        "echo 2 > new; rm -f other; mv new other; mv other state",
        "mkdir d; echo 2 > d/state; mv d/state .",
    ],
)
def test_permissions_stay_through_a_save(here: Here, state: Path, save: str) -> None:
    # A patch, of nothing, is done when all that changed before it has been told.
    (here.path / ".json").write_text("{}")
    sh(save, here.path)
    assert here.store.read(here.at(b"state")) == b"2"
    assert here.store.perms(here.at(b"state")) == b"n0,r5"
    assert here.store.names(here.node) <= {b"state", b"d"}
    with Inotify() as inotify:
        inotify.watch(state, "state")
        here.store.write(here.at(b"state"), b"3")
        # Nobody is told of permissions that did not change.
        heard = inotify.until(lambda event: event == Heard("state", "CLOSE_WRITE"))
        assert heard == [Heard("state", "OPEN"), Heard("state", "MODIFY")]


def test_permissions_that_were_set_are_brought_along(here: Here, state: Path) -> None:
    here.store.write(here.at(b"other"), b"2")
    here.store.set_perms(here.at(b"other"), b"n0,b9")
    sh("cp -a other new; mv new state", here.path)
    assert here.store.perms(here.at(b"state")) == b"n0,b9"
    # Also when they are what it would have inherited.
    inherited = here.store.perms(here.node)
    sh(f"echo 3 > new; setfattr -n user.xenstore.perms -v {inherited.decode()} new", here.path)
    os.rename(here.path / "new", state)
    assert here.store.perms(here.at(b"state")) == inherited
    # Or were set by somebody else.
    here.store.write(here.at(b"new"), b"4")
    here.store.set_perms(here.at(b"new"), b"n0,w3")
    os.rename(here.path / "new", state)
    assert here.store.perms(here.at(b"state")) == b"n0,w3"
    assert here.store.read(here.at(b"state")) == b"4"


def test_permissions_of_a_directory_stay(here: Here) -> None:
    sh("mkdir d e; echo 1 > d/x", here.path)
    here.store.set_perms(here.at(b"e"), b"n0,r5")
    sh("mv -T d e; cat e/x", here.path)
    assert here.store.perms(here.at(b"e")) == b"n0,r5"
    assert here.store.tree(here.node) == {b"": b"", b"/e": b"", b"/e/x": b"1"}
