# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The client beside pyxs's: the same calls, the same results and errors, but for what README lists.

Each speaks to a daemon of its own, both of one kind.
"""

from __future__ import annotations

from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import pyxs.client
import pyxs.exceptions

import xsfs
import xsfs.client
import xsfs.exceptions
from tests.client.conftest import TOP
from tests.deadline import DEADLINE_S
from tests.xen.daemons import KINDS, Daemon, Kind
from xsfs import Client, InvalidPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.xen.packages import Xen

Call = tuple[Any, ...]


@pytest.fixture(params=KINDS)
def clients(request: pytest.FixtureRequest, xen: Xen) -> Iterator[tuple[Any, Client]]:
    """pyxs's client, and ours."""
    kind: Kind = request.param
    with ExitStack() as stack:
        folders = [stack.enter_context(TemporaryDirectory(prefix="xsfs-")) for _ in range(2)]
        daemons = [stack.enter_context(Daemon(kind, Path(folder), xen)) for folder in folders]
        theirs = stack.enter_context(pyxs.Client(unix_socket_path=str(daemons[0].socket)))
        yield theirs, stack.enter_context(Client(unix_socket_path=daemons[1].socket))


def outcome(module: Any, call: Callable[[], object]) -> tuple[object, ...]:
    """What a call gives, or the most special of pyxs's exceptions that it raises."""
    try:
        return "returned", call()
    except module.PyXSError as error:
        # pyxs.exceptions lists the special ones first; only the root's arguments are told.
        for name in pyxs.exceptions.__all__:
            if isinstance(error, getattr(module.exceptions, name)):
                return (name,)
        return "PyXSError", *error.args[:2]
    except (TypeError, ValueError) as error:
        return (type(error).__name__,)


def both(clients: tuple[Any, Client], *call: Any) -> tuple[tuple[object, ...], ...]:
    """What comes of one call of a client's method."""
    name, *args = call
    theirs, ours = clients
    return (
        outcome(pyxs, lambda: getattr(theirs, name)(*args)),
        outcome(xsfs, lambda: getattr(ours, name)(*args)),
    )


SAME: list[Call] = [
    ("read", b"/missing"),
    ("read", b"/missing", b"default"),
    ("__getitem__", b"/missing"),
    ("write", b"/a/b", b"text"),
    ("__setitem__", b"/a/c", b"a longer text, ~"),
    ("read", b"/a/b"),
    ("__getitem__", b"/a/c"),
    ("read", b"/a"),
    ("list", b"/a"),
    ("list", b"/a/b"),
    ("list", b"/missing"),
    ("exists", b"/a/b"),
    ("exists", b"/missing"),
    ("mkdir", b"/a/d"),
    ("mkdir", b"/a/b"),
    ("read", b"/a/b"),
    ("delete", b"/a/d"),
    ("delete", b"/a/d"),
    ("delete", b"/missing/too"),
    ("__delitem__", b"/a/c"),
    ("write", b"relative", b"1"),
    ("read", b"/local/domain/0/relative"),
    *[
        (method, path)
        for method in ("read", "list", "mkdir")
        for path in (b"", b"a b", b"/a/", b"//a")
    ],
    ("read", b"/" + b"a" * 3073),
    ("get_perms", b"/a"),
    ("set_perms", b"/a", [b"n0", b"r5", b"w6", b"b7"]),
    ("get_perms", b"/a"),
    ("set_perms", b"/a", [b"x0"]),
    ("set_perms", b"/a", [b"n"]),
    ("set_perms", b"/missing", [b"n0"]),
    ("get_perms", b"/missing"),
    ("get_domain_path", 0),
    ("get_domain_path", 5),
    ("is_domain_introduced", 0),
    ("is_domain_introduced", 5),
    ("introduce_domain", 5, 1, 1),
    ("transaction",),
    ("transaction",),
    ("write", b"/t", b"1"),
    ("commit",),
    ("read", b"/t"),
    ("transaction",),
    ("delete", b"/t"),
    ("rollback",),
    ("read", b"/t"),
    ("commit",),
    ("rollback",),
    ("close",),
    ("close",),
]

