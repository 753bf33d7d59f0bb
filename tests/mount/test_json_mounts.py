# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.json` in mounts of several kinds: a guest's, a read-only one, one that is loaded."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.mount.shell import run, sh

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon


def test_what_a_guest_may_not_write_changes_nothing(guest_home: Mounted) -> None:
    done = run("""echo '{"mine": "2", "theirs": "2", "new": "1"}' > .json""", guest_home.path)
    assert "Permission denied" in done.stderr
    assert json.loads((guest_home.path / ".json").read_bytes()) == {"mine": "1", "theirs": "1"}
    sh("""echo '{"mine": "2", "new": "1"}' > .json""", guest_home.path)


def test_a_read_only_mount_takes_no_patch(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket, "ro") as mounted:
        done = run("""echo '{"a": "1"}' > .json; mkdir .transactions/t""", mounted.path)
        assert done.stderr.count("Read-only file system") == 2


def tree(store: Outside) -> dict[bytes, bytes]:
    """All of a store but oxenstored's special nodes."""
    tops = (b"/" + name for name in store.names(b"/") if not name.startswith(b"@"))
    return {top + path: value for top in tops for path, value in store.tree(top).items()}


def test_a_backup_is_restored_into_an_empty_store_or_loaded(
    fuse: None, daemon: Daemon, tmp_path: Path
) -> None:
    store = Outside(daemon)
    for number in range(300):
        store.write(b"/local/domain/%d/device/vbd/%d/state" % (number % 9, number), b"\xff\0\n4")
    store.write(b"/local", b"own")
    backup = tmp_path / "backup.json"
    with Mounted(daemon.socket) as mounted:
        sh(f"cp .json {backup}", mounted.path)
    expected = tree(store)
    store.close()
    with Mounted("embedded", f"load={backup},socket={tmp_path}/s") as mounted:
        assert json.loads((mounted.path / ".json").read_bytes()) == json.loads(backup.read_bytes())
    daemon.restart()
    with Mounted(daemon.socket) as mounted:
        sh(f"cp {backup} .json", mounted.path)
    store = Outside(daemon)
    assert tree(store) == expected
    store.close()


def test_permissions_are_loaded(fuse: None, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.write_text('{".perms": "n0", "a": {".perms": "n5,r0", "b": "1"}, "c": "2"}')
    with Mounted("embedded", f"load={backup},socket={tmp_path}/s") as mounted:
        assert json.loads((mounted.path / ".json").read_bytes())["a"] == {"b": "1"}
        perms = (
            os.getxattr(mounted.path / name, "user.xenstore.perms") for name in ("a", "a/b", "c")
        )
        assert list(perms) == [b"n5,r0", b"n5,r0", b"n0"]
        shown = json.loads((mounted.path / ".backup").read_bytes())
        assert shown["a"] == {".perms": "n5,r0", "b": "1"}
