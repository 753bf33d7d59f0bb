# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Which entries the kernel is to drop, and which as deleted ones. No kernel, no helper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.fs.inotify.queue import NotificationQueue
from xsfs.fs.model.notices import Kind, Notice
from xsfs.fs.model.states import InodeKind
from xsfs.fs.model.table import ROOT_INO, NodeTable

if TYPE_CHECKING:
    import pytest

    from xsfs.fs.model.nodes import Node


class Known:
    """A node `d`, whose file, directory and `.value` the kernel has looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user_visible: bool = True) -> None:
        self.table = NodeTable(b"/")
        self.node: Node = self.table.child(self.table.root.node, b"d")
        self.queue = NotificationQueue(self.table, "off")
        self.inos = {}
        for kind in (InodeKind.FILE, InodeKind.DIRECTORY, InodeKind.VALUE):
            inode = self.table.inode(self.node, kind)
            inode.lookups, inode.user_visible = 1, user_visible
            self.inos[kind] = inode.ino
        # The directory, the name, and the inode if it is to be dropped as deleted.
        self.dropped: set[tuple[int, bytes, int]] = set()
        monkeypatch.setattr(self.queue.stale, "entry", self._entry)

    def _entry(self, parent_ino: int, name: bytes, deleted_ino: int = 0) -> None:
        self.dropped.add((parent_ino, name, deleted_ino))

    def removed(self, *, directory: bool) -> None:
        notice = Notice(Kind.REMOVED, self.table.root.node, b"d", self.node, directory)
        self.queue.post(notice)


def test_a_removed_directory_goes_with_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(monkeypatch)
    known.table.drop(known.node)
    known.removed(directory=True)
    top, value = known.inos[InodeKind.DIRECTORY], known.inos[InodeKind.VALUE]
    assert known.dropped == {(ROOT_INO, b"d", top), (top, b".value", value)}


def test_a_file_that_has_become_a_directory_keeps_that(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(monkeypatch)
    known.removed(directory=False)
    assert known.dropped == {(ROOT_INO, b"d", known.inos[InodeKind.FILE])}


def test_what_only_the_helper_knows_is_not_dropped_as_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Known(monkeypatch, user_visible=False)
    known.table.drop(known.node)
    known.removed(directory=True)
    assert (ROOT_INO, b"d", 0) in known.dropped
