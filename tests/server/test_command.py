# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The ways to get an embedded store: the command, `running`, `serve`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.deadline import DEADLINE_S
from tests.server.conversation import connect
from tests.xen.wire import HEADER, Op, Refused, Wire
from xsfs import jsontree
from xsfs.errors import InvalidPath
from xsfs.server import OXENSTORED, Store, running, sample, serve

if TYPE_CHECKING:
    from pathlib import Path


def ask(path: str, op: Op, payload: bytes) -> bytes:
    """One request on a connection of its own."""
    with connect(path) as stream:
        return Wire(stream).ask(op, payload)


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command, listening."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xsfs.server", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(rundir: Path, number: signal.Signals) -> None:
    path = rundir / "s"
    process = start("--socket", str(path), "--domain", f"5={rundir / 'five'}")
    assert ask(str(path), Op.READ, b"/tool/xenstored\0") == b""
    with pytest.raises(Refused, match="EACCES"):
        ask(str(rundir / "five"), Op.READ, b"/tool\0")
    assert ask(str(path), Op.IS_DOMAIN_INTRODUCED, b"5\0") == b"T\0"
    process.send_signal(number)
    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 0
    assert list(rundir.iterdir()) == []


def test_the_command_loads_json(rundir: Path) -> None:
    (rundir / "tree.json").write_bytes(b'{"a": {"": "own", "b": "\\udcff"}, "c": ""}')
    process = start("--socket", str(rundir / "s"), "--load", str(rundir / "tree.json"))
    assert ask(str(rundir / "s"), Op.READ, b"/a\0") == b"own"
    assert ask(str(rundir / "s"), Op.READ, b"/a/b\0") == b"\xff"
    assert ask(str(rundir / "s"), Op.DIRECTORY, b"/\0") == b"tool\0a\0c\0"
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


def test_the_command_is_like_the_other_daemon(rundir: Path) -> None:
    process = start("--socket", str(rundir / "s"), "--sample", "--like", "oxenstored")
    assert ask(str(rundir / "s"), Op.DIRECTORY, b"/local/domain\0") == b"0\x001\x002\x005\0"
    for domid in (b"1", b"2", b"5"):
        assert ask(str(rundir / "s"), Op.IS_DOMAIN_INTRODUCED, domid + b"\0") == b"T\0"
    assert ask(str(rundir / "s"), Op.IS_DOMAIN_INTRODUCED, b"3\0") == b"F\0"
    assert ask(str(rundir / "s"), Op.RELEASE, b"5\0") == b"OK\0"
    with pytest.raises(Refused, match="ENOSYS"):
        ask(str(rundir / "s"), Op.DIRECTORY_PART, b"/\x000\0")
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ([], 2, "the following arguments are required: --socket"),
        (["--socket", "s", "--domain", "5"], 2, "5: DOMID=PATH is needed"),
        (["--socket", "s", "--domain", "0=x"], 2, "0=x: DOMID=PATH is needed"),
        (["--socket", "s", "--domain", "40000=x"], 2, "40000=x: DOMID=PATH is needed"),
        (["--socket", "s", "--like", "nothing"], 2, "invalid choice: 'nothing'"),
        (["--socket", "s", "--load", "missing"], 1, "missing: No such file or directory"),
        (
            ["--socket", "s", "--load", "list.json"],
            1,
            "list.json: byte 0: an object, a string",
        ),
        (["--socket", "s", "--load", "bad.json"], 1, "bad.json: "),
        (["--socket", "missing/s"], 1, "missing/s: No such file or directory"),
        (["--socket", "s", "--domain", "5=missing/s"], 1, "missing/s: No such file or directory"),
        (["--socket", "x" * 200], 1, "x" * 200 + ": File name too long"),
    ],
)
def test_a_command_that_cannot_be(
    rundir: Path, arguments: list[str], status: int, reason: str
) -> None:
    (rundir / "list.json").write_text("[]")
    (rundir / "bad.json").write_text('{"a": ')
    done = subprocess.run(
        [sys.executable, "-m", "xsfs.server", *arguments],
        cwd=rundir,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout == b""
    *_, last = lines = done.stderr.decode().splitlines()
    assert reason in last
    if status == 1:
        assert len(lines) == 1
        assert last.startswith(f"xsfs.server: {reason}")


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(rundir: Path) -> None:
    path = str(rundir / "s")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    process = start("--socket", path)
    second = subprocess.run(
        [sys.executable, "-m", "xsfs.server", "--socket", path],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert second.returncode == 1
    assert b"Address already in use" in second.stderr
    assert ask(path, Op.READ, b"/\0") == b""
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


def test_a_file_in_the_way_is_left_alone(rundir: Path) -> None:
    (rundir / "s").write_text("precious")
    with pytest.raises(OSError, match="Address already in use"):
        trio.run(serve, str(rundir / "s"), Store())
    assert (rundir / "s").read_text() == "precious"


def test_running() -> None:
    with running({b"/a": b"1"}, domains=[5, 6]) as first, running() as second:
        assert ask(first, Op.READ, b"/a\0") == b"1"
        assert ask(first.domains[6], Op.GET_DOMAIN_PATH, b"6\0") == b"/local/domain/6\0"
        with pytest.raises(Refused, match="ENOENT"):
            ask(second, Op.READ, b"/a\0")
        with connect(first) as still_open:
            still_open.sendall(b"x")
    assert not os.path.exists(first)


def test_running_like_the_other_daemon() -> None:
    with running({b"/b": b"", b"/a": b""}, rules=OXENSTORED) as path:
        assert ask(path, Op.DIRECTORY, b"/\0") == b"a\0b\0tool\0"


def test_running_refuses_what_is_no_path() -> None:
    with pytest.raises(InvalidPath), running({b"a b": b""}):
        pass


def test_serve_in_trio(rundir: Path) -> None:
    path = str(rundir / "s")
    request, reply = (
        HEADER.pack(Op.READ, 1, 0, 3) + b"/a\0",
        HEADER.pack(Op.READ, 1, 0, 5) + b"value",
    )

    async def main() -> None:
        store = Store()
        store.load({b"/a": b"value"})
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, path, store)
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(request)
                assert await stream.receive_some() == reply
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert not os.path.exists(path)


def test_the_sample_is_a_host_with_guests() -> None:
    values, perms = sample.tree(), sample.permissions()
    assert set(values) == set(perms)
    store = Store()
    sample.load(store)
    values = {b"/": b""} | values
    assert store.values() == values
    assert {path: value for path, value, _ in jsontree.loads(jsontree.dumps(values))} == values
    for guest in sample.GUESTS:
        home = b"/local/domain/%d" % guest.domid
        assert values[home + b"/name"] == guest.name
        assert store.domains.is_introduced(guest.domid)
        for kind, number in ((b"vbd", b"51712"), (b"vif", b"0")):
            front = home + b"/device/" + kind + b"/" + number
            back = values[front + b"/backend"]
            assert values[back + b"/frontend"] == front
            assert values[front + b"/state"] == values[back + b"/state"] == b"4"
            assert perms[front].owner == guest.domid
            assert perms[back].owner == 0
        assert values[values[home + b"/vm"] + b"/name"] == guest.name
        assert values[values[home + b"/console/backend"] + b"/frontend"] == home + b"/console"
