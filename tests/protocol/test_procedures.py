# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Procedures, fed with the replies of an imagined store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from xsfs.errors import AccessDenied, NotFound, StoreError, TooBig
from xsfs.protocol import procedures, requests
from xsfs.protocol.requests import Part

if TYPE_CHECKING:
    from xsfs.protocol.procedures import Procedure
    from xsfs.protocol.requests import Request

T = TypeVar("T")

TOO_BIG = TooBig(b"E2BIG")
MISSING = NotFound(b"ENOENT")
DENIED = AccessDenied(b"EACCES")


def run(procedure: Procedure[T], script: list[tuple[Request[object], object]]) -> T:
    """Answers each request as the script says; each is to be asked once, in this order."""
    remaining = list(script)
    results: list[object] = []
    try:
        wanted = next(procedure)
        while True:
            results = []
            for request in wanted:
                expected, result = remaining.pop(0)
                assert request == expected
                results.append(result)
            wanted = procedure.send(results)
    except StopIteration as stop:
        assert not remaining
        value: T = stop.value
        return value


def test_a_short_list_is_one_request() -> None:
    assert run(procedures.listing(b"/a"), [(requests.directory(b"/a"), [b"x"])]) == [b"x"]


def test_a_long_list_comes_in_parts() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/a"), TOO_BIG),
        (requests.part(b"/a", 0), Part(b"7", [b"x", b"y"], 4, False)),
        (requests.part(b"/a", 4), Part(b"7", [b"z"], 3, True)),
    ]
    assert run(procedures.listing(b"/a"), script) == [b"x", b"y", b"z"]


def test_a_list_that_changes_meanwhile_is_read_anew() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/a"), TOO_BIG),
        (requests.part(b"/a", 0), Part(b"7", [b"x", b"y"], 4, False)),
        (requests.part(b"/a", 4), Part(b"8", [b"z"], 3, True)),
        (requests.part(b"/a", 0), Part(b"8", [b"y"], 2, False)),
        (requests.part(b"/a", 2), Part(b"8", [b"z"], 3, True)),
    ]
    assert run(procedures.listing(b"/a"), script) == [b"y", b"z"]


@pytest.mark.parametrize("error", [MISSING, DENIED, StoreError(b"EQUOTA")])
def test_a_list_that_is_refused(error: StoreError) -> None:
    with pytest.raises(type(error)):
        run(procedures.listing(b"/a"), [(requests.directory(b"/a"), error)])


def test_a_long_list_that_vanishes() -> None:
    with pytest.raises(NotFound):
        run(
            procedures.listing(b"/a"),
            [(requests.directory(b"/a"), TOO_BIG), (requests.part(b"/a", 0), MISSING)],
        )


def test_a_tree_level_by_level() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/"), [b"a", b"b"]),
        (requests.read(b"/"), b""),
        (requests.directory(b"/a"), [b"c"]),
        (requests.read(b"/a"), b"1"),
        (requests.directory(b"/b"), []),
        (requests.read(b"/b"), b"2"),
        (requests.directory(b"/a/c"), []),
        (requests.read(b"/a/c"), b"3"),
    ]
    assert run(procedures.tree(b"/"), script) == {
        b"/": b"",
        b"/a": b"1",
        b"/b": b"2",
        b"/a/c": b"3",
    }


def test_a_tree_without_what_vanishes_or_is_secret() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/a"), [b"gone", b"secret", b"half"]),
        (requests.read(b"/a"), b"1"),
        (requests.directory(b"/a/gone"), MISSING),
        (requests.read(b"/a/gone"), MISSING),
        (requests.directory(b"/a/secret"), DENIED),
        (requests.read(b"/a/secret"), DENIED),
        (requests.directory(b"/a/half"), MISSING),
        (requests.read(b"/a/half"), b"2"),
    ]
    assert run(procedures.tree(b"/a"), script) == {b"/a": b"1", b"/a/half": b"2"}


def test_a_tree_with_a_long_list() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/a"), TOO_BIG),
        (requests.read(b"/a"), b"1"),
        (requests.part(b"/a", 0), Part(b"7", [b"x"], 3, True)),
        (requests.directory(b"/a/x"), []),
        (requests.read(b"/a/x"), b"2"),
    ]
    assert run(procedures.tree(b"/a"), script) == {b"/a": b"1", b"/a/x": b"2"}


def test_no_tree_without_a_top() -> None:
    with pytest.raises(NotFound):
        run(
            procedures.tree(b"/a"),
            [(requests.directory(b"/a"), MISSING), (requests.read(b"/a"), MISSING)],
        )


def test_what_is_too_long_to_ask_for_is_left_out() -> None:
    top = b"/" + b"a" * 3000
    script: list[tuple[Request[object], object]] = [
        (requests.directory(top), [b"b" * 100]),
        (requests.read(top), b"1"),
    ]
    assert run(procedures.tree(top), script) == {top: b"1"}
    assert run(procedures.node(top), script) == (b"1", [])


def test_a_node_with_a_secret_value() -> None:
    script: list[tuple[Request[object], object]] = [
        (requests.directory(b"/a"), [b"x"]),
        (requests.read(b"/a"), DENIED),
    ]
    assert run(procedures.node(b"/a"), script) == (b"", [b"x"])
