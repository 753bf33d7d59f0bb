# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""xsfs as mount(8) runs it: from root's shell, from fstab, and as a user."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.mount.installed import BIN, Machine
from tests.xen.daemons import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.packages import Xen

USER = 65534  # nobody: fusermount3 wants a user that has a name


@pytest.fixture(scope="module")
def store(xen: Xen) -> Iterator[Daemon]:
    """A daemon for all tests here: of the store itself they ask little."""
    with TemporaryDirectory(prefix="xsfs-") as folder, Daemon("xenstored", Path(folder), xen) as it:
        it.tool("xenstore-write", "/name", "Ziggy")
        yield it


@pytest.fixture(scope="module")
def shared_machine(fuse: None, root: None) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture
def machine(shared_machine: Machine) -> Iterator[Machine]:
    """With nothing mounted before and after."""
    yield shared_machine
    shared_machine.settle()
    (shared_machine.folder / "fstab").write_text("")
    (shared_machine.folder / "fuse.conf").write_text("")


def fstab(machine: Machine, *lines: str) -> None:
    text = "".join(f"{line.format(m=machine.mountpoint)}\n" for line in lines)
    (machine.folder / "fstab").write_text(text)


def name(machine: Machine) -> str:
    """What the mount answers."""
    return machine.check("cat", machine.mountpoint / "name")


# -- from the shell ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (("-t", "fuse", "xsfs"), "xsfs"),
        (("-t", "fuse.xsfs", "none"), "none"),
        (("-t", "fuse.xsfs", "xenstore"), "xenstore"),
        (("-t", "fuse", "xsfs#{socket}"), "xsfs#{socket}"),
        (("-t", "fuse.xsfs", "{socket}"), "{socket}"),
    ],
)
def test_mount_from_the_shell(
    machine: Machine, store: Daemon, words: tuple[str, ...], source: str
) -> None:
    command = [word.format(socket=store.socket) for word in ("mount", *words)]
    machine.check(*command, machine.mountpoint, XENSTORED_PATH=str(store.socket))
    assert name(machine) == "Ziggy\n"
    assert machine.mounts() == [
        [str(machine.mountpoint), source.format(socket=store.socket), "fuse.xsfs"]
    ]
    machine.check("umount", machine.mountpoint)
    assert machine.mounts() == []


@pytest.fixture
def mount_helper(machine: Machine) -> Iterator[None]:
    """mount.xsfs where mount(8) looks for it: in /sbin alone."""
    layers = [f"{layer}dir=/run/{layer}" for layer in ("upper", "work")]
    script = f"""
        mkdir -p /run/upper /run/work
        mount -t overlay overlay -o lowerdir=/usr/sbin,{",".join(layers)} /usr/sbin
        ln -s {BIN}/mount.xsfs /usr/sbin/mount.xsfs
    """
    machine.check("sh", "-e", "-c", script)
    yield
    machine.settle()
    machine.check("umount", "/usr/sbin")


def test_the_type_xsfs(machine: Machine, store: Daemon, mount_helper: None) -> None:
    socket = str(store.socket)
    machine.check("mount", "-t", "xsfs", socket, machine.mountpoint, "-o", "ro,noexec", "-v")
    assert name(machine) == "Ziggy\n"
    assert machine.mounts() == [[str(machine.mountpoint), socket, "fuse.xsfs"]]
    ((options,),) = machine.mounts("OPTIONS")
    assert {"ro", "noexec"} <= set(options.split(","))
    machine.check("umount", machine.mountpoint)
    fstab(machine, f"{socket} {{m}} xsfs nofail 0 0")
    for _ in range(2):
        machine.check("mount", "-a")
        assert len(machine.mounts()) == 1
    machine.check("umount", machine.mountpoint)
    machine.check("mount", "-f", "-t", "xsfs", socket, machine.mountpoint)
    assert machine.mounts() == []
    done = machine.run("mount", "-t", "xsfs", socket, machine.mountpoint, "-o", "colour=red")
    assert (done.returncode, done.stderr) == (2, "xsfs: unknown option 'colour=red'\n")


def test_read_only_shows_and_holds(machine: Machine, store: Daemon) -> None:
    machine.check("mount", "-r", "-t", "fuse.xsfs", store.socket, machine.mountpoint)
    ((options,),) = machine.mounts("OPTIONS")
    assert options.split(",")[0] == "ro"
    done = machine.run("sh", "-c", f"echo x > {machine.mountpoint}/name")
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert name(machine) == "Ziggy\n"


def test_findmnt_shows_the_kernels_options(machine: Machine, store: Daemon) -> None:
    options = "noexec,nosuid,nodev,noatime,allow_other,max_read=65536,x-thing=1,nofail,_netdev"
    machine.check("mount", "-t", "fuse.xsfs", store.socket, machine.mountpoint, "-o", options)
    ((shown,),) = machine.mounts("OPTIONS")
    expected = {"rw", "noexec", "nosuid", "nodev", "noatime", "allow_other"}
    assert expected <= set(shown.split(","))


def test_remount_is_refused_in_one_line(machine: Machine, store: Daemon) -> None:
    machine.check("mount", "-t", "fuse.xsfs", store.socket, machine.mountpoint)
    done = machine.run("mount", "-o", "remount,ro", machine.mountpoint)
    assert done.returncode == 2
    assert done.stderr == (
        "xsfs: remount is not supported: unmount, then mount with the new options\n"
    )
    assert len(machine.mounts()) == 1


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ("colour=red", 2, "xsfs: unknown option 'colour=red'\n"),
        (
            "load=/nowhere",
            1,
            "xsfs: socket= and load= need the source `embedded`: name it, or drop them\n",
        ),
    ],
)
def test_the_exit_status_is_mounts(
    machine: Machine, store: Daemon, options: str, status: int, said: str
) -> None:
    done = machine.run("mount", "-t", "fuse.xsfs", store.socket, machine.mountpoint, "-o", options)
    assert (done.returncode, done.stderr) == (status, said)


