# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Changes the store from outside, and looks through the mount straight after each reply.

A second connection writes, creates, removes and re-creates at random; what an open or a listing
then shows must be what the store was just left with. For many rounds: tests.soak.coherence.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xsfs

DIRECTORIES = 8
LEAVES = 16

# How long a cache that follows events may lag before it counts as stuck, in seconds.
LAG_MAX_S = 5.0


class Checker:
    """A model of the store, kept beside it.

    Args:
        top: the mountpoint.
        seed: of the sequence of changes.
    """

    def __init__(self, client: xsfs.Client, top: Path, seed: int) -> None:
        self.client = client
        self.top = os.fsencode(top)
        self.random = random.Random(seed)
        self.model: dict[bytes, dict[bytes, bytes]] = {}
        self.counts: Counter[str] = Counter()
        self.lags_s: list[float] = []
        self.wrong: list[str] = []
        self.serial = 0

    def value(self) -> bytes:
        self.serial += 1
        return b"%d" % self.serial * self.random.choice((1, 1, 1, 40))

    def change(self) -> tuple[bytes, bytes]:
        """One change in the store; the directory and the leaf that it was about."""
        directory = b"/c/d%d" % self.random.randrange(DIRECTORIES)
        leaf = b"l%d" % self.random.randrange(LEAVES)
        path = directory + b"/" + leaf
        nodes = self.model.setdefault(directory, {})
        match self.random.randrange(12):
            case 0:
                self.client.delete(b"/c")
                self.client.mkdir(directory)
                self.model = {directory: {}}
            case 1:
                self.client.mkdir(directory)
                self.client.delete(directory)
                self.client.write(path, value := self.value())
                self.model[directory] = {leaf: value}
            case 2 | 3:
                self.client.mkdir(directory)
                self.client.delete(path)
                nodes.pop(leaf, None)
            case 4:
                values = {b"l%d" % at: self.value() for at in self.random.sample(range(LEAVES), 4)}
                self.client.batch(
                    [requests.write(directory + b"/" + name, v) for name, v in values.items()]
                )
                nodes.update(values)
            case _:
                self.client.write(path, value := self.value())
                nodes[leaf] = value
        return directory, leaf

    def read(self, directory: bytes, leaf: bytes) -> bytes | None:
        try:
            fd = os.open(self.top + directory + b"/" + leaf, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            # An empty node was a file, and the kernel may take it for one until the event.
            return None if leaf not in self.model.get(directory, {}) else self.late(directory, leaf)
        try:
            return os.read(fd, 8192)
        finally:
            os.close(fd)

    def late(self, directory: bytes, leaf: bytes) -> bytes | None:
        """What is read when the event of a file's becoming a directory has arrived."""
        self.counts["late directories"] += 1
        deadline_s = time.monotonic() + LAG_MAX_S
        while time.monotonic() < deadline_s:
            if os.path.isdir(self.top + directory):
                return self.read(directory, leaf)
        self.stuck(directory)
        return None

    def stuck(self, path: bytes) -> None:
        """Count what does not come in time."""
        self.counts["stuck"] += 1
        self.wrong.append(f"{path!r}: not as it should be after {LAG_MAX_S} s")

    def listing(self, directory: bytes) -> list[bytes] | None:
        try:
            return sorted(os.listdir(self.top + directory))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            return []

    def expected(self, directory: bytes, leaf: bytes) -> bytes | None:
        value = self.model.get(directory, {}).get(leaf)
        return None if value is None else value + b"\n"

    def compare(self, what: str, path: bytes, seen: object, wanted: object) -> None:
        """Count what is stale, and remember it."""
        if seen != wanted:
            self.counts[f"stale {what}"] += 1
            self.wrong.append(f"{path!r}: {what}: {seen!r}, not {wanted!r} ({dict(self.counts)})")

    def check(self, directory: bytes, leaf: bytes) -> None:
        """What is seen now must be what the store holds."""
        if self.random.randrange(3):
            seen, wanted = self.read(directory, leaf), self.expected(directory, leaf)
            self.counts["opens"] += 1
            self.compare("opens", directory + b"/" + leaf, seen, wanted)
        else:
            names, nodes = self.listing(directory), sorted(self.model.get(directory, {}))
            if nodes and not names and self.late(directory, nodes[0]) is not None:
                names = self.listing(directory)
            self.counts["listings"] += 1
            self.compare("listings", directory, names, nodes)

    def measure(self, directory: bytes, leaf: bytes) -> None:
        """How long until what is seen is what the store holds."""
        start_s = time.monotonic()
        wanted = self.expected(directory, leaf)
        while self.read(directory, leaf) != wanted:
            if time.monotonic() - start_s > LAG_MAX_S:
                self.stuck(directory + b"/" + leaf)
                return
        self.lags_s.append(time.monotonic() - start_s)

    def own(self, directory: bytes, leaf: bytes) -> None:
        """What is written through the mount is read back from it, in every mode."""
        if directory not in self.model:
            return
        path, value = self.top + directory + b"/" + leaf, self.value()
        try:
            with open(path, "wb", buffering=0) as file:
                file.write(value + b"\n")
        except (FileNotFoundError, NotADirectoryError):
            self.counts["own writes missed"] += 1
            return
        self.model[directory][leaf] = value
        self.counts["own writes"] += 1
        seen = self.read(directory, leaf)
        self.compare("own writes", directory + b"/" + leaf, seen, value + b"\n")


def run(checker: Checker, look: Callable[[bytes, bytes], None], going: Callable[[], bool]) -> None:
    """Change and look, for as long as it is `going`."""
    while going():
        directory, leaf = checker.change()
        look(directory, leaf)
        if not checker.random.randrange(4):
            checker.own(directory, leaf)
