# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The systemd units, under a systemd of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing
from tests.mount.booted import ROOT, Booted
from tests.mount.fleet import install
from tests.xen.daemons import Daemon
from tests.xen.packages import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.packages import Xen

MOUNTPOINT = Path("/mnt/xenstore")


@pytest.fixture(scope="module")
def systemd() -> None:
    """Asks for systemd's programs; it need not run."""
    if shutil.which("systemd-analyze") is None or not os.path.exists("/lib/systemd/systemd"):
        missing("systemd is missing (Debian: systemd)")


@pytest.fixture(scope="module")
def machine(fuse: None, root: None, systemd: None, xen: Xen) -> Iterator[Booted]:
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon("xenstored", Path(folder), xen) as daemon,
    ):
        daemon.tool("xenstore-write", "/name", "Ziggy")
        with Booted(daemon) as machine:
            machine.check("systemctl", "start", "xenstored")
            yield machine


def is_mounted(machine: Booted, mountpoint: Path = MOUNTPOINT) -> bool:
    return machine.run("mountpoint", "-q", mountpoint).returncode == 0


def name(machine: Booted, mountpoint: Path = MOUNTPOINT) -> str:
    return machine.check("cat", mountpoint / "name")


# -- written well -----------------------------------------------------------------------------


@pytest.mark.parametrize("unit", sorted(path.name for path in (ROOT / "systemd").iterdir()))
def test_systemd_finds_no_fault(machine: Booted, unit: str) -> None:
    unit = unit.replace("@.", "@some-host.")
    verify = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes")
    machine.check(*verify, unit)


@pytest.mark.parametrize(
    ("unit", "exposure"), [("xsfs.service", 40), ("xsfs@.service", 40), ("xsfs-ssh@.service", 25)]
)
def test_the_services_are_confined(systemd: None, unit: str, exposure: int) -> None:
    """To tenths of what systemd calls exposure; nothing that mounts gets far below 4."""
    subprocess.run(
        (
            *("systemd-analyze", "security", "--offline=true"),
            *(f"--threshold={exposure}", ROOT / "systemd" / unit),
        ),
        check=True,
        capture_output=True,
    )


# -- xsfs.service -----------------------------------------------------------------------------


def test_the_service_mounts_and_unmounts(machine: Booted) -> None:
    machine.check("systemctl", "start", "xsfs")
    # It was ready when systemd said so.
    assert name(machine) == "Ziggy\n"
    assert machine.check("findmnt", "-n", "-o", "SOURCE,FSTYPE", MOUNTPOINT).split() == [
        "none",
        "fuse.xsfs",
    ]
    machine.check("sh", "-c", f"echo new > {MOUNTPOINT}/other; rm {MOUNTPOINT}/other")
    machine.check("systemctl", "stop", "xsfs")
    assert machine.properties("xsfs", "ActiveState", "Result") == ["success", "inactive"]
    assert not is_mounted(machine)


def test_the_service_takes_its_options_from_a_file(machine: Booted) -> None:
    conf = "MOUNTPOINT=/mnt/elsewhere\nOPTIONS=ro,noatime\n"
    machine.check("sh", "-c", 'printf %s "$0" > /etc/xsfs.conf', conf)
    machine.check("systemctl", "start", "xsfs")
    assert name(machine, Path("/mnt/elsewhere")) == "Ziggy\n"
    options = machine.check("findmnt", "-n", "-o", "OPTIONS", "/mnt/elsewhere")
    assert {"ro", "noatime"} <= set(options.strip().split(","))
    machine.check("systemctl", "stop", "xsfs")
    machine.check("rm", "/etc/xsfs.conf")


def test_events_come_from_the_confined_service(machine: Booted) -> None:
    machine.check("systemctl", "start", "xsfs")
    watch = f"""
        exec 3< <(exec inotifywait -m {MOUNTPOINT}/name 2>&1)
        while read -r -t 10 line <&3; do
            case $line in
            *established*) {sys.executable} -c "$1" ;;
            *MODIFY*) kill $!; exit 0 ;;
            esac
        done
        exit 1
    """
    write = "import xsfs\nwith xsfs.Client() as client: client.write(b'/name', b'Ziggy')"
    machine.check("bash", "-c", watch, "bash", write)
    machine.check("systemctl", "stop", "xsfs")


