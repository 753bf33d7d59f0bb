# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What can be known of a node at one moment: values that never change. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(NamedTuple):
    """A node as the store has it: permissions joined as on the wire, b"" when not asked for."""

    value: bytes
    names: list[bytes]
    perms: bytes = b""


class Announced(NamedTuple):
    """What was announced of a node to its watchers."""

    value: bytes
    perms: bytes
    directory: bool


class InodeKind(enum.Enum):
    """What an inode shows of its node."""

    FILE = enum.auto()
    DIRECTORY = enum.auto()
    VALUE = enum.auto()
    LINK = enum.auto()
    # A link from NAME.d to NAME, where NAME is a directory already.
    ALIAS = enum.auto()
    # A virtual file, which is no node.
    VIRTUAL = enum.auto()
