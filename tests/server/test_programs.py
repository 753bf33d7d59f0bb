# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Programs that nobody here wrote, unchanged, on the embedded store and on the real daemons.

Xen's tools have to say the same to the byte; Xen's test-xenstore has to pass; pyxs has to work.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import pyxs

from tests.deadline import DEADLINE_S
from tests.programs import Program
from tests.xen.daemons import KINDS, Daemon, Kind
from xsfs.server import running
from xsfs.server.rules import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.packages import Xen
    from xsfs.server import Running

# Each line is a command; what an earlier one did is there for those after it.
COMMANDS = """
xenstore-write /t/a 1
xenstore-write /t/b/c two /t/b/d three
xenstore-write /t/z last /t/A first /t/10 ten /t/9 nine
xenstore-write /t/empty
xenstore-write /t/quote a"b\\c
xenstore-write -r /t/raw a\\x41
xenstore-write relative/path here
xenstore-read /t/a
xenstore-read -p /t/a /t/b/c
xenstore-read /t/missing
xenstore-read /t/quote
xenstore-read -R /t/quote
xenstore-read relative/path
xenstore-read /t//a
xenstore-read /t/a.b
xenstore-list /t
xenstore-list -p /t/b
xenstore-list /t/a
xenstore-list /t/missing
xenstore-exists /t/a
xenstore-exists /t/missing
xenstore-exists /t/a /t/missing
xenstore-chmod /t/b n0 r1
xenstore-chmod -r /t/b b0 r2 w3 n4
xenstore-chmod -u /t/b/c n0
xenstore-chmod /t/missing n0
xenstore-chmod /t/b x0
xenstore-ls /t
xenstore-ls -f /t
xenstore-ls -p /t
xenstore-ls -f -p /t
xenstore-ls /t/missing
xenstore-ls relative
xenstore-rm /t/b/c
xenstore-rm /t/b/c
xenstore-rm /t/missing/below
xenstore-rm -t /t/b/d
xenstore-ls -f /t
xenstore-rm /t
xenstore-exists /t
xenstore-read
xenstore-write /t
"""

# oxenstored has nodes and lists of its own at the root.
ROOT_COMMANDS = """
xenstore-ls
xenstore-list /
xenstore-rm /
xenstore-write / root
xenstore-read /
"""


def environment(xen: Xen, path: str) -> dict[str, str]:
    """The environment in which Xen's programs run and talk to a store."""
    return {
        "LD_LIBRARY_PATH": str(xen.libraries),
        "PATH": os.defpath,
        "XENSTORED_PATH": path,
    }


def run(xen: Xen, path: str, command: str) -> tuple[int, bytes, bytes]:
    """Status, output and errors of a command."""
    name, *arguments = command.split()
    done = subprocess.run(
        [xen.program(name), *arguments],
        env=environment(xen, path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def real(kind: Kind, rundir: Path, xen: Xen) -> Iterator[Daemon]:
    with Daemon(kind, rundir, xen) as daemon:
        yield daemon


@pytest.fixture
def embedded(kind: Kind) -> Iterator[Running]:
    """The embedded store, like the real one beside it."""
    with running(rules=BY_NAME[kind]) as path:
        yield path


def test_tools_say_the_same(xen: Xen, kind: Kind, real: Daemon, embedded: Running) -> None:
    commands = COMMANDS + (ROOT_COMMANDS if kind == "xenstored" else "")
    for command in commands.split("\n"):
        if command:
            said = run(xen, embedded, command)
            assert said == run(xen, str(real.socket), command), command


def test_a_directory_too_long_for_a_packet(xen: Xen) -> None:
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon("xenstored", Path(folder), xen) as real,
        running() as path,
    ):
        names = [f"/t/name-of-some-length-{number}" for number in range(1000)]
        for start in range(0, 1000, 100):
            words = [word for name in names[start : start + 100] for word in (name, "x")]
            command = " ".join(["xenstore-write", *words])
            assert run(xen, path, command) == run(xen, str(real.socket), command) == (0, b"", b"")
        for command in ("xenstore-list /t", "xenstore-ls /t"):
            said = run(xen, path, command)
            assert said == run(xen, str(real.socket), command)
            assert said[1].count(b"\n") == 1000


def test_watch_says_the_same(xen: Xen, kind: Kind, real: Daemon, embedded: Running) -> None:
    heard = []
    for path in (str(real.socket), str(embedded)):
        with Program(
            [xen.program("xenstore-watch"), "/t", "@introduceDomain"], environment(xen, path)
        ) as watch:
            lines = [watch.read_line(), watch.read_line()]
            for command in (
                "xenstore-write /t/a 1",
                "xenstore-write /t/b/c 2",
                "xenstore-rm /t/b",
                "xenstore-chmod /t/a n0 r1",
                "xenstore-write /u 1 /t 1",
            ):
                assert run(xen, path, command)[0] == 0
                lines.append(watch.read_line())
        heard.append(lines)
    assert heard[0] == heard[1]


@pytest.mark.parametrize("arguments", ["-i 3", "-r 1"])
def test_xens_own_test_passes(xen: Xen, embedded: Running, arguments: str) -> None:
    status, output, errors = run(xen, embedded, f"test-xenstore {arguments}")
    assert (status, errors) == (0, b""), output


def test_pyxs(embedded: Running) -> None:
    """What the tutorial of pyxs does, by pyxs from PyPI."""
    with pyxs.Client(unix_socket_path=embedded) as client:
        client[b"/foo/bar"] = b"value"
        assert client[b"/foo/bar"] == b"value"
        assert client.list(b"/foo") == [b"bar"]
        assert client.exists(b"/foo")
        assert not client.exists(b"/missing")
        assert client.get_perms(b"/foo") == [b"n0"]
        client.set_perms(b"/foo", [b"b0", b"r1"])
        assert client.get_perms(b"/foo") == [b"b0", b"r1"]
        assert client.get_domain_path(5) == b"/local/domain/5"
        assert not client.is_domain_introduced(5)
        with pytest.raises(pyxs.PyXSError):
            client.read(b"/missing")
        client.transaction()
        client.write(b"/foo/bar", b"other")
        assert client.commit()
        assert client.read(b"/foo/bar") == b"other"
        monitor = client.monitor()
        monitor.watch(b"/foo", b"token")
        events = monitor.wait()
        assert next(events) == (b"/foo", b"token")
        client.mkdir(b"/foo/new")
        assert next(events) == (b"/foo/new", b"token")
        client.delete(b"/foo")
        assert next(events) == (b"/foo", b"token")
        monitor.unwatch(b"/foo", b"token")
