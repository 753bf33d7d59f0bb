# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Notices: what happened, as in a tree of files. Pure."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.fs.model.nodes import Node


class Kind(enum.Enum):
    """What happened to a file."""

    CREATED = enum.auto()
    MODIFIED = enum.auto()
    ATTRIB = enum.auto()
    REMOVED = enum.auto()


class Notice(NamedTuple):
    """One thing that happened to the entry `name` of a directory.

    `node` is the node behind the entry; None for a virtual file. Of a node that is a
    directory, MODIFIED is about its own value.
    """

    kind: Kind
    parent: Node
    name: bytes
    node: Node | None
    directory: bool


class Doubt(NamedTuple):
    """A node seems to be gone. Before the store is asked again, the kernel is to drop its entry.

    Who is in a directory when its removal is announced finds nothing there any more (S_DEAD in
    fs/namei.c), even if the store has it again by then.
    """

    node: Node


class Removal(NamedTuple):
    """A node was removed, with all below it.

    That has taken effect in the node table. The notices follow, of what was below it first; they
    may be many, so others may run between them.
    """

    node: Node
    notices: Iterator[Notice]
