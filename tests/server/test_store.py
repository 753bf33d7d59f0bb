# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store without sockets: what the real daemons at hand cannot judge.

That is, the additions of newer protocol texts, what depends on domains that come and go, and
that no request whatever upsets it.
"""

from __future__ import annotations

import pytest

from tests.server.invariants import check
from tests.xen.wire import Op
from xsfs.errors import InvalidPath
from xsfs.protocol.packet import PacketParser
from xsfs.server import OXENSTORED, Store
from xsfs.server.access import Entry, Perms, Right, parse
from xsfs.server.dispatch import handle

OK = b"OK\0"
GET_FEATURE, SET_FEATURE, GET_QUOTA, SET_QUOTA = range(23, 27)


class Client:
    """A peer of a store in the same thread."""

    def __init__(self, store: Store, domid: int = 0) -> None:
        self.store = store
        self.peer = store.connect(domid, lambda: None)
        self._parser = PacketParser()

    def ask(self, op: int, payload: bytes, tx_id: int = 0) -> bytes:
        """The payload of the reply, which may be an error; events so far are left out."""
        handle(self.store, self.peer, op, 1, tx_id, payload)
        packets = list(self._parser.feed(self.peer.take()))
        (reply,) = (packet for packet in packets if packet[0] != Op.WATCH_EVENT)
        kind, req_id, reply_tx_id, content = reply
        assert kind in (op, Op.ERROR)
        assert (req_id, reply_tx_id) == (1, tx_id)
        return content

    def events(self) -> list[bytes]:
        """The payloads of the events that wait."""
        return [packet[3] for packet in self._parser.feed(self.peer.take())]


@pytest.fixture
def store() -> Store:
    store = Store()
    store.domains[5].introduced = True
    return store


@pytest.fixture
def dom0(store: Store) -> Client:
    return Client(store)


class TestDepth:
    @pytest.mark.parametrize(
        ("depth", "heard"),
        [
            (b"0", [b"/a"]),
            (b"1", [b"/a", b"/a/b"]),
            (b"2", [b"/a", b"/a/b", b"/a/b/c"]),
            (b"9", [b"/a", b"/a/b", b"/a/b/c"]),
        ],
    )
    def test_limits_the_levels_below(
        self, store: Store, dom0: Client, depth: bytes, heard: list[bytes]
    ) -> None:
        watcher = Client(store)
        assert watcher.ask(Op.WATCH, b"/a\0t\0" + depth + b"\0") == OK
        watcher.events()
        for path in (b"/a", b"/a/b", b"/a/b/c", b"/b"):
            dom0.ask(Op.WRITE, path + b"\0")
        assert watcher.events() == [path + b"\0t\0" for path in heard]

    def test_counts_from_the_root(self, store: Store, dom0: Client) -> None:
        watcher = Client(store)
        watcher.ask(Op.WATCH, b"/\0t\x001\0")
        watcher.events()
        dom0.ask(Op.WRITE, b"/a\0")
        dom0.ask(Op.WRITE, b"/a/b\0")
        assert watcher.events() == [b"/a\0t\0"]

    def test_does_not_matter_for_a_removal_above(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.WRITE, b"/a/b/c\0")
        watcher = Client(store)
        watcher.ask(Op.WATCH, b"/a/b\0t\x000\0")
        watcher.events()
        dom0.ask(Op.RM, b"/a\0")
        assert watcher.events() == [b"/a/b\0t\0"]

    @pytest.mark.parametrize("tail", [b"x\0", b"-1\0", b"\0", b"1\x002\0"])
    def test_malformed(self, dom0: Client, tail: bytes) -> None:
        assert dom0.ask(Op.WATCH, b"/a\0t\0" + tail) == b"EINVAL\0"

    def test_special_watches_tell_the_domain(self, store: Store, dom0: Client) -> None:
        watcher = Client(store)
        for path, depth in (
            (b"@releaseDomain", b""),
            (b"@releaseDomain", b"1\0"),
            (b"@releaseDomain/5", b""),
            (b"@releaseDomain/6", b""),
            (b"@introduceDomain", b"1\0"),
        ):
            assert watcher.ask(Op.WATCH, path + b"\0t" + depth[:1] + b"\0" + depth) == OK
        watcher.events()
        dom0.ask(Op.RELEASE, b"5\0")
        assert watcher.events() == [
            b"@releaseDomain\0t\0",
            b"@releaseDomain/5\0t1\0",
            b"@releaseDomain/5\0t\0",
        ]
        dom0.ask(Op.INTRODUCE, b"5\0001\0001\0")
        assert watcher.events() == [b"@introduceDomain/5\0t1\0"]


class TestFeatures:
    def test_those_of_the_store_and_of_domains(self, store: Store, dom0: Client) -> None:
        assert dom0.ask(GET_FEATURE, b"\0") == dom0.ask(GET_FEATURE, b"") == b"14\0"
        assert dom0.ask(GET_FEATURE, b"6\0") == b"14\0"
        assert Client(store, 5).ask(GET_FEATURE, b"\0") == b"14\0"
        assert Client(store, 5).ask(GET_FEATURE, b"6\0") == b"EACCES\0"

    def test_are_set_before_a_domain_is_introduced(self, store: Store, dom0: Client) -> None:
        assert dom0.ask(SET_FEATURE, b"5\0002\0") == b"EBUSY\0"
        assert dom0.ask(SET_FEATURE, b"6\00016\0") == b"EINVAL\0"
        assert dom0.ask(SET_FEATURE, b"65535\0002\0") == b"ENOENT\0"
        assert dom0.ask(SET_FEATURE, b"6\0002\0") == OK
        assert dom0.ask(GET_FEATURE, b"6\0") == b"2\0"
        dom0.ask(Op.INTRODUCE, b"6\0001\0001\0")
        guest = Client(store, 6)
        assert guest.ask(GET_FEATURE, b"") == b"2\0"
        assert guest.ask(Op.WATCH, b"a\0t\x001\0") == b"EINVAL\0"
        assert guest.ask(Op.WATCH, b"a\0t\0") == OK

    def test_only_domain_0_sets_them(self, store: Store) -> None:
        assert Client(store, 5).ask(SET_FEATURE, b"6\0002\0") == b"EACCES\0"

    def test_an_entry_for_any_domain(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.WRITE, b"/a\0v")
        dom0.ask(Op.SET_PERMS, b"/a\0n0\0r32757\0")
        assert Client(store, 5).ask(Op.READ, b"/a\0") == b"v"


class TestQuotas:
    def test_names_and_values(self, dom0: Client) -> None:
        names = dom0.ask(GET_QUOTA, b"").removesuffix(b"\0").split(b" ")
        assert names == [
            *(b"nodes", b"watches", b"transactions", b"transaction-nodes"),
            *(b"node-size", b"path-max", b"permissions"),
        ]
        assert dom0.ask(GET_QUOTA, b"nodes\0") == b"1000\0"
        assert dom0.ask(GET_QUOTA, b"5\0watches\0") == b"128\0"

    def test_for_all_and_for_one(self, store: Store, dom0: Client) -> None:
        assert dom0.ask(SET_QUOTA, b"watches\x003\0") == OK
        assert dom0.ask(SET_QUOTA, b"6\0watches\x001\0") == OK
        assert dom0.ask(GET_QUOTA, b"5\0watches\0") == b"3\0"
        assert dom0.ask(GET_QUOTA, b"6\0watches\0") == b"1\0"
        guest = Client(store, 5)
        replies = [guest.ask(Op.WATCH, b"a\0%d\0" % number) for number in range(5)]
        assert replies == [OK, OK, OK, OK, b"E2BIG\0"]
        assert dom0.ask(SET_QUOTA, b"5\0watches\x000\0") == OK
        assert guest.ask(Op.WATCH, b"a\0more\0") == OK

    def test_counts_all_connections_of_a_domain(self, store: Store, dom0: Client) -> None:
        dom0.ask(SET_QUOTA, b"transactions\x001\0")
        for _ in range(2):
            assert Client(store, 5).ask(Op.TRANSACTION_START, b"\0") == b"1\0"
        assert Client(store, 5).ask(Op.TRANSACTION_START, b"\0") == b"ENOSPC\0"

    @pytest.mark.parametrize(
        ("payload", "reply"),
        [
            (b"nonsense\x001\0", b"EINVAL\0"),
            (b"nodes\0x\0", b"EINVAL\0"),
            (b"nodes\0", b"EINVAL\0"),
            (b"65535\0nodes\x001\0", b"ENOENT\0"),
        ],
    )
    def test_malformed(self, dom0: Client, payload: bytes, reply: bytes) -> None:
        assert dom0.ask(SET_QUOTA, payload) == reply

    def test_are_domain_0s_business(self, store: Store) -> None:
        guest = Client(store, 5)
        assert guest.ask(GET_QUOTA, b"") == guest.ask(SET_QUOTA, b"nodes\x009\0") == b"EACCES\0"


class TestMalformed:
    @pytest.mark.parametrize(
        "op", [Op.READ, Op.DIRECTORY, Op.GET_PERMS, Op.MKDIR, Op.RM, Op.GET_DOMAIN_PATH]
    )
    @pytest.mark.parametrize("payload", [b"", b"/", b"/\0\0", b"/\0x", b"\0"])
    def test_one_string_means_one_nul_at_the_end(
        self, dom0: Client, op: int, payload: bytes
    ) -> None:
        assert dom0.ask(op, payload) == b"EINVAL\0"

    @pytest.mark.parametrize("domid", [b"x", b"5x", b"-1", b"", b"99999999999"])
    def test_domain_ids_are_numbers(self, dom0: Client, domid: bytes) -> None:
        for op in (Op.IS_DOMAIN_INTRODUCED, Op.GET_DOMAIN_PATH, Op.RELEASE):
            assert dom0.ask(op, domid + b"\0") == b"EINVAL\0"


class TestDirectoryPart:
    def test_the_pieces_make_the_whole(self, dom0: Client) -> None:
        names = [b"name-%d" % number for number in range(2000)]
        for name in names:
            dom0.ask(Op.WRITE, b"/d/" + name + b"\0")
        assert dom0.ask(Op.DIRECTORY, b"/d\0") == b"E2BIG\0"
        whole = b""
        while not whole.endswith(b"\0\0"):
            piece = dom0.ask(Op.DIRECTORY_PART, b"/d\0%d\0" % len(whole))
            assert len(piece) <= 4096
            whole += piece.partition(b"\0")[2]
        assert whole.split(b"\0")[:-2] == names

    def test_the_generation_tells_changes_of_the_node_alone(self, dom0: Client) -> None:
        def generation() -> bytes:
            return dom0.ask(Op.DIRECTORY_PART, b"/d\x000\0").partition(b"\0")[0]

        dom0.ask(Op.WRITE, b"/d/a/b\0")
        for request, changes in (
            ((Op.WRITE, b"/d/c\0"), True),
            ((Op.RM, b"/d/c\0"), True),
            ((Op.WRITE, b"/d\0value"), True),
            ((Op.SET_PERMS, b"/d\0r0\0"), True),
            ((Op.WRITE, b"/d/a\0value"), False),
            ((Op.WRITE, b"/d/a/c\0"), False),
            ((Op.RM, b"/d/a/b\0"), False),
            ((Op.READ, b"/d\0"), False),
        ):
            before = generation()
            dom0.ask(*request)
            assert (generation() != before) is changes, request


class TestDomains:
    def test_released_with_its_nodes(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.WRITE, b"/home/5\0")
        dom0.ask(Op.SET_PERMS, b"/home/5\0n5\0")
        dom0.ask(Op.WRITE, b"/shared\0")
        dom0.ask(Op.SET_PERMS, b"/shared\0n0\0b5\0")
        guest = Client(store, 5)
        assert guest.ask(Op.WRITE, b"/home/5/a/b\0") == OK
        assert guest.ask(Op.WRITE, b"/shared/c\0") == OK
        dom0.ask(Op.WATCH, b"/\0t\0")
        dom0.ask(Op.WATCH, b"/home/5/a\0u\0")
        dom0.events()
        assert dom0.ask(Op.RELEASE, b"5\0") == OK
        assert dom0.ask(Op.DIRECTORY, b"/home\0") == dom0.ask(Op.DIRECTORY, b"/shared\0") == b""
        assert guest.peer.closed
        check(store)

    def test_what_was_granted_to_it_is_not_its_successors(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.WRITE, b"/a\0v")
        dom0.ask(Op.SET_PERMS, b"/a\0n0\0r5\0")
        assert Client(store, 5).ask(Op.READ, b"/a\0") == b"v"
        dom0.ask(Op.RELEASE, b"5\0")
        dom0.ask(Op.INTRODUCE, b"5\0001\0001\0")
        assert Client(store, 5).ask(Op.READ, b"/a\0") == b"EACCES\0"
        dom0.ask(Op.SET_PERMS, b"/a\0n0\0r5\0")
        assert Client(store, 5).ask(Op.READ, b"/a\0") == b"v"

    def test_has_the_rights_of_its_target(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.INTRODUCE, b"6\0001\0001\0")
        dom0.ask(Op.WRITE, b"/a\0v")
        dom0.ask(Op.SET_PERMS, b"/a\0n6\0")
        helper = Client(store, 5)
        assert helper.ask(Op.READ, b"/a\0") == b"EACCES\0"
        assert dom0.ask(Op.SET_TARGET, b"5\0006\0") == OK
        assert helper.ask(Op.READ, b"/a\0") == b"v"
        assert dom0.ask(Op.SET_TARGET, b"5\0006\0more\0") == b"EINVAL\0"
        dom0.ask(Op.RELEASE, b"6\0")
        dom0.ask(Op.WRITE, b"/a\0v")
        assert helper.ask(Op.READ, b"/a\0") == b"EACCES\0"

    def test_introduced_once_more_it_starts_anew(self, store: Store, dom0: Client) -> None:
        guest = Client(store, 5)
        guest.ask(Op.WATCH, b"a\0t\0")
        number = int(guest.ask(Op.TRANSACTION_START, b"\0")[:-1])
        assert dom0.ask(Op.INTRODUCE, b"5\0001\0001\0") == OK
        assert guest.ask(Op.UNWATCH, b"a\0t\0") == b"ENOENT\0"
        assert guest.ask(Op.READ, b"a\0", number) == b"ENOENT\0"

    def test_the_root_is_never_released(self, store: Store, dom0: Client) -> None:
        dom0.ask(Op.SET_PERMS, b"/\0n5\0")
        dom0.ask(Op.RELEASE, b"5\0")
        assert dom0.ask(Op.GET_PERMS, b"/\0") == b"n0\0"
        assert dom0.ask(Op.READ, b"/tool/xenstored\0") == b""
        check(store)


class TestLikeOxenstored:
    def test_a_guest_cannot_make_a_transaction_remember_without_end(self) -> None:
        store = Store(OXENSTORED)
        store.domains[5].introduced = True
        guest = Client(store, 5)
        store.tree.put(b"/", b"", Perms((Entry(5, Right.NONE),)), b"")
        number = int(guest.ask(Op.TRANSACTION_START, b"\0")[:-1])
        for _ in range(1024):
            assert guest.ask(Op.READ, b"/\0", number) == b""
        assert guest.ask(Op.READ, b"/\0", number) == b"EQUOTA\0"
        assert guest.ask(Op.TRANSACTION_END, b"T\0", number) == b"ENOMEM\0"

    @pytest.mark.parametrize(
        ("op", "payload", "reply"),
        [
            (Op.DIRECTORY_PART, b"/\0000\0", b"ENOSYS\0"),
            (GET_FEATURE, b"", b"ENOSYS\0"),
            (GET_QUOTA, b"", b"ENOSYS\0"),
            (Op.WATCH, b"/a\0t\x001\0", b"EINVAL\0"),
            (Op.WRITE, b"/a\0" + bytes(2049), b"E2BIG\0"),
            (Op.WRITE, b"/a\0" + bytes(2048), OK),
            (Op.READ, b"/" + b"x" * 1024 + b"\0", b"EINVAL\0"),
        ],
    )
    def test_its_limits(self, op: int, payload: bytes, reply: bytes) -> None:
        assert Client(Store(OXENSTORED)).ask(op, payload) == reply

    def test_long_listings_go_out_whole_but_not_to_guests(self) -> None:
        store = Store(OXENSTORED)
        store.domains[5].introduced = True
        store.load({b"/d/name-%04d" % number: b"" for number in range(2000)})
        assert len(Client(store).ask(Op.DIRECTORY, b"/d\0")) == 20000
        Client(store).ask(Op.SET_PERMS, b"/d\0r0\0")
        assert Client(store, 5).ask(Op.DIRECTORY, b"/d\0") == b"E2BIG\0"


class TestLoad:
    def test_makes_parents_and_keeps_what_is_there(self, store: Store, dom0: Client) -> None:
        store.load({b"/a/b": b"1", b"/tool": b"2", b"/a": b"3"})
        assert [dom0.ask(Op.READ, path) for path in (b"/a/b\0", b"/tool\0", b"/a\0")] == [
            *(b"1", b"2", b"3")
        ]
        assert dom0.ask(Op.DIRECTORY, b"/tool\0") == b"xenstored\0"
        check(store)

    def test_gives_nodes_their_parents_permissions(self, store: Store, dom0: Client) -> None:
        guests, readable = (Perms(parse([text]) or ()) for text in (b"n5", b"r0"))
        values = {b"/a/b/c": b"", b"/a/d": b"", b"/tool/new": b""}
        store.load(values, {b"/a": guests, b"/a/d": readable, b"/tool": readable})
        assert {
            path: dom0.ask(Op.GET_PERMS, path + b"\0")
            for path in (
                b"/",
                b"/a",
                b"/a/b/c",
                b"/a/d",
                b"/tool",
                b"/tool/new",
                b"/tool/xenstored",
            )
        } == {
            b"/": b"n0\0",
            **dict.fromkeys((b"/a", b"/a/b/c"), b"n5\0"),
            **dict.fromkeys((b"/a/d", b"/tool", b"/tool/new"), b"r0\0"),
            b"/tool/xenstored": b"n0\0",
        }
        check(store)

    @pytest.mark.parametrize("path", [b"a", b"/a/", b"/a.b", b"@introduceDomain", b""])
    def test_refuses_what_is_no_path(self, store: Store, path: bytes) -> None:
        with pytest.raises(InvalidPath):
            store.load({path: b""})
