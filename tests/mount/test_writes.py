# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A write is one XenStore WRITE of a value that somebody meant: counted on the wire, and by
xenstore-watch.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.mount.shell import run, sh
from tests.outcome import until
from tests.xen.wire import Op

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.conftest import Here

# What a shell does with the file `f`, and the values that the store is to see.
WRITES = {
    "echo x > f": [b"x"],
    "printf x > f": [b"x"],
    "echo x | tee f": [b"x"],
    "echo x | dd of=f status=none": [b"x"],
    "printf abc | dd of=f bs=1 status=none": [b"a", b"ab", b"abc"],
    "(echo a; echo b) > f": [b"a", b"a\nb"],
    "(printf a; printf b) > f": [b"a", b"ab"],
    "exec 3> f; echo a >&3; echo b >&3": [b"a", b"a\nb"],
    "exec 3> f; exec 4>&3; exec 3>&-; echo a >&4": [b"a"],
    "exec 3> f; (true) 3>&3; echo a >&3": [b"a"],
    "printf 'no newline' > f": [b"no newline"],
    "printf '\\n' > f": [b""],
    "cat <<< $'two\n\nx\n' > f": [b"two\n\nx\n"],
    "printf 'a\\0b' > f": [b"a\0b"],
    "python3 -c \"open('f', 'w').write('x')\"": [b"x"],
    "cat <<< text > f": [b"text"],
}


PYTHON = "python3 -c \"import sys; open('f', 'wb', 0).write(sys.stdin.buffer.read())\""


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("old", [None, b"old value"])
def test_each_write_stores_a_whole_value_and_nothing_else(
    here: Here, command: str, old: bytes | None
) -> None:
    if old is not None:
        here.store.write(here.at(b"f"), old)
    sh(command, here.path)
    assert here.tap.values(here.at(b"f")) == WRITES[command]
    assert here.store.read(here.at(b"f")) == WRITES[command][-1]


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("echo y >> f", [b"old\ny"]),
        ("(printf a; printf b) >> f", [b"old\na", b"old\nab"]),
        ("printf X | dd of=f conv=notrunc status=none", [b"Xld"]),
        ("printf X | dd of=f conv=notrunc bs=1 seek=2 status=none", [b"olX"]),
        ("printf X | dd of=f conv=notrunc bs=1 seek=6 status=none", [b"old\n\0\0X"]),
        ("exec 3<> f; read -r line <&3; echo $line$line >&3", [b"old\noldold"]),
        ("exec 3>> f; echo a >&3; echo b >> f", [b"old\na", b"old\na\nb"]),
        ("exec 3>> f; echo a >> f; echo b >&3", [b"old\na", b"old\na\nb"]),
    ],
)  # fmt: skip
def test_append_and_pwrite_do_the_expected_on_the_text(
    here: Here, command: str, values: list[bytes]
) -> None:
    here.store.write(here.at(b"f"), b"old")
    sh(command, here.path)
    assert here.tap.values(here.at(b"f")) == values


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (": > f", b""),
        ("truncate -s 0 f", b""),
        ("truncate -s 2 f", b"ol"),
        ("truncate -s 3 f", b"old"),
        ("truncate -s 6 f", b"old\n\0\0"),
        ("touch new", b""),
        (": > new", b""),
        ("exec 3>> new", b""),
        ("flock new true", b""),
        ("python3 -c \"import os; os.open('new', os.O_CREAT | os.O_RDONLY)\"", b""),
        ("python3 -c \"import os; os.truncate('f', 1)\"", b"o"),
        ("python3 -c \"open('new', 'x')\"", b""),
        ("python3 -c \"import os; os.mknod('new')\"", b""),
    ],
)
def test_truncation_or_creation_with_no_write_is_stored_at_release(
    here: Here, command: str, value: bytes
) -> None:
    here.store.write(here.at(b"f"), b"old")
    sh(command, here.path)
    path = here.at(b"new" if "new" in command else b"f")
    until(lambda: here.tap.values(path) == [value])
    until(lambda: here.store.read(path) == value)


@pytest.mark.parametrize("command", ["cat f", "exec 3>> f", "exec 3<> f", "touch f", "sync f"])
def test_what_writes_nothing_stores_nothing(root: None, here: Here, command: str) -> None:
    here.store.write(here.at(b"f"), b"old")
    sh(command, here.path)
    assert here.forgets(), "with the last inode, all that was open has been released"
    assert here.tap.changes() == []


