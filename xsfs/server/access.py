# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The permissions of nodes: entries, and the rights that they give. Pure.

Source: xenstore.txt, "Permissions"; the order of the checks is xenstored's.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

# xen.h: ids from here on are no domains; one of them stands for all domains.
DOMID_FIRST_RESERVED = 0x7FF0
DOMID_SELF = 0x7FF0
DOMID_ANY = 0x7FF5


class Right(IntFlag):
    """What a domain may do with a node."""

    NONE = 0
    READ = 1
    WRITE = 2
    OWNER = 4
    ALL = 7


class Entry(NamedTuple):
    """One permission entry: `r5` is `Entry(5, Right.READ)`."""

    domid: int
    right: Right


class Perms(NamedTuple):
    """The permissions of a node."""

    # The first one names the owner, and what all others may do.
    entries: tuple[Entry, ...]
    # How many domains had been released when the entries were set. Whatever else of the node
    # changes, they do not apply to a domain that got its id later (XSA-322).
    since: int = 0

    @property
    def owner(self) -> int:
        """The domain that the node belongs to."""
        return self.entries[0].domid

    def owned_by(self, domid: int) -> Perms:
        """The same for a node of another domain's."""
        return self._replace(entries=(self.entries[0]._replace(domid=domid), *self.entries[1:]))

    def without(self, domid: int) -> Perms:
        """The same with no entry for a domain that is not the owner."""
        first, *others = self.entries
        kept = (entry for entry in others if entry.domid != domid)
        return self._replace(entries=(first, *kept))


DOM0_ONLY = Perms((Entry(0, Right.NONE),))

_LETTERS = b"nrwb"
# As strtol(3) with base 0 takes it, which the daemon uses: 8, 010, 0x8, with a sign.
_ENTRY = re.compile(rb"([nrwb])\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")


def parse(texts: Iterable[bytes]) -> tuple[Entry, ...] | None:
    """The entries, or None if one is malformed."""
    entries = []
    for text in texts:
        match = _ENTRY.fullmatch(text)
        if match is None:
            return None
        letter, sign, hexadecimal, octal, decimal = match.groups()
        number = int(hexadecimal or octal or decimal, 16 if hexadecimal else 8 if octal else 10)
        domid = (-number if sign == b"-" else number) & 0xFFFFFFFF
        entries.append(Entry(domid, Right(_LETTERS.index(letter))))
    return tuple(entries)


def render(perms: Perms) -> bytes:
    """The entries as GET_PERMS gives them, each with a NUL."""
    return b"".join(b"%c%d\0" % (_LETTERS[entry.right], entry.domid) for entry in perms.entries)


def rights(perms: Perms, domids: Collection[int], born: Callable[[int], int]) -> Right:
    """What unprivileged domains may do; the first entry that names one of them decides.

    Args:
        domids: the domain, and the one that it is a target's stand-in for.
        born: how many domains had been released when a domain got its id.
    """
    owner, *others = perms.entries
    if owner.domid in domids:
        return Right.ALL
    for entry in others:
        if entry.domid == DOMID_ANY or (entry.domid in domids and born(entry.domid) <= perms.since):
            return entry.right
    return owner.right
