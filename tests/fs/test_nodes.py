# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The node table: lookup counts, inodes, what an event makes stale, moves and removals."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs.fs.model.comparison import Comparison
from xsfs.fs.model.echoes import Echoes
from xsfs.fs.model.nodes import Node
from xsfs.fs.model.states import InodeKind, State
from xsfs.fs.model.table import NodeTable

PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=4)


def grow(table: NodeTable, path: list[bytes]) -> Node:
    node = table.view.root
    for name in path:
        node.directory = True
        node = table.child(node, name)
    return node


def learn(table: NodeTable, node: Node) -> int:
    inode = table.inode(node, node.shown)
    inode.count_lookup()
    return inode.ino


@given(st.lists(PATHS, max_size=12), st.randoms())
def test_after_forgetting_everything_the_root_alone_is_left(
    lookups: list[list[bytes]], random: object
) -> None:
    table = NodeTable(b"/")
    learnt = [learn(table, grow(table, path)) for path in lookups]
    random.shuffle(learnt)  # type: ignore[attr-defined]
    for ino in learnt:
        table.forget(ino, 1)
    assert list(table) == [table.root]
    assert all(node.directory for node in table.view.root.subtree())


@given(st.lists(st.tuples(PATHS, st.booleans()), max_size=20))
def test_numbers_are_never_given_twice(steps: list[tuple[list[bytes], bool]]) -> None:
    table = NodeTable(b"/")
    given_out: set[int] = set()
    for path, drop in steps:
        node = grow(table, path)
        new = node.inode(node.shown) is None
        ino = learn(table, node)
        assert (ino in given_out) != new
        given_out.add(ino)
        if drop:
            table.drop(node)


@given(PATHS, PATHS, st.sampled_from([b"/", b"/r", b"/r/s"]))
def test_paths_are_found_where_they_are(path: list[bytes], more: list[bytes], root: bytes) -> None:
    table = NodeTable(root)
    node = grow(table, path)
    top = root.rstrip(b"/")
    assert node.path == top + b"/" + b"/".join(path)
    assert node.depth == len(path)
    assert table.view.find(node.path) == (node, [])
    new = [b"new", *more]
    assert table.view.find(node.path + b"/" + b"/".join(new)) == (node, new)
    assert table.view.find(root) == (table.view.root, [])
    if root != b"/":
        assert table.view.find(b"/elsewhere") is None
        assert table.view.find(root + b"x") is None


def fresh(table: NodeTable, path: list[bytes]) -> Node:
    node = grow(table, path)
    node.value, node.fetched_at, node.fetched_s = b"", table.view.clock, 0.0
    return node


def test_an_event_makes_stale_the_node_all_below_it_and_no_more() -> None:
    table = NodeTable(b"/")
    below = fresh(table, [b"a", b"b", b"c"])
    beside = fresh(table, [b"a", b"x"])
    assert below.is_fresh(0.0, 60.0)
    assert not below.is_fresh(61.0, 60.0)
    table.view.record_event(b"/a/b", 5)
    assert not below.is_fresh(0.0, 60.0)
    assert beside.is_fresh(0.0, 60.0)
    assert grow(table, [b"a", b"b"]).mtime_ns == 5
    table.view.invalidate_all()
    assert not beside.is_fresh(0.0, 60.0)


def test_an_event_below_a_file_makes_it_stale_but_not_a_directory() -> None:
    table = NodeTable(b"/")
    file, folder = fresh(table, [b"f"]), fresh(table, [b"d", b"x"]).parent
    assert folder is not None
    folder.value, folder.fetched_at = b"", table.view.clock
    table.view.record_event(b"/f/new", 1)
    table.view.record_event(b"/d/new", 1)
    assert not file.is_fresh(0.0, 60.0)
    assert folder.is_fresh(0.0, 60.0)


def test_a_file_and_a_directory_of_one_node_are_two_inodes() -> None:
    table = NodeTable(b"/")
    node = grow(table, [b"n"])
    file = table.inode(node, InodeKind.FILE)
    assert table.inode(node, InodeKind.FILE) is file
    assert table.inode(node, InodeKind.DIRECTORY) is not file
    table.discard(table.inode(node, InodeKind.DIRECTORY))
    assert node.inode(InodeKind.DIRECTORY) is None
    assert table[file.ino] is file


