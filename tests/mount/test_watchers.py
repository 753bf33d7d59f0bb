# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Programs that watch files, written by others and unchanged, on what other clients change."""

from __future__ import annotations

import ctypes
import os
import queue
import select
import struct
import subprocess
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from tests.conftest import require
from tests.deadline import DEADLINE_S
from tests.inotify import Heard, Inotify
from tests.programs import Program
from tests.soak.events import soak
from tests.xen.wire import Op

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.conftest import Here
    from tests.xen.daemons import Daemon


def inotifywait(here: Here, *options: str) -> Program:
    """inotifywait on the test's directory, watching already."""
    program = Program(["inotifywait", "-m", "--format", "%e %f", *options, str(here.path)])
    while b"Watches established" not in program.read_line():
        pass
    return program


def change(here: Here) -> None:
    """A change of each kind; those of one node at once would be one for whoever looks later."""
    here.store.write(here.at(b"a"), b"2")
    here.store.set_perms(here.at(b"p"), b"n0,r5")
    here.store.write(here.at(b"b"), b"")
    here.store.rm(here.at(b"c"))
    here.store.write(here.at(b"s/n"), b"1")
    here.store.rm(here.at(b"t"))
    here.store.write(here.at(b"end"), b"")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("modify", ["MODIFY a"]),
        ("close_write", ["CLOSE_WRITE,CLOSE a"]),
        ("attrib", ["ATTRIB p"]),
        ("open", ["OPEN a"]),
        ("create", ["CREATE b", "CREATE,ISDIR s"]),
        ("delete", ["DELETE c", "DELETE,ISDIR t"]),
        ("moved_to", []),
    ],
)
def test_inotifywait_hears_each_kind(here: Here, kind: str, lines: list[str]) -> None:
    here.have("a", "p", "c", "t/n")
    with inotifywait(here, "-e", kind, "-e", "create") as program:
        change(here)
        heard = []
        while (line := program.read_line().decode()) != "CREATE end":
            heard.append(line)
    assert [line for line in heard if kind == "create" or "CREATE" not in line] == lines


def test_inotifywait_r_hears_a_tree(here: Here) -> None:
    here.have("s/t/a")
    with inotifywait(here, "-r", "-e", "modify,create,delete") as program:
        here.store.write(here.at(b"s/t/a"), b"2")
        assert program.read_line() == b"MODIFY a"
        here.store.write(here.at(b"s/t/b"), b"")
        assert program.read_line() == b"CREATE b"
        here.store.rm(here.at(b"s/t"))
        lines = [program.read_line() for _ in range(3)]
        assert lines == [b"DELETE a", b"DELETE b", b"DELETE,ISDIR t"]


def test_inotifywait_on_a_file(here: Here) -> None:
    here.have("a")
    command = ["inotifywait", "--format", "%e", "-e", "modify", str(here.path / "a")]
    with Program(command) as program:
        while b"Watches established" not in program.read_line():
            pass
        here.store.write(here.at(b"a"), b"2")
        assert program.read_line() == b"MODIFY"
        assert program.process.wait(DEADLINE_S) == 0


