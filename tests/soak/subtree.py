# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One process's own directory of the mount, and a model of what is in it.

Nobody else changes anything there, so each operation must end as the model says: with this
result or with this errno. Single-threaded.
"""

from __future__ import annotations

import errno
import json
import os
import random
from collections import Counter, deque
from typing import TYPE_CHECKING

from tests.outcome import error_of
from tests.soak.model import Model, Node, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.soak.model import Patch

NAMES = ("a", "b", "c", "d", "e", "f")
# More than this, and the next step removes a branch.
NODES_MAX = 50
DEPTH_MAX = 5
# What is added to must stay within what each daemon stores, with room (2048, oxenstored).
TEXT_MAX = 1500

# How many operations a report of something wrong names.
RECENT = 12

PERMS = (b"n0", b"n0,r5", b"n0,b7", b"n0,w1,r2")


def put(path: str, data: bytes, flags: int) -> None:
    """Open, write, close; in the store when it returns."""
    fd = os.open(path, flags, 0o644)
    try:
        if data:
            assert os.write(fd, data) == len(data)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)


def get(path: str) -> bytes:
    """A file's content."""
    with open(path, "rb") as file:
        return file.read()


class Subtree:
    """A directory, an empty one at first.

    Args:
        mount: the mountpoint.
        place: the directory, relative to it.
        seed: of the sequence of operations.
    """

    def __init__(self, mount: Path, place: str, seed: int) -> None:
        self._mount = mount
        self._place = place
        self._random = random.Random(seed)
        self._view = f"{mount}/.transactions/{place.replace('/', '-')}"
        self.model = Model()
        self.nodes = self.model.nodes
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        # What was done last: what is wrong may have come of it.
        self._recent: deque[str] = deque(maxlen=RECENT)

    def step(self) -> None:
        """One operation, chosen at random, and what became of it."""
        if len(self.nodes) > NODES_MAX:
            self.prune()
        else:
            self._random.choice(OPERATIONS)(self)

    # -- choices ------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return f"{self._mount}/{self._place}{path}"

    def _directory(self) -> str:
        return self._random.choice(self.model.directories())

    def _any(self) -> str:
        """A path that is there, or is not; its parent is."""
        parent = self._directory()
        while parent.count("/") >= DEPTH_MAX:
            parent = parent.rpartition("/")[0]
        return f"{parent}/{self._random.choice(NAMES)}"

    def _value(self) -> bytes:
        number = b"%d" % self._random.randrange(10**6)
        return self._random.choice((b"", number, number, number * 40, number + b"\nsecond"))

    # -- judgement ----------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        self._recent.append(what)
        self.counts[what.partition(" ")[0]] += 1

    def _expect(self, what: str, code: int, do: Callable[[], object]) -> bool:
        """Do it; whether it was done. Wrong is what does not end with `code`."""
        found = error_of(do)
        self._count(what)
        if found != code:
            names = [errno.errorcode.get(number, str(number)) for number in (found, code)]
            self._is_wrong(f"{what}: {names[0]}, not {names[1]}")
        return not found

    def _same(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self._is_wrong(f"{what}: {found!r}, not {wanted!r}")

    def _is_wrong(self, what: str) -> None:
        self.wrong.append(f"{self._place}: {what}; done last: {', '.join(self._recent)}")

    # -- operations ---------------------------------------------------------------------------

    def write(self) -> None:
        path, value = self._any(), self._value()
        there = self.nodes.get(path)
        code = errno.EISDIR if there is not None and there.directory else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        text = value and value + b"\n"
        if self._expect(f"write {path}", code, lambda: put(self._at(path), text, flags)):
            self.model.store(path, value)

    def append(self) -> None:
        path, more = self._any(), b"%d\n" % self._random.randrange(100)
        if len(self.nodes.get(path, Node()).value) > TEXT_MAX:
            return
        flags = os.O_WRONLY | os.O_APPEND
        if self._expect(
            f"append {path}", self.model.file_error(path), lambda: put(self._at(path), more, flags)
        ):
            self.nodes[path].value = stored(self.nodes[path].text + more)

    def overwrite(self) -> None:
        path = self._any()
        if (code := self.model.file_error(path)) or not self.nodes[path].value:
            self._expect(f"open {path}", code, lambda: os.close(os.open(self._at(path), os.O_RDWR)))
            return
        text = self.nodes[path].text
        offset = self._random.randrange(len(text))
        fd = os.open(self._at(path), os.O_RDWR)
        try:
            self._same(f"pread {path}", os.pread(fd, 4096, offset), text[offset:])
            os.pwrite(fd, b"new", offset)
        finally:
            os.close(fd)
        self._count("pwrite")
        self.nodes[path].value = stored(text[:offset] + b"new" + text[offset + 3 :])

    def truncate(self) -> None:
        path, size = self._any(), self._random.randrange(30)
        if self._expect(
            f"truncate {path}",
            self.model.file_error(path),
            lambda: os.truncate(self._at(path), size),
        ):
            node = self.nodes[path]
            node.value = stored(node.text[:size].ljust(size, b"\0"))

    def create(self) -> None:
        path, value = self._any(), self._value()
        code = errno.EEXIST if path in self.nodes else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if self._expect(f"create {path}", code, lambda: put(self._at(path), value, flags)):
            self.nodes[path] = Node(value)

    def read(self) -> None:
        path = self._any()
        if code := self.model.file_error(path):
            self._expect(f"read {path}", code, lambda: get(self._at(path)))
            return
        self._count("read")
        self._same(f"read {path}", get(self._at(path)), self.nodes[path].text)

    def stat(self) -> None:
        path = self._any()
        if path not in self.nodes:
            self._expect(f"stat {path}", errno.ENOENT, lambda: os.stat(self._at(path)))
            return
        self._count("stat")
        node = self.nodes[path]
        self._same(f"isdir {path}", os.path.isdir(self._at(path)), node.directory)
        if not node.directory:
            self._same(f"size {path}", os.stat(self._at(path)).st_size, len(node.text))

    def mkdir(self) -> None:
        path = self._any()
        code = errno.EEXIST if path in self.nodes else 0
        if self._expect(f"mkdir {path}", code, lambda: os.mkdir(self._at(path))):
            self.nodes[path] = Node(directory=True)

    def rmdir(self) -> None:
        path = self._any()
        code = self.model.rmdir_error(path)
        if self._expect(f"rmdir {path}", code, lambda: os.rmdir(self._at(path))):
            self.model.drop(path)

    def unlink(self) -> None:
        path = self._any()
        code = self.model.file_error(path)
        if self._expect(f"unlink {path}", code, lambda: os.unlink(self._at(path))):
            self.model.drop(path)

    def rename(self) -> None:
        old, new = self._any(), self._any()
        code = self.model.rename_error(old, new)
        if self._expect(
            f"rename {old} {new}", code, lambda: os.rename(self._at(old), self._at(new))
        ):
            self.model.move(old, new)

    def list(self) -> None:
        path = self._directory()
        with os.scandir(self._at(path)) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
        wanted = {name: node.directory for name, node in self.model.children(path).items()}
        if self.nodes[path].value:
            wanted[".value"] = False
        self._count("list")
        self._same(f"list {path}", found, wanted)

    def perms(self) -> None:
        path, perms = self._any(), self._random.choice(PERMS)
        name = "user.xenstore.perms"
        if code := self.model.file_error(path):
            if code == errno.ENOENT:
                self._expect(f"getxattr {path}", code, lambda: os.getxattr(self._at(path), name))
            return
        if (wanted := self.nodes[path].perms) is not None:
            self._same(f"perms {path}", os.getxattr(self._at(path), name), wanted)
        node = f"/{self._place}{path}".encode()
        self._same(f"path {path}", os.getxattr(self._at(path), "user.xenstore.path"), node)
        if self._expect(f"setxattr {path}", 0, lambda: os.setxattr(self._at(path), name, perms)):
            self.nodes[path].perms = perms

    def own_value(self) -> None:
        path, value = self._directory(), self._value()
        file = self._at(path) + "/.value"
        if self.nodes[path].value:
            # Whoever made the directory sees none before (as `cp -a` wants it).
            self._same(f"read {path}/.value", get(file), self.nodes[path].text)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        text = value and value + b"\n"
        if self._expect(f"write {path}/.value", 0, lambda: put(file, text, flags)):
            self.nodes[path].value = value

    # -- JSON ---------------------------------------------------------------------------------

    def read_json(self) -> None:
        path = self._directory()
        self._count("json")
        self._same(
            f"json {path}", json.loads(get(self._at(path) + "/.json")), self.model.json(path)
        )

    def patch_json(self) -> None:
        path = self._directory()
        patch: Patch = {}
        for name in self._random.sample(NAMES, self._random.randint(1, 3)):
            node = self.nodes.get(f"{path}/{name}")
            kind = self._random.randrange(4)
            if kind == 0:
                patch[name] = None
            elif kind == 1 and (node is None or node.directory) and path.count("/") < DEPTH_MAX:
                patch[name] = {"a": self._value().decode()}
            else:
                patch[name] = self._value().decode()
        self._patch(path, patch)

    def prune(self) -> None:
        """Remove all there is by one patch."""
        self._patch("", dict.fromkeys(NAMES))

    def _patch(self, path: str, patch: Patch) -> None:
        text, file = json.dumps(patch).encode(), self._at(path) + "/.json"
        if self._expect(f"patch {path} {text!r}", 0, lambda: put(file, text, os.O_WRONLY)):
            self.model.patch(path, patch)

    # -- transactions -------------------------------------------------------------------------

    def transact(self) -> None:
        """Some writes that are seen all at once, or never."""
        self._count("transaction")
        os.mkdir(self._view)
        changes: dict[str, bytes] = {}
        for _ in range(self._random.randint(1, 3)):
            path, value = self._any(), b"%d" % self._random.randrange(10**6)
            if path not in self.nodes or not self.nodes[path].directory:
                changes[path] = value
                inside = f"{self._view}/{self._place}{path}"
                put(inside, value + b"\n", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                self._same(f"read {path} inside", get(inside), value + b"\n")
        if not self._random.randrange(4):
            os.rmdir(self._view)
            return
        code = error_of(lambda: put(self._view + "/.commit", b"1", os.O_WRONLY))
        if code == errno.EAGAIN:
            self._count("conflict")
        elif self._expect("commit", 0, lambda: self._raise(code)):
            for path, value in changes.items():
                self.model.store(path, value)

    @staticmethod
    def _raise(code: int) -> None:
        if code:
            raise OSError(code, os.strerror(code))

    # -- the end ------------------------------------------------------------------------------

    def verify(self) -> None:
        """Compare all with what the mount shows."""
        found: dict[str, tuple[bool, bytes]] = {}
        for folder, folders, files in os.walk(self._at("")):
            at = folder[len(self._at("")) :]
            found.update({f"{at}/{name}": (True, b"") for name in folders})
            for name in files:
                content = get(f"{folder}/{name}")
                if name == ".value":
                    found[at] = (True, content)
                else:
                    found[f"{at}/{name}"] = (False, content)
        found.setdefault("", (True, b""))
        wanted = {path: (node.directory, node.text) for path, node in self.nodes.items()}
        for path in sorted(found.keys() | wanted.keys()):
            self._same(f"at the end {path}", found.get(path), wanted.get(path))


OPERATIONS: tuple[Callable[[Subtree], None], ...] = (
    Subtree.write,
    Subtree.write,
    Subtree.append,
    Subtree.overwrite,
    Subtree.truncate,
    Subtree.create,
    Subtree.create,
    Subtree.read,
    Subtree.read,
    Subtree.stat,
    Subtree.mkdir,
    Subtree.mkdir,
    Subtree.rmdir,
    Subtree.unlink,
    Subtree.rename,
    Subtree.list,
    Subtree.perms,
    Subtree.own_value,
    Subtree.read_json,
    Subtree.patch_json,
    Subtree.transact,
)
