# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a person at a shell does with the mount, confirmed from outside by Xen's own tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mount.shell import sh

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon


def test_cat_shows_a_value_as_a_line(daemon: Daemon, mount: Path) -> None:
    daemon.tool("xenstore-write", "/a/name", "Ziggy")
    assert sh("cat a/name", mount) == "Ziggy\n"
    assert sh('test "$(cat a/name)" = Ziggy && cat a/.value', mount) == ""


def test_echo_writes_and_appends(daemon: Daemon, mount: Path) -> None:
    sh("echo x > f", mount)
    assert daemon.tool("xenstore-read", "/f").stdout == b"x\n"
    sh("echo y >> f", mount)
    assert daemon.tool("xenstore-read", "-R", "/f").stdout == b"x\ny"
    assert sh("cat f", mount) == "x\ny\n"


def test_directories_come_and_go(daemon: Daemon, mount: Path) -> None:
    sh("mkdir -p d/e/f; touch d/e/g", mount)
    listing = daemon.tool("xenstore-ls", "-f", "/d").stdout
    assert listing == b'/d/e = ""\n/d/e/f = ""\n/d/e/g = ""\n'
    assert sh("find d -type d; find d -type f", mount).split() == ["d", "d/e", "d/e/f", "d/e/g"]
    sh("rm -r d", mount)
    assert daemon.tool("xenstore-exists", "/d").returncode == 1


def test_ls_shows_nodes_with_their_sizes(daemon: Daemon, mount: Path) -> None:
    daemon.tool("xenstore-write", "/d/value", "four", "/d/empty", "", "/d/sub/x", "1")
    rows = [line.split() for line in sh("ls -lA d", mount).splitlines()[1:]]
    assert [(row[0], row[4], row[-1]) for row in rows] == [
        ("-rw-r--r--", "0", "empty"),
        ("drwxr-xr-x", "0", "sub"),
        ("-rw-r--r--", "5", "value"),
    ]
