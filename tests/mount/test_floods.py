# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A hostile client floods the store: what it costs the mount, and that others are answered.

Somebody watches what is flooded; somebody else reads another part through the mount. How much
longer than idle he waits is a figure: tests/bench/floods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mount.bystander import LOOK_MAX_S, flood_beside
from tests.mount.floods import FLOODS

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

# What the mount may hold more, at its worst, in KB.
GROWTH_KB = 32_768

# On a starved machine one of 100,000 nodes took 179 s.
FLOOD_S = 300.0


@pytest.mark.timeout(FLOOD_S + 60)
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_little_memory_and_others_are_answered(
    fuse: None, daemon: Daemon, flood: str
) -> None:
    seen = flood_beside(daemon, flood, FLOOD_S)
    assert seen.peak_kb < seen.before_kb + GROWTH_KB
    assert max(seen.busy_s) < LOOK_MAX_S
