# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Permission entries: `n0`, `r5`, ... The first names the owner and everyone else's access.

Pure. Source: xenstore.txt, "Permissions": a letter (`n`one, `r`ead, `w`rite, `b`oth) and a
domain id in decimal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xsfs.errors import InvalidPermission

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENTRY = re.compile(rb"[nrwb][0-9]{1,5}")
_DOMID_MAX = 0xFFFF


def check(perms: Iterable[bytes]) -> list[bytes]:
    """The entries as a list, when each is well formed and there is at least one.

    Raises:
        InvalidPermission: an entry is not a letter of `nrwb` and a 16-bit domain id, or
            there is none.
    """
    entries = list(perms)
    if not entries:
        raise InvalidPermission("no permission entry: at least one is needed, such as n0")
    for entry in entries:
        if _ENTRY.fullmatch(entry) is None or int(entry[1:]) > _DOMID_MAX:
            raise InvalidPermission(entry)
    return entries
