# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What users of pyxs suffered from, where no other test here would fail on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.conftest import TOP
from tests.xen.link import Link, Way
from xsfs import Client, InvalidPath, StoreError
from xsfs.protocol import requests

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"1\0", b"1\0\0", b"\n", b"1\n", b"\t", b"\x80\xff", bytes(range(256))]
)
def test_values_are_kept_to_the_byte(client: Client, value: bytes) -> None:
    client[TOP] = value
    assert client[TOP] == value
    assert client.read_tree(TOP) == {TOP: value}
    assert next(client.walk(TOP)) == (TOP, value, [])


def test_paths_end_where_they_end(client: Client) -> None:
    for path in (TOP + b"\n", TOP + b"\0", TOP + b"/", b"\n"):
        for use in (client.read, client.list, client.exists, client.mkdir, client.delete):
            with pytest.raises(InvalidPath):
                use(path)
        with pytest.raises(InvalidPath):
            client.write(path, b"")
        with pytest.raises(InvalidPath):
            client.monitor().watch(path, b"token")


def test_relative_paths_have_a_limit_of_their_own(client: Client) -> None:
    long = b"a" * 2049
    with pytest.raises(InvalidPath):
        client.read(long)
    # An absolute path of that length is for the daemon to judge.
    with pytest.raises(StoreError):
        client.read(b"/" + long)


def test_a_node_with_many_children_exists(client: Client) -> None:
    client.batch([requests.mkdir(TOP + b"/a-rather-long-name-%d" % n) for n in range(500)])
    assert client.exists(TOP) is True
    assert len(client.list(TOP)) == 500


def test_one_byte_at_a_time(daemon: Daemon) -> None:
    """Every read and write is short; and the daemons answer in two writes anyway."""
    with Link(daemon.rundir / "link", daemon.socket) as link:
        link.split(1)
        link.split(1, way=Way.TO_DAEMON)
        with Client(link.socket) as client, client.monitor() as monitor:
            client[TOP] = b"value\0" * 20
            assert client[TOP] == b"value\0" * 20
            assert client.read_tree(TOP) == {TOP: b"value\0" * 20}
            monitor.watch(TOP, b"token")
            assert next(monitor.wait()) == (TOP, b"token")


def test_what_was_answered_was_done(daemon: Daemon) -> None:
    """A store drops requests whose client closes before the replies: clients read them first."""
    for turn in range(20):
        with Client(daemon.socket) as client:
            client.batch([requests.write(TOP + b"/%d-%d" % (turn, n), b"") for n in range(50)])
    with Client(daemon.socket) as client:
        assert len(client.list(TOP)) == 1000
