# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Random operations on the mount, by its user and by another client, against a model of it."""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.outcome import until
from tests.xen.wire import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.conftest import Here

_runs = itertools.count()

NAMES = ("a", "b", "c")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
TEXTS = st.sampled_from([b"", b"\n", b"x", b"x\n", b"two\n\n", b"\0\xff"])

Path_ = tuple[str, ...]


class Step(NamedTuple):
    """One operation, and what it is given."""

    verb: str
    path: Path_
    other: Path_
    text: bytes


VERBS = [
    "mkdir", "rmdir", "unlink", "empty", "write", "append", "own", "subtree_changed", "rename",
    "their write", "their rm",
]  # fmt: skip
STEPS = st.tuples(st.sampled_from(VERBS), PATHS, PATHS, TEXTS).map(lambda given: Step(*given))


class Model:
    """What the contract says: nodes with values, of which some are directories for life."""

    def __init__(self) -> None:
        self.values: dict[Path_, bytes] = {(): b""}
        self.directories: set[Path_] = {()}

    def children(self, path: Path_) -> list[Path_]:
        return [p for p in self.values if len(p) == len(path) + 1 and p[:-1] == path]

    def drop(self, path: Path_) -> None:
        for gone in [p for p in self.values if p[: len(path)] == path]:
            del self.values[gone]
            self.directories.discard(gone)

    def store(self, path: Path_, value: bytes) -> None:
        for end in range(1, len(path)):
            self.values.setdefault(path[:end], b"")
            self.directories.add(path[:end])
        self.values[path] = value

    def check_parent(self, path: Path_) -> None:
        for end in range(1, len(path)):
            if path[:end] not in self.values:
                raise OSError(errno.ENOENT, "no parent")
            if path[:end] not in self.directories:
                raise OSError(errno.ENOTDIR, "parent is a file")

    def check(self, path: Path_) -> None:
        self.check_parent(path)
        if path not in self.values:
            raise OSError(errno.ENOENT, "no node")

    def apply(self, step: Step) -> None:
        """Do it, or raise the OSError that it must fail with."""
        path, text = step.path, step.text
        is_directory = path in self.directories
        match step.verb:
            case "mkdir":
                self.check_parent(path)
                if path in self.values:
                    raise OSError(errno.EEXIST, "exists")
                self.values[path] = b""
                self.directories.add(path)
            case "rmdir":
                self.check(path)
                if not is_directory:
                    raise OSError(errno.ENOTDIR, "a file")
                if self.children(path) or self.values[path]:
                    raise OSError(errno.ENOTEMPTY, "not empty")
                self.drop(path)
            case "unlink":
                self.check(path)
                if is_directory:
                    raise OSError(errno.EISDIR, "a directory")
                self.drop(path)
            case "write" | "append":
                self.check_parent(path)
                if is_directory:
                    raise OSError(errno.EISDIR, "a directory")
                old = self.values.get(path, b"")
                if step.verb == "append":
                    text = (old + b"\n" if old else b"") + text
                self.values[path] = text.removesuffix(b"\n")
            case "own" | "empty":
                self.check((*path, "x")[:-1])
                if not is_directory:
                    raise OSError(errno.ENOTDIR, "a file")
                self.values[path] = b"" if step.verb == "empty" else text.removesuffix(b"\n")
            case "subtree_changed":
                self.check(path)
                self.store((*path, "n"), text.removesuffix(b"\n"))
            case "rename":
                self.rename(path, step.other)
            case "their write":
                self.store(path, text)
            case "their rm":
                self.drop(path)

    def rename(self, old: Path_, new: Path_) -> None:
        self.check_parent(old)
        self.check_parent(new)
        if old not in self.values:
            raise OSError(errno.ENOENT, "no node")
        if new[: len(old)] == old and new != old:
            raise OSError(errno.EINVAL, "into itself")
        if old[: len(new)] == new and new != old:
            raise OSError(errno.ENOTEMPTY, "onto what is above")
        if old == new:
            return
        if new in self.values:
            if old in self.directories and new not in self.directories:
                raise OSError(errno.ENOTDIR, "a file")
            if new in self.directories and old not in self.directories:
                raise OSError(errno.EISDIR, "a directory")
            if self.children(new) or (new in self.directories and self.values[new]):
                raise OSError(errno.ENOTEMPTY, "not empty")
            self.drop(new)
        moved = {p: v for p, v in self.values.items() if p[: len(old)] == old}
        directories = {p for p in self.directories if p[: len(old)] == old}
        self.drop(old)
        self.values.update({new + p[len(old) :]: v for p, v in moved.items()})
        self.directories.update(new + p[len(old) :] for p in directories)

    def picture(self) -> dict[str, bytes | None]:
        """What the mount is to show."""
        shown: dict[str, bytes | None] = {}
        for path, value in self.values.items():
            text = value + b"\n" if value else b""
            name = "/".join(path)
            if path not in self.directories:
                shown[name] = text
                continue
            shown[name] = None
            if value:
                shown["/".join((*path, ".value"))] = text
        return shown


