# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The distributions that pip takes, and `make install`: built, installed, mounted, removed."""

from __future__ import annotations

import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from tests.mount.installed import Machine
from tests.source_tree import ROOT, check, copy_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)


def files(folder: Path) -> set[str]:
    """What lies below a prefix, but for Python's own."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() and "lib/xsfs" not in str(path)
    }


BESIDE = {
    "share/man/man5/xsfs.5",
    "share/man/man8/xsfs.8",
    "share/zsh/site-functions/_xsfs",
    "share/fish/vendor_completions.d/xsfs.fish",
    "share/bash-completion/completions/xsfs",
    *(f"lib/systemd/system/{path.name}" for path in (ROOT / "systemd").iterdir()),
}


def test_the_wheel_in_a_fresh_environment(fuse: None, tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    # The wheel is built from the source distribution, so that has all that it takes.
    check(sys.executable, "-m", "build", "-q", "--no-isolation", "-o", tmp_path / "dist", tree)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert sdist.name.startswith("xsfs-")
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    check(fresh / "bin/pip", "install", "-q", "--disable-pip-version-check", wheel)
    assert files(fresh) > BESIDE
    check(fresh / "bin/python", "-W", "error", "-c", "import xsfs; xsfs.Client; xsfs.xs")
    mountpoint = tmp_path / "m"
    mountpoint.mkdir()
    check(fresh / "bin/xsfs", "embedded", mountpoint)
    try:
        assert (mountpoint / "local/domain/1/name").read_text() == "web\n"
    finally:
        check("umount", mountpoint)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `make install` has been; it is undone at the end."""
    path, tree = tmp_path_factory.mktemp("prefix"), copy_tree(tmp_path_factory.mktemp("copy"))
    check("make", "install", f"PREFIX={path}", f"PYTHON={sys.executable}", cwd=tree)
    yield path
    check("make", "uninstall", f"PREFIX={path}", cwd=tree)
    assert files(path) == set()
    assert not (path / "lib/xsfs").exists()


def test_make_install_where_mount_finds_it(fuse: None, root: None, prefix: Path) -> None:
    assert files(prefix) == {"bin/xsfs", "sbin/mount.xsfs", *BESIDE}
    with Machine(prefix / "bin/xsfs") as machine:
        machine.check("mount", "-t", "fuse", "xsfs#embedded", machine.mountpoint)
        assert machine.mounts("SOURCE,FSTYPE") == [["xsfs#embedded", "fuse.xsfs"]]
        assert machine.check("cat", machine.mountpoint / "local/domain/1/name") == "web\n"
        machine.settle()


def test_a_packager_installs_below_a_folder_of_his_own(tmp_path: Path) -> None:
    """Nothing goes elsewhere, and what is there does not know where it lay."""
    root = tmp_path / "root"
    arguments = (f"DESTDIR={root}", "PREFIX=/usr", f"PYTHON={sys.executable}")
    check("make", "install", *arguments, cwd=copy_tree(tmp_path))
    installed = {f"usr/{name}" for name in ("bin/xsfs", "sbin/mount.xsfs", *BESIDE)}
    assert files(root) == installed
    assert (root / "usr/lib/xsfs/bin/xsfs").read_text().startswith("#!/usr/lib/xsfs/bin/python")
    knowing = subprocess.run(["grep", "-rlF", root, root], capture_output=True, check=False)
    assert knowing.stdout == b""
    check("make", "uninstall", *arguments)
    assert files(root) == set()


def test_a_dom0_gets_no_package_of_the_tests() -> None:
    shown = check("make", "-n", "install", f"PYTHON={sys.executable}")
    assert "fuse3" in shown
    for package in ("incron", "vim", "mandoc", "zsh", "jq"):
        assert f" {package}" not in shown
