# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What holds for a store after any request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.protocol import paths
from xsfs.server.tree import walk_down

if TYPE_CHECKING:
    from xsfs.server import Store


def check(store: Store) -> None:
    """Every node is in its parent's list, once, and every owner's count is right."""
    owners: dict[int, int] = {0: 2}
    seen = set()
    for path, node in walk_down(store.tree, b"/"):
        assert path not in seen
        seen.add(path)
        owners[node.owner] = owners.get(node.owner, 0) + 1
        assert len(set(node.names)) == len(node.names)
        for name in node.names:
            assert store.tree.get(paths.join(path, name)) is not None
    assert len(seen) == len(store.tree)
    for domid in (0, 5, 7):
        assert store.tree.owned(domid) == owners.get(domid, 0)
