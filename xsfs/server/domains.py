# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The domains that the store knows. Pure.

There is no hypervisor to ask, so every domain id that is not reserved counts as a domain
that exists, whether introduced or not.
"""

from __future__ import annotations

from xsfs.server.access import DOMID_FIRST_RESERVED, DOMID_SELF

# xs_wire.h, XENSTORE_SERVER_FEATURE_ERROR, _WATCHDEPTH and _DOMID_ANY.
FEATURE_WATCHDEPTH = 4
FEATURES = 2 | FEATURE_WATCHDEPTH | 8


class Domain:
    """A domain, introduced or not.

    Args:
        born: how many domains had been released when it got its id; permissions set before that
            do not apply to it.
    """

    def __init__(self, domid: int, born: int = 0) -> None:
        self.domid = domid
        self.born = born
        self.introduced = False
        self.features = FEATURES
        # Whose rights it has as well (SET_TARGET).
        self.target: int | None = None

    @property
    def domids(self) -> tuple[int, ...]:
        """Whose rights it has."""
        return (self.domid,) if self.target is None else (self.domid, self.target)


class Domains:
    """All domains, by id."""

    def __init__(self) -> None:
        self._domains: dict[int, Domain] = {}
        # How many have been released.
        self.released = 0
        self[0].introduced = True

    def __getitem__(self, domid: int) -> Domain:
        if domid not in self._domains:
            self._domains[domid] = Domain(domid)
        return self._domains[domid]

    def exists(self, domid: int) -> bool:
        """Whether there may be such a domain."""
        return domid < DOMID_FIRST_RESERVED

    def is_introduced(self, domid: int) -> bool:
        """Whether the domain may speak to the store; the caller's own may."""
        known = self._domains.get(domid)
        return domid == DOMID_SELF or (known is not None and known.introduced)

    def born(self, domid: int) -> int:
        """How many domains had been released when the domain got its id."""
        known = self._domains.get(domid)
        return 0 if known is None else known.born

    def release(self, domid: int) -> None:
        """Forget a domain; another one may get its id."""
        self.released += 1
        self._domains[domid] = Domain(domid, self.released)
        for other in self._domains.values():
            if other.target == domid:
                other.target = None