class Collector(FileSystemEventHandler):
    """What watchdog reports, in order."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.seen: queue.Queue[tuple[str, str]] = queue.Queue()

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = os.path.relpath(os.fsdecode(event.src_path), self.top)
        self.seen.put((event.event_type, path))


def test_watchdog_reports_what_happened(here: Here) -> None:
    here.have("a", "p", "c", "t/n")
    handler = Collector(here.path)
    observer = Observer()
    observer.schedule(handler, str(here.path), recursive=True)
    observer.start()
    try:
        change(here)
        seen: Counter[tuple[str, str]] = Counter()
        while not seen["created", "end"]:
            seen[handler.seen.get(timeout=DEADLINE_S)] += 1
    finally:
        observer.stop()
        observer.join()
    expected = [("modified", "a"), ("closed", "a"), ("created", "b")]
    expected += [("deleted", "c"), ("created", "s"), ("deleted", "t")]
    assert not [event for event in expected if not seen[event]]


def test_tail_follows_a_value(here: Here) -> None:
    here.have("a")
    with Program(["tail", "-n", "+1", "-s", "0.1", "-F", str(here.path / "a")]) as program:
        assert program.read_line() == b"1"
        here.store.write(here.at(b"a"), b"1\nand more")
        assert program.read_line() == b"and more"


def test_entr_runs_a_command(here: Here) -> None:
    require("entr")
    here.have("a")
    file = here.path / "a"
    command = f"exec entr -n cat {file} << end\n{file}\nend"
    with Program(["sh", "-c", command]) as program:
        assert program.read_line() == b"1"
        # It overhears what happens in the moment after its command, also on a local file.
        for value in range(2, 50):
            here.store.write(here.at(b"a"), b"%d" % value)
            with suppress(TimeoutError):
                assert int(program.read_line(0.2)) <= value
                return
        pytest.fail("entr heard nothing")


@pytest.mark.parametrize(
    # linux/fanotify.h: FAN_MARK_ADD, FAN_MARK_FILESYSTEM; FAN_MODIFY, FAN_EVENT_ON_CHILD.
    ("flags", "mask", "name"),
    [(0x101, 0x2, "."), (0x1, 0x08000002, "."), (0x1, 0x2, "a")],
    ids=["file system", "directory", "file"],
)
def test_fanotify_hears_it(root: None, here: Here, flags: int, mask: int, name: str) -> None:
    """In the place of fatrace, which can mark no FUSE file system.

    It asks for FAN_REPORT_FID, and Linux refuses that (ENODEV) for the whole of a file system
    that statfs(2) gives no identifier, as FUSE's protocol has none.
    """
    here.have("a")
    libc = ctypes.CDLL(None, use_errno=True)
    # FAN_CLASS_NOTIF
    fd = libc.fanotify_init(0, os.O_RDONLY)
    path = os.fsencode(here.path / name)
    assert not libc.fanotify_mark(fd, flags, ctypes.c_uint64(mask), -100, path)
    try:
        here.store.write(here.at(b"a"), b"2")
        assert select.select([fd], [], [], DEADLINE_S)[0]
        # struct fanotify_event_metadata
        _, _, _, _, what, changed, _ = struct.unpack_from("=IBBHQii", os.read(fd, 4096))
        link = os.readlink(f"/proc/self/fd/{changed}")
        os.close(changed)
        assert (what, os.path.basename(link)) == (2, "a")
    finally:
        os.close(fd)


def test_a_small_soak(fuse: None, daemon: Daemon) -> None:
    assert soak(daemon, 2000, 200).wrong == []


def test_changes_through_the_mount_are_heard_once(here: Here) -> None:
    with Inotify() as heard:
        heard.watch(here.path, "d")
        subprocess.run(
            ["sh", "-c", "echo 1 > a; echo 2 > a; mkdir s; mv a b; rm b; rmdir s"],
            cwd=here.path,
            check=True,
        )
        here.store.write(here.at(b"end"), b"")
        counts = Counter(heard.until(Heard("d", "CREATE", "end").__eq__))
    for what, name in (
        ("CREATE", "a"),
        ("CREATE,ISDIR", "s"),
        ("MOVED_FROM", "a"),
        ("MOVED_TO", "b"),
        ("DELETE", "b"),
        ("DELETE,ISDIR", "s"),
    ):
        assert counts[Heard("d", what, name)] == 1, (what, name)
    assert counts[Heard("d", "CLOSE_WRITE", "a")] == 2


def test_a_transaction_rolled_back_is_not_heard(here: Here) -> None:
    with Inotify() as heard:
        heard.watch(here.path, "d")
        wire = here.store.wire
        tx_id = int(wire.ask(Op.TRANSACTION_START, b"\0").rstrip(b"\0"))
        wire.ask(Op.WRITE, here.at(b"a") + b"\0" + b"1", tx_id=tx_id)
        wire.ask(Op.TRANSACTION_END, b"F\0", tx_id=tx_id)
        here.store.write(here.at(b"end"), b"")
        assert heard.until(Heard("d", "CREATE", "end").__eq__) == []
