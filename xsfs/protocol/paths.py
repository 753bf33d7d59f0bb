# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store paths: validate, join, parent, is-below. Bytes throughout; pure.

Source: xenstore.txt, "XenStore paths"; xs_wire.h.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from xsfs.errors import InvalidPath

if TYPE_CHECKING:
    from collections.abc import Iterator

# xs_wire.h, XENSTORE_ABS_PATH_MAX and XENSTORE_REL_PATH_MAX. The daemons are stricter, each
# in its own way (1024, 2048); only they know, so only the protocol's own limit is checked.
ABSOLUTE_MAX = 3072
RELATIVE_MAX = 2048

_NAME = re.compile(rb"[A-Za-z0-9\-_@]+")
_PATH = re.compile(rb"/|/?[A-Za-z0-9\-_@]+(?:/[A-Za-z0-9\-_@]+)*")
# xenstore.txt, WATCH; a domain id is what the newest daemons take.
_SPECIAL = re.compile(rb"@(?:introduceDomain|releaseDomain)(?:/[0-9]+)?")


def is_name(name: bytes) -> bool:
    """Whether `name` may be one component of a path."""
    return _NAME.fullmatch(name) is not None


def fits(path: bytes) -> bool:
    """Whether `path` is short enough to be asked for."""
    return len(path) <= (ABSOLUTE_MAX if path.startswith(b"/") else RELATIVE_MAX)


# Cached, as a program mostly asks for the same nodes again.
@lru_cache(4096)
def check(path: bytes) -> bytes:
    """`path` itself, when it is a valid absolute, relative or special (`@...`) path.

    Raises:
        InvalidPath: a character is not of `[A-Za-z0-9-/_@]`, a component is empty, or the
            path is over ABSOLUTE_MAX or RELATIVE_MAX bytes.
    """
    if _PATH.fullmatch(path) is None:
        raise InvalidPath(path)
    if not fits(path):
        raise InvalidPath(f"path of {len(path)} bytes is too long")
    return path


def check_watched(path: bytes) -> bytes:
    """`path` itself, when it is one to watch: special ones are those that the protocol knows.

    Raises:
        InvalidPath: as `check`, or no store has events for this `@` name.
    """
    if path.startswith(b"@") and _SPECIAL.fullmatch(path) is None:
        raise InvalidPath(path)
    return check(path)


def join(parent: bytes, name: bytes) -> bytes:
    """The path of the child `name` of `parent`."""
    return b"/" + name if parent == b"/" else parent + b"/" + name


def parent(path: bytes) -> bytes:
    """The path above; of `/` itself, `/`. Of a relative path's first component, `b""`."""
    head, slash, _ = path.rpartition(b"/")
    return head or (b"/" if slash else b"")


def name(path: bytes) -> bytes:
    """The last component; of `/`, `b""`."""
    return path.rpartition(b"/")[2]


def is_below(path: bytes, ancestor: bytes) -> bool:
    """Whether `path` is strictly below `ancestor`."""
    if ancestor == b"/":
        return len(path) > 1 and path.startswith(b"/")
    return path.startswith(ancestor + b"/")


def ancestors(path: bytes) -> Iterator[bytes]:
    """The paths above an absolute `path`, nearest first, `/` last."""
    while path != b"/":
        path = parent(path)
        yield path
