# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Every verb of the synchronous client, on both real daemons."""

from __future__ import annotations

import copy
import errno
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.client.conftest import TOP
from tests.xen.rings import Hypervisor, Ring
from xsfs import (
    Client,
    Conflict,
    InvalidOperation,
    InvalidPayload,
    NotFound,
    NotSupported,
    StoreError,
    TooBig,
)
from xsfs.protocol import requests

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon
    from xsfs.client.client import Transaction


def test_values(client: Client) -> None:
    client[TOP + b"/a"] = b"1"
    assert client[TOP + b"/a"] == client.read(TOP + b"/a") == b"1"
    client.write(TOP + b"/a", b"")
    assert client[TOP + b"/a"] == b""
    with pytest.raises(NotFound) as caught:
        client.read(TOP + b"/b")
    assert caught.value.args[0] == errno.ENOENT
    assert client.read(TOP + b"/b", b"default") == b"default"
    assert client.read(TOP + b"/b", b"") == b""
    assert client.read(TOP + b"/a", b"default") == b""


def test_nodes_come_and_go(client: Client) -> None:
    client.mkdir(TOP + b"/a/b")
    assert client[TOP + b"/a"] == b""
    client[TOP + b"/a"] = b"1"
    client.mkdir(TOP + b"/a")
    assert client[TOP + b"/a"] == b"1"
    assert client.exists(TOP + b"/a/b")
    assert TOP + b"/a/b" in client
    del client[TOP + b"/a"]
    assert TOP + b"/a/b" not in client
    client.delete(TOP + b"/a")
    with pytest.raises(NotFound):
        client.delete(TOP + b"/a/b")


def test_lists(client: Client) -> None:
    client[TOP] = b""
    assert client.list(TOP) == []
    for name in (b"x", b"y", b"a"):
        client[TOP + b"/" + name] = b""
    assert sorted(client.list(TOP)) == [b"a", b"x", b"y"]
    with pytest.raises(NotFound):
        client.list(TOP + b"/b")


def test_permissions(client: Client) -> None:
    client[TOP] = b""
    assert client.get_perms(TOP) == [b"n0"]
    client.set_perms(TOP, [b"b0", b"r1", b"w2"])
    assert client.get_perms(TOP) == [b"b0", b"r1", b"w2"]
    with pytest.raises(NotFound):
        client.get_perms(TOP + b"/b")


def fill(client: Client) -> None:
    for path, value in ((b"/a", b"1"), (b"/a/x", b"2"), (b"/a/y", b""), (b"/b", b"3")):
        client[TOP + path] = value


def test_walk(client: Client) -> None:
    fill(client)
    found = list(client.walk(TOP))
    assert [path for path, _, _ in found] == [
        TOP + path for path in (b"", b"/a", b"/a/x", b"/a/y", b"/b")
    ]
    assert found[1] == (TOP + b"/a", b"1", [b"x", b"y"])
    with pytest.raises(NotFound):
        next(client.walk(TOP + b"/c"))


def test_walk_bottom_up(client: Client) -> None:
    fill(client)
    found = list(client.walk(TOP, topdown=False))
    assert [path for path, _, _ in found] == [
        TOP + path for path in (b"/a/x", b"/a/y", b"/a", b"/b", b"")
    ]
    assert found[-1] == (TOP, b"", [b"a", b"b"])


def test_walk_and_turn_back(client: Client) -> None:
    fill(client)
    found = []
    for path, _, children in client.walk(TOP):
        found.append(path)
        if b"a" in children:
            children.remove(b"a")
    assert found == [TOP, TOP + b"/b"]


def test_walk_what_vanishes(client: Client) -> None:
    fill(client)
    walk = client.walk(TOP)
    assert next(walk)[2] == [b"a", b"b"]
    client.delete(TOP + b"/a")
    assert [path for path, _, _ in walk] == [TOP + b"/b"]


def test_walk_as_deep_as_it_goes(client: Client) -> None:
    deep = TOP + b"/d" * 500
    client[deep] = b"bottom"
    assert list(client.walk(TOP))[-1] == (deep, b"bottom", [])
    assert next(client.walk(TOP, topdown=False)) == (deep, b"bottom", [])
    assert client.read_tree(TOP)[deep] == b"bottom"