def test_a_moved_node_takes_along_what_is_below_it() -> None:
    table = NodeTable(b"/")
    leaf = grow(table, [b"d", b"e", b"f"])
    ino = learn(table, leaf)
    table.move(grow(table, [b"d"]), grow(table, [b"other"]), b"new")
    assert leaf.path == b"/other/new/e/f"
    assert table[ino].node is leaf
    assert table.view.find(b"/d") == (table.view.root, [b"d"])


def test_a_node_is_kept_while_notices_about_it_are_under_way() -> None:
    table = NodeTable(b"/")
    node = grow(table, [b"n"])
    node.pins = 1
    table.prune(node)
    assert table.child(table.view.root, b"n") is node
    node.pins = 0
    table.prune(node)
    assert not node.alive
    assert table.child(table.view.root, b"n") is not node


@pytest.mark.parametrize("gone", [False, True], ids=["forgotten", "removed and forgotten"])
def test_nodes_are_freed_without_a_collection(gone: bool) -> None:
    """Those are rare, as they hold everybody up."""

    def nodes() -> int:
        return sum(isinstance(each, Node) for each in gc.get_objects())

    def known(name: bytes) -> int:
        node = grow(table, [b"d", name])
        node.observe(State(b"", []), 0, 0.0)
        return learn(table, node)

    table = NodeTable(b"/")
    gc.collect()
    gc.disable()
    try:
        before = nodes()
        grow(table, [b"d"]).directory = True
        top = learn(table, grow(table, [b"d"]))
        names = [b"n%d" % number for number in range(10)]
        numbers = [known(name) for name in names]
        for ino in numbers:
            table.forget(ino, 1)
        # They are kept while their directory is in use, and have their numbers again.
        assert [known(name) for name in names] == numbers
        assert nodes() == before + 1 + len(names)
        if gone:
            table.drop(grow(table, [b"d"]))
        for ino in (*numbers, top):
            table.forget(ino, 1)
        assert nodes() == before + (0 if gone else 1)
    finally:
        gc.enable()


def test_depth_is_no_danger() -> None:
    table = NodeTable(b"/")
    deep = grow(table, [b"d"] * 2000)
    assert sum(1 for _ in table.view.root.subtree()) == 2001
    top = table.child(table.view.root, b"d")
    table.drop(top)
    assert not deep.alive


def test_a_state_from_before_our_own_write_does_not_say_what_the_value_is() -> None:
    table = NodeTable(b"/")
    node = grow(table, [b"n"])
    node.observe(State(b"1", []), table.view.clock, 0.0)
    asked_at = table.view.clock
    table.view.clock += 1
    node.value, node.made_at = b"ours", table.view.clock
    node.observe(State(b"theirs, before", []), asked_at, 0.0)
    assert node.value == b"ours"
    node.observe(State(b"theirs, after", []), table.view.clock, 0.0)
    assert node.value == b"theirs, after"


def test_a_state_from_before_a_file_was_created_is_not_the_files() -> None:
    table = NodeTable(b"/")
    node = table.child(table.root.node, b"f")
    node.pending = True
    node.made_at = node.view.tick()
    node.observe(State(b"", [b"child"]), node.made_at - 1, 0.0)
    assert (node.pending, node.directory, node.value, node.announced) == (True, False, None, None)
    node.observe(State(b"theirs", []), node.made_at, 0.0)
    assert (node.pending, node.value) == (False, b"theirs")


def test_a_file_that_is_not_stored_yet_is_not_missed_in_the_store() -> None:
    table = NodeTable(b"/")
    node = table.child(table.root.node, b"f")
    node.observe(State(b"", []), 0, 0.0)
    node.pending = True
    comparison = Comparison(table, Echoes(), 1, 0.0)
    assert list(comparison.removed(node)) == []
    assert node.alive
    node.pending = False
    assert list(comparison.removed(node)) != []
    assert not node.alive
