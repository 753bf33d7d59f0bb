# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A real sshd for the tests, on the loopback device of a booted machine.

Debian's package is fetched and unpacked as Xen's are: nothing is installed, and no sshd of the
host's is touched.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.xen.packages import unpacked

if TYPE_CHECKING:
    from tests.mount.booted import Booted

PACKAGES = ("openssh-server", "libwrap0")

_SERVER = """
ListenAddress 127.0.0.1
HostKey {folder}/key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
PidFile none
PermitRootLogin yes
"""

_CLIENT = """
Host {host}
    HostName 127.0.0.1
    IdentityFile {folder}/key
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
"""

_UNIT = """
[Service]
Environment=LD_LIBRARY_PATH={libraries}
ExecStart={sshd} -D -e -f {folder}/sshd_config
"""


def install(machine: Booted, host: str) -> None:
    """Have sshd.service in the machine, and `host` lead there for root's ssh."""
    root = unpacked("ssh", PACKAGES)
    folder = Path("/run/ssh")
    made = machine.folder / "ssh"
    made.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made / "key"], check=True)
    public = (made / "key.pub").read_text()
    (made / "known_hosts").write_text(f"127.0.0.1 {public}")
    (made / "sshd_config").write_text(_SERVER.format(folder=folder))
    (made / "ssh_config").write_text(_CLIENT.format(folder=folder, host=host))
    libraries = next(root.glob("usr/lib/*/libwrap.so.0")).parent
    unit = _UNIT.format(libraries=libraries, sshd=root / "usr/sbin/sshd", folder=folder)
    (made / "sshd.service").write_text(unit)
    # sshd's unprivileged half is a user of its own.
    users = Path("/etc/passwd").read_text()
    if "\nsshd:" not in users:
        users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    (made / "passwd").write_text(users)
    set_up = f"""
        mkdir -p /run/sshd && cp -r {made} {folder} && chmod 600 {folder}/key &&
        mv {folder}/sshd.service /run/systemd/system &&
        cp {folder}/passwd /etc/passwd &&
        cp {folder}/ssh_config /etc/ssh/ssh_config
    """
    machine.check("sh", "-c", set_up)
    machine.check("systemctl", "daemon-reload")
