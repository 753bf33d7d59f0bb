# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Quotas: limits by name, for all domains and for one. Pure.

Names and defaults are xenstored's. Domain 0 is held to none but the length of a path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs.server.tree import Put

NODES = b"nodes"
WATCHES = b"watches"
TRANSACTIONS = b"transactions"
TRANSACTION_NODES = b"transaction-nodes"
NODE_SIZE = b"node-size"
PATH_MAX = b"path-max"
PERMISSIONS = b"permissions"

DESCRIPTIONS = {
    NODES: b"Nodes per domain",
    WATCHES: b"Watches per domain",
    TRANSACTIONS: b"Active transactions per domain",
    TRANSACTION_NODES: b"Max. number of accessed nodes per transaction",
    NODE_SIZE: b"Max. size of a node",
    PATH_MAX: b"Max. length of a node path",
    PERMISSIONS: b"Max. number of permissions per node",
}

_UNLIMITED = 1 << 62

# xenstored's record of a node: a header of 24 bytes, 8 for each permission entry.
_NODE_HEADER = 24
_NODE_ENTRY = 8


def node_size(node: Put) -> int:
    """What counts against NODE_SIZE, in bytes."""
    entries = _NODE_ENTRY * len(node.perms.entries)
    return _NODE_HEADER + entries + len(node.value) + len(node.children)


class Quotas:
    """The limits in force.

    Args:
        path_max: the limit on paths to start with, in bytes.
    """

    def __init__(self, path_max: int) -> None:
        self._values = {
            NODES: 1000,
            WATCHES: 128,
            TRANSACTIONS: 10,
            TRANSACTION_NODES: 1024,
            NODE_SIZE: 2048,
            PATH_MAX: path_max,
            PERMISSIONS: 5,
        }
        self._own: dict[int, dict[bytes, int]] = {}

    @property
    def names(self) -> list[bytes]:
        """The quotas that there are."""
        return list(self._values)

    def get(self, name: bytes, domid: int | None = None) -> int:
        """A quota's value, for all domains or for one; 0 means that it is not checked."""
        own = {} if domid is None else self._own.get(domid, {})
        return own.get(name, self._values[name])

    def set(self, name: bytes, value: int, domid: int | None = None) -> None:
        """Set a quota, for all domains that have none of their own, or for one."""
        if domid is None:
            self._values[name] = value
        else:
            self._own.setdefault(domid, {})[name] = value

    def limit(self, name: bytes, domid: int) -> int:
        """What a domain may have, as a number that can be compared."""
        return self.get(name, domid) or _UNLIMITED

    def forget(self, domid: int) -> None:
        """Drop the quotas of a domain that is gone."""
        self._own.pop(domid, None)
