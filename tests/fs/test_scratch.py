# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""When scratch files end, by a clock of the test's own; and which names are theirs."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from xsfs.fs.model.nodes import Node, View
from xsfs.fs.virtual.scratch import KEPT_S, ScratchFiles, is_scratch

MKSTEMP = os.O_RDWR | os.O_CREAT | os.O_EXCL
OWNER = (0, 0)


def test_one_ends_a_minute_after_the_last_close() -> None:
    async def main() -> None:
        node = Node(View(b"/"), None, b"/")
        files = ScratchFiles(raw=False)
        file = files.create(node, b"f.AbCdEf", OWNER)
        first = await file.open(os.O_RDWR, 0)
        second = await file.open(os.O_RDONLY, 0)
        await first.write(0, b"x")
        await first.release()
        await trio.sleep(10 * KEPT_S)
        assert files.in_directory(node) == {b"f.AbCdEf": file}
        await second.release()
        await trio.sleep(KEPT_S - 1)
        assert files.in_directory(node) == {b"f.AbCdEf": file}
        await trio.sleep(1)
        assert files.in_directory(node) == {}
        # Room is made by that.
        for number in range(64):
            files.create(node, b"f.%06d" % number, OWNER)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_those_of_a_transaction_end_with_it() -> None:
    async def main() -> None:
        view = View(b"/", 5, View(b"/"))
        files = ScratchFiles(raw=False)
        files.create(view.root, b"f.AbCdEf", OWNER)
        view.over = True
        assert files.in_directory(view.root) == {}

    trio.run(main)


@pytest.mark.parametrize(
    ("name", "flags", "mode", "is_one"),
    [
        (b"f.gawk.Q612P7", MKSTEMP, 0o600, True),
        (b".f.Q612P7", MKSTEMP, 0o100600, True),
        (b"f.opnVW4V", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, True),
        (b"f.bak", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, False),
        (b"f.bak", MKSTEMP, 0o644, False),
        (b"f.bak", os.O_RDWR | os.O_CREAT, 0o600, False),
        (b"f.d", MKSTEMP, 0o600, False),
        (b"f.link", MKSTEMP, 0o600, False),
        (b"tmpQ612P7", MKSTEMP, 0o600, False),
        (b"f." + b"x" * 254, MKSTEMP, 0o600, False),
    ],
)
def test_which_are_scratch_files(name: bytes, flags: int, mode: int, is_one: bool) -> None:
    assert is_scratch(name, flags, mode) == is_one