def test_fsync_stores_a_truncation_and_a_creation(here: Here) -> None:
    here.store.write(here.at(b"f"), b"old")
    for name in ("f", "new"):
        fd = os.open(here.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        assert here.store.read(here.at(name.encode())) in (b"old", None), "not at open"
        os.fsync(fd)
        assert here.store.read(here.at(name.encode())) == b""
        os.close(fd)


def test_xenstore_watch_sees_one_event_for_a_write(here: Here) -> None:
    node = here.node.decode()
    with here.daemon.start_tool("xenstore-watch", node) as watch:
        assert watch.read_line() == here.node
        sh("echo 1 > f; (echo a; echo b) > g; : > h; mkdir d; mv f d/f; rm -r d", here.path)
        here.tap.await_change(here.at(b"h"))
        here.store.write(here.at(b"end"), b"")
        events = []
        while (line := watch.read_line()) != here.at(b"end"):
            events.append(line.removeprefix(here.node))
    # C xenstored sends equal events that wait as one; for oxenstored the value and the
    # permissions of what was moved are two changes.
    assert Counter(events) <= Counter({b"/f": 2, b"/g": 2, b"/h": 1, b"/d": 2, b"/d/f": 3}), events
    assert set(events) == {b"/f", b"/g", b"/h", b"/d", b"/d/f"}
    assert here.tap.values(here.at(b"g")) == [b"a", b"a\nb"]


def has_size(path: Path, size: int) -> bool:
    return path.stat().st_size == size


def test_st_size_is_true_of_closed_and_open_files(here: Here) -> None:
    path = here.path / "f"
    for value in (b"", b"1", b"\n", b"x" * 2000):
        here.store.write(here.at(b"f"), value)
        size = len(value) + 1 if value else 0
        until(partial(has_size, path, size))
        assert len(path.read_bytes()) == size
    with open(path, "r+b", buffering=0) as file:
        for size in (3, 0, 10):
            file.truncate(size)
            assert os.fstat(file.fileno()).st_size == size
        file.write(b"12345\n")
        assert os.fstat(file.fileno()).st_size == len(path.read_bytes())
    with open(path, "wb", buffering=0) as file:
        assert file.seek(0, os.SEEK_END) == 0
        file.write(b"new")
    assert path.stat().st_size == 4


def test_a_value_that_is_overwritten_is_not_read(here: Here) -> None:
    sh("echo 1 > f", here.path)
    here.tap.start()
    sh("echo 2 > f", here.path)
    # A node that is looked at has both asked for, one after the other.
    until(lambda: here.tap.count(Op.READ) == here.tap.count(Op.DIRECTORY))
    assert here.store.read(here.at(b"f")) == b"2"


def test_two_writers_each_store_their_own_value(root: None, here: Here) -> None:
    path = here.path / "f"
    with open(path, "wb", buffering=0) as one, open(path, "wb", buffering=0) as two:
        one.write(b"from one\n")
        two.write(b"two\n")
    assert here.forgets()
    assert here.tap.values(here.at(b"f")) == [b"from one", b"two"]


def test_a_truncation_does_not_undo_what_another_wrote_since(root: None, here: Here) -> None:
    here.store.write(here.at(b"f"), b"old")
    path = here.path / "f"
    for mode in ("wb", "ab", "r+b"):
        with open(path, mode, buffering=0):
            path.write_bytes(b"new\n")
        assert here.forgets()
        assert here.store.read(here.at(b"f")) == b"new"


def test_a_file_being_created_is_opened_by_another(here: Here) -> None:
    path = here.path / "f"
    with open(path, "xb", buffering=0) as one:
        assert path.read_bytes() == b""
        with open(path, "ab", buffering=0) as two:
            two.write(b"two\n")
        one.write(b"one\n")
    assert here.store.read(here.at(b"f")) == b"one"


def test_a_process_reads_its_own_writes_through_files_opened_before(here: Here) -> None:
    here.store.write(here.at(b"f"), b"old")
    path = here.path / "f"
    with open(path, "rb", buffering=0) as reader, open(path, "r+b", buffering=0) as writer:
        for text in (b"one\n", b"three\n"):
            writer.seek(0)
            writer.write(text)
            assert os.pread(reader.fileno(), 100, 0) == text
            assert os.pread(reader.fileno(), 100, 2) == text[2:]


def test_a_reader_who_waits_at_the_end_sees_what_is_appended(here: Here) -> None:
    here.store.write(here.at(b"f"), b"one")
    with open(here.path / "f", "rb", buffering=0) as file:
        assert file.read(100) == b"one\n"
        assert file.read(100) == b""
        here.store.write(here.at(b"f"), b"one\ntwo")
        assert file.read(100) == b"two\n"


def test_a_value_read_in_pieces_is_one_value(here: Here) -> None:
    here.store.write(here.at(b"f"), b"a" * 500)
    with open(here.path / "f", "rb", buffering=0) as file:
        first = file.read(10)
        here.store.write(here.at(b"f"), b"b" * 700)
        assert first + file.read(1000) == b"a" * 500 + b"\n"


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_value_too_long_is_refused_by_the_write_itself(here: Here, old: bytes | None) -> None:
    if old is not None:
        here.store.write(here.at(b"f"), old)
    fd = os.open(here.path / "f", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with pytest.raises(OSError, match="File too large") as refused:
        os.write(fd, b"x" * 4097)
    assert refused.value.errno == errno.EFBIG
    assert here.store.read(here.at(b"f")) == old
    os.write(fd, b"short")
    os.close(fd)
    assert here.store.read(here.at(b"f")) == b"short"


@pytest.mark.parametrize("size", [5000, 1 << 20, 1 << 40, 1 << 62])
def test_no_offset_and_no_size_is_too_big_to_be_refused(root: None, here: Here, size: int) -> None:
    here.store.write(here.at(b"f"), b"old")
    with open(here.path / "f", "r+b", buffering=0) as file:
        for attempt in (
            lambda: file.truncate(size),
            lambda: os.truncate(here.path / "f", size),
            lambda: os.pwrite(file.fileno(), b"x", size - 1),
        ):
            with pytest.raises(OSError, match=r"File too large|Invalid argument"):
                attempt()
        assert os.pread(file.fileno(), 10, size - 1) == b""
    assert here.forgets()
    assert here.store.read(here.at(b"f")) == b"old"


def test_the_longest_value_that_the_store_takes_is_taken(root: None, here: Here) -> None:
    path = here.path / "f"
    # xenstored: what fits into a packet with the path; oxenstored: quota-maxsize.
    longest = 4096 - len(here.at(b"f")) - 1 if here.daemon.kind == "xenstored" else 2048
    path.write_bytes(b"x" * longest)
    assert here.store.read(here.at(b"f")) == b"x" * longest
    assert path.read_bytes() == b"x" * longest + b"\n"
    with pytest.raises(OSError, match="File too large"):
        path.write_bytes(b"x" * (longest + 1))
    assert here.forgets()
    path.write_bytes(b"x" * longest + b"\n")
    assert here.store.read(here.at(b"f")) == b"x" * longest


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("command", ["> f", ">> f", "| dd of=f bs=8k conv=notrunc", f"| {PYTHON}"])
def test_a_refused_write_leaves_the_old_value_after_release_too(
    root: None, here: Here, command: str, old: bytes | None
) -> None:
    if old is not None:
        here.store.write(here.at(b"f"), old)
    assert "File too large" in run(f"head -c 5000 /dev/zero {command}", here.path).stderr
    assert here.forgets()
    assert here.store.read(here.at(b"f")) == old
    assert here.tap.values(here.at(b"f")) in ([], [b"\0" * 4096])
    assert os.listdir(here.path) == ([] if old is None else ["f"])


def test_a_refused_write_can_be_followed_by_another_or_a_truncation(here: Here) -> None:
    path = here.path / "f"
    for old in (None, b"old"):
        if old is not None:
            here.store.write(here.at(b"f"), old)
        with open(path, "wb", buffering=0) as file:
            with pytest.raises(OSError, match="File too large"):
                file.write(b"x" * 4097)
            file.write(b"short")
        assert here.store.read(here.at(b"f")) == b"short"
        with open(path, "wb", buffering=0) as file:
            with pytest.raises(OSError, match="File too large"):
                file.write(b"x" * 4097)
            file.truncate(0)
            os.fsync(file.fileno())
            assert here.store.read(here.at(b"f")) == b""


def test_a_removed_files_writer_is_told(here: Here) -> None:
    with open(here.path / "f", "wb", buffering=0) as file:
        file.write(b"1")
        os.unlink(here.path / "f")
        with pytest.raises(FileNotFoundError):
            file.write(b"2")
    assert here.store.read(here.at(b"f")) is None


def test_noclobber_is_refused_for_a_node_that_is_there(here: Here) -> None:
    here.store.write(here.at(b"f"), b"old")
    assert "cannot overwrite" in run("set -C; echo x > f", here.path).stderr
    assert here.tap.changes() == []
