# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store events become notices: tables of (events, what the store shows then, what is told).

With no event loop: the questions are answered from a dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from xsfs.fs.model.difference import Difference
from xsfs.fs.model.states import InodeKind, State
from xsfs.fs.model.table import NodeTable
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.notices import Notice

# Paths with their values, or (value, permissions).
Store = dict[str, str | tuple[str, str]]

NOW_S = 1000.0


class House:
    """What is known of a store, and what the kernel holds of it.

    Args:
        store: what there is at first.
        known: paths that the kernel has looked up.
    """

    def __init__(self, store: Store, known: Sequence[str] = ()) -> None:
        self.store = store
        # The ordinal of the request that was answered last.
        self.answered = 0
        # What was asked, in one go each.
        self.asked: list[list[bytes]] = []
        # Done once, between the store's answer and its arrival.
        self.meanwhile: Callable[[], None] | None = None
        self.table = NodeTable(b"/")
        self.difference = Difference(self.table)
        self._read(self.table.root.node)
        self._prefetch(self.table.root.node)
        for path in known:
            self.learn(path)

    def _state(self, path: bytes) -> State | None:
        name = path.decode()
        top = name.rstrip("/") + "/"
        names = {other[len(top) :].split("/")[0] for other in self.store if other.startswith(top)}
        names -= {""}
        if name not in self.store and not names and name != "/":
            return None
        value = self.store.get(name, "")
        value, perms = (value, "n0") if isinstance(value, str) else value
        return State(value.encode(), sorted(map(str.encode, names)), perms.encode())

    def _read(self, node: Node) -> None:
        state = self._state(node.path)
        assert state is not None
        if node.observe(state, node.view.clock, NOW_S):
            self.difference.suspect(node)

    def _prefetch(self, node: Node) -> None:
        """What whoever watches a directory is taken to know of its children."""
        if node.names is None:
            self._read(node)
        for name in node.names or ():
            child = self.table.child(node, name)
            if child.announced is None:
                self._read(child)
                self.table.keep(child)

    def learn(self, path: str) -> None:
        """Have the kernel look a path up."""
        node = self.table.root.node
        for name in path.encode().split(b"/")[1:]:
            node = self.table.child(node, name)
            self._read(node)
            inode = self.table.inode(node, node.shown)
            if not inode.lookups:
                inode.count_lookup()
            if inode.kind is InodeKind.DIRECTORY:
                self._prefetch(node)

    def event(self, path: str) -> None:
        self.difference.note(path.encode(), self.answered, 1)

    def look(self) -> list[str]:
        """What is told by the time that nothing is left to look at."""
        told = []
        while self.difference.is_waiting:
            asked = self.difference.questions()
            self.asked.append(asked)
            states = {path: self._state(path) for path in asked}
            if self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                meanwhile()
            told += [describe(notice) for notice in self.difference.answers(states, NOW_S)]
        return told


def describe(notice: Notice) -> str:
    entry = paths.join(notice.parent.path, notice.name)
    if notice.node is notice.parent:
        entry = notice.parent.path
    kind = notice.kind.name.lower()
    return f"{kind}{'/' if notice.directory else ''} {entry.decode()}"


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
    house = House(row.before, row.known)
    house.store = row.after
    for path in row.events:
        house.event(path)
    assert house.look() == row.told


def following(body: Callable[[House], object], store: Store, *known: str) -> list[str]:
    """What is told after `body`."""
    house = House(store, known)
    body(house)
    return house.look()


@pytest.mark.parametrize("event_first", [True, False], ids=["xenstored", "oxenstored"])
def test_our_own_write_is_not_told_again(event_first: bool) -> None:
    def write(house: House) -> None:
        echo = house.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.store = {**D, "/d/x": "2"}
        if event_first:
            house.event("/d/x")
            house.difference.echoes.acknowledge(echo, 0)
        else:
            house.difference.echoes.acknowledge(echo, 0)
            house.event("/d/x")

    assert following(write, D, "/d/x") == []


def test_what_a_later_change_of_ours_did_is_not_told() -> None:
    """Moved here, and on: the look at the first event finds what the second move made."""

    def move_twice(house: House) -> None:
        first = house.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        house.event("/d/x")
        house.difference.echoes.acknowledge(first, 0)

        def move_on() -> None:
            house.difference.echoes.expect(b"/d/x", exists=False)

        house.meanwhile = move_on
        house.store = {path: value for path, value in D.items() if path != "/d/x"}

    assert following(move_twice, D, "/d/x") == []


