# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.error`: the reason why a user's last write was refused, for that user to read.

For a patch of many nodes an errno is not enough. Used from the trio thread alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from xsfs.fs.store.handles import TextHandle
from xsfs.fs.store.reads import FSError
from xsfs.fs.virtual.files import VirtualFile, require_read

if TYPE_CHECKING:
    from xsfs.fs.model.nodes import Node, View
    from xsfs.fs.store.handles import Handle

NAME = b".error"

# How many refusals are remembered in each view; the oldest goes first.
_KEPT = 256


class Refusals:
    """The last refusal of each directory and user."""

    def __init__(self) -> None:
        self._texts: WeakKeyDictionary[View, dict[tuple[bytes, int], str]] = WeakKeyDictionary()

    def note(self, view: View, path: bytes, uid: int, error: Exception) -> None:
        """Remember why a write was refused.

        Args:
            path: the directory whose `.error` is to show it.
        """
        self.clear(view, path, uid)
        texts = self._texts.setdefault(view, {})
        texts[path, uid] = _reason(error)
        if len(texts) > _KEPT:
            del texts[next(iter(texts))]

    def clear(self, view: View, path: bytes, uid: int) -> None:
        """Forget the reason: a later write was accepted."""
        self._texts.get(view, {}).pop((path, uid), None)

    def text(self, view: View, path: bytes, uid: int) -> bytes:
        """The text for a user: a line, or nothing."""
        text = self._texts.get(view, {}).get((path, uid))
        return b"" if text is None else text.encode("utf-8", "backslashreplace") + b"\n"

    def virtual_file(self, node: Node) -> VirtualFile:
        """The `.error` of a node."""
        return self.file_at(node.view, node.path)

    def file_at(self, view: View, path: bytes) -> VirtualFile:
        """The `.error` of the directory of that path."""
        return _ErrorFile(self, view, path)


class _ErrorFile(VirtualFile):
    """The file, as one directory has it."""

    def __init__(self, refusals: Refusals, view: View, path: bytes) -> None:
        super().__init__(NAME)
        self._refusals = refusals
        self._place = view, path

    async def open(self, flags: int, uid: int) -> Handle:
        """The reason of this user's last refusal."""
        require_read(flags)
        return TextHandle(self._refusals.text(*self._place, uid))


def _reason(error: Exception) -> str:
    """What happened, and to which nodes."""
    said = os.strerror(error.errno) if isinstance(error, FSError) else str(error)
    return ": ".join((*reversed(getattr(error, "__notes__", ())), said))
