# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The tutorial, which is what pyxs's was, on both daemons: reprs and types are what it says."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from xsfs import Client
from xsfs.client import endpoint

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon


def test_tutorial(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(daemon.socket))
    failures, examples = doctest.testfile(
        str(Path(__file__).parents[2] / "docs" / "tutorial.rst"),
        module_relative=False,
        raise_on_error=False,
    )
    assert examples > 10
    assert not failures


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no store is found."""
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.delenv("XENSTORED_RUNDIR", raising=False)
    monkeypatch.setattr(endpoint, "_first", lambda paths: None)


@pytest.mark.usefixtures("no_store")
def test_reprs() -> None:
    socket_ro = Client(unix_socket_path="/var/run/xenstored/socket_ro")
    assert repr(socket_ro) == "Client(UnixSocketConnection('/var/run/xenstored/socket_ro'))"
    assert repr(Client()) == "Client(UnixSocketConnection('/var/run/xenstored/socket'))"
    bus = Client(xen_bus_path="/dev/xen/xenbus")
    assert repr(bus) == "Client(XenBusConnection('/dev/xen/xenbus'))"


def test_return_types(daemon: Daemon) -> None:
    with Client(daemon.socket) as c:
        tx_id: object = c.transaction()
        assert type(tx_id) is int
        assert type(c.commit()) is bool
        assert type(c.list(b"/")) is list
        assert type(c.read(b"/")) is bytes
        assert type(c.exists(b"/")) is bool
        assert type(c.get_perms(b"/")) is list
        assert next(c.walk(b"/"))[:2] == (b"/", b"")
        m = c.monitor()
        m.watch(b"/", b"token")
        event = next(m.wait())
        assert isinstance(event, tuple)
        assert (event.path, event.token) == event
        m.close()
        assert m.watched == set()


def test_monitor_by_itself(daemon: Daemon) -> None:
    with xsfs.monitor(unix_socket_path=daemon.socket) as m:
        m.watch(b"/", b"token")
        assert next(m.wait()) == (b"/", b"token")
