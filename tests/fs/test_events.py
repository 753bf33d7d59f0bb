# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store events become notices: tables of (events, what the store shows then, what is told).

The watcher and its difference with no kernel and no store: its questions are answered from a
dictionary, and what it would have the queue carry out is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
import trio

from xsfs.errors import NotFound
from xsfs.fs.inotify.watcher import Watcher
from xsfs.fs.model.nodes import InodeKind, State
from xsfs.fs.model.table import NodeTable
from xsfs.fs.options import Options
from xsfs.fs.store.reads import Tree
from xsfs.protocol import paths
from xsfs.protocol.conversation import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.aio.client import Client
    from xsfs.errors import StoreError
    from xsfs.fs.inotify.queue import NotificationQueue
    from xsfs.fs.model.difference import Notice
    from xsfs.fs.model.nodes import Node, View

# Paths with their values, or (value, permissions).
Store = dict[str, str | tuple[str, str]]


class Requests:
    """How many requests the client has sent, and had answered."""

    sent = 0
    answered = 0


class Tale:
    """A queue that writes down."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def post(self, notice: Notice) -> None:
        entry = paths.join(notice.parent.path, notice.name)
        if notice.node is notice.parent:
            entry = notice.parent.path
        kind = notice.kind.name.lower()
        self.told.append(f"{kind}{'/' if notice.directory else ''} {entry.decode()}")

    def invalidate(self, node: Node) -> None:
        pass

    def invalidate_all(self) -> None:
        pass

    async def has_room(self) -> None:
        pass


class Shown(Tree):
    """A store that is what a dictionary says."""

    store: Store

    # Done once, between the store's answer and its arrival.
    meanwhile: Callable[[], None] | None = None

    async def fetch(self, view: View, wanted: Sequence[bytes]) -> list[State | StoreError]:
        states = [self.state(path.decode()) for path in wanted]
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return states

    def state(self, path: str) -> State | StoreError:
        top = path.rstrip("/") + "/"
        names = {name[len(top) :].split("/")[0] for name in self.store if name.startswith(top)} - {
            ""
        }
        if path not in self.store and not names and path != "/":
            return NotFound(b"ENOENT")
        value = self.store.get(path, "")
        value, perms = (value, "n0") if isinstance(value, str) else value
        return State(value.encode(), sorted(map(str.encode, names)), perms.encode())


class House:
    """The watcher and what is around it.

    Args:
        store: what there is at first.
        known: paths whose inodes the kernel holds.
    """

    def __init__(self, store: Store, known: Sequence[str] = ()) -> None:
        self.requests = Requests()
        self.table = NodeTable(b"/")
        self.tree = Shown(
            cast("Client", self.requests),
            self.table,
            Options(),
            want_perms=True,
            suspect=lambda node: self.watcher.suspect(node),
        )
        self.tale = Tale()
        self.watcher = Watcher(self.tree, cast("NotificationQueue", self.tale))
        self.tree.store = store
        self.first = list(known)

    async def start(self) -> None:
        """Have the kernel look at things."""
        await self.tree.refresh_node(self.table.root.node)
        await self.tree.prefetch(self.table.root.node)
        for path in self.first:
            await self.learn(path)

    async def learn(self, path: str) -> None:
        """Have the kernel look a path up."""
        node = self.table.root.node
        for name in path.encode().split(b"/")[1:]:
            node = await self.tree.lookup(node, name)
            inode = self.table.inode(node, node.shown)
            if not inode.lookups:
                inode.count_lookup()
            if inode.kind is InodeKind.DIRECTORY:
                await self.tree.prefetch(node)

    def event(self, path: str) -> None:
        self.watcher.event(Event(path.encode(), b""), False)

    async def look(self) -> list[str]:
        """What is told by the time that nothing is left to look at."""
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watcher.run)
                settled = trio.Event()
                self.watcher._settling.append(settled)
                self.watcher._work.set()
                await settled.wait()
                while self.watcher._marks:
                    settled = trio.Event()
                    self.watcher._settling.append(settled)
                    self.watcher._work.set()
                    await settled.wait()
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        told, self.tale.told = self.tale.told, []
        return told


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


async def settled(row: Row) -> list[str]:
    house = House(row.before, row.known)
    await house.start()
    house.tree.store = row.after
    for path in row.events:
        house.event(path)
    return await house.look()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_told(row: Row) -> None:
    assert trio.run(settled, row) == row.told


def following(body: Callable[[House], object], store: Store, *known: str) -> list[str]:
    """What is told after `body`."""

    async def main() -> list[str]:
        house = House(store, known)
        await house.start()
        body(house)
        return await house.look()

    return trio.run(main)


def test_a_watchs_confirmation_is_no_change() -> None:
    def confirm(house: House) -> None:
        house.watcher.event(Event(b"/", b""), True)

    assert following(confirm, D, "/d") == []


@pytest.mark.parametrize("event_first", [True, False], ids=["xenstored", "oxenstored"])
def test_our_own_write_is_not_told_again(event_first: bool) -> None:
    def write(house: House) -> None:
        echo = house.watcher.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.tree.store = {**D, "/d/x": "2"}
        if event_first:
            house.event("/d/x")
            house.watcher.echoes.acknowledge(echo, 0)
        else:
            house.watcher.echoes.acknowledge(echo, 0)
            house.event("/d/x")

    assert following(write, D, "/d/x") == []


def test_a_new_tree_is_looked_at_once() -> None:
    """However many nodes a guest makes in a directory that nobody has asked for."""

    async def main() -> None:
        house = House(D, ["/d"])
        await house.start()
        paths = [f"/d/p/q/n{number}" for number in range(100)]
        house.tree.store = {**D, **dict.fromkeys(paths, "1")}
        for path in ["/d/p", *paths]:
            house.event(path)
        assert list(house.watcher._marks) == [b"/d/p"]
        assert await house.look() == ["created/ /d/p"]

    trio.run(main)


def test_somebody_elses_write_after_ours_is_told() -> None:
    def write(house: House) -> None:
        echo = house.watcher.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.event("/d/x")
        house.watcher.echoes.acknowledge(echo, 0)
        house.tree.store = {**D, "/d/x": "3"}

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_somebody_elses_permissions_beside_our_write_are_told() -> None:
    def write(house: House) -> None:
        house.watcher.echoes.expect(b"/d/x", exists=True, value=b"2")
        house.event("/d/x")
        house.tree.store = {**D, "/d/x": ("2", "r0")}

    assert following(write, D, "/d/x") == ["attrib /d/x"]


def test_an_event_long_after_our_write_is_somebody_elses() -> None:
    def write(house: House) -> None:
        echo = house.watcher.echoes.expect(b"/d/x", exists=True, value=b"1")
        house.watcher.echoes.acknowledge(echo, 5)
        house.requests.answered = 6
        house.event("/d/x")

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_a_write_of_ours_that_failed_explains_nothing() -> None:
    def write(house: House) -> None:
        echo = house.watcher.echoes.expect(b"/d/x", exists=True, value=b"1")
        house.event("/d/x")
        house.watcher.echoes.cancel(echo)

    assert following(write, D, "/d/x") == ["modified /d/x"]


def test_after_a_loss_everything_is_compared() -> None:
    def lose(house: House) -> None:
        house.tree.store = {"/d": "", "/d/x": "2", "/d/n": "", "/d/s/t/b": "2"}
        house.watcher.reconnected()

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

    async def main() -> None:
        house = House(D)
        await house.start()
        house.tree.store = before = {**D, path: "1"}

        def create() -> None:
            house.tree.store = {**before, f"{top}/later": ""}
            house.event(f"{top}/later")

        house.tree.meanwhile = create
        house.event(path)
        assert await house.look() == told
        found = house.table.view.find(top.encode())
        assert found is not None
        # The kernel holds it from the helper's creation on, before anybody looks it up.
        house.table.inode(found[0], InodeKind.DIRECTORY).count_lookup()
        await house.learn(top)
        house.event(f"{top}/later")
        assert await house.look() == [f"modified {top}/later"]

    trio.run(main)