def test_read_tree(client: Client) -> None:
    fill(client)
    assert client.read_tree(TOP) == {
        TOP: b"",
        TOP + b"/a": b"1",
        TOP + b"/b": b"3",
        TOP + b"/a/x": b"2",
        TOP + b"/a/y": b"",
    }
    assert client.read_tree(TOP + b"/b") == {TOP + b"/b": b"3"}
    assert client.read_tree(b"/")[TOP + b"/a/x"] == b"2"
    with pytest.raises(NotFound):
        client.read_tree(TOP + b"/c")


def test_a_big_directory(client: Client) -> None:
    # 30,000 bytes of names: C xenstored lists them in parts, oxenstored in one long packet.
    names = {b"a-rather-long-name-%d" % number for number in range(1300)}
    client.batch([requests.mkdir(TOP + b"/" + name) for name in names])
    assert set(client.list(TOP)) == names
    assert len(client.read_tree(TOP)) == 1301
    assert sum(1 for _ in client.walk(TOP)) == 1301


def test_batch(client: Client) -> None:
    results = client.batch(
        [
            requests.write(TOP, b"1"),
            requests.read(TOP + b"/b"),
            requests.read(TOP),
        ]
    )
    assert results[0] is None
    assert isinstance(results[1], NotFound)
    assert results[2] == b"1"
    assert client.batch([]) == []


def test_more_requests_than_any_buffer_holds(client: Client) -> None:
    # oxenstored stops reading while 1024 replies are unread.
    client[TOP] = bytes(2000)
    assert client.batch([requests.read(TOP)] * 5000) == [bytes(2000)] * 5000
    written = client.batch(
        [requests.write(TOP + b"/%d" % (number % 50), bytes(2000)) for number in range(3000)]
    )
    assert written == [None] * 3000


# -- transactions -----------------------------------------------------------------------------


def test_a_transaction_is_seen_when_committed(client: Client, other: Client) -> None:
    client[TOP] = b"old"
    tx_id = client.transaction()
    assert client.tx_id == tx_id > 0
    client[TOP] = b"new"
    assert other[TOP] == b"old"
    assert client.commit() is True
    assert client.tx_id == 0
    assert other[TOP] == b"new"


def test_a_transaction_rolled_back(client: Client) -> None:
    client[TOP] = b"old"
    client.transaction()
    client[TOP] = b"new"
    client.rollback()
    assert client.tx_id == 0
    assert client[TOP] == b"old"


def test_a_transaction_in_conflict(client: Client, other: Client) -> None:
    client[TOP] = b"old"
    client.transaction()
    client[TOP] = client[TOP] + b"er"
    other[TOP] = b"new"
    assert client.commit() is False
    assert client.tx_id == 0
    assert client[TOP] == b"new"


def test_one_transaction_at_a_time(client: Client) -> None:
    client.transaction()
    with pytest.raises(StoreError) as caught:
        client.transaction()
    assert caught.value.errno == errno.EALREADY
    client.rollback()
    for end in (client.commit, client.rollback):
        with pytest.raises(NotFound):
            end()


def test_leaving_with_a_transaction_open(shared_daemon: Daemon) -> None:
    with pytest.raises(InvalidOperation, match="uncommitted"), Client(shared_daemon.socket) as c:
        c.transaction()
    client = Client(shared_daemon.socket)

    def fail_within() -> None:
        with client:
            client.transaction()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    with client:
        assert client.tx_id == 0


def test_run_in_transaction(client: Client, other: Client) -> None:
    client[TOP] = b"1"
    tries = []

    def increment(c: Transaction) -> int:
        value = int(c[TOP]) + 1
        tries.append(value)
        if len(tries) < 3:
            other[TOP] = b"%d" % (10 * value)
        c[TOP] = b"%d" % value
        return value

    assert client.run_in_transaction(increment) == 211
    assert tries == [2, 21, 211]
    assert client.tx_id == 0
    assert client[TOP] == b"211"


def test_run_in_transaction_gives_up(client: Client, other: Client) -> None:
    client[TOP] = b"1"

    def interfered(c: Transaction) -> None:
        c[TOP] = c[TOP]
        other[TOP] = other[TOP] + b"1"

    with pytest.raises(Conflict):
        client.run_in_transaction(interfered, attempts=3)
    assert other[TOP] == b"1111"


