# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a part of the mount must hold, and how an operation on it must end. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Patch = dict[str, "str | Patch | None"]


# Of a node whose permissions nobody set; all directories have these.
INHERITED = b"n0"


@dataclass
class Node:
    """What is known of a node."""

    value: bytes = b""
    directory: bool = False
    # None when it is not known.
    perms: bytes | None = INHERITED

    @property
    def text(self) -> bytes:
        """What its file reads."""
        return self.value and self.value + b"\n"


def stored(text: bytes) -> bytes:
    """The value that a file's text stands for."""
    return text[:-1] if text.endswith(b"\n") else text


class Model:
    """Nodes by path, below a directory that is always there and has the empty path."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {"": Node(directory=True)}

    def directories(self) -> list[str]:
        """The paths of all directories."""
        return [path for path, node in self.nodes.items() if node.directory]

    def children(self, path: str) -> dict[str, Node]:
        """The nodes in a directory, by name."""
        start = path + "/"
        return {
            at[len(start) :]: node
            for at, node in self.nodes.items()
            if at.startswith(start) and "/" not in at[len(start) :]
        }

    def json(self, path: str) -> object:
        """What a directory's `.json` says."""
        own = self.nodes[path].value.decode()
        children = self.children(path)
        if not children:
            return own
        below = {name: self.json(f"{path}/{name}") for name in children}
        return below | ({"": own} if own else {})

    # -- changes ------------------------------------------------------------------------------

    def branch(self, path: str) -> list[str]:
        """The paths of a node and of all below it."""
        return [at for at in self.nodes if at == path or at.startswith(path + "/")]

    def drop(self, path: str) -> None:
        """Remove a node with all below it."""
        for at in self.branch(path):
            del self.nodes[at]

    def store(self, path: str, value: bytes) -> None:
        """Set a value; makes the node."""
        self.nodes.setdefault(path, Node()).value = value

    def move(self, old: str, new: str) -> None:
        """Rename, where `rename_error` says that it can be done."""
        if old != new:
            replaced, node = self.nodes.pop(new, None), self.nodes[old]
            if replaced is not None and node.perms in (INHERITED, None):
                # What was set is carried along, and may be the same as what is inherited; else
                # the permissions of what is replaced stay.
                node.perms = INHERITED if replaced.perms == INHERITED == node.perms else None
            for at in self.branch(old):
                self.nodes[new + at[len(old) :]] = self.nodes.pop(at)

    def patch(self, path: str, patch: Patch) -> None:
        """Change a directory as RFC 7396 says."""
        for name, change in patch.items():
            at = f"{path}/{name}"
            if change is None:
                self.drop(at)
            elif isinstance(change, str):
                self.store(at, change.encode())
            else:
                self.nodes.setdefault(at, Node()).directory = True
                self.patch(at, change)

    # -- errors; 0 for none -------------------------------------------------------------------

    def file_error(self, path: str) -> int:
        """Of what is done to a file that must be there."""
        if path not in self.nodes:
            return errno.ENOENT
        return errno.EISDIR if self.nodes[path].directory else 0

    def _is_full(self, path: str) -> bool:
        return bool(self.children(path) or self.nodes[path].value)

    def rmdir_error(self, path: str) -> int:
        """Of rmdir(2)."""
        if path not in self.nodes:
            return errno.ENOENT
        if not self.nodes[path].directory:
            return errno.ENOTDIR
        return errno.ENOTEMPTY if self._is_full(path) else 0

    def rename_error(self, old: str, new: str) -> int:
        """Of rename(2)."""
        source, target = self.nodes.get(old), self.nodes.get(new)
        if source is None:
            return errno.ENOENT
        if new.startswith(old + "/"):
            return errno.EINVAL if source.directory else errno.ENOTDIR
        if old.startswith(new + "/"):
            return errno.ENOTEMPTY
        if old == new or target is None:
            return 0
        if source.directory != target.directory:
            return errno.EISDIR if target.directory else errno.ENOTDIR
        return errno.ENOTEMPTY if target.directory and self._is_full(new) else 0
