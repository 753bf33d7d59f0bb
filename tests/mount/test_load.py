# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A few processes at once, for moments; 64 for long: `make soak`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mount.mounting import Mounted
from tests.soak.load import Load

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

SECONDS = 2.0
PROCESSES = 8


def test_whatever_many_processes_do_is_right_and_leaves_nothing(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted:
        assert Load(daemon, mounted, SECONDS, PROCESSES).run().wrong == []