def test_a_killed_daemon_is_started_again(machine: Booted) -> None:
    machine.check("systemctl", "start", "xsfs")
    machine.check("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "xsfs")
    restarted = 'test "$(systemctl show --value -p NRestarts xsfs)" = 1'
    machine.wait_until("sh", "-c", f"{restarted} && cat {MOUNTPOINT}/name")
    # Returns when the start under way is done.
    machine.check("systemctl", "start", "xsfs")
    assert machine.properties("xsfs", "NRestarts") == ["1"]
    assert name(machine) == "Ziggy\n"
    machine.check("systemctl", "stop", "xsfs")
    assert not is_mounted(machine)


def test_it_goes_and_comes_with_xenstored(machine: Booted) -> None:
    machine.check("systemctl", "start", "xsfs")
    machine.check("systemctl", "restart", "xenstored")
    machine.wait_until("cat", MOUNTPOINT / "name")
    machine.check("systemctl", "stop", "xenstored")
    assert not is_mounted(machine)
    machine.check("systemctl", "start", "xenstored")


# -- mount units and fstab --------------------------------------------------------------------


def test_the_mount_unit(machine: Booted) -> None:
    machine.check("systemctl", "start", "mnt-xenstore.mount")
    assert name(machine) == "Ziggy\n"
    machine.check("systemctl", "stop", "mnt-xenstore.mount")
    assert not is_mounted(machine)


def test_the_automount_unit(machine: Booted) -> None:
    machine.check("systemctl", "start", "mnt-xenstore.automount")
    assert machine.properties("mnt-xenstore.mount", "ActiveState") == ["inactive"]
    assert name(machine) == "Ziggy\n"
    assert machine.properties("mnt-xenstore.mount", "ActiveState") == ["active"]
    machine.check("systemctl", "stop", "mnt-xenstore.automount", "mnt-xenstore.mount")
    assert not is_mounted(machine)


def test_fstab_with_what_it_requires(machine: Booted) -> None:
    machine.check("systemctl", "stop", "xenstored")
    line = f"none {MOUNTPOINT} fuse.xsfs nofail,x-systemd.requires=xenstored.service 0 0\n"
    (machine.folder / "fstab").write_text(line)
    try:
        machine.check("systemctl", "daemon-reload")
        # /run has a unit of the same name, which goes before fstab's.
        machine.check("rm", "/run/systemd/system/mnt-xenstore.mount")
        machine.check("systemctl", "daemon-reload")
        machine.check("systemctl", "start", "mnt-xenstore.mount")
        assert name(machine) == "Ziggy\n"
        assert machine.properties("xenstored", "ActiveState") == ["active"]
        machine.check("mount", "-a")
        assert machine.check("findmnt", "-n", "-o", "TARGET", "-t", "fuse.xsfs").split() == [
            str(MOUNTPOINT)
        ]
        machine.check("systemctl", "stop", "mnt-xenstore.mount")
    finally:
        (machine.folder / "fstab").write_text("")
        machine.check("cp", ROOT / "systemd/mnt-xenstore.mount", "/run/systemd/system")
        machine.check("systemctl", "daemon-reload")


# -- one mount for each store -----------------------------------------------------------------

HOST = "xen-17"


@pytest.fixture
def fleet(machine: Booted) -> Iterator[Path]:
    """A host that is this machine, by ssh, and the mountpoint that its store is to have."""
    try:
        install(machine, HOST)
    except Unavailable as error:
        missing(str(error))
    machine.check("systemctl", "start", "sshd")
    yield Path("/mnt/xen") / HOST
    machine.check("systemctl", "stop", f"xsfs@{HOST}", f"xsfs-ssh@{HOST}", "sshd")


def test_a_host_by_ssh(machine: Booted, fleet: Path) -> None:
    machine.check("systemctl", "start", f"xsfs@{HOST}")
    assert name(machine, fleet) == "Ziggy\n"
    machine.check("sh", "-c", f"echo new > {fleet}/other; rm {fleet}/other")
    # The link drops, and comes back by itself; the mount is there all the time, and waits.
    machine.kill(f"xsfs-ssh@{HOST}")
    assert name(machine, fleet) == "Ziggy\n"
    assert machine.properties(f"xsfs-ssh@{HOST}", "NRestarts") == ["1"]
    assert machine.properties(f"xsfs@{HOST}", "NRestarts") == ["0"]


def test_an_instance_with_a_file(machine: Booted) -> None:
    conf = "SOURCE=/run/xenstored/socket\nMOUNTPOINT=/mnt/guest\nOPTIONS=ro\n"
    (machine.folder / "xsfs/guest.conf").write_text(conf)
    machine.check("systemctl", "start", "xsfs@guest")
    assert name(machine, Path("/mnt/guest")) == "Ziggy\n"
    options = machine.check("findmnt", "-n", "-o", "OPTIONS", "/mnt/guest")
    assert options.startswith("ro,")
    # There is no host `guest`, and none was looked for.
    assert machine.properties("xsfs-ssh@guest", "ConditionResult", "ActiveState") == [
        "inactive",
        "no",
    ]
    machine.check("systemctl", "stop", "xsfs@guest")
