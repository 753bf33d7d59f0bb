# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What each operation puts on the wire, and how its reply is read."""

from __future__ import annotations

import pytest

from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission, UnexpectedPacket
from xsfs.protocol import requests
from xsfs.protocol.requests import Part, Request

# Request, type, payload, a reply, what it means. Source: xenstore.txt.
ROWS: list[tuple[Request[object], int, bytes, bytes, object]] = [
    (requests.control(b"quota", b"nodes"), 0, b"quota\0nodes\0", b"1000\0", b"1000"),
    (requests.directory(b"/a"), 1, b"/a\0", b"x\0y\0", [b"x", b"y"]),
    (requests.directory(b"/"), 1, b"/\0", b"", []),
    (requests.read(b"a/b"), 2, b"a/b\0", b"v\0\n\0", b"v\0\n\0"),
    (requests.get_perms(b"/a"), 3, b"/a\0", b"n0\0r5\0", [b"n0", b"r5"]),
    (requests.watch(b"/a", b"tok"), 4, b"/a\0tok\0", b"OK\0", None),
    (requests.watch(b"@releaseDomain", b"", 1), 4, b"@releaseDomain\0\0001\0", b"OK\0", None),
    (requests.unwatch(b"/a", b"tok"), 5, b"/a\0tok\0", b"OK\0", None),
    (requests.transaction_start(), 6, b"\0", b"17\0", 17),
    (requests.transaction_end(True), 7, b"T\0", b"OK\0", None),
    (requests.transaction_end(False), 7, b"F\0", b"OK\0", None),
    (requests.introduce_domain(5, 77, 3), 8, b"5\00077\0003\0", b"OK\0", None),
    (requests.release_domain(5), 9, b"5\0", b"OK\0", None),
    (requests.get_domain_path(5), 10, b"5\0", b"/local/domain/5\0", b"/local/domain/5"),
    (requests.write(b"/a", b"v\0"), 11, b"/a\0v\0", b"OK\0", None),
    (requests.write(b"/a", b""), 11, b"/a\0", b"OK\0", None),
    (requests.mkdir(b"/a"), 12, b"/a\0", b"OK\0", None),
    (requests.rm(b"/a"), 13, b"/a\0", b"OK\0", None),
    (requests.set_perms(b"/a", [b"b0", b"r5"]), 14, b"/a\0b0\0r5\0", b"OK\0", None),
    (requests.is_domain_introduced(5), 17, b"5\0", b"T\0", True),
    (requests.is_domain_introduced(5), 17, b"5\0", b"F\0", False),
    (requests.resume_domain(5), 18, b"5\0", b"OK\0", None),
    (requests.set_target(5, 6), 19, b"5\0006\0", b"OK\0", None),
    (requests.reset_watches(), 21, b"\0", b"OK\0", None),
    (requests.part(b"/a", 30), 22, b"/a\00030\0", b"9\0x\0", Part(b"9", [b"x"], 2, False)),
    (requests.part(b"/a", 0), 22, b"/a\0000\0", b"9\0x\0\0", Part(b"9", [b"x"], 3, True)),
    (requests.part(b"/a", 0), 22, b"/a\0000\0", b"9\0\0", Part(b"9", [], 1, True)),
    (requests.get_feature(), 23, b"\0", b"14\0", 14),
    (requests.get_feature(5), 23, b"5\0", b"6\0", 6),
    (requests.set_feature(5, 2), 24, b"5\0002\0", b"OK\0", None),
    (requests.quota_names(), 25, b"\0", b"nodes watches\0", [b"nodes", b"watches"]),
    (requests.get_quota(b"nodes"), 25, b"nodes\0", b"1000\0", 1000),
    (requests.get_quota(b"nodes", 5), 25, b"5\0nodes\0", b"1000\0", 1000),
    (requests.set_quota(b"nodes", 9), 26, b"nodes\0009\0", b"OK\0", None),
    (requests.set_quota(b"nodes", 9, 5), 26, b"5\0nodes\0009\0", b"OK\0", None),
    (requests.raw(99, b"any"), 99, b"any", b"thing", b"thing"),
]


@pytest.mark.parametrize(("request_", "op", "payload", "reply", "meaning"), ROWS)
def test_on_the_wire(
    request_: Request[object], op: int, payload: bytes, reply: bytes, meaning: object
) -> None:
    assert (request_.op, request_.payload) == (op, payload)
    assert request_.decode(reply) == meaning


def test_no_payload_is_empty() -> None:
    # oxenstored leaves a request with an empty payload unanswered.
    assert all(payload for _, _, payload, _, _ in ROWS)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"//",
        b"/a/",
        b"/a//b",
        b"a/",
        b"/a\n",
        b"/a\0",
        b"/a b",
        b"/.",
        b"/a.b",
        b"/\xc3\xa4",
        b"/" + b"a" * 3072,
        b"a" * 2049,
    ],
)
def test_paths_that_no_store_takes(path: bytes) -> None:
    for make in (requests.read, requests.directory, requests.mkdir, requests.rm):
        with pytest.raises(InvalidPath):
            make(path)
    with pytest.raises(InvalidPath):
        requests.watch(path, b"token")


@pytest.mark.parametrize(
    "path", [b"/", b"/a", b"a", b"@releaseDomain", b"@releaseDomain/5", b"/-_@/Z9", b"a" * 2048]
)
def test_paths_that_a_store_may_take(path: bytes) -> None:
    assert requests.read(path).payload == path + b"\0"


@pytest.mark.parametrize("perms", [[], [b"x0"], [b"n"], [b"n0\n"], [b"r-1"], [b"n65536"], [b""]])
def test_permissions_that_no_store_takes(perms: list[bytes]) -> None:
    with pytest.raises(InvalidPermission):
        requests.set_perms(b"/a", perms)


def test_a_string_that_would_end_early() -> None:
    with pytest.raises(InvalidPayload):
        requests.watch(b"/a", b"to\0ken")
    with pytest.raises(InvalidPayload):
        requests.control(b"print", b"a\0b")


def test_a_payload_too_long_for_a_packet() -> None:
    assert len(requests.write(b"/a", bytes(4093)).payload) == 4096
    with pytest.raises(InvalidPayload):
        requests.write(b"/a", bytes(4094))
    with pytest.raises(InvalidPayload):
        requests.watch(b"/a", b"t" * 4096)
    with pytest.raises(InvalidPayload):
        requests.set_perms(b"/a", [b"n0"] * 2000)
    with pytest.raises(InvalidPayload):
        requests.raw(0, bytes(4097))


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (requests.transaction_start(), b"T\0"),
        (requests.is_domain_introduced(0), b"maybe\0"),
        (requests.part(b"/", 0), b"no end"),
    ],
)
def test_replies_that_make_no_sense(request_: Request[object], reply: bytes) -> None:
    with pytest.raises(UnexpectedPacket):
        request_.decode(reply)
