# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store events become notices: tables of (events, what the store shows then, what is told).

With no event loop: the questions are answered from a dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.fs.watched_store import NOW_S, WatchedStore
from xsfs.fs.model.states import InodeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fs.watched_store import Store


class Row(NamedTuple):
    """What there was, what the kernel held of it, what happened, what is told."""

    name: str
    before: Store
    known: Sequence[str]
    events: Sequence[str]
    after: Store
    told: Sequence[str]


D: Store = {"/d": "", "/d/x": "1"}
DEEP: Store = {**D, "/d/s": "", "/d/s/a": "1", "/d/s/t/b": "2"}

ROWS = [
    Row("written", D, ["/d"], ["/d/x"], {**D, "/d/x": "2"}, ["modified /d/x"]),
    Row("the same value written", D, ["/d"], ["/d/x"], D, ["modified /d/x"]),
    Row("written twice", D, ["/d"], ["/d/x"] * 2, {**D, "/d/x": "2"}, ["modified /d/x"]),
    Row("value of a directory", D, ["/d"], ["/d"], {**D, "/d": "v"}, ["modified/ /d"]),
    Row("value of the root", D, [], ["/"], {**D, "/": "v"}, ["modified/ /"]),
    Row("permissions", D, ["/d"], ["/d/x"], {**D, "/d/x": ("1", "r0")}, ["attrib /d/x"]),
    Row(
        "permissions and value",
        D,
        ["/d"],
        ["/d/x", "/d/x"],
        {**D, "/d/x": ("2", "r0")},
        ["attrib /d/x", "modified /d/x"],
    ),
    Row("permissions, nobody looked", D, ["/d"], ["/d"], {**D, "/d": ("", "r0")}, ["attrib/ /d"]),
    Row("created empty", D, ["/d"], ["/d/n"], {**D, "/d/n": ""}, ["created /d/n"]),
    Row("created", D, ["/d"], ["/d/n"], {**D, "/d/n": "1"}, ["created /d/n", "modified /d/n"]),
    Row(
        "created with parents",
        D,
        ["/d"],
        ["/d/p/q/n"],
        {**D, "/d/p/q/n": "1"},
        ["created/ /d/p"],
    ),
    Row("removed", D, ["/d"], ["/d/x"], {"/d": ""}, ["removed /d/x"]),
    Row(
        "removed with all below",
        DEEP,
        ["/d/s/t/b", "/d/s/a"],
        ["/d/s"],
        D,
        ["removed /d/s/a", "removed /d/s/t/b", "removed/ /d/s/t", "removed/ /d/s"],
    ),
    Row(
        "removed with all below, as both daemons' events for each watch would say",
        DEEP,
        ["/d/s/t/b", "/d/s/a"],
        ["/d/s/t/b", "/d/s/t", "/d/s/a", "/d/s"],
        D,
        ["removed /d/s/t/b", "removed/ /d/s/t", "removed /d/s/a", "removed/ /d/s"],
    ),
    Row(
        "a file becomes a directory",
        D,
        ["/d/x"],
        ["/d/x/y"],
        {**D, "/d/x/y": "1"},
        ["removed /d/x", "created/ /d/x"],
    ),
    Row(
        "a directory stays one without children",
        {**D, "/d/x/y": "1"},
        ["/d/x"],
        ["/d/x/y"],
        D,
        ["removed /d/x/y"],
    ),
    Row("removed and made again, unseen", D, ["/d/x"], ["/d/x", "/d/x"], D, ["modified /d/x"]),
    Row(
        "made again with less below",
        DEEP,
        ["/d/s/t/b", "/d/s/a"],
        ["/d/s", "/d/s/t/b"],
        {**D, "/d/s/t/b": "2"},
        ["removed /d/s/a", "modified/ /d/s", "modified /d/s/t/b"],
    ),
    Row(
        "came and went",
        D,
        ["/d"],
        ["/d/n", "/d/n"],
        D,
        ["created /d/n", "removed /d/n"],
    ),
    Row(
        "came with a parent, and both went",
        D,
        ["/d"],
        ["/d/p/n", "/d/p"],
        D,
        ["created/ /d/p", "removed/ /d/p"],
    ),
    Row(
        "in order",
        D,
        ["/d/x"],
        ["/d/n", "/d/x"],
        {**D, "/d/n": "", "/d/x": "2"},
        ["created /d/n", "modified /d/x"],
    ),
    Row(
        "in order, although removals of directories are asked about twice",
        {**D, "/d/s/a": "", "/d/u/c": ""},
        ["/d/s", "/d/u"],
        ["/d/s", "/d/n", "/d/u"],
        {**D, "/d/n": ""},
        ["removed /d/s/a", "removed/ /d/s", "created /d/n", "removed /d/u/c", "removed/ /d/u"],
    ),
    Row("where nobody is", DEEP, [], ["/d/s/a", "/d/s/n"], {**DEEP, "/d/s/n": ""}, []),
    Row(
        "a name too long for a file",
        D,
        ["/d"],
        ["/d/" + "n" * 300],
        {**D, "/d/" + "n" * 300: "1"},
        [],
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_told(row: Row) -> None:
    watched = WatchedStore(row.before, row.known)
    watched.store = row.after
    for path in row.events:
        watched.event(path)
    assert watched.look() == row.told


def following(body: Callable[[WatchedStore], object], store: Store, *known: str) -> list[str]:
    """What is told after `body`."""
    watched = WatchedStore(store, known)
    body(watched)
    return watched.look()


def test_a_directory_that_is_being_committed_is_told_as_one() -> None:
    """Its event may be compared before the reply to the commit is handled."""
    told: list[str] = []

    def commit(watched: WatchedStore) -> None:
        watched.store = {**D, "/d/n": ""}
        with watched.table.coming([b"/d/n"]):
            watched.event("/d/n")
            told.extend(watched.look())
        watched.store = {**watched.store, "/d/o": ""}
        watched.event("/d/o")

    assert following(commit, D, "/d/x") == ["created /d/o"]
    assert told == ["created/ /d/n"]


@pytest.mark.parametrize("event_first", [True, False], ids=["xenstored", "oxenstored"])
def test_our_own_write_is_not_told_again(event_first: bool) -> None:
    def write(watched: WatchedStore) -> None:
        echo = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        watched.store = {**D, "/d/x": "2"}
        if event_first:
            watched.event("/d/x")
            watched.difference.echoes.acknowledge(echo, 0)
        else:
            watched.difference.echoes.acknowledge(echo, 0)
            watched.event("/d/x")

    assert following(write, D, "/d/x") == []


def test_what_a_later_change_of_ours_did_is_not_told() -> None:
    """Moved here, and on: the look at the first event finds what the second move made."""

    def move_twice(watched: WatchedStore) -> None:
        first = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        watched.event("/d/x")
        watched.difference.echoes.acknowledge(first, 0)

        def move_on() -> None:
            second = watched.difference.echoes.expect(b"/d/x", exists=False)
            watched.meanwhile = lambda: watched.difference.echoes.acknowledge(second, 0)

        watched.meanwhile = move_on
        watched.store = {path: value for path, value in D.items() if path != "/d/x"}

    assert following(move_twice, D, "/d/x") == []


def test_what_somebody_else_changed_is_not_gone_because_we_move_it() -> None:
    watched = WatchedStore(DEEP, ["/d/s/a"])
    parent = watched.table.child(watched.table.root.node, b"d")
    node = watched.table.child(parent, b"s")

    def moved() -> None:
        assert parent.names is not None
        parent.names.discard(b"s")
        watched.table.move(node, watched.table.root.node, b"new")
        watched.difference.echoes.acknowledge(move, 0)

    def move_it() -> None:
        watched.meanwhile = moved

    watched.event("/d/s/a")
    move = watched.difference.echoes.expect(b"/d/s", exists=False)
    watched.meanwhile = move_it
    watched.store = {**D, "/new": "", "/new/a": "2"}
    assert watched.look() == []
    assert node.alive
    assert node.path == b"/new"


def test_a_listing_without_what_we_are_removing_tells_nothing() -> None:
    """The store has done it, and its reply is on the way: then the kernel tells."""

    def remove(watched: WatchedStore) -> None:
        watched.difference.echoes.expect(b"/d/x", exists=False)
        watched.store = {"/d": "v"}
        watched.event("/d")

    assert following(remove, D, "/d/x") == ["modified/ /d"]


def test_a_new_tree_is_looked_at_once() -> None:
    """However many nodes a guest makes in a directory that nobody has asked for."""
    watched = WatchedStore(D, ["/d"])
    made = [f"/d/p/q/n{number}" for number in range(100)]
    watched.store = {**D, **dict.fromkeys(made, "1")}
    for path in ["/d/p", *made]:
        watched.event(path)
    assert watched.look() == ["created/ /d/p"]
    assert watched.asked == [[b"/d/p"]]


def test_somebody_elses_write_after_ours_is_told() -> None:
    def write(watched: WatchedStore) -> None:
        echo = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        watched.event("/d/x")
        watched.difference.echoes.acknowledge(echo, 0)
        watched.store = {**D, "/d/x": "3"}

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_somebody_elses_permissions_beside_our_write_are_told() -> None:
    def write(watched: WatchedStore) -> None:
        watched.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        watched.event("/d/x")
        watched.store = {**D, "/d/x": ("2", "r0")}

    assert following(write, D, "/d/x") == ["attrib /d/x"]


def test_an_event_long_after_our_write_is_somebody_elses() -> None:
    def write(watched: WatchedStore) -> None:
        echo = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        watched.difference.echoes.acknowledge(echo, 5)
        watched.answered = 6
        watched.event("/d/x")

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_a_write_of_ours_that_failed_explains_nothing() -> None:
    def write(watched: WatchedStore) -> None:
        echo = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        watched.event("/d/x")
        watched.difference.echoes.cancel(echo)

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_after_a_loss_everything_is_compared() -> None:
    def lose(watched: WatchedStore) -> None:
        watched.store = {"/d": "", "/d/x": "2", "/d/n": "", "/d/s/t/b": "2"}
        watched.difference.reconnected()

    assert following(lose, DEEP, "/d/s/a", "/d/x") == [
        "removed /d/s/a",
        "modified /d/x",
        "created /d/n",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [("/n/x", ["created/ /n"]), ("/d", ["modified/ /d"])],
    ids=["a directory just made", "a directory that nobody watches"],
)
def test_what_was_there_before_a_watch_is_not_told_as_new(path: str, told: list[str]) -> None:
    top = path.removesuffix("/x")
    watched = WatchedStore(D)
    watched.store = before = {**D, path: "1"}

    def create() -> None:
        watched.store = {**before, f"{top}/later": ""}
        watched.event(f"{top}/later")

    watched.meanwhile = create
    watched.event(path)
    assert watched.look() == told
    found = watched.table.view.find(top.encode())
    assert found is not None
    # The kernel holds it from the helper's creation on, before anybody looks it up.
    watched.table.inode(found[0], InodeKind.DIRECTORY).count_lookup()
    watched.learn(top)
    watched.event(f"{top}/later")
    assert watched.look() == [f"modified {top}/later"]


def test_a_flood_of_events_for_a_node_is_told_once_and_each_invalidates() -> None:
    watched = WatchedStore(D, ["/d/x"])
    watched.store = {**D, "/d/x": "2"}
    hit = [watched.difference.note(b"/d/x", watched.answered, at) for at in range(1, 100)]
    assert {node.path if node else None for node in hit} == {b"/d/x"}
    assert hit[0] is not None
    assert hit[0].mtime_ns == 99
    assert watched.look() == ["modified /d/x"]
    assert watched.asked == [[b"/d/x"]]


def test_what_the_store_does_not_answer_is_asked_again() -> None:
    def write(watched: WatchedStore) -> None:
        watched.store = {**D, "/d/x": "2"}
        watched.event("/d/x")
        watched.difference.questions()
        watched.difference.unanswered()

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_what_the_store_refuses_to_say_is_not_told() -> None:
    watched = WatchedStore(D, ["/d/x"])
    watched.event("/d/x")
    assert watched.difference.questions() == [b"/d/x"]
    assert list(watched.difference.answers({}, NOW_S)) == []
    assert not watched.difference.is_waiting


def test_only_what_may_be_an_echo_can_wait() -> None:
    watched = WatchedStore(D, ["/d/x"])
    watched.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
    watched.event("/d/x")
    assert watched.difference.is_waiting
    assert not watched.difference.is_urgent
    watched.event("/d")
    assert watched.difference.is_urgent


def test_a_write_that_might_have_been_ours_sets_the_time() -> None:
    watched = WatchedStore(D, ["/d/x"])
    node = watched.table.child(watched.table.child(watched.table.root.node, b"d"), b"x")
    node.set_mtime(0)
    echo = watched.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
    watched.difference.echoes.acknowledge(echo, 0)
    watched.store = {**D, "/d/x": "3"}
    watched.event("/d/x")
    assert watched.look() == ["modified /d/x"]
    assert node.mtime_ns == 1
