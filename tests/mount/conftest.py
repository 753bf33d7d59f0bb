# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fixtures of the mount tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mount.mounting import Mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon


@pytest.fixture
def mount(fuse: None, daemon: Daemon) -> Iterator[Path]:
    """The mountpoint of a fresh daemon's store, for one test."""
    with Mounted(daemon.socket) as mounted:
        yield mounted.path


@pytest.fixture(scope="module")
def shared_mount(fuse: None, shared_daemon: Daemon) -> Iterator[Path]:
    """The mountpoint of a daemon's store, for all tests of a module."""
    with Mounted(shared_daemon.socket) as mounted:
        yield mounted.path
