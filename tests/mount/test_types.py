# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A node with children is a directory, any other a file: how they come, stay and change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.mount.shell import run, sh
from tests.outcome import until

if TYPE_CHECKING:
    from tests.mount.conftest import Here


def test_a_node_without_children_is_a_file_and_one_with_children_a_directory(here: Here) -> None:
    here.store.write(here.at(b"leaf"), b"1")
    here.store.write(here.at(b"dir/child"), b"2")
    assert sh("stat -c '%n %F' leaf dir dir/child", here.path).splitlines() == [
        "leaf regular file",
        "dir directory",
        "dir/child regular file",
    ]


def test_a_directory_shows_its_value_as_dot_value_only_when_not_empty(here: Here) -> None:
    here.store.write(here.at(b"d/child"), b"")
    assert os.listdir(here.path / "d") == ["child"]
    assert (here.path / "d/.value").read_bytes() == b""
    here.store.write(here.at(b"d"), b"own")
    assert sorted(os.listdir(here.path / "d")) == [".value", "child"]
    assert (here.path / "d/.value").read_bytes() == b"own\n"


def test_dot_value_is_always_there_to_be_written(here: Here) -> None:
    sh("mkdir d; echo mine > d/.value", here.path)
    assert here.store.read(here.at(b"d")) == b"mine"
    sh("echo more >> d/.value", here.path)
    assert here.store.read(here.at(b"d")) == b"mine\nmore"


def test_the_root_has_a_value_too(here: Here) -> None:
    root = here.mounted.path
    before = here.store.read(b"/")
    (root / ".value").write_text("top\n")
    assert here.store.read(b"/") == b"top"
    assert ".value" in os.listdir(root)
    here.store.write(b"/", before or b"")


def test_a_directory_stays_one_when_its_last_child_goes(root: None, here: Here) -> None:
    here.store.write(here.at(b"d/child"), b"1")
    assert (here.path / "d").is_dir()
    here.store.rm(here.at(b"d/child"))
    assert os.listdir(here.path / "d") == []
    (here.path / "d/again").write_text("2")
    os.unlink(here.path / "d/again")
    assert here.forgets()
    assert (here.path / "d").is_dir(), "not even when the kernel has forgotten it"


def test_a_directory_made_with_mkdir_stays_one(root: None, here: Here) -> None:
    sh("mkdir d", here.path)
    assert here.forgets()
    assert (here.path / "d").is_dir()
    sh("rmdir d; echo 1 > d", here.path)
    assert (here.path / "d").is_file(), "another node of that name need not be one"


def test_a_file_whose_node_gets_a_child_becomes_a_directory_with_a_new_inode(here: Here) -> None:
    here.store.write(here.at(b"n"), b"own")
    before = (here.path / "n").stat().st_ino
    here.store.write(here.at(b"n/child"), b"1")
    until((here.path / "n").is_dir)
    assert (here.path / "n").stat().st_ino != before
    assert sh("cat n/.value n/child", here.path) == "own\n1\n"


def test_a_file_becomes_a_directory_while_it_is_open(here: Here) -> None:
    here.store.write(here.at(b"n"), b"old")
    with open(here.path / "n", "r+b", buffering=0) as file:
        here.store.write(here.at(b"n/child"), b"1")
        until((here.path / "n").is_dir)
        assert file.read() == b"old\n"
        file.seek(0)
        file.write(b"new\n")
        assert here.store.read(here.at(b"n")) == b"new"
    assert here.store.read(here.at(b"n/child")) == b"1"


def test_a_leafs_directory_face_is_somebodys_working_directory(here: Here) -> None:
    here.store.write(here.at(b"n"), b"own")
    sh("cd n.d && echo 1 > child && ls && cat child && test $(cat .value) = own", here.path)
    assert here.store.read(here.at(b"n/child")) == b"1"


