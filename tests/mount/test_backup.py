# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Subtrees copied out through `.json` and `.backup`, and back."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mount.shell import run, sh
from tests.xen.wire import Op
from xsfs import jsontree

if TYPE_CHECKING:
    from tests.mount.conftest import Here

names = st.from_regex(rb"[A-Za-z0-9\-_@]{1,4}", fullmatch=True)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map(b"/".join), st.binary(max_size=9), max_size=12
)


def with_parents(leaves: dict[bytes, bytes]) -> dict[bytes, bytes]:
    values = {b"": b""}
    for path in leaves:
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            values[b"/" + b"/".join(parts[:depth])] = b""
    return values | {b"/" + path: value for path, value in leaves.items()}


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(trees)
def test_any_tree_survives_the_way_through_a_backup(here: Here, leaves: dict[bytes, bytes]) -> None:
    values = with_parents(leaves)
    # A directory of its own for each example.
    original, restored = (f"{name}{len(list(here.path.iterdir()))}" for name in ("from", "to"))
    sh(f"mkdir {original} {restored}", here.path)
    for path, value in values.items():
        here.store.write(here.at(original.encode()) + path, value)
    with TemporaryDirectory() as folder:
        backup = f"{folder}/backup.json"
        sh(f"cp {original}/.json {backup}; cp {backup} {restored}/.json", here.path)
        assert {
            path: value for path, value, _ in jsontree.loads(Path(backup).read_bytes(), b"/x")
        } == {b"/x" + path: value for path, value in values.items()}
    assert here.store.tree(here.at(restored.encode())) == values
    assert sh(f"diff <(jq -S . {original}/.json) <(jq -S . {restored}/.json)", here.path) == ""


def test_a_backup_has_permissions_too(here: Here) -> None:
    for name, value in ((b"state", b"4"), (b"backend/id", b"0"), (b"backend", b"own")):
        here.store.write(here.at(name), value)
    here.store.set_perms(here.at(b"state"), b"n0,r5")
    here.store.set_perms(here.at(b"backend"), b"n0,b7")
    here.store.set_perms(here.at(b"backend/id"), b"n0,b7")
    text = (here.path / ".backup").read_bytes()
    assert json.loads(text) == {
        ".perms": "n0",
        "backend": {"": "own", ".perms": "n0,b7", "id": "0"},
        "state": {"": "4", ".perms": "n0,r5"},
    }
    (here.path / "new").mkdir()
    here.tap.start()
    with TemporaryDirectory() as folder:
        (Path(folder) / "b").write_bytes(text)
        sh(f"cp {folder}/b new/.json", here.path)
    assert here.tap.count(Op.TRANSACTION_START) == 1
    for name, perms in ((b"", b"n0"), (b"/state", b"n0,r5"), (b"/backend/id", b"n0,b7")):
        assert here.store.perms(here.at(b"new") + name) == perms
    assert (here.path / "new/.backup").read_bytes() == text


def test_an_owner_that_does_not_exist(here: Here) -> None:
    done = run("""echo '{"a": "1", "b": {".perms": "n7"}}' > .json""", here.path)
    # oxenstored takes any.
    assert bool(done.returncode) == (here.daemon.kind == "xenstored")
    if done.returncode:
        said = sh("cat .error", here.path)
        assert said.startswith(f"{here.node.decode()}/b: SET_PERMS: ")
        assert here.store.names(here.node) == set()
