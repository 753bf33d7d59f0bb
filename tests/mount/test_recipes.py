# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The recipes of the README, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deadline import DEADLINE_S
from tests.mount.mounting import Mounted
from tests.outcome import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

README = Path(__file__).parents[2] / "README.md"
DEVICE = "/local/domain/0/backend/vbd/5/51712"


def recipes() -> dict[str, list[str]]:
    """The shell texts below each heading."""
    section = README.read_text().partition("\n## Recipes\n")[2].partition("\n## ")[0]
    return {
        part.partition("\n")[0]: re.findall(r"^```sh\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
        for part in section.split("\n### ")[1:]
    }


class Kitchen:
    """A mount, and a folder in which recipes are run."""

    def __init__(self, daemon: Daemon, mounted: Mounted, folder: Path) -> None:
        self.daemon = daemon
        self.mounted = mounted
        self.folder = folder

    def write(self, *pairs: str) -> None:
        """Write paths and values; return when the mount has them.

        oxenstored's /local is a file until the event of its first child.
        """
        assert self.daemon.tool("xenstore-write", *pairs).returncode == 0
        for path in pairs[::2]:
            until((self.mounted.path / path[1:]).exists)

    def read(self, path: str) -> str:
        return self.daemon.tool("xenstore-read", path).stdout.decode().removesuffix("\n")

    def start(self, text: str) -> subprocess.Popen[str]:
        """A shell that runs a recipe."""
        text = text.replace("/mnt/xenstore", str(self.mounted.path))
        return subprocess.Popen(
            ["bash", "-c", text],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, text: str, status: int = 0) -> str:
        """Its output."""
        return finish(self.start("set -e\n" + text), status)


def finish(shell: subprocess.Popen[str], status: int = 0) -> str:
    try:
        out, errors = shell.communicate(timeout=DEADLINE_S)
    finally:
        shell.kill()
    assert (shell.returncode, errors) == (status, "")
    return out


@pytest.fixture
def kitchen(fuse: None, daemon: Daemon, tmp_path: Path) -> Iterator[Kitchen]:
    with Mounted(daemon.socket) as mounted:
        yield Kitchen(daemon, mounted, tmp_path)


def test_a_devices_state_and_its_error(kitchen: Kitchen) -> None:
    patch, transaction = recipes()["Change a device's state together with its error node"]
    kitchen.write(f"{DEVICE}/state", "4", f"{DEVICE}/hotplug-status", "connected")
    kitchen.run(patch)
    listing = kitchen.daemon.tool("xenstore-ls", DEVICE).stdout.decode()
    assert sorted(listing.splitlines()) == ['error = "the disk is gone"', 'state = "6"']
    kitchen.write(f"{DEVICE}/errors", "1")
    kitchen.run(transaction)
    assert (kitchen.read(f"{DEVICE}/errors"), kitchen.read(f"{DEVICE}/state")) == ("2", "5")


def test_no_count_is_lost(kitchen: Kitchen) -> None:
    _, transaction = recipes()["Change a device's state together with its error node"]
    kitchen.write(f"{DEVICE}/errors", "0")
    shells = [kitchen.start(f"for turn in 1 2 3 4 5; do {transaction} done") for _ in range(3)]
    for shell in shells:
        shell.communicate(timeout=DEADLINE_S)
        assert shell.returncode == 0
    assert kitchen.read(f"{DEVICE}/errors") == "15"


def test_waiting_for_a_key(kitchen: Kitchen) -> None:
    (wait,) = recipes()["Wait for a key"]
    home = "/local/domain/5/device/vif/0"
    kitchen.write(f"{home}/state", "1")
    waiting = kitchen.start(wait.replace("read -r line", 'read -r line && echo "$line"'))
    assert waiting.stdout is not None
    while "Watches established" not in waiting.stdout.readline():
        pass
    kitchen.write(f"{home}/other", "1")
    kitchen.write(f"{home}/ready", "yes")
    assert finish(waiting).endswith("yes\n")
    # It was there before.
    assert kitchen.run(wait) == "yes\n"


def test_comparing_two_domains(kitchen: Kitchen) -> None:
    (compare,) = recipes()["Compare two domains"]
    for domain in "56":
        home = f"/local/domain/{domain}"
        kitchen.write(f"{home}/name", "guest", f"{home}/memory/target", f"{domain}00")
    assert [line for line in kitchen.run(compare, 1).splitlines() if line[0] in "<>"] == [
        '<     "target": "500"',
        '>     "target": "600"',
    ]


def test_a_lock_between_mounts(kitchen: Kitchen) -> None:
    (lock,) = recipes()["A lock between domains"]
    kitchen.write("/local/domain/0/locks/runs", "0")
    with Mounted(kitchen.daemon.socket) as mounted:
        other = Kitchen(kitchen.daemon, mounted, kitchen.folder)
        text = f"for turn in 1 2 3 4 5; do {lock} done"
        shells = [place.start(text) for place in (kitchen, other, kitchen, other)]
        for shell in shells:
            finish(shell)
    assert kitchen.read("/local/domain/0/locks/runs") == "20"


def test_which_guest_fills_the_store(kitchen: Kitchen) -> None:
    (collect,) = recipes()["Which guest fills the store"]
    kitchen.run(collect.replace("/var/lib/prometheus/node-exporter", str(kitchen.folder)))
    text = (kitchen.folder / "xsfs.prom").read_text()
    assert list(text_string_to_metric_families(text))
    assert 'xsfs_domain_nodes{domid="0"} ' in text
    part = README.read_text().partition("### Which guest fills the store")[2].partition("###")[0]
    assert set(re.findall("xsfs_[a-z_]+", part)) <= set(re.findall("# HELP ([a-z_]+)", text))


def test_back_up_and_restore(kitchen: Kitchen) -> None:
    backup, restore = recipes()["Back up and restore"]
    kitchen.write("/a/b", "1", "/a/c/d", "2")
    kitchen.run(backup)
    kitchen.daemon.tool("xenstore-rm", "/a")
    shown = json.loads(kitchen.run(restore))
    assert shown == json.loads((kitchen.folder / "backup.json").read_bytes())
    assert kitchen.read("/a/b") + kitchen.read("/a/c/d") == "12"
