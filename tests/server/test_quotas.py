# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A domain's quotas: xenstored draws each line at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.conversation import GUEST
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.server.conftest import Stores

OK = b"OK\0"


@pytest.fixture(autouse=True)
def _renewed(stores: Stores) -> None:
    stores.renew()


def count_accepted(
    stores: Stores, requests: Iterable[tuple[int, bytes]], transaction: int | None = None
) -> tuple[int, bytes]:
    """How many of the guest's requests were granted, and how the next one was refused."""
    for number, (op, payload) in enumerate(requests):
        reply = stores.say(GUEST, op, payload, transaction).reply
        if reply[0] == Op.ERROR:
            return number, reply[1]
    pytest.fail("never refused")


def test_watches(stores: Stores) -> None:
    watches = ((Op.WATCH, b"x\0%d\0" % number) for number in range(200))
    assert count_accepted(stores, watches) == (129, b"E2BIG\0")


def test_transactions(stores: Stores) -> None:
    starts = ((Op.TRANSACTION_START, b"\0") for _ in range(20))
    assert count_accepted(stores, starts) == (11, b"ENOSPC\0")


def test_nodes(stores: Stores) -> None:
    assert stores.say(0, Op.CONTROL, b"quota\0set\0nodes\00030\0").reply[1] == OK
    writes = ((Op.WRITE, b"d%d/e\0" % number) for number in range(50))
    # The guest's home counts as well.
    assert count_accepted(stores, writes) == (14, b"ENOSPC\0")
    assert stores.say(GUEST, Op.WRITE, b"one-more\0").reply[1] == OK
    assert stores.say(GUEST, Op.WRITE, b"two-more\0").reply[1] == b"ENOSPC\0"
    assert stores.say(GUEST, Op.RM, b"d1\0").reply[1] == OK
    assert stores.say(GUEST, Op.WRITE, b"two-more\0").reply[1] == OK


@pytest.mark.parametrize(("nodes", "outcome"), [(13, OK), (14, b"ENOSPC\0"), (20, b"ENOSPC\0")])
def test_nodes_in_a_transaction(stores: Stores, nodes: int, outcome: bytes) -> None:
    """They are counted at the commit."""
    stores.say(0, Op.CONTROL, b"quota\0set\0nodes\00028\0")
    stores.say(GUEST, Op.TRANSACTION_START, b"\0")
    for number in range(nodes):
        assert stores.say(GUEST, Op.WRITE, b"d%d/e\0" % number, 0).reply[1] == OK
    assert stores.say(GUEST, Op.TRANSACTION_END, b"T\0", 0).reply[1] == outcome
    stores.say(GUEST, Op.DIRECTORY, b"/local/domain/7\0")


def test_a_transaction_when_there_is_no_room(stores: Stores) -> None:
    stores.say(0, Op.CONTROL, b"quota\0set\0nodes\0003\0")
    assert stores.say(GUEST, Op.WRITE, b"a/b\0").reply[1] == OK
    stores.say(GUEST, Op.TRANSACTION_START, b"\0")
    assert stores.say(GUEST, Op.WRITE, b"c\0", 0).reply[1] == b"ENOSPC\0"
    assert stores.say(GUEST, Op.TRANSACTION_END, b"T\0", 0).reply[1] == OK


@pytest.mark.parametrize("path", [b"v\0", b"new/v\0"])
def test_a_transaction_with_too_large_a_node(stores: Stores, path: bytes) -> None:
    stores.say(GUEST, Op.WRITE, b"v\0")
    stores.say(GUEST, Op.TRANSACTION_START, b"\0")
    assert stores.say(GUEST, Op.WRITE, path + bytes(2040), 0).reply[1] == b"ENOSPC\0"
    assert stores.say(GUEST, Op.TRANSACTION_END, b"T\0", 0).reply[1] == b"ENOMEM\0"


def test_size_of_a_value(stores: Stores) -> None:
    writes = ((Op.WRITE, b"v\0" + bytes(size)) for size in range(1980, 2100))
    assert count_accepted(stores, writes) == (36, b"ENOSPC\0")


def test_size_of_a_listing(stores: Stores) -> None:
    stores.say(0, Op.CONTROL, b"quota\0set\0nodes\0001000\0")
    assert stores.say(GUEST, Op.WRITE, b"%b\0" % (b"n" * 2004)).reply[1] == OK
    assert stores.say(GUEST, Op.WRITE, b"1234\0").reply[1] == OK
    assert stores.say(GUEST, Op.WRITE, b"5\0").reply[1] == OK
    assert stores.say(GUEST, Op.WRITE, b"678\0").reply[1] == b"ENOSPC\0"


def test_permissions(stores: Stores) -> None:
    stores.say(GUEST, Op.WRITE, b"x\0")
    sets = ((Op.SET_PERMS, b"x\0n7\0" + b"r1\0" * number) for number in range(20))
    assert count_accepted(stores, sets) == (5, b"ENOSPC\0")


def test_nodes_that_a_transaction_looks_at(stores: Stores) -> None:
    stores.say(GUEST, Op.TRANSACTION_START, b"\0")
    # Each looks at the missing node, the first at the guest's home as well.
    replies = [stores.say(GUEST, Op.READ, b"x%d\0" % number, 0).reply for number in range(1030)]
    assert [payload for _, payload in replies] == [b"ENOENT\0"] * 1023 + [b"ENOSPC\0"] * 7
    assert stores.say(GUEST, Op.TRANSACTION_END, b"T\0", 0).reply[1] == b"ENOMEM\0"


@pytest.mark.parametrize("client", [0, GUEST])
def test_length_of_a_path(stores: Stores, client: int) -> None:
    for path in (b"/" + b"x" * 2047, b"/local/domain/7/" + b"x" * 2048, b"x" * 2048):
        reply = stores.say(client, Op.READ, path + b"\0").reply
        assert reply[1] in (b"ENOENT\0", b"EACCES\0")
        assert stores.say(client, Op.READ, path + b"x\0").reply[1] == b"EINVAL\0"
    if client == 0:
        assert stores.say(0, Op.WRITE, b"/" + b"x" * 2047 + b"\0v").reply[1] == OK
        stores.say(0, Op.RM, b"/" + b"x" * 2047 + b"\0")


def test_control(stores: Stores) -> None:
    for arguments in (b"9", b"set\0", b"set\0nodes", b"set\0nonsense\x001", b"set\0nodes\0000"):
        stores.say(0, Op.CONTROL, b"quota\0" + arguments + b"\0")
    assert stores.say(GUEST, Op.CONTROL, b"quota\0").reply[1] == b"EACCES\0"