def test_a_directory_is_removed_under_somebodys_feet(here: Here) -> None:
    here.store.write(here.at(b"d/child"), b"1")
    held = os.open(here.path / "d", os.O_RDONLY)
    try:
        here.store.rm(here.at(b"d"))
        until(lambda: not (here.path / "d").exists())
        with pytest.raises(FileNotFoundError):
            os.open("new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=held)
        with pytest.raises(FileNotFoundError):
            os.mkdir("new", dir_fd=held)
    finally:
        os.close(held)
    assert here.store.read(here.at(b"d")) is None


def test_name_d_makes_children_under_what_is_now_a_file(here: Here) -> None:
    here.store.write(here.at(b"foo"), b"own")
    sh("cat foo; echo 1 > foo.d/bar", here.path)
    assert here.store.read(here.at(b"foo/bar")) == b"1"
    assert sh("ls -A foo; cat foo/bar foo/.value", here.path) == ".value\nbar\n1\nown\n"


def test_name_d_is_seen_at_once_as_a_directory(here: Here) -> None:
    for number in range(20):
        name = f"f{number}"
        here.store.write(here.at(name.encode()), b"own")
        assert (here.path / name).is_file()
        os.mkdir(here.path / f"{name}.d/sub")
        assert (here.path / name / "sub").is_dir()


def test_name_d_of_a_directory_is_the_directory(here: Here) -> None:
    sh("mkdir dir; echo 1 > dir.d/x; cat dir/x", here.path)
    assert os.listdir(here.path / "dir.d") == ["x"]


def test_name_d_and_name_link_are_never_listed(here: Here) -> None:
    here.store.write(here.at(b"n"), here.at(b"other"))
    sh("ls n.d/ && readlink n.link", here.path)
    assert os.listdir(here.path) == ["n"]


@pytest.mark.parametrize("name", ["none.d", "none.link", "a.b", ".hidden", "n.d.d", "..d"])
def test_other_names_with_a_dot_do_not_exist(here: Here, name: str) -> None:
    here.store.write(here.at(b"n"), b"")
    with pytest.raises(FileNotFoundError):
        os.stat(here.path / name)


def test_name_link_leads_to_the_node_that_the_value_names(here: Here) -> None:
    here.store.write(here.at(b"backend/vbd/5/state"), b"4")
    here.store.write(here.at(b"device/51712/backend"), here.at(b"backend/vbd/5"))
    link = here.path / "device/51712/backend.link"
    assert os.readlink(link) == f"../../..{here.at(b'backend/vbd/5').decode()}"
    assert sh("ls device/51712/backend.link/; cat device/51712/backend.link/state", here.path) == (
        "state\n4\n"
    )
    here.store.write(here.at(b"device/51712/backend"), here.at(b"elsewhere"))
    assert os.readlink(link).endswith("/elsewhere")
    assert not link.exists()


@pytest.mark.parametrize("value", [b"", b"text", b"relative/path", b"/a//b", b"/a/", b"/a b", b"."])
def test_there_is_no_link_for_a_value_that_names_no_path(here: Here, value: bytes) -> None:
    here.store.write(here.at(b"n"), value)
    assert not os.path.lexists(here.path / "n.link")


def test_inode_numbers_are_never_reused(here: Here) -> None:
    seen = set()
    for _ in range(20):
        (here.path / "f").write_text("1")
        seen.add((here.path / "f").stat().st_ino)
        (here.path / "f").unlink()
        (here.path / "f").mkdir()
        seen.add((here.path / "f").stat().st_ino)
        (here.path / "f").rmdir()
    assert len(seen) == 40


def test_our_own_names_are_not_to_be_removed_or_moved(here: Here) -> None:
    sh("mkdir d; echo v > d/.value; echo 1 > f; mkdir e", here.path)
    refused = (
        "mv -T d/.value e/x",
        "mv -T f d/.value",
        "mv -T f.d x",
        "mv -T f d.d",
        "mv -T d d2.d",
        "rmdir d.d",
        "rmdir f.d",
        "rm f.link",
        "mkdir x.d",
        "mkdir f.d",
        "ln -s f x.link",
    )
    for command in refused:
        assert run(command, here.path).returncode != 0, command
    assert here.store.tree(here.node) == {
        b"": b"", b"/d": b"v", b"/f": b"1", b"/e": b"",
    }  # fmt: skip


def test_unlink_of_dot_value_empties_it(here: Here) -> None:
    sh("mkdir d; echo v > d/.value; rm d/.value", here.path)
    assert here.store.read(here.at(b"d")) == b""
    assert sh("cat d/.value", here.path) == ""
    os.unlink(here.path / "d/.value")
    with open(here.path / "d/.value", "x") as file:
        file.write("who removes it may create it exclusively")
    assert (here.path / "d/.value").read_text().endswith("exclusively\n")


def test_who_makes_a_directory_may_create_its_value_exclusively(here: Here) -> None:
    os.mkdir(here.path / "d")
    assert sh("cat d/.value", here.path) == "", "to others it is there"
    os.mkdir(here.path / "e")
    with open(here.path / "e/.value", "x") as file:
        file.write("own")
    with pytest.raises(FileExistsError):
        os.open(here.path / "e/.value", os.O_CREAT | os.O_EXCL)
