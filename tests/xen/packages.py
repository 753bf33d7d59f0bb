# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fetches Debian's Xen daemons and tools into a private folder and builds the shim there.

Nothing is installed: packages are downloaded with apt-get and unpacked with dpkg below
build/xen, which `make` and the tests share.  No root is needed.  Not a package manager: the
list of packages is fixed, as the tests are about these daemons.
Processes may call in at the same time; a file lock makes one of them do the work.

    python -m tests.xen.packages        # fetch now, print the folder
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

XEN_VERSION = "4.17"
BUILD = Path(__file__).parents[2] / "build" / "xen"
SHIM_SOURCE = Path(__file__).with_name("shim.c")

PACKAGES = (
    f"xen-utils-{XEN_VERSION}",  # xenstored, oxenstored, test-xenstore
    "xen-utils-common",  # oxenstored.conf
    "xenstore-utils",
    "libxen-dev",  # headers for the shim
    # what those link with, beyond libraries that every Debian has
    f"libxenmisc{XEN_VERSION}",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
)

# The Python that Debian built Xen's modules for, where it is not the one that runs the tests.
PYTHON_PACKAGES = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")

# Where the packages are when the system's own package lists do not have them: the release
# that has this version of Xen.  Its programs run on later releases too.
FALLBACK_SOURCES = """\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
http://deb.debian.org/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
http://deb.debian.org/debian-security bookworm-security main
"""


class Unavailable(Exception):
    """Xen's programs cannot be had on this machine; the text says in one line why."""


@dataclass(frozen=True, slots=True)
class Xen:
    """Where the unpacked programs are.

    Args:
        root: folder that mirrors the root of a system with the packages installed.
        shim: the library to preload into a daemon.
    """

    root: Path
    shim: Path

    @property
    def libraries(self) -> Path:
        """The folder for LD_LIBRARY_PATH."""
        return next(self.root.glob("usr/lib/*/libxenstore.so.4")).parent

    @property
    def oxenstored_conf(self) -> Path:
        """Debian's configuration of oxenstored."""
        return self.root / "etc/xen/oxenstored.conf"

    @property
    def python_modules(self) -> Path:
        """The folder with Xen's Python modules; `xen.lowlevel.xs` is for one version of Python."""
        return self.root / f"usr/lib/xen-{XEN_VERSION}/lib/python"

    def python(self) -> str:
        """A Python of the version that `xen.lowlevel.xs` is for: this one, or an unpacked one.

        Raises:
            Unavailable: it cannot be fetched.
        """
        (binding,) = self.python_modules.glob("xen/lowlevel/xs.cpython-*.so")
        if binding.name.endswith(sysconfig.get_config_var("EXT_SUFFIX")):
            return sys.executable
        return str(unpacked("python", PYTHON_PACKAGES) / "usr/bin/python3.11")

    def program(self, name: str) -> Path:
        """Path of a daemon or tool.

        Raises:
            FileNotFoundError: no package has a program of that name.
        """
        for folder in (f"usr/lib/xen-{XEN_VERSION}/bin", "usr/bin"):
            path = self.root / folder / name
            if path.exists():
                return path
        raise FileNotFoundError(name)


def provide() -> Xen:
    """Fetches and builds what is not there yet.

    Raises:
        Unavailable: a program, the network or the packages are missing.
    """
    root = unpacked("root", PACKAGES)
    with _locked():
        shim = _named_by_content("shim", SHIM_SOURCE.read_bytes()).with_suffix(".so")
        if not shim.exists():
            _compile(root, shim)
    return Xen(root, shim)


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """The folder below which the files of these packages are; fetched if not there yet.

    Raises:
        Unavailable: a program, the network or the packages are missing.
    """
    with _locked():
        root = _named_by_content(name, repr(packages).encode())
        if not root.exists():
            _unpack(root, packages)
    return root


@contextmanager
def _locked() -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _named_by_content(name: str, content: bytes) -> Path:
    """What is made from other content has another name, so nothing stale is ever used."""
    return BUILD / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"


def _unpack(root: Path, packages: Sequence[str]) -> None:
    with TemporaryDirectory(dir=BUILD) as temporary:
        debs = Path(temporary, "debs")
        debs.mkdir()
        _download(packages, debs, Path(temporary, "apt"))
        tree = Path(temporary, "root")
        for deb in sorted(debs.glob("*.deb")):
            _run("dpkg", "-x", str(deb), str(tree))
        tree.rename(root)


def _download(packages: Sequence[str], debs: Path, apt: Path) -> None:
    """With the system's package lists, or if they are missing or old, with lists of our own."""
    options = ["-o", "APT::Sandbox::User="] if os.geteuid() == 0 else []
    try:
        _run("apt-get", *options, "download", *packages, cwd=debs)
    except Unavailable:
        for name in ("state/lists/partial", "cache/archives/partial", "parts"):
            (apt / name).mkdir(parents=True)
        (apt / "sources.list").write_text(FALLBACK_SOURCES)
        options += ["-o", f"Dir::State={apt}/state", "-o", f"Dir::Cache={apt}/cache"]
        options += ["-o", "Dir::State::status=/dev/null"]
        options += ["-o", f"Dir::Etc::SourceList={apt}/sources.list"]
        options += ["-o", f"Dir::Etc::SourceParts={apt}/parts"]
        _run("apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update")
        _run("apt-get", *options, "download", *packages, cwd=debs)


def _compile(root: Path, shim: Path) -> None:
    unfinished = shim.with_suffix(".unfinished")
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", f"-I{root}/usr/include"]
    _run("cc", *flags, "-o", str(unfinished), str(SHIM_SOURCE), "-ldl")
    unfinished.rename(shim)


def _run(program: str, *args: str, cwd: Path | None = None) -> None:
    if shutil.which(program) is None:
        raise Unavailable(f"Xen's daemons need {program}, which is not installed")
    done = subprocess.run(
        [program, *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.splitlines()
        errors = [line for line in lines if line.startswith("E:") or "error:" in line]
        reason = errors[0] if errors else f"exit status {done.returncode}"
        raise Unavailable(f"Xen's daemons cannot be fetched or built: {program}: {reason}")


def main() -> int:
    """Fetches, and prints where the programs are."""
    try:
        print(provide().root)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
