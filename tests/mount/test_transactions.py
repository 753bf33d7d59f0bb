# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.transactions` at a shell: isolated views of the whole store, committed or not."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import run, sh
from tests.programs import Program
from tests.xen.wire import Op
from xsfs import Client
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mount.conftest import Here
    from tests.xen.daemons import Daemon


@pytest.fixture
def t1(here: Here) -> Iterator[Path]:
    """The test's own directory, in a transaction."""
    top = here.mounted.path / ".transactions/t1"
    top.mkdir()
    yield top / here.path.name
    with suppress(FileNotFoundError):
        top.rmdir()


def commit(here: Here, name: str = "t1") -> subprocess.CompletedProcess[str]:
    return run(f"echo 1 > .transactions/{name}/.commit", here.mounted.path)


def test_it_is_isolated_both_ways(here: Here, t1: Path) -> None:
    here.store.write(here.at(b"a"), b"before")
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    sh("cat a; echo inside > a; mkdir d; echo 1 > d/x", t1)
    assert sh("cat a; ls", here.path) == "before\na\n"
    assert here.store.tree(here.node) == {b"": b"", b"/a": b"before"}
    here.store.write(here.at(b"b"), b"outside")
    assert sh("cat a d/x", t1) == "inside\n1\n"
    if here.daemon.kind == "oxenstored":
        # xenstored looks at a node when it is first asked for.
        assert sh("ls", t1) == "a\nd\n"


def test_a_commit_shows_all_at_once(here: Here, t1: Path) -> None:
    sh("mkdir d; echo 1 > d/x; echo 2 > y", t1)
    assert commit(here).returncode == 0
    assert sh("cat d/x y; stat -c %s y; ls", here.path) == "1\n2\n2\nd\ny\n"
    assert here.store.tree(here.node) == {b"": b"", b"/d": b"", b"/d/x": b"1", b"/y": b"2"}
    assert sh("ls -A .transactions", here.mounted.path) == ""
    assert not t1.exists()