def test_run_in_transaction_and_fail(client: Client) -> None:
    client[TOP] = b"1"

    def failing(c: Transaction) -> None:
        c[TOP] = b"2"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.run_in_transaction(failing)
    assert client.tx_id == 0
    assert client[TOP] == b"1"


def test_a_copy_shares_the_connection_and_not_the_transaction(client: Client) -> None:
    client[TOP] = b"old"
    client.transaction()
    client[TOP] = b"new"
    twin = copy.copy(client)
    assert twin.tx_id == 0
    assert twin[TOP] == b"old"
    client.rollback()


def test_reset_watches(client: Client) -> None:
    client.transaction()
    client.reset_watches()
    with pytest.raises(StoreError):
        client.commit()


# -- domains and the daemon -------------------------------------------------------------------


def test_domains(daemon: Daemon) -> None:
    with Client(daemon.socket) as client, Hypervisor(daemon.rundir) as hypervisor:
        assert client.get_domain_path(5) == b"/local/domain/5"
        assert client.is_domain_introduced(0) is True
        assert client.is_domain_introduced(5) is False
        hypervisor.create(5)
        hypervisor.create(6)
        with Ring(daemon.rundir, 5, port=2), Ring(daemon.rundir, 6, port=3):
            client.introduce_domain(5, 1, 2)
            client.introduce_domain(6, 1, 3)
            assert client.is_domain_introduced(5) is True
            client.set_target(5, 6)
            client.resume_domain(5)
            client.release_domain(5)
            assert client.is_domain_introduced(5) is False
        for ask in (client.release_domain, client.resume_domain):
            with pytest.raises(StoreError):
                ask(5)
        with pytest.raises(StoreError):
            client.set_target(5, 6)
        with pytest.raises(ValueError, match="domain 0"):
            client.introduce_domain(0, 1, 2)


def test_control(client: Client, shared_daemon: Daemon) -> None:
    answer = client.control(b"help")
    if shared_daemon.kind == "xenstored":
        assert b"check" in answer
        assert b"print" in answer
        assert client.control(b"print", b"from a test") == b"OK"
        with pytest.raises(StoreError):
            client.control(b"no-such-command")
    else:
        assert answer == b"OK"


def test_what_only_newer_daemons_know(client: Client, shared_daemon: Daemon) -> None:
    if shared_daemon.knows_extensions:
        assert client.get_feature() == client.get_feature(0) == 14
        client.set_feature(5, 2)
        assert client.get_feature(5) == 2
        assert b"nodes" in client.quota_names()
        client.set_quota(b"nodes", 900, 5)
        assert (client.get_quota(b"nodes"), client.get_quota(b"nodes", 5)) == (1000, 900)
        return
    for ask in (
        lambda: client.get_feature(),
        lambda: client.get_feature(0),
        lambda: client.set_feature(5, 0),
        lambda: client.quota_names(),
        lambda: client.get_quota(b"nodes"),
        lambda: client.set_quota(b"nodes", 1000),
    ):
        with pytest.raises(NotSupported):
            ask()


def test_a_value_too_long_for_the_daemon(client: Client, shared_daemon: Daemon) -> None:
    if shared_daemon.kind == "xenstored":
        client[TOP] = bytes(4096 - len(TOP) - 1)
    else:
        with pytest.raises(TooBig):
            client[TOP] = bytes(2049)
    with pytest.raises(InvalidPayload):
        client[TOP] = bytes(4096 - len(TOP))


# -- connections ------------------------------------------------------------------------------


def test_connect_and_close(shared_daemon: Daemon) -> None:
    client = Client(shared_daemon.socket)
    with pytest.raises(xsfs.ConnectionError):
        client.read(b"/")
    client.close()
    client.connect()
    client.connect()
    assert client.list(b"/tool") == [b"xenstored"]
    client.close()
    client.close()
    with pytest.raises(xsfs.ConnectionError):
        client.read(b"/")
    with client:
        assert client.exists(b"/tool")


def test_no_store(rundir: object) -> None:
    with pytest.raises(xsfs.ConnectionError) as caught, Client(f"{rundir}/nothing"):
        pass
    assert caught.value.errno == errno.ENOENT
    assert f"{rundir}/nothing" in str(caught.value)
    assert isinstance(caught.value, xsfs.PyXSError)