def test_a_new_tree_is_looked_at_once() -> None:
    """However many nodes a guest makes in a directory that nobody has asked for."""
    house = House(D, ["/d"])
    made = [f"/d/p/q/n{number}" for number in range(100)]
    house.store = {**D, **dict.fromkeys(made, "1")}
    for path in ["/d/p", *made]:
        house.event(path)
    assert house.look() == ["created/ /d/p"]
    assert house.asked == [[b"/d/p"]]


def test_somebody_elses_write_after_ours_is_told() -> None:
    def write(house: House) -> None:
        echo = house.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.event("/d/x")
        house.difference.echoes.acknowledge(echo, 0)
        house.store = {**D, "/d/x": "3"}

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_somebody_elses_permissions_beside_our_write_are_told() -> None:
    def write(house: House) -> None:
        house.difference.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.event("/d/x")
        house.store = {**D, "/d/x": ("2", "r0")}

    assert following(write, D, "/d/x") == ["attrib /d/x"]


def test_an_event_long_after_our_write_is_somebody_elses() -> None:
    def write(house: House) -> None:
        echo = house.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        house.difference.echoes.acknowledge(echo, 5)
        house.answered = 6
        house.event("/d/x")

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_a_write_of_ours_that_failed_explains_nothing() -> None:
    def write(house: House) -> None:
        echo = house.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
        house.event("/d/x")
        house.difference.echoes.cancel(echo)

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_after_a_loss_everything_is_compared() -> None:
    def lose(house: House) -> None:
        house.store = {"/d": "", "/d/x": "2", "/d/n": "", "/d/s/t/b": "2"}
        house.difference.reconnected()

    assert following(lose, DEEP, "/d/s/a", "/d/x") == [
        "modified /d/x",
        "removed /d/s/a",
        "created /d/n",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [("/n/x", ["created/ /n"]), ("/d", ["modified/ /d"])],
    ids=["a directory just made", "a directory that nobody watches"],
)
def test_what_was_there_before_a_watch_is_not_told_as_new(path: str, told: list[str]) -> None:
    top = path.removesuffix("/x")
    house = House(D)
    house.store = before = {**D, path: "1"}

    def create() -> None:
        house.store = {**before, f"{top}/later": ""}
        house.event(f"{top}/later")

    house.meanwhile = create
    house.event(path)
    assert house.look() == told
    found = house.table.view.find(top.encode())
    assert found is not None
    # The kernel holds it from the helper's creation on, before anybody looks it up.
    house.table.inode(found[0], InodeKind.DIRECTORY).count_lookup()
    house.learn(top)
    house.event(f"{top}/later")
    assert house.look() == [f"modified {top}/later"]


def test_a_flood_of_events_for_a_node_is_told_once_and_each_invalidates() -> None:
    house = House(D, ["/d/x"])
    house.store = {**D, "/d/x": "2"}
    hit = [house.difference.note(b"/d/x", house.answered, at) for at in range(1, 100)]
    assert {node.path if node else None for node in hit} == {b"/d/x"}
    assert hit[0] is not None
    assert hit[0].mtime_ns == 99
    assert house.look() == ["modified /d/x"]
    assert house.asked == [[b"/d/x"]]


def test_what_the_store_does_not_answer_is_asked_again() -> None:
    def write(house: House) -> None:
        house.store = {**D, "/d/x": "2"}
        house.event("/d/x")
        house.difference.questions()
        house.difference.unanswered()

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_what_the_store_refuses_to_say_is_not_told() -> None:
    house = House(D, ["/d/x"])
    house.event("/d/x")
    assert house.difference.questions() == [b"/d/x"]
    assert list(house.difference.answers({}, NOW_S)) == []
    assert not house.difference.is_waiting


def test_only_what_may_be_an_echo_can_wait() -> None:
    house = House(D, ["/d/x"])
    house.difference.echoes.expect(b"/d/x", exists=True, value=b"1")
    house.event("/d/x")
    assert house.difference.is_waiting
    assert not house.difference.is_urgent
    house.event("/d")
    assert house.difference.is_urgent
