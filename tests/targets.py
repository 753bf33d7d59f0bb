# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is fuzzed: each target takes any bytes, and raises when something is wrong with the program.

`python -m tests.soak.fuzz` tries them for as long as one likes, test_fuzz.py for a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from tests.server.invariants import check
from xsfs import jsontext, jsontree
from xsfs.errors import UnexpectedPacket
from xsfs.fs.inotify import helper
from xsfs.mount.cli import UsageError, parse_arguments
from xsfs.mount.options import OptionError, parse
from xsfs.protocol import requests
from xsfs.protocol.conversation import Conversation, Event, Reply
from xsfs.protocol.packet import HEADER, PAYLOAD_MAX, Op, PacketParser
from xsfs.server import C_XENSTORED, OXENSTORED, Store
from xsfs.server.dispatch import handle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xsfs.protocol.packet import Packet

# Requests whose replies are read in every way there is.
ASKED: Sequence[requests.Request[object]] = (
    requests.directory(b"/a"),
    requests.part(b"/a", 0),
    requests.read(b"/a"),
    requests.get_perms(b"/a"),
    requests.transaction_start(),
    requests.transaction_end(True),
    requests.get_domain_path(1),
    requests.is_domain_introduced(1),
    requests.get_feature(),
    requests.quota_names(),
    requests.get_quota(b"nodes"),
    requests.control(b"help"),
)


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The data, cut at some places."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        yield data[start:end]


def heard(stream: bytes, cuts: Iterable[int]) -> list[str]:
    """What a conversation makes of a stream that arrives in pieces; why it broke off, if so."""
    conversation: Conversation[int] = Conversation()
    for index, request in enumerate(ASKED):
        conversation.send(request, 0, index)
    items: list[str] = []
    try:
        for piece in pieces(stream, cuts):
            for item in conversation.receive(piece):
                assert isinstance(item, Reply | Event)
                items.append(repr(item))
    except UnexpectedPacket as error:
        items.append(str(error))
    # It ends in the log.
    assert "".join(items).isprintable()
    return items


def packets(data: bytes) -> None:
    """A client reads a stream alike however it is cut. The first bytes say where."""
    cuts, stream = data[:3], data[3:]
    whole = heard(stream, [])
    assert heard(stream, cuts) == whole
    assert heard(stream, range(len(stream))) == whole


def cut(data: bytes) -> list[Packet]:
    """The packets in what a store sends."""
    return list(PacketParser(PAYLOAD_MAX).feed(data))


def carry_out(store: Store, asked: Iterable[tuple[int, int, int, bytes]]) -> None:
    """Each request, by one of two peers of domain 0 or a guest, gets one reply.

    The store stands as it is told to, and answers on.
    """
    store.domains[5].introduced = True
    peers = [store.connect(domid, lambda: None) for domid in (0, 0, 5)]
    for number, (who, op, tx_id, payload) in enumerate(asked, 1):
        peer = peers[who]
        if peer.closed:
            store.disconnect(peer)
            store.domains[5].introduced = True
            peer = peers[who] = store.connect(5, lambda: None)
        handle(store, peer, op, number, tx_id, payload)
        if not peer.closed:
            answers = [packet for packet in cut(peer.take()) if packet[0] != Op.WATCH_EVENT]
            assert [packet[1] for packet in answers] == [number]
    check(store)
    for peer in peers:
        store.disconnect(peer)
    assert not store.peers
    assert not store.watches.paths()
    witness = store.connect(0, lambda: None)
    handle(store, witness, Op.WRITE, 1, 0, b"/witness\0alive")
    handle(store, witness, Op.READ, 2, 0, b"/witness\0")
    assert cut(witness.take())[-1] == (Op.READ, 2, 0, b"alive")


def server(data: bytes) -> None:
    """Any requests: the first byte says like which daemon, then four bytes before each payload."""

    def asked() -> Iterator[tuple[int, int, int, bytes]]:
        at = 1
        while at + 4 <= len(data):
            who, op, tx_id, length = data[at : at + 4]
            yield who % 3, op % 32, tx_id % 4, data[at + 4 : at + 4 + length]
            at += 4 + length

    carry_out(Store(OXENSTORED if data[:1] == b"o" else C_XENSTORED), asked())


def stream(data: bytes) -> None:
    """Any bytes to a store's end of a socket."""
    parser = PacketParser(PAYLOAD_MAX)

    def asked() -> Iterator[tuple[int, int, int, bytes]]:
        try:
            for piece in pieces(data[3:], data[:3]):
                for op, _, tx_id, payload in parser.feed(piece):
                    yield data[0] % 3, op, tx_id, payload
        except UnexpectedPacket:
            pass

    carry_out(Store(), asked())


def read(data: bytes, cuts: Iterable[int]) -> tuple[bool, object]:
    """Whether a text that comes in pieces is taken, and what it says."""
    reader = jsontext.Reader()
    try:
        for piece in pieces(data, cuts):
            reader.feed(piece)
    except ValueError:
        return False, None
    return (True, reader.value) if reader.complete else (False, None)


