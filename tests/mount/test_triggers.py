# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""incron and systemd.path, unchanged, run commands when other clients change the store."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing, require
from tests.deadline import DEADLINE_S
from tests.mount.booted import Booted
from tests.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mount.conftest import Here
    from tests.xen.daemons import Daemon


class Outlet:
    """A named pipe that commands write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Open for writing too: there is no end of file between two commands.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def take(self, timeout_s: float = DEADLINE_S) -> bytes:
        """What came; nothing when nothing did."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return b""
        return os.read(self._fd, 4096)

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


# incrond says by syslog(3) alone that it is ready, so /dev/log is ours, where nobody else sees it.
_INCROND = """
mount -t tmpfs tmpfs /dev
mknod /dev/null c 1 3
touch /dev/log
mount --bind "$0/log" /dev/log
exec incrond -n -f "$0/conf"
"""

_INCRON_CONF = """
system_table_dir = {0}/tables
user_table_dir = {0}/users
lockfile_dir = {0}
lockfile_name = incrond
"""


def test_incron_runs_a_command(root: None, here: Here, rundir: Path) -> None:
    require("incrond")
    here.store.write(here.at(b"a"), b"1")
    (rundir / "conf").write_text(_INCRON_CONF.format(rundir))
    for name in ("tables", "users"):
        (rundir / name).mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log, Outlet(rundir / "out") as out:
        log.bind(str(rundir / "log"))
        log.settimeout(DEADLINE_S)
        rule = f'{here.path}/a IN_CLOSE_WRITE /bin/sh -c "cat $@ > {out.path}"\n'
        (rundir / "tables/test").write_text(rule)
        unshare = ["unshare", "-m", "--propagation", "private"]
        with Program([*unshare, "sh", "-e", "-c", _INCROND, rundir]):
            while b"ready to process filesystem events" not in log.recv(4096):
                pass
            here.store.write(here.at(b"a"), b"2")
            assert out.take() == b"2\n"


@pytest.fixture(scope="module")
def machine(fuse: None, root: None, shared_daemon: Daemon) -> Iterator[Booted]:
    """A booted machine with the store mounted."""
    if not os.path.exists("/lib/systemd/systemd"):
        missing("systemd is missing (Debian: systemd)")
    shared_daemon.tool("xenstore-write", "/name", "Ziggy")
    with Booted(shared_daemon) as machine:
        machine.check("systemctl", "start", "xenstored", "xsfs")
        yield machine
        machine.check("systemctl", "stop", "xsfs")


@pytest.mark.parametrize("condition", ["PathChanged", "PathModified"])
def test_systemd_path_starts_a_service(
    machine: Booted, shared_daemon: Daemon, condition: str
) -> None:
    unit = condition.lower()
    with Outlet(machine.folder / unit) as out:
        for kind, text in (
            ("path", f"[Path]\n{condition}=/mnt/xenstore/name\n"),
            ("service", f"[Service]\nType=oneshot\nExecStart=cp /mnt/xenstore/name {out.path}\n"),
        ):
            file = machine.folder / f"{unit}.{kind}"
            file.write_text(text)
            machine.check("cp", file, "/run/systemd/system")
        machine.check("systemctl", "daemon-reload")
        machine.check("systemctl", "start", f"{unit}.path")
        shared_daemon.tool("xenstore-write", "/name", condition)
        assert out.take() == condition.encode() + b"\n", machine.log()
        machine.check("systemctl", "stop", f"{unit}.path", f"{unit}.service")
