# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The xsfs command: understands its arguments, goes into the background, says how it went.

The command line is what mount(8) makes of `mount -t fuse xsfs M` and of an fstab line. The
parent process waits until the mount answers; the child, of one thread still, becomes the daemon.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import select
import signal
import socket
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from xsfs import mounts
from xsfs.options import OptionError, Options, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE = "usage: xsfs [SOURCE] MOUNTPOINT [-o opt[,opt...]] [-f] [-d] [-V] [-h]"

HELP = f"""{USAGE}

Mount XenStore as a file system.

SOURCE is a socket (/run/xenstored/socket), a device (/dev/xen/xenbus), or `embedded`, a store
of our own; without it, or with `none`, the host's store is looked for.

  -o OPTIONS   mount options, separated by commas
  -f           stay in the foreground, log to standard error
  -d           as -f, and log each request
  -V           print the version
  -h           print this help

Options: ro, uid=, gid=, umask=, fmask=, dmask=, root=/store/path, raw,
cache=strict|watch|off, events=full|modify|off, timeout=SECONDS, debug,
allow_other, allow_root, default_permissions, fsname=, subtype=, max_read=;
with `embedded`: socket=PATH, load=FILE.json.

Unmount with `umount MOUNTPOINT`, or `fusermount3 -u MOUNTPOINT`.
"""

# How long the parent waits for the mount to answer, on top of `timeout=`, in seconds.
_START_S = 20


class UsageError(Exception):
    """The command line makes no sense; exit status 2."""


class Arguments(NamedTuple):
    """The command line, understood."""

    source: str | None
    mountpoint: str
    options: Options
    foreground: bool


def parse_arguments(words: Sequence[str]) -> Arguments:
    """Options and at most two names, in any order, as mount(8) and people give them.

    Raises:
        UsageError: it makes no sense.
        SystemExit: for -h and -V, which have printed what they print.
    """
    names: list[str] = []
    options: list[str] = []
    foreground = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            print(HELP, end="")
            raise SystemExit(0)
        if word in ("-V", "--version"):
            print(version())
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
                raise UsageError("-o needs options")
            options.append(value)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"unknown option {word}")
        else:
            names.append(word)
    if not 1 <= len(names) <= 2:
        raise UsageError("a mountpoint is needed" if not names else f"one too many: {names[2]}")
    return Arguments(
        names[0] if len(names) == 2 else None, names[-1], parse(",".join(options)), foreground
    )


def version() -> str:
    """The versions of this program and of what it stands on."""
    from importlib.metadata import version as installed

    return f"xsfs {installed('xsfs')} (pyfuse3 {installed('pyfuse3')})"


def prepare_mountpoint(mountpoint: str) -> str:
    """The absolute path of a directory that can be mounted on; a stale mount of ours goes.

    Raises:
        OSError: it cannot be.
    """
    path = os.path.realpath(mountpoint, strict=False)
    found = mounts.at(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise OSError(f"{mountpoint}: there is no such directory; make it first") from None
    except OSError:
        if found is None or found.fstype != mounts.FSTYPE:
            raise
        mounts.detach(path)
        return prepare_mountpoint(mountpoint)
    if not stat.S_ISDIR(mode):
        raise OSError(f"{mountpoint}: not a directory")
    if found is not None and found.fstype == mounts.FSTYPE:
        raise OSError(f"{mountpoint}: xsfs is mounted there already; unmount it first")
    return path


def serve(arguments: Arguments, mountpoint: str, ready: Callable[[], None]) -> None:
    """Be the daemon, until the mount ends.

    Raises:
        OSError, MountError: it could not be mounted.
    """
    import trio

    from xsfs.session import Session

    session = Session.of(arguments.source, mountpoint, arguments.options)
    try:
        trio.run(session.serve, ready)
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to report: others came of it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def notify_systemd() -> None:
    """Tell systemd READY=1, when it started us as Type=notify (sd_notify(3))."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(b"READY=1", address.replace("@", "\0", 1))


def _log_to(handler: logging.Handler, options: Options, form: str) -> None:
    handler.setFormatter(logging.Formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("xsfs").setLevel(logging.DEBUG if options.debug else logging.INFO)


def _in_foreground(arguments: Arguments, mountpoint: str) -> int:
    _log_to(logging.StreamHandler(), arguments.options, "xsfs: %(levelname)s: %(message)s")
    serve(arguments, mountpoint, notify_systemd)
    return 0


def _in_background(arguments: Arguments, mountpoint: str) -> int:
    """Start the daemon; return when the mount answers.

    Raises:
        OSError: what the daemon could not do.
    """
    result, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(result)
        _be_daemon(arguments, mountpoint, tell)
    os.close(tell)
    poll = select.poll()
    poll.register(result, select.POLLIN)
    said = b""
    deadline_s = _START_S + arguments.options.timeout_s
    while poll.poll(deadline_s * 1000):
        piece = os.read(result, 4096)
        said += piece
        if not piece:
            break
    else:
        os.kill(pid, signal.SIGTERM)
        raise OSError(f"{arguments.mountpoint}: no answer within {deadline_s:g} s")
    if said != b"\n":
        os.waitpid(pid, 0)
        raise OSError(said.decode(errors="replace").strip() or "the daemon ended without a word")
    os.stat(mountpoint)
    return 0


def _be_daemon(arguments: Arguments, mountpoint: str, tell: int) -> NoReturn:
    status = 1
    try:
        os.setsid()
        os.chdir("/")

        def ready() -> None:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.close(null)
            os.write(tell, b"\n")
            os.close(tell)

        if os.path.exists("/dev/log"):
            handler: logging.Handler = logging.handlers.SysLogHandler("/dev/log")
        else:
            handler = logging.NullHandler()
        _log_to(handler, arguments.options, "xsfs[%(process)d]: %(message)s")
        serve(arguments, mountpoint, ready)
        status = 0
    except BaseException as error:
        _last_words(tell, error)
    finally:
        os._exit(status)


def _last_words(tell: int, error: BaseException) -> None:
    logging.getLogger("xsfs").exception("the daemon ended")
    try:
        os.write(tell, explain(error).encode(errors="surrogateescape"))
    except OSError:
        # The mount was ready long ago, and nobody reads this.
        return


def explain(error: BaseException) -> str:
    """An error as one line for the user."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return str(error) or type(error).__name__


def main() -> int:
    """The entry point; the exit status: 0, 1 (it failed), 2 (a wrong command line)."""
    from xsfs.errors import XenStoreError

    try:
        arguments = parse_arguments(sys.argv[1:])
    except (UsageError, OptionError) as error:
        print(f"xsfs: {error}", file=sys.stderr)
        if isinstance(error, UsageError):
            print(USAGE, file=sys.stderr)
        return 2
    try:
        mountpoint = prepare_mountpoint(arguments.mountpoint)
        start = _in_foreground if arguments.foreground else _in_background
        return start(arguments, mountpoint)
    except (OSError, XenStoreError, RuntimeError) as error:
        print(f"xsfs: {explain(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
