# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""64 processes at once, for a minute; for ten: `make soak`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mount.mounting import Mounted
from tests.soak.load import END_S, Load

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

SECONDS = 60.0


@pytest.mark.timeout(SECONDS + END_S + 60)
def test_whatever_many_processes_do_is_right_and_leaves_nothing(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket) as mounted:
        assert Load(daemon, mounted, SECONDS).run() == []
