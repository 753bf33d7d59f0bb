# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""xs: every method of xen.lowlevel.xs, as programs written for it use them."""

from __future__ import annotations

import errno
import select
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.client.conftest import TOP
from tests.xen.rings import Hypervisor, Ring
from xsfs import Client, Error, xs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon
    from xsfs.client.compat import Permission

PATH = TOP.decode()


@pytest.fixture
def handle(client: Client, shared_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[xs]:
    monkeypatch.setenv("XENSTORED_PATH", str(shared_daemon.socket))
    handle = xs()
    yield handle
    with suppress(Error):
        handle.close()


# tools/python/xen/lowlevel/xs/xs.c, xshandle_methods.
METHODS = """read write ls mkdir rm get_permissions set_permissions watch read_watch check_watch
    unwatch transaction_start transaction_end introduce_domain set_target resume_domain
    release_domain close get_domain_path fileno"""


def test_the_methods() -> None:
    for name in METHODS.split():
        assert callable(getattr(xs, name)), name


def test_nodes_with_str(handle: xs) -> None:
    assert handle.read("0", PATH) is None
    assert handle.ls("0", PATH) is None
    handle.write("0", PATH + "/a", "1")
    assert handle.read("", PATH + "/a") == b"1"
    assert handle.ls("0", PATH) == ["a"]
    handle.mkdir("0", PATH + "/b")
    assert handle.read("0", PATH + "/b") == b""
    handle.rm("0", PATH + "/b")
    handle.rm("0", PATH + "/b")
    handle.rm("0", PATH + "/c/d")
    assert handle.ls("0", PATH) == ["a"]


def test_nodes_with_bytes(handle: xs) -> None:
    handle.write(b"0", TOP + b"/a", b"\xff\0")
    assert handle.read(b"", TOP + b"/a") == b"\xff\0"
    assert handle.ls(None, TOP) == [b"a"]
    assert handle.ls(0, TOP + b"/a") == []


def test_permissions(handle: xs, client: Client) -> None:
    handle.write("0", PATH, "")
    assert handle.get_permissions("0", PATH) == [{"dom": 0, "read": 0, "write": 0}]
    entries: list[Permission] = [
        {"dom": 0},
        {"dom": 1, "read": True},
        {"dom": 2, "read": 1, "write": 1},
    ]
    handle.set_permissions("0", PATH, entries)
    assert client.get_perms(TOP) == [b"n0", b"r1", b"b2"]
    assert handle.get_permissions("0", PATH) == [
        {"dom": 0, "read": 0, "write": 0},
        {"dom": 1, "read": 1, "write": 0},
        {"dom": 2, "read": 1, "write": 2},
    ]
    # Who is given access by the first entry is not the owner.
    entries = [{"dom": 1, "write": 1}]
    handle.set_permissions("0", PATH, entries)
    assert client.get_perms(TOP) == [b"n0", b"w1"]
    handle.set_permissions("0", PATH, [b"b0", b"r7"])
    assert client.get_perms(TOP) == [b"b0", b"r7"]


def test_transactions(handle: xs, client: Client) -> None:
    first, second = handle.transaction_start(), handle.transaction_start()
    assert first != second
    handle.write(first, PATH + "/first", "1")
    handle.write(second, PATH + "/second", "1")
    assert handle.read("0", PATH + "/first") is None
    assert handle.read(first, PATH + "/first") == b"1"
    assert handle.read(second, PATH + "/first") is None
    assert handle.transaction_end(second, abort=1) is True
    assert handle.transaction_end(transaction=first) is True
    assert client.list(TOP) == [b"first"]


def test_sixteen_transactions(handle: xs) -> None:
    # Handles are hexadecimal.
    handles = [handle.transaction_start() for _ in range(17)]
    for number, transaction in enumerate(handles):
        handle.write(transaction, PATH + f"/{number}", "1")
    for transaction in handles:
        handle.transaction_end(transaction, 1)


def test_a_conflict(handle: xs, client: Client) -> None:
    client[TOP] = b"1"
    transaction = handle.transaction_start()
    handle.write(transaction, PATH, handle.read(transaction, PATH) or b"")
    client[TOP] = b"2"
    assert handle.transaction_end(transaction) is False


def test_watches(handle: xs, client: Client) -> None:
    token = object()
    handle.watch(PATH, token)
    assert handle.read_watch() == (PATH, token)
    assert handle.check_watch() is None
    assert not select.select([handle], [], [], 0)[0]
    client[TOP + b"/a"] = b""
    assert select.select([handle], [], [], 5)[0] == [handle]
    assert handle.check_watch() == (PATH + "/a", token)
    handle.watch(TOP + b"/a", "text")
    assert handle.read_watch() == (TOP + b"/a", "text")
    handle.unwatch(PATH, token)
    client[TOP + b"/a"] = b""
    assert handle.read_watch() == (TOP + b"/a", "text")
    handle.unwatch(TOP + b"/a", "text")
    client[TOP + b"/a"] = b""
    handle.read("0", PATH)
    assert handle.check_watch() is None
    with pytest.raises(Error) as caught:
        handle.unwatch(PATH, token)
    assert caught.value.args[0] == errno.ENOENT


class Incomparable:
    """A token that may be known by its identity alone."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


def test_tokens_are_known_by_identity(handle: xs, client: Client) -> None:
    tokens = [Incomparable() for _ in range(20)]
    for token in tokens:
        handle.watch(PATH, token)
    heard = [handle.read_watch()[1] for _ in tokens]
    assert [id(token) for token in heard] == [id(token) for token in tokens]
    for token in tokens[1:]:
        handle.unwatch(PATH, token)
    client[TOP] = b""
    event = handle.read_watch()
    assert event[1] is tokens[0]
    assert handle.check_watch() is None


def test_a_second_watch_of_the_same_path_and_token(handle: xs, client: Client) -> None:
    token = object()
    handle.watch(PATH, token)
    handle.watch(PATH + "/a", token)
    with pytest.raises(Error, match="File exists"):
        handle.watch(PATH, token)
    assert handle.read_watch() == (PATH, token)
    assert handle.read_watch() == (PATH + "/a", token)
    client[TOP] = b""
    assert handle.read_watch() == (PATH, token)
    assert handle.check_watch() is None
    handle.unwatch(PATH, token)
    client[TOP + b"/a"] = b""
    assert handle.read_watch() == (PATH + "/a", token)


def test_watches_of_many_threads(handle: xs) -> None:
    shared = object()

    def work(number: int) -> None:
        for turn in range(25):
            own = f"{number} {turn}"
            handle.watch(f"{PATH}/{number}", own)
            handle.watch(f"{PATH}/{number}", shared)
            handle.write("0", f"{PATH}/{number}", "")
            handle.check_watch()
            handle.unwatch(f"{PATH}/{number}", own)
            handle.unwatch(f"{PATH}/{number}", shared)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    handle.watch(PATH, "last")
    while handle.read_watch() != (PATH, "last"):
        pass
    assert handle.check_watch() is None


def test_domains(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(daemon.socket))
    handle = xs()
    assert handle.get_domain_path(5) == "/local/domain/5"
    with Hypervisor(daemon.rundir) as hypervisor:
        hypervisor.create(5)
        with Ring(daemon.rundir, 5, port=2):
            handle.introduce_domain(5, 1, 2)
            handle.set_target(5, 0)
            handle.resume_domain(5)
            handle.release_domain(5)
    with pytest.raises(RuntimeError):
        handle.release_domain(5)
    handle.close()


def test_errors_are_runtime_errors_with_an_errno(handle: xs) -> None:
    with pytest.raises(RuntimeError) as caught:
        handle.get_permissions("0", PATH + "/missing")
    assert caught.value.args == (errno.ENOENT, "No such file or directory")
    assert isinstance(caught.value, Error)
    handle.close()
    with pytest.raises(Error):
        handle.read("0", PATH)


def test_threads_and_handles_do_not_mix(handle: xs) -> None:
    transaction = handle.transaction_start()

    def work(number: int) -> None:
        for turn in range(100):
            inside = (number + turn) % 2
            path = f"{PATH}/{'inside' if inside else 'outside'}-{number}"
            handle.write(transaction if inside else "0", path, "")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    handle.transaction_end(transaction, abort=1)
    names = handle.ls("0", PATH)
    assert names is not None
    assert sorted(names) == [f"outside-{number}" for number in range(4)]
