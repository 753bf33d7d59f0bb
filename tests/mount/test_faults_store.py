# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store goes away under a mount, in every way and moment, and comes back with another tree.

Nobody waits longer than `timeout=`; nothing stale is read afterwards; what changed is
announced; nothing is done twice. One thread of the test asks, others disturb.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.mount.impatient import (
    SLACK_S,
    TIMEOUT_S,
    Impatient,
    answered,
    error_in_time,
    in_time,
    store,
)
from tests.mount.mounting import XSFS, Mounted, kernel_stacks
from tests.outcome import error_of, until
from tests.programs import Program
from tests.xen.link import Link, Way
from tests.xen.wire import HEADER, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon


@pytest.fixture
def mounted(fuse: None, daemon: Daemon) -> Iterator[Impatient]:
    with Impatient(daemon.socket) as mounted:
        yield mounted


@pytest.fixture
def linked(fuse: None, link: Link) -> Iterator[Impatient]:
    with Impatient(link.socket) as mounted:
        yield mounted


# Everything that asks the store; each on a node that there is.
REQUESTS: dict[str, Callable[[Path], object]] = {
    "read": lambda top: (top / "a/x").read_bytes(),
    "list": lambda top: os.listdir(top / "a"),
    "look up": lambda top: os.lstat(top / "a/unheard-of"),
    "write": lambda top: (top / "a/x").write_bytes(b"1"),
    "create": lambda top: os.close(os.open(top / "a/n", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    "make a directory": lambda top: (top / "a/d").mkdir(),
    "make a node": lambda top: os.mknod(top / "a/m"),
    "remove": lambda top: (top / "a/x").unlink(),
    "remove a directory": lambda top: (top / "a/b").rmdir(),
    "rename": lambda top: (top / "a/x").rename(top / "a/y"),
    "truncate": lambda top: os.truncate(top / "a/x", 0),
    "get permissions": lambda top: os.getxattr(top / "a/x", "user.xenstore.perms"),
    "set permissions": lambda top: os.setxattr(top / "a/x", "user.xenstore.perms", b"n0"),
    "read as JSON": lambda top: (top / "a/.json").read_bytes(),
    "patch by JSON": lambda top: (top / "a/.json").write_bytes(b'{"x": "2"}'),
    "start a transaction": lambda top: (top / ".transactions/t").mkdir(),
}


@pytest.mark.parametrize("away", ["killed", "frozen"])
def test_every_request_ends_in_time_and_works_again(
    daemon: Daemon, mounted: Impatient, away: str
) -> None:
    store(daemon, a__x="1")
    (mounted.path / "a/b").mkdir()
    os.lstat(mounted.path / "a/x")
    assert daemon.process is not None
    daemon.kill() if away == "killed" else daemon.freeze()
    results: dict[str, int] = {}

    def ask(name: str) -> None:
        results[name] = error_in_time(lambda: REQUESTS[name](mounted.path))

    ask("list")
    threads = [threading.Thread(target=ask, args=(name,)) for name in REQUESTS]
    for thread in threads:
        thread.start()
    with in_time():
        os.statvfs(mounted.path)
        os.listdir(mounted.path / ".xsfs")
        subprocess.run(["df", mounted.path], check=True, capture_output=True, timeout=DEADLINE_S)
    for thread in threads:
        thread.join(DEADLINE_S)
    assert results.keys() == REQUESTS.keys()
    assert {name: code for name, code in results.items() if code != errno.EIO} == {}
    if away == "killed":
        daemon.start()
    else:
        daemon.thaw()
    store(daemon, a__x="2", after="1")
    until(lambda: error_in_time(lambda: os.stat(mounted.path / "after")) == 0)
    assert (mounted.path / "a/x").read_bytes() == b"2\n"
    (mounted.path / "a/x").write_bytes(b"3")
    assert daemon.tool("xenstore-read", "/a/x").stdout == b"3\n"


def test_another_tree_is_shown_and_announced(daemon: Daemon, link: Link, linked: Impatient) -> None:
    store(daemon, a__gone="1", a__same="s", a__other="before", a__deep__x="1", leaf="1")
    top = linked.path
    words = ["inotifywait", "-m", "-e", "create,delete,modify", "--format", "%e %w%f"]
    # These two do not change their kind.
    with Program([*words, top, top / "a"]) as heard:
        heard.await_line(b"Watches established.")
        for name in ("a/gone", "a/same", "a/other", "a/deep/x", "leaf"):
            (top / name).read_bytes()
        store(daemon, a__ready="")
        while b"a/ready" not in heard.read_line():
            pass
        daemon.kill()
        assert error_in_time(lambda: (top / "a/gone").read_bytes()) == errno.EIO
        # Nobody is to see it empty.
        link.stall()
        daemon.start()
        store(daemon, a__same="s", a__other="after", a__new="1", leaf__child="1")
        link.resume()
        assert answered(top / "a/other") == b"after\n"
        assert (top / "a/same").read_bytes() == b"s\n"
        assert sorted(os.listdir(top / "a")) == ["new", "other", "same"]
        # As watchers are told: a name may be known for as long.
        until(lambda: not (top / "a/gone").exists())
        store(daemon, a__last="")
        lines = set()
        while (line := heard.read_line().decode().replace(f"{top}/", "")) != "CREATE a/last":
            lines.add(line)
        assert {"DELETE a/gone", "DELETE,ISDIR a/deep", "CREATE a/new"} <= lines
        assert "MODIFY a/other" in lines
    until(lambda: (top / "leaf").is_dir())
    assert (top / "leaf/child").read_bytes() == b"1\n"


@pytest.mark.parametrize("after", [1, HEADER.size, 50, 100, 200, 400])
def test_a_link_cut_at_the_start(fuse: None, daemon: Daemon, link: Link, after: int) -> None:
    """It is mounted and works, or says in one line why not, and is not mounted."""
    mountpoint = daemon.rundir / "m"
    mountpoint.mkdir()
    store(daemon, a="1")
    link.cut(after=after)
    done = subprocess.run(
        [*XSFS, link.socket, mountpoint, "-o", f"timeout={TIMEOUT_S:g}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode == 0:
        assert (mountpoint / "a").read_bytes() == b"1\n"
        subprocess.run(["umount", mountpoint], check=True, timeout=DEADLINE_S)
    else:
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
    assert not os.path.ismount(mountpoint)


def test_a_store_that_is_stopped_at_the_start(fuse: None, daemon: Daemon, link: Link) -> None:
    store(daemon, a="1")
    daemon.freeze()
    mounted = Impatient(link.socket, "timeout=10")
    starting = threading.Thread(target=mounted.start)
    starting.start()
    link.await_accepted(1)
    daemon.thaw()
    starting.join(DEADLINE_S)
    try:
        assert (mounted.path / "a").read_bytes() == b"1\n"
    finally:
        mounted.close()


def test_its_socket_is_removed_and_comes_back(daemon: Daemon, mounted: Impatient) -> None:
    store(daemon, a="1")
    assert (mounted.path / "a").read_bytes() == b"1\n"
    daemon.kill()
    daemon.socket.unlink()
    assert error_in_time(lambda: (mounted.path / "a").read_bytes()) == errno.EIO
    daemon.start()
    store(daemon, a="2")
    until(lambda: error_in_time(lambda: (mounted.path / "a").read_bytes()) == 0)
    assert (mounted.path / "a").read_bytes() == b"2\n"


def test_restarts_under_readers_and_writers(daemon: Daemon, mounted: Impatient) -> None:
    store(daemon, a__x="0")
    ended = threading.Event()
    seen: set[int] = set()
    late_s: list[float] = []

    def work(number: int) -> None:
        names = list(REQUESTS)
        while not ended.is_set():
            for name in names[number:] + names[:number]:
                start_s = time.monotonic()
                try:
                    REQUESTS[name](mounted.path)
                except OSError as error:
                    seen.add(error.errno or -1)
                late_s.append(time.monotonic() - start_s)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for number in range(8):
        time.sleep(0.1)  # What runs between two restarts is up to chance.
        daemon.restart()
        store(daemon, a__x=str(number))
    ended.set()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert max(late_s) < TIMEOUT_S + SLACK_S
    known = {"EIO", "ENOENT", "EEXIST", "ESTALE", "ENOTDIR", "EISDIR", "ENOTEMPTY", "EAGAIN"}
    # EINVAL: the node was missing when its permissions were set, and there when looked for again.
    assert {errno.errorcode[code] for code in seen} <= known | {"ENODATA", "EINVAL"}
    store(daemon, a__x="last")
    assert (mounted.path / "a/x").read_bytes() == b"last\n"
    until(lambda: mounted.stats()["transactions"] <= 1)


def test_a_write_whose_reply_is_lost_is_not_repeated(
    daemon: Daemon, link: Link, linked: Impatient
) -> None:
    store(daemon, a="1")
    path = linked.path / "a"
    path.read_bytes()
    swallowed = link.swallow(op=Op.WRITE)
    result: list[int] = []
    fd = os.open(path, os.O_WRONLY)
    writer = threading.Thread(
        target=lambda: result.append(error_in_time(lambda: os.write(fd, b"2")))
    )
    writer.start()
    assert swallowed.wait(DEADLINE_S)
    store(daemon, a="theirs")
    link.cut()
    writer.join(DEADLINE_S)
    assert result == [errno.EIO]
    os.close(fd)
    assert path.read_bytes() == b"theirs\n"
    assert daemon.tool("xenstore-read", "/a").stdout == b"theirs\n"


def test_a_mkdir_whose_commit_is_lost_is_done_once_or_not(
    daemon: Daemon, link: Link, linked: Impatient
) -> None:
    link.swallow(op=Op.TRANSACTION_END)
    assert error_in_time(lambda: (linked.path / "d").mkdir()) == errno.EIO
    assert daemon.tool("xenstore-exists", "/d").returncode == 0
    until(lambda: (linked.path / "d").exists())


@pytest.mark.parametrize("after", [0, 1, HEADER.size, HEADER.size + 1, 2 * HEADER.size + 3])
def test_a_link_cut_anywhere_in_a_mkdir(
    daemon: Daemon, link: Link, linked: Impatient, after: int
) -> None:
    """It is all done or not at all, and the answer is true but for EIO."""
    for number in range(4):
        path = linked.path / f"d{number}"
        link.cut(after=after + 40 * number)
        code = error_in_time(path.mkdir)
        assert code in (0, errno.EIO)
        is_there = daemon.tool("xenstore-exists", f"/{path.name}").returncode == 0
        assert is_there or code == errno.EIO
        until(lambda path=path, is_there=is_there: path.exists() == is_there)  # type: ignore[misc]


def test_everything_works_byte_by_byte(daemon: Daemon, link: Link, linked: Impatient) -> None:
    link.split(1)
    top = linked.path
    (top / "a").mkdir()
    for number in range(10):
        (top / f"a/{number}").write_bytes(b"%d\n" % number)
    assert len(os.listdir(top / "a")) == 10
    store(daemon, a__3="three")
    until(lambda: (top / "a/3").read_bytes() == b"three\n")
    (top / "a").rename(top / "b")
    assert daemon.tool("xenstore-read", "/b/3").stdout == b"three\n"


@pytest.mark.parametrize("way", Way)
def test_a_stalled_link(daemon: Daemon, link: Link, linked: Impatient, way: Way) -> None:
    store(daemon, a="1")
    assert (linked.path / "a").read_bytes() == b"1\n"
    link.stall(way)
    assert error_in_time(lambda: (linked.path / "a").read_bytes()) == errno.EIO
    assert error_in_time(lambda: (linked.path / "a").read_bytes()) == errno.EIO
    link.resume()
    store(daemon, a="2")
    until(lambda: error_in_time(lambda: (linked.path / "a").read_bytes()) == 0)
    assert (linked.path / "a").read_bytes() == b"2\n"


def test_transactions_end_with_the_store(daemon: Daemon, mounted: Impatient) -> None:
    store(daemon, a="1")
    transaction = mounted.path / ".transactions/t"
    transaction.mkdir()
    (transaction / "a").write_bytes(b"2\n")
    held = os.open(transaction / "a", os.O_RDWR)
    daemon.restart()
    store(daemon, a="3")
    assert answered(mounted.path / "a") == b"3\n"
    until(lambda: os.listdir(mounted.path / ".transactions") == [])
    assert error_in_time(lambda: os.write(held, b"4")) in (errno.ENOENT, errno.EIO, errno.ESTALE)
    os.close(held)
    assert error_in_time(lambda: (transaction / "a").read_bytes()) == errno.ENOENT
    transaction.mkdir()
    (transaction / "a").write_bytes(b"5\n")
    (transaction / ".commit").write_bytes(b"1\n")
    assert daemon.tool("xenstore-read", "/a").stdout == b"5\n"


def test_no_handle_leaks_over_many_losses(daemon: Daemon, link: Link, linked: Impatient) -> None:
    assert linked.process is not None
    fds = f"/proc/{linked.process.pid}/fd"
    store(daemon, a="1")
    (linked.path / "a").read_bytes()
    before = len(os.listdir(fds))
    for _ in range(20):
        link.cut()
        assert answered(linked.path / "a") == b"1\n"
    assert len(os.listdir(fds)) <= before
    assert linked.stats()["connections"] == 21


def test_a_storm_over_restarts_ends_in_what_is_there(daemon: Daemon, mounted: Impatient) -> None:
    """Watched by inotifywait, written by others; last of all it is told what is there.

    In the root, as any other directory is gone, and its watch with it, when the mount looks at the
    new store before it is filled.
    """
    top = mounted.path
    with Program(["inotifywait", "-m", "-e", "create", "--format", "%f", top]) as heard:
        heard.await_line(b"Watches established.")
        for number in range(3):
            with xsfs.Client(daemon.socket) as client:
                for index in range(500):
                    client.write(b"/n%d" % index, b"%d" % number)
            daemon.restart()
            store(daemon, n0="0")
        until(lambda: error_in_time(lambda: (top / "n0").read_bytes()) == 0)
        store(daemon, last0="", last1="", last2="")
        expected = {b"last0", b"last1", b"last2"}
        while expected:
            expected.discard(heard.read_line(10))
    with xsfs.Client(daemon.socket) as client:
        listed = map(os.fsdecode, client.list(b"/"))
    # The mount shows the special names on both daemons.
    names = {name for name in listed if not name.startswith("@")}
    assert {name for name in os.listdir(top) if not name.startswith("@")} == names


def test_a_signal_ends_it_while_a_request_waits_for_the_store(
    root: None, fuse: None, daemon: Daemon, link: Link
) -> None:
    """The request holds its directory, from which the kernel is to drop another entry."""
    store(daemon, d__x="1")
    with Mounted(link.socket, "timeout=60") as mounted:
        mounted.expected = ("the client is not running",)
        os.lstat(mounted.path / "d/x")
        lost = link.swallow()
        asking = threading.Thread(target=lambda: error_of(lambda: os.lstat(mounted.path / "n")))
        asking.start()
        assert lost.wait(DEADLINE_S)
        assert daemon.tool("xenstore-rm", "/d").returncode == 0
        assert mounted.process is not None
        pid = mounted.process.pid
        until(lambda: "fuse_reverse_inval_entry" in kernel_stacks(pid))
        start_s = time.monotonic()
        assert mounted.stop() == 0
        assert time.monotonic() - start_s < SLACK_S
        asking.join(DEADLINE_S)
        assert not asking.is_alive()
