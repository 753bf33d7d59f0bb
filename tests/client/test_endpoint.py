# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Where a client looks for the store."""

from __future__ import annotations

import os
import pty
import socket
from typing import TYPE_CHECKING

import pytest

from xsfs import Client
from xsfs.client import endpoint
from xsfs.client.endpoint import NoStore, UnixSocketConnection, XenBusConnection, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Machine:
    """What is where, on an imagined machine."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.sockets = (str(folder / "run"), str(folder / "var"))
        self.devices = (str(folder / "dev"), str(folder / "proc"))
        patch.setattr(endpoint, "SOCKETS", self.sockets)
        patch.setattr(endpoint, "DEVICES", self.devices)
        for name in ("XENSTORED_PATH", "XENSTORED_RUNDIR"):
            patch.delenv(name, raising=False)

    def put_socket(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)


@pytest.fixture
def machine(rundir: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(rundir, monkeypatch)


@pytest.fixture
def device() -> Iterator[str]:
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_the_order(machine: Machine, device: str) -> None:
    with pytest.raises(NoStore) as caught:
        find()
    assert all(path in str(caught.value) for path in machine.sockets + machine.devices)
    assert "XENSTORED_PATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    for path in reversed(machine.devices):
        os.symlink(device, path)
        assert repr(find()) == f"XenBusConnection({path!r})"
        assert repr(Client()) == f"Client(XenBusConnection({path!r}))"
        assert XenBusConnection().path == path
    for path in reversed(machine.sockets):
        machine.put_socket(path)
        assert repr(find()) == f"UnixSocketConnection({path!r})"
        assert UnixSocketConnection().path == path
    machine.patch.setenv("XENSTORED_RUNDIR", "/some/where")
    assert repr(find()) == "UnixSocketConnection('/some/where/socket')"
    machine.patch.setenv("XENSTORED_PATH", "/some/socket")
    assert repr(find()) == "UnixSocketConnection('/some/socket')"
    assert repr(find("/given")) == "UnixSocketConnection('/given')"


@pytest.mark.parametrize("name", ["none", "xsfs", "xenstore"])
def test_placeholders(machine: Machine, name: str) -> None:
    machine.put_socket(machine.sockets[1])
    assert find(name).path == machine.sockets[1]


def test_a_device_is_known_by_what_it_is(machine: Machine, device: str) -> None:
    assert isinstance(find(device), XenBusConnection)
    machine.patch.setenv("XENSTORED_PATH", device)
    assert isinstance(find(), XenBusConnection)


def test_empty_variables_are_none(machine: Machine) -> None:
    machine.put_socket(machine.sockets[0])
    machine.patch.setenv("XENSTORED_PATH", "")
    machine.patch.setenv("XENSTORED_RUNDIR", "")
    assert find().path == machine.sockets[0]


def test_paths_of_any_kind(rundir: Path) -> None:
    path = rundir / "socket"
    texts = {repr(Client(form)) for form in (path, str(path), os.fsencode(path))}
    assert texts == {f"Client(UnixSocketConnection('{path}'))"}


def test_a_path_too_long_for_a_socket(rundir: Path) -> None:
    with pytest.raises(ConnectionError, match="too long"):
        Client(rundir / ("x" * 200)).connect()