def test_what_is_removed_in_it_is_gone_at_once(here: Here, t1: Path) -> None:
    sh("mkdir -p d/e; echo 1 > d/e/x; echo 1 > f; ls -lR", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    sh("rm -r d f", t1)
    assert sh("find . | sort", here.path).split() == [".", "./d", "./d/e", "./d/e/x", "./f"]
    assert commit(here).returncode == 0
    sh("test ! -e d && test ! -e f && test ! -e d/e/x", here.path)


def test_a_conflict_is_said_by_the_write_itself(here: Here, t1: Path) -> None:
    sh("echo 1 > a", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    sh("echo $(($(cat a) + 1)) > a", t1)
    here.store.write(here.at(b"a"), b"5")
    done = commit(here)
    assert done.returncode == 1
    assert "Resource temporarily unavailable" in done.stderr
    assert not t1.exists()
    assert sh(f"ls -A .transactions; cat {here.path}/a", here.mounted.path) == "5\n"
    said = sh("cat .transactions/.error", here.mounted.path)
    assert said.startswith(f"transaction 't1': changed meanwhile: {here.node.decode()}/a: ")
    # And over again.
    sh(
        f"mkdir .transactions/t1; cd .transactions/t1; f={here.path.name}/a;"
        "echo $(($(cat $f) + 1)) > $f; echo 1 > .commit",
        here.mounted.path,
    )
    assert here.store.read(here.at(b"a")) == b"6"
    assert sh("cat .transactions/.error", here.mounted.path) == ""


def test_a_write_that_failed_does_not_work_when_repeated(here: Here, t1: Path) -> None:
    sh("echo 1 > a", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    fd = os.open(t1.parent / ".commit", os.O_WRONLY)
    sh("cat a; echo 2 > b", t1)
    here.store.write(here.at(b"a"), b"5")
    with pytest.raises(BlockingIOError):
        os.write(fd, b"1\n")
    with pytest.raises(FileNotFoundError):
        os.write(fd, b"1\n")
    os.close(fd)


def test_rmdir_aborts(here: Here, t1: Path) -> None:
    sh("mkdir d; echo 1 > d/x", t1)
    sh("rmdir .transactions/t1; test ! -e .transactions/t1", here.mounted.path)
    assert here.store.tree(here.node) == {b"": b""}
    assert "No such file" in run("rmdir .transactions/t1", here.mounted.path).stderr


def test_only_a_one_commits(here: Here, t1: Path) -> None:
    sh("echo 1 > x", t1)
    for text in ("0", "yes", ""):
        done = run(f"echo {text} > .transactions/t1/.commit", here.mounted.path)
        assert "Invalid argument" in done.stderr
    sh(": > .transactions/t1/.commit; touch .transactions/t1/.commit", here.mounted.path)
    assert here.store.tree(here.node) == {b"": b""}
    sh("printf 1 > .transactions/t1/.commit", here.mounted.path)
    assert here.store.read(here.at(b"x")) == b"1"


def test_several_at_once(here: Here, t1: Path) -> None:
    other = t1.parent.parent / "t2" / t1.name
    sh("echo 0 > a; mkdir b c", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1 .transactions/t2", here.mounted.path)
    sh("echo 1 > b/x", t1)
    sh("echo 2 > c/x", other)
    assert sh("ls .transactions", here.mounted.path) == "t1\nt2\n"
    assert "File exists" in run("mkdir .transactions/t1", here.mounted.path).stderr
    assert sh("ls b c", t1).split() == ["b:", "x", "c:"]
    inodes = {os.stat(top / "a").st_ino for top in (t1, other, here.path)}
    assert len(inodes) == 3
    assert commit(here).returncode == commit(here, "t2").returncode == 0
    assert sh("cat b/x c/x", here.path) == "1\n2\n"


def test_programs_work_in_it_as_outside(here: Here, t1: Path) -> None:
    sh("mkdir -p d/e; echo 1 > d/x; echo 2 > d/e/y", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    sh("mv d moved; cp -r moved copy; rm -r copy/e; echo more >> copy/x; mkdir copy/new", t1)
    assert sh("find . -type f -exec cat {} + | sort", t1) == "1\n1\n2\nmore\n"
    assert sh("jq -c .moved .json", t1) == '{"e":{"y":"2"},"x":"1"}\n'
    sh("""echo '{"patched": {"z": "3"}, "copy": {"x": "one"}}' > .json""", t1)
    assert sh("cat patched/z copy/x", t1) == "3\none\n"
    assert sh("find . -type f", here.path).split() == ["./d/e/y", "./d/x"]
    assert commit(here).returncode == 0
    assert here.store.tree(here.node) == {
        b"": b"",
        b"/moved": b"",
        b"/moved/x": b"1",
        b"/moved/e": b"",
        b"/moved/e/y": b"2",
        b"/copy": b"",
        b"/copy/x": b"one",
        b"/copy/new": b"",
        b"/patched": b"",
        b"/patched/z": b"3",
    }


def test_moving_between_views_is_copying(here: Here, t1: Path) -> None:
    sh("mkdir d; echo 1 > d/x", t1)
    with pytest.raises(OSError, match="cross-device"):
        os.rename(t1 / "d", here.path / "d")
    sh(f"mv d/x {here.path}/x", t1)
    assert sh("ls d", t1) == ""
    assert here.store.tree(here.node) == {b"": b"", b"/x": b"1"}


def test_where_it_was_is_an_empty_place_afterwards(here: Here, t1: Path) -> None:
    sh("mkdir d; echo 1 > d/x", t1)
    done = run(f"cd d && echo 1 > {here.mounted.path}/.transactions/t1/.commit && ls && cat x", t1)
    assert done.stdout == ""
    assert "No such file" in done.stderr


def test_a_handle_does_not_outlive_it(here: Here, t1: Path) -> None:
    sh("echo 1 > x", t1)
    fd = os.open(t1 / "x", os.O_RDWR)
    assert commit(here).returncode == 0
    with pytest.raises(FileNotFoundError):
        os.write(fd, b"2\n")
    os.close(fd)
    assert here.store.read(here.at(b"x")) == b"1"


def test_watchers_hear_a_commit_once(here: Here, t1: Path) -> None:
    sh("echo 1 > a; mkdir gone", here.path)
    sh("rmdir .transactions/t1; mkdir .transactions/t1", here.mounted.path)
    command = ["inotifywait", "-m", "--format", "%e %f", "-e", "create,delete,modify", "."]
    with Program(["env", "-C", str(here.path), *command]) as watcher:
        while b"Watches established" not in watcher.read_line():
            pass
        sh("echo 2 > a; echo 3 > new; rmdir gone; mkdir dir", t1)
        assert commit(here).returncode == 0
        sh("touch end", here.path)
        heard = []
        while (line := watcher.read_line()) != b"CREATE end":
            heard.append(line)
    assert sorted(heard) == [
        b"CREATE new",
        b"CREATE,ISDIR dir",
        b"DELETE,ISDIR gone",
        b"MODIFY a",
        b"MODIFY new",
    ]


def test_nobody_hears_of_what_was_aborted(here: Here, t1: Path) -> None:
    command = ["inotifywait", "-m", "--format", "%e %f", "-e", "create,delete,modify", "."]
    with Program(["env", "-C", str(here.path), *command]) as watcher:
        while b"Watches established" not in watcher.read_line():
            pass
        sh("echo 2 > a; mkdir d", t1)
        sh("rmdir .transactions/t1", here.mounted.path)
        sh("touch end", here.path)
        assert watcher.read_line() == b"CREATE end"


@pytest.mark.parametrize("how", ["unmount", "kill"])
def test_the_end_of_the_mount_aborts_all(fuse: None, daemon: Daemon, how: str) -> None:
    store = Outside(daemon)
    store.write(b"/a", b"1")
    store.wire.ask(Op.WATCH, b"/a\0t\0")
    with Mounted(daemon.socket) as mounted:
        sh("mkdir .transactions/t1; echo 2 > .transactions/t1/a", mounted.path)
        if how == "unmount":
            mounted.unmount()
        else:
            assert mounted.process is not None
            mounted.process.send_signal(signal.SIGKILL)
            mounted.wait()
            subprocess.run(["umount", str(mounted.path)], check=True)
            mounted.process.returncode = 0
    assert store.read(b"/a") == b"1"
    store.close()


def test_the_end_of_the_store_aborts_all(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted:
        mounted.expected = ("connect", "transaction b't1' was lost")
        sh("mkdir .transactions/t1; echo 2 > .transactions/t1/a", mounted.path)
        daemon.restart()
        sh("echo 1 > a; cat a", mounted.path)
        assert sh("ls -A .transactions", mounted.path) == ""
        sh("mkdir .transactions/t1; echo 3 > .transactions/t1/a", mounted.path)
        sh("echo 1 > .transactions/t1/.commit", mounted.path)
        assert sh("cat a", mounted.path) == "3\n"


def test_the_stores_quota_is_a_clear_error(fuse: None) -> None:
    with (
        running({b"/local/domain/5": b""}, domains=[5]) as path,
        Mounted(path.domains[5], "root=/local/domain/5") as mounted,
    ):
        with Client(path) as client:
            client.set_perms(b"/local/domain/5", [b"n5"])
        done = run("for n in $(seq 20); do mkdir .transactions/$n; done", mounted.path)
        assert "Disk quota exceeded" in done.stderr
        sh("rmdir .transactions/1; mkdir .transactions/more", mounted.path)
        sh("echo 1 > .transactions/more/x; echo 1 > .transactions/more/.commit", mounted.path)
        assert sh("cat x", mounted.path) == "1\n"


def test_a_patch_that_fails_half_way_dooms_the_transaction(guest_home: Mounted) -> None:
    patch = """'{"mine": "2", "theirs": "2"}'"""
    done = run(
        f"mkdir .transactions/t; echo {patch} | cp /dev/stdin .transactions/t/.json",
        guest_home.path,
    )
    assert "Permission denied" in done.stderr
    done = run("echo 1 > .transactions/t/.commit", guest_home.path)
    assert "Operation canceled" in done.stderr
    assert sh("cat mine; ls -A .transactions", guest_home.path) == "1\n"