# -- from fstab -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("xsfs {m} fuse defaults", "xsfs"),
        ("none {m} fuse.xsfs ro,nofail,_netdev,x-systemd.requires=xenstored.service", "none"),
        ("xsfs#{socket} {m} fuse rw,noatime,nofail,x-systemd.automount", "xsfs#{socket}"),
        ("{socket} {m} fuse.xsfs uid=12345,gid=12345,fmask=0077,dmask=0077", "{socket}"),
        ("{socket} {m}/ fuse.xsfs user,comment=x", "{socket}"),
    ],
)
@pytest.mark.parametrize("other_file", [False, True])
def test_fstab_twice_is_one_mount(
    machine: Machine, store: Daemon, line: str, source: str, other_file: bool
) -> None:
    line = line.format(m=machine.mountpoint, socket=store.socket) + " 0 0"
    fstab(machine, "# a comment", line)
    command = ["mount", "-a"]
    if other_file:
        (machine.folder / "other").write_text(f"{line}\n")
        command += ["-T", str(machine.folder / "other")]
        fstab(machine)
    for _ in range(2):
        machine.check(*command, XENSTORED_PATH=str(store.socket))
        assert machine.mounts() == [
            [str(machine.mountpoint), source.format(socket=store.socket), "fuse.xsfs"]
        ]
    assert name(machine) == "Ziggy\n"


def test_fstab_mount_by_its_mountpoint(machine: Machine, store: Daemon) -> None:
    fstab(machine, f"{store.socket} {{m}} fuse.xsfs noauto,ro 0 0")
    machine.check("mount", "-a")
    assert machine.mounts() == []
    machine.check("mount", machine.mountpoint)
    assert machine.mounts("SOURCE") == [[str(store.socket)]]


def crash(machine: Machine) -> None:
    (daemon,) = machine.daemons()
    ended = os.pidfd_open(daemon)
    os.kill(daemon, signal.SIGKILL)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)


def test_a_crash_is_healed_by_the_next_mount(machine: Machine, store: Daemon) -> None:
    mount = ("mount", "-t", "fuse.xsfs", str(store.socket), machine.mountpoint)
    machine.check(*mount)
    crash(machine)
    assert "not connected" in machine.run("ls", machine.mountpoint).stderr
    machine.check(*mount)
    assert name(machine) == "Ziggy\n"
    assert len(machine.mounts()) == 1


def test_a_crash_is_healed_by_fstabs_mountpoint(machine: Machine, store: Daemon) -> None:
    fstab(machine, f"{store.socket} {{m}} fuse.xsfs nofail 0 0")
    machine.check("mount", "-a")
    crash(machine)
    # mount(8) takes a dead mount for a mount, and does not ask us.
    machine.check("mount", "-a")
    assert "not connected" in machine.run("ls", machine.mountpoint).stderr
    machine.check("mount", machine.mountpoint)
    assert name(machine) == "Ziggy\n"
    machine.check("mount", "-a")
    assert len(machine.mounts()) == 1


# -- as a user --------------------------------------------------------------------------------


def own_mountpoint(machine: Machine) -> Path:
    path = machine.folder / "home"
    path.mkdir(exist_ok=True)
    os.chown(path, USER, USER)
    return path


def test_a_user_mounts_the_embedded_store(machine: Machine) -> None:
    path = own_mountpoint(machine)
    machine.check("xsfs", "embedded", path, user=USER)
    assert machine.check("cat", path / "local/domain/1/name", user=USER) == "web\n"
    assert machine.check("stat", "-c", "%u %g %a", path / "local", user=USER) == (
        f"{USER} {USER} 755\n"
    )
    # Nobody else gets in, not even root.
    assert "Permission denied" in machine.run("ls", path).stderr
    machine.check("fusermount3", "-u", path, user=USER)
    assert machine.mounts() == []


def test_a_user_writes_and_reads_only(machine: Machine) -> None:
    path = own_mountpoint(machine)
    machine.check("xsfs", "embedded", path, "-o", "ro", user=USER)
    done = machine.run("sh", "-c", f"echo x > {path}/a", user=USER)
    assert "Read-only file system" in done.stderr
    machine.check("fusermount3", "-u", path, user=USER)


def test_allow_other_is_roots_unless_fuse_conf_says_so(machine: Machine) -> None:
    path = own_mountpoint(machine)
    mount = ("xsfs", "embedded", path, "-o", "allow_other")
    done = machine.run(*mount, user=USER)
    assert done.returncode == 1
    assert done.stderr == (
        "xsfs: allow_other and allow_root are for root alone, "
        "unless /etc/fuse.conf has a line `user_allow_other`\n"
    )
    (machine.folder / "fuse.conf").write_text("user_allow_other\n")
    machine.check(*mount, user=USER)
    assert machine.check("cat", path / "local/domain/1/name") == "web\n"
    machine.check("fusermount3", "-u", path, user=USER)


def test_a_users_crash_is_healed(machine: Machine) -> None:
    path = own_mountpoint(machine)
    machine.check("xsfs", "embedded", path, user=USER)
    crash(machine)
    machine.check("xsfs", "embedded", path, user=USER)
    assert machine.check("cat", path / "local/domain/1/name", user=USER) == "web\n"
    machine.check("fusermount3", "-u", path, user=USER)
