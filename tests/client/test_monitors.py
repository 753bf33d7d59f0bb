# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Monitors: which events come, which do not, and what ends them."""

from __future__ import annotations

import select
from itertools import islice
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.client.conftest import TOP
from xsfs import Client, Event, Exists, InvalidPath, NotFound, StoreError, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon
    from xsfs import Monitor


@pytest.fixture
def monitor(client: Client) -> Iterator[Monitor]:
    with client.monitor() as monitor:
        yield monitor


def settled(monitor: Monitor, unwatched: bool = False) -> list[Event]:
    """All events that are there once the store has answered a request of ours."""
    monitor.client.exists(b"/tool")
    events = []
    while True:
        try:
            events.append(next(monitor.wait(unwatched, timeout_s=0)))
        except Timeout:
            return events


def test_events(monitor: Monitor, other: Client) -> None:
    monitor.watch(TOP, b"token")
    events = monitor.wait()
    assert next(events) == Event(TOP, b"token")
    other[TOP + b"/a/b"] = b"1"
    assert next(events) == Event(TOP + b"/a/b", b"token")
    other.delete(TOP + b"/a")
    assert next(events) == Event(TOP + b"/a", b"token")


def test_own_changes_make_events_too(monitor: Monitor) -> None:
    monitor.watch(TOP, b"token")
    monitor.client[TOP] = b"1"
    assert list(islice(monitor.wait(), 2)) == [Event(TOP, b"token")] * 2


def test_relative_paths(monitor: Monitor, other: Client) -> None:
    monitor.watch(b"test-relative", b"token")
    assert next(monitor.wait()) == Event(b"test-relative", b"token")
    other[b"/local/domain/0/test-relative/a"] = b""
    assert next(monitor.wait()) == Event(b"test-relative/a", b"token")
    other.delete(b"/local/domain/0/test-relative")


def test_the_root(monitor: Monitor, other: Client) -> None:
    monitor.watch(b"/", b"token")
    assert next(monitor.wait()) == Event(b"/", b"token")
    other[TOP + b"/a"] = b""
    assert next(monitor.wait()) == Event(TOP + b"/a", b"token")


def test_many_watches(monitor: Monitor, other: Client) -> None:
    """A token for two paths, two tokens for a path; each watch has its event, once."""
    monitor.watch(TOP + b"/a", b"one")
    monitor.watch(TOP + b"/b", b"one")
    monitor.watch(TOP + b"/a", b"two")
    assert monitor.watched == {TOP + b"/a", TOP + b"/b"}
    assert len(settled(monitor)) == 3
    other[TOP + b"/a"] = b""
    assert sorted(settled(monitor)) == [Event(TOP + b"/a", b"one"), Event(TOP + b"/a", b"two")]
    other[TOP + b"/b"] = b""
    assert settled(monitor) == [Event(TOP + b"/b", b"one")]
    monitor.unwatch(TOP + b"/b", b"one")
    other[TOP + b"/a"] = other[TOP + b"/b"] = b""
    assert sorted(settled(monitor)) == [Event(TOP + b"/a", b"one"), Event(TOP + b"/a", b"two")]


def test_monitors_do_not_hear_each_other(client: Client, other: Client) -> None:
    with client.monitor() as first, client.monitor() as second:
        first.watch(TOP + b"/a", b"token")
        second.watch(TOP + b"/b", b"token")
        other[TOP + b"/a"] = b""
        assert settled(first) == [Event(TOP + b"/a", b"token")] * 2
        assert settled(second) == [Event(TOP + b"/b", b"token")]
        first.close()
        other[TOP + b"/b"] = b""
        assert settled(first) == []
        assert settled(second) == [Event(TOP + b"/b", b"token")]


def test_what_was_on_its_way_when_unwatched(monitor: Monitor, other: Client) -> None:
    monitor.watch(TOP, b"token")
    monitor.watch(TOP + b"/a", b"token")
    settled(monitor)
    other[TOP + b"/b"] = b""
    monitor.client.exists(TOP)
    monitor.unwatch(TOP, b"token")
    assert settled(monitor) == []
    monitor.watch(TOP, b"token")
    settled(monitor)
    other[TOP + b"/b"] = b""
    monitor.client.exists(TOP)
    monitor.unwatch(TOP, b"token")
    assert settled(monitor, unwatched=True) == [Event(TOP + b"/b", b"token")]


