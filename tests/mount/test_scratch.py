# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Programs that save through a temporary file whose name no node can have."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.conftest import require
from tests.mount.mounting import Mounted
from tests.mount.shell import run, sh
from tests.xen.wire import Op

if TYPE_CHECKING:
    from tests.mount.conftest import Here

PATCH = """--- f
+++ f
@@ -1 +1 @@
-one
+two
"""

SAVES = {
    "gawk": "gawk -i inplace '{ print \"two\" }' f",
    "gawk of several": "echo one > g; gawk -i inplace '{ print \"two\" }' f g",
    "patch": f"printf '%s' '{PATCH}' | patch -s f",
    "rsync": "mkdir -p $T; echo two > $T/f; rsync -aI --no-owner --no-group $T/f f",
    "rsync with attributes": "mkdir -p $T; cp -a f $T/f; echo two > $T/f; rsync -aXI $T/f f",
    "rsync of times": "mkdir -p $T; echo two > $T/f; rsync -tI $T/f f",
    "sed": "sed -i s/one/two/ f",
    "perl": "perl -pi -e s/one/two/ f",
    "Emacs": """python3 -c '
import os, shutil, tempfile
fd, name = tempfile.mkstemp(dir=".", prefix="f.tmp-")
os.write(fd, b"two\\n")
os.fsync(fd)
os.fchmod(fd, os.stat("f").st_mode)
os.close(fd)
os.rename(name, "f")'""",
    "Python": """python3 -c '
import os, tempfile
with tempfile.NamedTemporaryFile("w", dir=".", suffix=".tmp", delete=False) as file:
    file.write("two\\n")
os.replace(file.name, "f")'""",
}


@pytest.mark.parametrize("save", SAVES)
def test_a_program_saves(here: Here, save: str) -> None:
    program = SAVES[save].split()[0]
    if program in ("gawk", "patch", "rsync"):
        require(program)
    here.store.write(here.at(b"f"), b"one")
    here.store.set_perms(here.at(b"f"), b"n0,r5")
    here.tap.start()
    with tempfile.TemporaryDirectory() as folder:
        sh(f"T={folder}/t; {SAVES[save]}", here.path)
    assert (here.path / "f").read_text() == "two\n"
    assert here.store.read(here.at(b"f")) == b"two"
    assert here.store.perms(here.at(b"f")) == b"n0,r5"
    assert set(os.listdir(here.path)) <= {"f", "g"}
    if save not in ("sed", "perl"):
        assert here.tap.values(here.at(b"f")) == [b"two"]
        assert here.tap.count(Op.RM) == 0


def mkstemp(here: Here, name: str = "f.AbCdEf") -> int:
    return os.open(here.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


def test_it_is_a_file_like_any_but_not_in_the_store(here: Here) -> None:
    fd = mkstemp(here)
    os.write(fd, b"12345")
    os.lseek(fd, 1, os.SEEK_SET)
    os.write(fd, b"x")
    assert os.pread(fd, 9, 0) == b"1x345"
    os.ftruncate(fd, 7)
    found = os.stat(here.path / "f.AbCdEf")
    assert (found.st_size, found.st_mode & 0o7777, found.st_uid) == (7, 0o600, os.geteuid())
    assert os.listdir(here.path) == ["f.AbCdEf"]
    os.close(fd)
    with open(here.path / "f.AbCdEf", "ab") as file:
        file.write(b"!")
    assert (here.path / "f.AbCdEf").read_bytes() == b"1x345\0\0!"
    with pytest.raises(FileExistsError):
        mkstemp(here)
    os.chmod(here.path / "f.AbCdEf", 0o640)
    os.utime(here.path / "f.AbCdEf", (5, 6))
    found = os.stat(here.path / "f.AbCdEf")
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o640, 6)
    assert here.tap.changes() == []
    assert here.store.names(here.node) == set()
    os.unlink(here.path / "f.AbCdEf")
    assert os.listdir(here.path) == []


@pytest.mark.parametrize("content", [b"", b"x", b"x\n", b"\n", b"\0" * 4000])
def test_renamed_it_is_a_node(here: Here, content: bytes) -> None:
    fd = mkstemp(here)
    os.write(fd, content)
    os.close(fd)
    if len(content) > 2048 and here.daemon.kind == "oxenstored":
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            os.rename(here.path / "f.AbCdEf", here.path / "new")
        assert os.listdir(here.path) == ["f.AbCdEf"]
        os.unlink(here.path / "f.AbCdEf")
        return
    os.rename(here.path / "f.AbCdEf", here.path / "new")
    assert os.listdir(here.path) == ["new"]
    assert here.store.read(here.at(b"new")) == content.removesuffix(b"\n")
    assert here.tap.values(here.at(b"new")) == [content.removesuffix(b"\n")]
    value = content.removesuffix(b"\n")
    assert (here.path / "new").stat().st_size == (len(value) + 1 if value else 0)


