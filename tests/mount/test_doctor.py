# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`xsfs doctor` on machines where something is wrong."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deadline import DEADLINE_S
from tests.mount.installed import Machine
from tests.mount.mounting import XSFS, Mounted
from xsfs.mount import doctor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon


@pytest.fixture
def machine(fuse: None, root: None) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine
        machine.settle()


def told(machine: Machine, store: str | Path = "", command: str = "xsfs") -> tuple[int, list[str]]:
    """The exit status, and what is said of this machine's own affairs."""
    done = machine.run(*command.split(), "doctor", XENSTORED_PATH=str(store))
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    # Whatever else is mounted here is not the test's.
    return done.returncode, [
        line for line in lines if "/m " not in line or str(machine.folder) in line
    ]


def test_all_is_well(machine: Machine, daemon: Daemon) -> None:
    machine.check("xsfs", daemon.socket, machine.mountpoint)
    status, lines = told(machine, daemon.socket)
    assert status == 0, lines
    store = f"ok       the store at {daemon.socket} answers, "
    assert any(
        line.startswith(store) and f"; it is {daemon.kind} of Xen 4.17, process " in line
        for line in lines
    ), lines
    for text in (
        "/dev/fuse can be opened",
        "mount(8) finds /usr/local/sbin/xsfs",
        f"{machine.mountpoint} is mounted and answers",
    ):
        assert f"ok       {text}" in lines


def test_a_store_that_is_not_there(machine: Machine) -> None:
    status, lines = told(machine, machine.folder)
    assert status == 1
    assert lines[0].startswith(f"FAULT    cannot connect to {machine.folder}: ")
    assert lines[0].endswith("; it is a directory, name its socket")


def test_no_command_and_no_descriptors(machine: Machine) -> None:
    command = os.readlink(machine.folder / "sbin/xsfs")
    (machine.folder / "sbin/xsfs").unlink()
    status, lines = told(machine, command=f"prlimit --nofile=32 {command}")
    assert status == 1
    said = "\n".join(lines)
    assert "FAULT    mount(8) and fstab find no xsfs: link the command to " in said
    assert "FAULT    only 32 files may be open at once, 64 are needed: " in said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "is dead, its daemon was killed: mount again there"),
        (signal.SIGSTOP, "does not answer: its daemon is stopped or hangs; `umount -f -l {m}`"),
    ],
)
def test_a_mount_that_is_not_well(machine: Machine, number: int, said: str) -> None:
    machine.check("xsfs", "embedded", machine.mountpoint)
    (daemon,) = machine.daemons()
    ended = os.pidfd_open(daemon)
    os.kill(daemon, number)
    if number == signal.SIGKILL:
        assert select.select([ended], [], [], 10)[0]
    status, lines = told(machine)
    if number == signal.SIGSTOP:
        os.kill(daemon, signal.SIGCONT)
    os.close(ended)
    m = machine.mountpoint
    assert status == 1
    assert any(line.startswith(f"FAULT    {m} {said.format(m=m)}") for line in lines), lines


def test_what_it_says_of_a_stopped_daemon_helps_whoever_mounted(fuse: None) -> None:
    with Mounted("embedded") as mounted:
        assert mounted.process is not None
        mounted.process.send_signal(signal.SIGSTOP)
        try:
            done = subprocess.run(
                [*XSFS, "doctor"], capture_output=True, text=True, timeout=40, check=False
            )
            (command,) = re.findall(rf"`(.* {mounted.path})`", done.stdout)
            subprocess.run(command.split(), check=True, timeout=DEADLINE_S)
        finally:
            mounted.process.send_signal(signal.SIGCONT)
        assert mounted.wait() == 0


def test_mounts_one_over_the_other(machine: Machine) -> None:
    machine.check("xsfs", "embedded", machine.mountpoint)
    machine.check("mount", "--bind", machine.mountpoint, machine.mountpoint)
    _, lines = told(machine)
    machine.check("umount", machine.mountpoint)
    m = machine.mountpoint
    assert f"FAULT    {m} is mounted 2 times, one over the other: `umount {m}`" in lines


def test_updatedb_is_to_keep_out(tmp_path: Path) -> None:
    conf = tmp_path / "updatedb.conf"
    assert list(doctor.check_updatedb(str(conf))) == []
    conf.write_text('PRUNEFS="nfs tmpfs"\n')
    (finding,) = doctor.check_updatedb(str(conf))
    assert finding.text == f"updatedb walks the mount: add fuse.xsfs to PRUNEFS in {conf}"
    conf.write_text('PRUNEFS="nfs fuse.xsfs tmpfs"\n')
    assert list(doctor.check_updatedb(str(conf))) == []
