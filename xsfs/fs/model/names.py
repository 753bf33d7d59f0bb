# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store name and value ↔ file name and content, both ways. Pure.

XenStore names never contain a dot (xenstore.txt, "XenStore paths"), so every name that xsfs adds
has one.
"""

from __future__ import annotations

from xsfs.protocol import paths

# The own value of a node that is shown as a directory.
VALUE = b".value"
# NAME.d: the directory kind of NAME; NAME.link: a symbolic link to what its value names.
DIRECTORY_SUFFIX = b".d"
LINK_SUFFIX = b".link"

# What a directory entry can hold (limits.h, NAME_MAX).
NAME_MAX = 255


def to_text(value: bytes, raw: bool = False) -> bytes:
    """What a file shows for a value: a line, or nothing at all."""
    return value if raw or not value else value + b"\n"


def from_text(text: bytes, raw: bool = False) -> bytes:
    """The value that a file's content means: one trailing newline is dropped, no more."""
    return text if raw else text.removesuffix(b"\n")


def is_node_name(name: bytes) -> bool:
    """Whether a file of this name can stand for a node."""
    return len(name) <= NAME_MAX and paths.is_name(name)


def split_suffix(name: bytes) -> tuple[bytes, bytes]:
    """`NAME.d` and `NAME.link` as (NAME, suffix); any other name as (name, b"")."""
    for suffix in (DIRECTORY_SUFFIX, LINK_SUFFIX):
        stem = name.removesuffix(suffix)
        if stem != name and is_node_name(stem):
            return stem, suffix
    return name, b""


def link_target(value: bytes, root: bytes, depth: int) -> bytes | None:
    """Where a relative link leads to the node that `value` names; None when it names none.

    Args:
        root: the store path that is mounted.
        depth: how many levels below the mountpoint the link's directory is.
    """
    try:
        paths.check(value)
    except ValueError:
        return None
    if not value.startswith(b"/") or not (value == root or paths.is_below(value, root)):
        return None
    inside = value[len(root) :].lstrip(b"/")
    return b"../" * depth + inside if inside else b"../" * depth or b"."