def test_what_is_too_long_stays_and_nothing_changes(here: Here) -> None:
    here.store.write(here.at(b"f"), b"one")
    fd = mkstemp(here)
    os.write(fd, b"x" * 5000)
    os.close(fd)
    for name in ("f", "new"):
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            os.rename(here.path / "f.AbCdEf", here.path / name)
    assert set(os.listdir(here.path)) == {"f", "f.AbCdEf"}
    assert here.store.tree(here.node) == {b"": b"", b"/f": b"one"}
    os.unlink(here.path / "f.AbCdEf")


def test_it_is_renamed_as_any_file_is(here: Here) -> None:
    sh("echo one > f; mkdir d", here.path)
    os.close(mkstemp(here))
    assert (
        "not replacing" in run("mv -n --debug f.AbCdEf f || mv -nv f.AbCdEf f", here.path).stdout
        or here.store.read(here.at(b"f")) == b"one"
    )
    with pytest.raises(IsADirectoryError):
        os.rename(here.path / "f.AbCdEf", here.path / "d")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.rename(here.path / "f.AbCdEf", here.path / "f.bak")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.rename(here.path / "f", here.path / "f.AbCdEf")
    sh("mv f.AbCdEf d/moved", here.path)
    assert here.store.tree(here.node) == {b"": b"", b"/f": b"one", b"/d": b"", b"/d/moved": b""}


def test_renamed_onto_a_directorys_own_value(here: Here) -> None:
    sh("mkdir d; echo one > d/.value; cat d/.value", here.path)
    os.close(mkstemp(here, "d/f.AbCdEf"))
    (here.path / "d/f.AbCdEf").write_text("two")
    os.rename(here.path / "d/f.AbCdEf", here.path / "d/.value")
    assert (here.path / "d/.value").read_text() == "two\n"
    assert here.tap.values(here.at(b"d")) == [b"one", b"two"]
    assert os.listdir(here.path / "d") == [".value"]


def test_permissions_that_were_set_are_the_nodes(here: Here) -> None:
    here.store.write(here.at(b"f"), b"one")
    os.close(mkstemp(here))
    os.setxattr(here.path / "f.AbCdEf", "user.xenstore.perms", b"n0,r7")
    assert os.getxattr(here.path / "f.AbCdEf", "user.xenstore.perms") == b"n0,r7"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.setxattr(here.path / "f.AbCdEf", "user.xenstore.perms", b"none")
    (here.path / "f.AbCdEf").write_text("two")
    here.tap.start()
    os.rename(here.path / "f.AbCdEf", here.path / "f")
    assert here.tap.count(Op.TRANSACTION_START) == 1
    assert (here.store.read(here.at(b"f")), here.store.perms(here.at(b"f"))) == (b"two", b"n0,r7")
    assert os.getxattr(here.path / "f", "user.xenstore.perms") == b"n0,r7"


@pytest.mark.parametrize(
    "command", ["cp f f.bak", "cp -p f f.backup", "cp -a f f.orig", "mv f f~", "echo x > f.AbCdEf"]
)
def test_what_somebody_may_want_to_keep_is_refused(here: Here, command: str) -> None:
    sh("echo one > f", here.path)
    done = run(command, here.path)
    assert done.returncode == 1
    # The latter is how mv(1) words the same error.
    assert "Invalid argument" in done.stderr or "subdirectory of itself" in done.stderr
    assert os.listdir(here.path) == ["f"]


def test_there_is_room_for_so_many(here: Here) -> None:
    fds = []
    try:
        for number in range(64):
            fds.append(mkstemp(here, f"f.{number:06}"))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            mkstemp(here)
        os.ftruncate(fds[0], 1 << 20)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            os.write(fds[1], b"x")
        os.ftruncate(fds[0], 0)
        assert os.write(fds[1], b"x") == 1
    finally:
        for number, fd in enumerate(fds):
            os.close(fd)
            os.unlink(here.path / f"f.{number:06}")
    os.close(mkstemp(here))
    os.unlink(here.path / "f.AbCdEf")


def test_in_a_transaction_it_is_another(here: Here) -> None:
    top = here.mounted.path / ".transactions/t"
    top.mkdir()
    inside = top / here.path.name
    sh("echo one > f", here.path)
    sh("rmdir .transactions/t; mkdir .transactions/t", here.mounted.path)
    os.close(mkstemp(here))
    fd = os.open(inside / "f.AbCdEf", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, b"two")
    os.close(fd)
    assert (here.path / "f.AbCdEf").read_bytes() == b""
    os.rename(inside / "f.AbCdEf", inside / "f")
    assert here.store.read(here.at(b"f")) == b"one"
    (top / ".commit").write_text("1")
    assert here.store.read(here.at(b"f")) == b"two"
    os.unlink(here.path / "f.AbCdEf")


def test_it_is_its_makers_alone(fuse: None, root: None) -> None:
    with Mounted("embedded", "allow_other") as mounted:
        fd = os.open(mounted.path / "f.AbCdEf", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, b"secret")
        done = run("setpriv --reuid 65534 --clear-groups cat f.AbCdEf", mounted.path)
        assert "Permission denied" in done.stderr
        os.close(fd)


def test_a_read_only_mount_has_none(fuse: None) -> None:
    with Mounted("embedded", "ro") as mounted, pytest.raises(OSError, match="Read-only"):
        os.open(mounted.path / "f.AbCdEf", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