# What README or the guide to moving says: the call, what comes of it there, and here.
OTHER: list[tuple[Call, tuple[object, ...], tuple[object, ...]]] = [
    (("introduce_domain", 0, 1, 1), ("ValueError",), ("InvalidOperation",)),
    (("write", b"/v", b""), ("ValueError",), ("returned", None)),
    (("write", b"/v", b"\t\xff"), ("ValueError",), ("returned", None)),
    (("write", b"/v", b"ends\0"), ("returned", None), ("returned", None)),
    (("read", b"/v"), ("returned", b"ends"), ("returned", b"ends\0")),
    (("set_perms", b"/v", [b"n0", b"r65536"]), ("returned", None), ("InvalidPermission",)),
    (("write", b"/v", b"x" * 4100), ("InvalidPayload",), ("InvalidPayload",)),
    (("resume_domain", 5), ("PyXSError", 1, "Operation not permitted"), ("PyXSError",)),
]


def test_calls(clients: tuple[Any, Client]) -> None:
    for call in SAME:
        theirs, ours = both(clients, *call)
        assert ours == theirs, call


def test_calls_that_differ(clients: tuple[Any, Client]) -> None:
    for call, theirs, ours in OTHER:
        outcomes = both(clients, *call)
        if call[0] == "set_perms" and outcomes[0] != theirs:
            # C xenstored has no such domain.
            assert outcomes[0] == ("PyXSError", 2, "No such file or directory")
        else:
            assert outcomes[0] == theirs, call
        assert outcomes[1][: len(ours)] == ours, call


def test_monitors(clients: tuple[Any, Client]) -> None:
    heard = []
    for client in clients:
        with client.monitor() as monitor, client.monitor() as other:
            monitor.watch(TOP, b"token")
            events = monitor.wait()
            heard.append([tuple(next(events))])
            # By the router any monitor has the events of any token.
            client.router.subscribe(b"token", other)
            client[TOP + b"/a"] = b"1"
            heard[-1].append(tuple(next(events)))
            # pyxs's own `wait` never returns here: it looks for the parent of the root.
            queue = getattr(other, "events", None)
            event = queue.get(timeout=DEADLINE_S) if queue else next(other.wait(unwatched=True))
            heard[-1].append(tuple(event))
            client.router.unsubscribe(b"token", other)
            assert monitor.watched == {TOP}
            for path in (b"a b", b"@arbitraryPath", b"@releaseDomains"):
                with pytest.raises((pyxs.exceptions.InvalidPath, InvalidPath)):
                    monitor.watch(path, b"token")
            monitor.unwatch(TOP, b"token")
            assert monitor.watched == set()
    assert heard[0] == heard[1] == [(TOP, b"token")] + [(TOP + b"/a", b"token")] * 2


def test_a_transaction_and_another_thread(clients: tuple[Any, Client]) -> None:
    seen = []
    for client in clients:
        client.transaction()
        thread = Thread(target=client.write, args=(TOP, b"1"))
        thread.start()
        thread.join()
        client.rollback()
        seen.append(client.exists(TOP))
    # It was inside there, as a transaction is the client's; outside here, as it is the thread's.
    assert seen == [False, True]


def test_routers(clients: tuple[Any, Client]) -> None:
    for module, client in zip((pyxs, xsfs), clients, strict=True):
        path = str(client.router.connection.path)
        router = module.Router(type(client.router.connection)(path))
        assert not router.is_connected
        router.start()
        router.start()
        assert router.is_connected
        assert module.Client(router=router).exists(b"/")
        router.terminate()
        router.terminate()
        assert not router.is_connected


@pytest.mark.parametrize("module", ["", ".client", ".exceptions"])
def test_names(module: str) -> None:
    theirs, ours = pyxs, xsfs
    for part in module.split(".")[1:]:
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    for name in theirs.__all__:
        assert getattr(ours, name).__name__ in (name, "XenStoreError")


@pytest.mark.parametrize("name", ["Client", "Monitor", "Router"])
def test_attributes(name: str) -> None:
    # Not in pyxs's reference, or how it does its work.
    beside = {"ack", "execute_command", "send"}
    theirs = {name for name in vars(getattr(pyxs, name)) if not name.startswith("_")} - beside
    assert theirs <= set(dir(getattr(xsfs, name)))


@pytest.mark.parametrize("name", ["Client", "Monitor"])
def test_arguments(name: str) -> None:
    theirs, ours = getattr(pyxs, name), getattr(xsfs, name)
    for method in vars(theirs):
        if callable(getattr(ours, method, None)) and not method.startswith("_"):
            names = list(signature(getattr(theirs, method)).parameters)
            assert list(signature(getattr(ours, method)).parameters)[: len(names)] == names, method


def test_the_control_domain() -> None:
    assert pyxs.Client.SU is Client.SU is False
