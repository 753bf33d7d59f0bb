# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Every way in which the store goes away, at every moment; all is well and nothing left after."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.inotify import Heard, Inotify
from tests.mount.impatient import TIMEOUT_S, Impatient, error_in_time, in_time, store
from tests.outcome import until
from tests.xen.daemons import Daemon
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.mount.mounting import Mounted


class Outage(NamedTuple):
    """How the store goes, and comes back."""

    begin: Callable[[Daemon], None]
    end: Callable[[Daemon], None]
    # How a read ends meanwhile.
    codes: set[int] = {errno.EIO}  # noqa: RUF012 - never changed


def vanish(daemon: Daemon) -> None:
    daemon.kill()
    daemon.socket.unlink()


OUTAGES = {
    "killed": Outage(Daemon.kill, Daemon.start),
    "frozen": Outage(Daemon.freeze, Daemon.thaw),
    "its socket removed": Outage(vanish, Daemon.start),
    "restarted": Outage(Daemon.restart, lambda daemon: None, {0, errno.ENOENT, errno.ESTALE}),
}


@contextmanager
def at_rest(daemon: Daemon, top: Path) -> Iterator[None]:
    yield


@contextmanager
def in_a_request(daemon: Daemon, top: Path) -> Iterator[None]:
    """Many are under way."""
    calls: list[Callable[[], object]] = [
        lambda: (top / "x").read_bytes(),
        # It may be done after the store came back, so to what nobody looks at then.
        lambda: os.truncate(top / "ready", 0),
        lambda: (top / "d").mkdir(),
        lambda: (top / ".json").read_bytes(),
        lambda: (top / ".transactions/u").mkdir(),
        lambda: os.listdir(top),
    ]
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda call=call: codes.append(error_in_time(call)))
        for call in calls
    ]
    daemon.freeze()
    for thread in threads:
        thread.start()
    # The kernel lets only one at a time change a directory.
    until(lambda: sum(map(waits_for_fuse, threads)) >= 3)
    # Answered at once, and after they were taken.
    os.statvfs(top)
    yield
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(codes) == len(calls), "somebody hangs"
    for name in ("d", ".transactions/u"):
        if (top / name).exists():
            (top / name).rmdir()


def waits_for_fuse(thread: threading.Thread) -> bool:
    place = Path(f"/proc/self/task/{thread.native_id}/wchan").read_text()
    return place == "request_wait_answer"


@contextmanager
def in_a_transaction(daemon: Daemon, top: Path) -> Iterator[None]:
    """One has written, and is not to be seen."""
    transaction = top / ".transactions/t"
    transaction.mkdir()
    (transaction / "never").write_bytes(b"1")
    yield
    code = error_in_time(lambda: (transaction / ".commit").write_bytes(b"1"))
    assert code in (errno.EIO, errno.ENOENT, errno.ESTALE)
    until(lambda: os.listdir(top / ".transactions") == [])
    assert daemon.tool("xenstore-exists", "/never").returncode == 1


@contextmanager
def in_a_storm(daemon: Daemon, top: Path) -> Iterator[None]:
    """Somebody writes as fast as he is answered, and goes with the store."""
    over, blowing = threading.Event(), threading.Event()

    def blow() -> None:
        try:
            with xsfs.Client(daemon.socket, timeout_s=TIMEOUT_S) as client:
                while not over.is_set():
                    client.batch([requests.write(b"/s/n%d" % at, b"1") for at in range(50)])
                    blowing.set()
                    # oxenstored freezes writers for good when a watcher is far behind.
                    error_in_time((top / "s/n0").read_bytes)
        except xsfs.ConnectionError:
            return

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        assert blowing.wait(DEADLINE_S)
        yield
    finally:
        over.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


MOMENTS: dict[str, Callable[[Daemon, Path], AbstractContextManager[None]]] = {
    "at rest": at_rest,
    "in a request": in_a_request,
    "in a transaction": in_a_transaction,
    "in a storm": in_a_storm,
}


def descriptors(mounted: Mounted) -> int:
    assert mounted.process is not None
    return len(os.listdir(f"/proc/{mounted.process.pid}/fd"))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", OUTAGES)
def test_the_store_goes_and_comes_back(fuse: None, daemon: Daemon, way: str, moment: str) -> None:
    outage = OUTAGES[way]
    store(daemon, x="1", gone="1")
    with Impatient(daemon.socket) as mounted, Inotify() as inotify:
        top = mounted.path
        # The root stays, whatever is in it.
        inotify.watch(top, "top", 0x302)
        for name in ("x", "gone"):
            (top / name).read_bytes()
        store(daemon, ready="1")
        inotify.until(Heard("top", "CREATE", "ready").__eq__)
        before = descriptors(mounted)
        with MOMENTS[moment](daemon, top):
            outage.begin(daemon)
            assert error_in_time((top / "x").read_bytes) in outage.codes
            with in_time():
                os.statvfs(top)
            outage.end(daemon)
            daemon.tool("xenstore-rm", "/gone")
            store(daemon, x="2", new="1")
            until(lambda: error_in_time((top / "new").read_bytes) == 0)
        assert (top / "x").read_bytes() == b"2\n"
        missed = {Heard("top", "CREATE", "new"), Heard("top", "DELETE", "gone")}
        while missed:
            missed.discard(inotify.take())
        assert not (top / "gone").exists()
        # The watch is back, and what is written through the mount arrives.
        store(daemon, last="1")
        inotify.until(Heard("top", "CREATE", "last").__eq__)
        (top / "x").write_bytes(b"3\n")
        assert daemon.tool("xenstore-read", "/x").stdout == b"3\n"
        until(lambda: descriptors(mounted) <= before)
        assert mounted.stats()["transactions"] == 0