class Mount:
    """The same operations on files."""

    def __init__(self, here: Here, top: Path, node: bytes) -> None:
        self._store = here.store
        self._top = top
        self._node = node

    def apply(self, step: Step) -> None:
        path = self._top.joinpath(*step.path)
        node = self._node + b"".join(b"/" + name.encode() for name in step.path)
        match step.verb:
            case "mkdir":
                path.mkdir()
            case "rmdir":
                path.rmdir()
            case "unlink":
                path.unlink()
            case "write":
                self._put(path, os.O_CREAT | os.O_TRUNC, step.text)
            case "append":
                self._put(path, os.O_CREAT | os.O_APPEND, step.text)
            case "own":
                self._put(path / ".value", os.O_CREAT | os.O_TRUNC, step.text)
            case "empty":
                os.listdir(path)
                # To who made the directory, or did this before, it is not there.
                (path / ".value").unlink(missing_ok=True)
            case "subtree_changed":
                self._put(
                    path.with_name(path.name + ".d") / "n", os.O_CREAT | os.O_TRUNC, step.text
                )
            case "rename":
                os.rename(path, self._top.joinpath(*step.other))
            case "their write":
                self._store.write(node, step.text)
            case "their rm":
                self._remove(node)

    def _remove(self, node: bytes) -> None:
        # Of a node whose parent is missing too, the store says so.
        with suppress(Refused):
            self._store.rm(node)

    def _put(self, path: Path, flags: int, text: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | flags, 0o644)
        try:
            if text:
                os.write(fd, text)
            else:
                os.fsync(fd)
        finally:
            os.close(fd)

    def picture(self) -> dict[str, bytes | None]:
        """What it shows."""
        shown: dict[str, bytes | None] = {"": None}
        for folder, folders, files in os.walk(self._top):
            inside = os.path.relpath(folder, self._top)
            prefix = "" if inside == "." else inside + "/"
            shown.update((prefix + name, None) for name in folders)
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    shown[prefix + name] = file.read()
        return shown


def outcome(who: Model | Mount, step: Step) -> int:
    """The errno of an operation; 0 when it succeeds."""
    try:
        who.apply(step)
    except OSError as error:
        return error.errno or -1
    return 0


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEPS, min_size=1, max_size=25))
def test_any_operations_have_the_outcome_that_the_contract_says(
    here: Here, steps: list[Step]
) -> None:
    name = f"run{next(_runs)}"
    top, node = here.path / name, here.at(name.encode())
    top.mkdir()
    model, mount = Model(), Mount(here, top, node)
    for step in steps:
        expected = outcome(model, step)
        assert outcome(mount, step) == expected, step
        if step.verb.startswith("their"):
            # What another client does is seen when its event has come.
            assert_shows(mount, model)
    assert_shows(mount, model)
    stored = here.store.tree(node)
    assert stored == {
        "".join("/" + part for part in path).encode(): value for path, value in model.values.items()
    }
    here.store.rm(node)


def assert_shows(mount: Mount, model: Model) -> None:
    """Wait until the mount is as the model; while things change under a walk it is not."""

    def shows() -> bool:
        try:
            return mount.picture() == model.picture()
        except OSError:
            return False

    with suppress(TimeoutError):
        until(shows, timeout_s=10.0)
    assert mount.picture() == model.picture()
