# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Store names and values as file names and contents, for any bytes at all."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs.fs.model import names

NAME = st.text("abcXYZ019-_@", min_size=1, max_size=8).map(str.encode)
PATH = st.lists(NAME, min_size=1, max_size=6).map(lambda parts: b"/" + b"/".join(parts))


@given(st.binary(max_size=64), st.booleans())
def test_every_value_survives_a_round_trip(value: bytes, raw: bool) -> None:
    assert names.from_text(names.to_text(value, raw), raw) == value


@given(st.binary(max_size=64))
def test_one_trailing_newline_is_added_and_stripped_no_more(value: bytes) -> None:
    assert names.to_text(value) == (value + b"\n" if value else b"")
    assert names.from_text(value + b"\n") == value
    assert names.to_text(value, raw=True) == names.from_text(value, raw=True) == value


@given(NAME)
def test_no_name_of_ours_can_hide_a_node(name: bytes) -> None:
    assert names.is_node_name(name)
    assert names.split_suffix(name) == (name, b"")
    for ours in (names.VALUE, name + names.DIRECTORY_SUFFIX, name + names.LINK_SUFFIX):
        assert not names.is_node_name(ours)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_name_of_a_node_or_not(name: bytes) -> None:
    allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_@"
    assert names.is_node_name(name) == (0 < len(name) <= 255 and set(name) <= set(allowed))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        (b"foo.d", (b"foo", b".d")),
        (b"foo.link", (b"foo", b".link")),
        (b"foo.d.d", (b"foo.d.d", b"")),
        (b".d", (b".d", b"")),
        (b"foo.x", (b"foo.x", b"")),
        (b"n" * 254 + b".d", (b"n" * 254, b".d")),
        (b"n" * 256 + b".d", (b"n" * 256 + b".d", b"")),
    ],
)
def test_suffixes_are_split_from_names_of_nodes(name: bytes, split: tuple[bytes, bytes]) -> None:
    assert names.split_suffix(name) == split


@given(PATH, st.one_of(st.just(b"/"), PATH), PATH)
def test_a_link_leads_from_its_directory_to_the_node_that_is_named(
    value: bytes, root: bytes, place: bytes
) -> None:
    """As the kernel follows it, from any depth below any mounted root."""
    if root != b"/":
        value = root + value
    directory = posixpath.dirname(place)
    target = names.link_target(value, root, len([p for p in directory.split(b"/") if p]))
    assert target is not None
    assert not target.startswith(b"/")
    inside = value.removeprefix(root) if root != b"/" else value
    assert posixpath.normpath(posixpath.join(directory, target)) == inside


@pytest.mark.parametrize(
    "value", [b"", b"x", b"x/y", b"/a//b", b"/a/", b"/a b", b"/a\0", b"@x", b"/out", b"/rootless"]
)
def test_there_is_no_link_to_what_is_no_path_or_outside(value: bytes) -> None:
    assert names.link_target(value, b"/root", 1) is None


def test_a_link_to_the_root_itself() -> None:
    assert names.link_target(b"/", b"/", 0) == b"."
    assert names.link_target(b"/", b"/", 2) == b"../../"
    assert names.link_target(b"/root", b"/root", 1) == b"../"