def test_watches_that_are_refused(monitor: Monitor, other: Client) -> None:
    monitor.watch(TOP, b"token")
    with pytest.raises(Exists):
        monitor.watch(TOP, b"token")
    for path, token in ((TOP, b"other"), (TOP + b"/a", b"token")):
        with pytest.raises(NotFound):
            monitor.unwatch(path, token)
    with pytest.raises(InvalidPath):
        monitor.watch(TOP + b"\n", b"token")
    # No daemon knows such a depth: and then there is no watch.
    with pytest.raises(StoreError):
        monitor.watch(TOP, b"deep", depth=-1)
    assert monitor.watched == {TOP}
    settled(monitor)
    # The watch that is there is not hurt by the one that was refused.
    other[TOP] = b""
    assert settled(monitor) == [Event(TOP, b"token")]


def test_a_token_may_be_empty(monitor: Monitor) -> None:
    monitor.watch(TOP, b"")
    assert next(monitor.wait()) == Event(TOP, b"")


def test_special_watches(daemon: Daemon) -> None:
    from tests.xen.rings import Hypervisor, Ring

    with (
        Client(daemon.socket) as client,
        client.monitor() as monitor,
        Hypervisor(daemon.rundir) as hypervisor,
    ):
        monitor.watch(b"@introduceDomain", b"in")
        monitor.watch(b"@releaseDomain", b"out")
        settled(monitor)
        hypervisor.create(5)
        with Ring(daemon.rundir, 5, port=2):
            client.introduce_domain(5, 1, 2)
            assert next(monitor.wait()) == Event(b"@introduceDomain", b"in")
            client.release_domain(5)
            assert next(monitor.wait()) == Event(b"@releaseDomain", b"out")


def test_waiting_has_an_end(monitor: Monitor) -> None:
    monitor.watch(TOP, b"token")
    next(monitor.wait())
    for timeout_s in (0, 0.01):
        with pytest.raises(Timeout):
            next(monitor.wait(timeout_s=timeout_s))


def test_a_descriptor_to_poll(monitor: Monitor, other: Client) -> None:
    def is_ready(timeout_s: float = 0) -> bool:
        return bool(select.select([monitor], [], [], timeout_s)[0])

    monitor.watch(TOP, b"token")
    # The event has come already, with the reply or before it.
    monitor.client.exists(TOP)
    assert is_ready()
    next(monitor.wait())
    assert not is_ready()
    other[TOP] = b"1"
    assert is_ready(5)
    assert next(monitor.wait(timeout_s=0)) == Event(TOP, b"token")
    assert not is_ready()
    for _ in range(2):
        other[TOP + b"/a"] = other[TOP + b"/b"] = b"1"
        monitor.client.exists(TOP)
        while is_ready():
            next(monitor.wait(timeout_s=0))
    assert settled(monitor) == []


def test_a_lost_connection_ends_a_monitor(daemon: Daemon) -> None:
    with Client(daemon.socket) as client, client.monitor() as monitor:
        monitor.watch(b"/a", b"token")
        assert next(monitor.wait()) == Event(b"/a", b"token")
        client[b"/a"] = b"1"
        # oxenstored sends the event after that reply, but before this one.
        assert client[b"/a"] == b"1"
        daemon.restart()
        # What had come is still there.
        assert next(monitor.wait()) == Event(b"/a", b"token")
        with pytest.raises(xsfs.ConnectionError):
            next(monitor.wait())
        client.connect()
        # Its watches are gone: to be told so beats to wait for ever.
        with pytest.raises(xsfs.ConnectionError):
            next(monitor.wait(timeout_s=5))
        monitor.close()
        monitor.watch(b"/a", b"token")
        assert next(monitor.wait()) == Event(b"/a", b"token")


def test_closing_after_the_store_is_lost(daemon: Daemon) -> None:
    with Client(daemon.socket) as client, client.monitor() as monitor:
        monitor.watch(b"/a", b"token")
        daemon.kill()
    daemon.start()


def test_events_survive_a_close_in_between(client: Client, other: Client) -> None:
    with client.monitor() as monitor:
        monitor.watch(TOP, b"token")
    other[TOP] = b"1"
    with client.monitor() as monitor:
        monitor.watch(TOP, b"token")
        assert settled(monitor) == [Event(TOP, b"token")]