def json_text(data: bytes) -> None:
    """JSON is read alike however it is cut, and as the standard library reads it."""
    cuts, text = data[:3], data[3:]
    taken, value = read(text, [])
    assert read(text, range(len(text))) == (taken, value)
    assert read(text, cuts) == (taken, value)
    if not taken:
        return
    # Numbers, true and false are the text that they are written as.
    same = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    assert _as_text(same) == value
    try:
        nodes = list(jsontree.load(value))
    except ValueError:
        return
    values = {node.path: node.value for node in nodes}
    perms = {node.path: node.perms for node in nodes if node.perms is not None}
    again = jsontree.loads(jsontree.dumps(values, permissions=perms))
    # A node above those with permissions is shown with none.
    assert {node.path: node.value for node in again} == values
    assert {node.path: node.perms for node in again if node.perms is not None} == perms


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _as_text(child) for key, child in cast("dict[str, object]", value).items()}
    return value


def orders(data: bytes) -> None:
    """What the helper is told, line by line: each is done or refused, and leaves nothing open."""
    # Number 0 is no device's, so the directory is all that is touched.
    mount = helper.Mount(0)
    with TemporaryDirectory(prefix="xsfs-") as folder:
        Path(folder, "file").touch()
        Path(folder, "directory").mkdir()
        mount._clone = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        before = os.listdir("/proc/self/fd")
        for order in data.split(b"\n"):
            path = order[1:]
            # The daemon's are relative, and no node is called `..`.
            if not path.startswith(b"/") and b".." not in path.split(b"/"):
                assert mount.injection(order[:1], path) in range(200)
        assert os.listdir("/proc/self/fd") == before
        mount.release()


def options(data: bytes) -> None:
    """Mount options, and a command line of a word on each line."""
    text = os.fsdecode(data)
    with contextlib.suppress(OptionError):
        assert 0 < parse(text).timeout_s < 86400
    # -h and -V print, and end the process.
    words = [word for word in text.split("\n") if word[:2] not in ("-h", "-V", "--")]
    with contextlib.suppress(OptionError, UsageError):
        parse_arguments(words)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "packets": packets,
    "server": server,
    "stream": stream,
    "json": json_text,
    "orders": orders,
    "options": options,
}

_PERMS = jsontree.PERMS.encode()

# Words of which inputs are made, for a start.
WORDS: dict[str, Sequence[bytes]] = {
    "packets": [HEADER.pack(op, 1, 0, 3) for op in (1, 2, 15, 16)] + [b"OK\0", b"ENOENT\0"],
    "server": [
        *(b"/\0", b"/a\0", b"/a/b\0", b"a\0", b"@releaseDomain\0", b"@introduceDomain\0"),
        *(b"n0\0", b"r5\0", b"b5\0", b"n5\0", b"T\0", b"F\0", b"5\0", b"5\0001\0001\0", b"t\0"),
        *(b"quota\0", b"set\0", b"nodes\0", b"check\0", b"help\0", b"print\0"),
        *(b"\0\x06\0\1\0", b"\2\x06\0\1\0", b"\0\x07\1\2T\0", b"\2\x07\1\2T\0"),
        *(b"\0\x0b\0\4/a\0v", b"\0\x0b\1\4/a\0v", b"\0\x0e\0\6/a\0n5\0", b"\0\x09\0\2" + b"5\0"),
    ],
    "stream": [HEADER.pack(op, 1, 0, 3) + b"/a\0" for op in (1, 2, 3, 11, 12, 13)],
    "json": [
        b'{"',
        b'": "',
        b'", "',
        b'"}',
        b"{}",
        b"null",
        b"true",
        b"1e5",
        b"\\ud800",
        b"\\u0041",
    ],
    "orders": [b"M", b"T", b"A", b"F", b"D", b"U", b"R", b"file", b"directory", b"/", b"\n", b"\0"],
    "options": [
        *(b"ro", b",", b"=", b"uid=", b"umask=", b"timeout=", b"root=/", b"cache=strict", b"load="),
        *(b"context=", b'"', b"\\", b"\n", b"-o", b"-f", b"-d", b"embedded", b"M", b"max_read=1"),
    ],
}

# Inputs that go far, for a start.
SEEDS: dict[str, Sequence[bytes]] = {
    "json": [
        b"\1\5\12" + b'{"a": {"": "own", "b": "1"}, "c": "\\udcff", "d": null}',
        b"\1\5\12" + b'{"%b": "n0,r5", "a": {"%b": "b5"}}' % (_PERMS, _PERMS),
    ],
    "options": [
        b"ro,uid=0,umask=027,root=/local/domain/5,cache=watch,events=off,timeout=1,load=a\\,b",
        b"embedded\nM\n-o\nallow_other,max_read=4096\n-f",
    ],
}
