# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The xsfs command: parses its arguments, starts the daemon, reports in one line what failed.

The command line is what mount(8) makes of `mount -t fuse xsfs M` and of an fstab line.
"""

from __future__ import annotations

import getopt
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from xsfs.mount import daemon, fuse, inherited
from xsfs.mount import table as mounts
from xsfs.mount.errors import EXPECTED, explain
from xsfs.mount.options import DESCRIPTIONS, MountOptions, OptionError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE = "usage: xsfs [SOURCE] MOUNTPOINT [-o opt[,opt...]] [-f] [-d] [-V] [-h]"

SWITCHES = (
    ("-o OPTIONS", "mount options, separated by commas"),
    ("-f", "stay in the foreground, log to standard error"),
    ("-d", "as -f, and log each request with its answer and time"),
    ("-V, --version", "print the versions of xsfs and of what it runs on"),
    ("-h, --help", "print this help"),
)


def usage() -> str:
    """What -h prints."""
    return f"""{USAGE}

Mount XenStore as a file system.

SOURCE is a socket (/run/xenstored/socket), a device (/dev/xen/xenbus), or `embedded`,
a store of xsfs's own; without it, or with `none`, xsfs looks for the host's store.

{_table(SWITCHES)}

Mount options, beside those that mount(8) knows for every file system:

{_table(DESCRIPTIONS)}

`xsfs doctor` checks everything that a mount needs, and says what to do if something is wrong.
Unmount with `umount MOUNTPOINT`, as a user with `fusermount3 -u MOUNTPOINT`.
The manual is xsfs(8)."""


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<20} {meaning}" for name, meaning in rows)


class UsageError(Exception):
    """The command line is wrong; exit status 2."""


class Arguments(NamedTuple):
    """The command line, parsed."""

    source: str | None
    mountpoint: str
    options: MountOptions
    foreground: bool


def parse_arguments(words: Sequence[str]) -> Arguments:
    """MountOptions and at most two names, in any order, as mount(8) and people give them.

    Raises:
        UsageError: it is wrong.
        OptionError: a mount option is wrong.
        SystemExit: for -h and -V, which have printed what they print.
    """
    names: list[str] = []
    options: list[str] = []
    foreground = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            print(usage())
            raise SystemExit(0)
        if word in ("-V", "--version"):
            print_version()
            raise SystemExit(0)
        if word == "--":
            names += rest
            break
        if word in ("-f", "-d"):
            foreground = True
            options += ["debug"] * (word == "-d")
        elif word.startswith("-o"):
            value = word[2:] or (rest.pop(0) if rest else "")
            if not value:
                raise UsageError("-o needs mount options after it")
            options.append(value)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"unknown option {word}")
        else:
            names.append(word)
    if not names:
        raise UsageError("a mountpoint is needed")
    if len(names) > 2:
        raise UsageError(f"unexpected argument: {names[2]}")
    return Arguments(
        names[0] if len(names) == 2 else None, names[-1], parse(",".join(options)), foreground
    )


def print_version() -> None:
    """Print the versions of xsfs and of what it runs on; libfuse prints that of the protocol."""
    import platform
    from importlib.metadata import version

    fuse.require_pyfuse3()
    from xsfs.fs.fuse.libfuse import library

    libfuse = library()
    print(
        f"xsfs {version('xsfs')} (pyfuse3 {version('pyfuse3')}, trio {version('trio')}, "
        f"Python {platform.python_version()}, libfuse {libfuse.fuse_pkgversion().decode()})",
        flush=True,
    )
    libfuse.fuse_lowlevel_version()


def parse_mount_helper(words: Sequence[str]) -> Arguments | None:
    """The command line of mount.xsfs, by mount(8); None when it is to do nothing (`mount -f`).

    Raises:
        UsageError, OptionError: it is wrong.
    """
    try:
        switches, names = getopt.gnu_getopt(list(words), "sfnvN:t:o:")
    except getopt.GetoptError as error:
        raise UsageError(str(error)) from None
    given = dict(switches)
    if "-N" in given:
        raise UsageError("mount -N is not supported: use `nsenter -m` and mount there")
    if len(names) != 2:
        raise UsageError("a source and a mountpoint are needed")
    options = parse(",".join(value for switch, value in switches if switch == "-o"))
    return None if "-f" in given else Arguments(names[0], names[1], options, False)


def main() -> int:
    """The xsfs command; the exit status: 0, 1 (it failed), 2 (a wrong command line)."""
    if sys.argv[1:] == ["doctor"]:
        from xsfs.mount import doctor

        return doctor.main()
    return _run(lambda: parse_arguments(sys.argv[1:]))


def mount_helper() -> int:
    """The mount.xsfs command, which mount(8) runs for the type `xsfs`; exit status as above."""
    return _run(lambda: parse_mount_helper(sys.argv[1:]))


def _run(parse_command_line: Callable[[], Arguments | None]) -> int:
    try:
        inherited.reserve_standard_descriptors()
        if (arguments := parse_command_line()) is not None:
            _mount(arguments)
    except (UsageError, OptionError) as error:
        print(f"xsfs: {error}", file=sys.stderr)
        if isinstance(error, UsageError):
            print(USAGE, file=sys.stderr)
        return 2
    except EXPECTED as error:
        print(f"xsfs: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("xsfs: interrupted, nothing is mounted", file=sys.stderr)
        return 1
    return 0


def _mount(arguments: Arguments) -> None:
    source, mountpoint, options, foreground = arguments
    inherited.check()
    fuse.check(options.fuse)
    mountpoint = mounts.prepare(mountpoint, nonempty=options.nonempty)
    if options.fsname is None:
        # Looked up here, as mount(8) is our parent but not the daemon's.
        options = replace(options, fsname=mounts.named_source(source, mountpoint))
    start = daemon.foreground if foreground else daemon.background
    start(source, mountpoint, options)


if __name__ == "__main__":
    sys.exit(main())
