# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The options of a mount (`-o ...`), parsed into one frozen value. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from xsfs.fs.options import CacheMode, EventMode, Options
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator


class OptionError(ValueError):
    """An option that is unknown or has a wrong value; the text names it."""


@dataclass(frozen=True, slots=True)
class MountOptions(Options):
    """How to mount, and how the file system is to be."""

    nonempty: bool = False
    socket: str | None = None
    load: str | None = None
    debug: bool = False
    # Options that are passed on to libfuse and the kernel.
    fsname: str | None = None
    subtype: str = "xsfs"
    fuse: frozenset[str] = frozenset()


class Described(NamedTuple):
    """An option as --help and the manual page show it."""

    syntax: str
    meaning: str


DESCRIPTIONS = (
    Described("ro", "nothing can be changed through the mount"),
    Described("uid=N", "the user who owns the files (who mounts)"),
    Described("gid=N", "the group that owns the files (who mounts)"),
    Described("umask=MASK", "permission bits, in octal, that all files and directories lack (0)"),
    Described("fmask=MASK", "the same, for files alone"),
    Described("dmask=MASK", "the same, for directories alone"),
    Described("quiet", "chmod and chown that cannot be done succeed without effect"),
    Described("root=PATH", "mount the subtree below this store path (/)"),
    Described("raw", "values as they are: no newline added in reading, none stripped in writing"),
    Described("cache=MODE", "strict: values read anew at each open; watch: from memory; off"),
    Described("events=MODE", "inotify events: full; modify: of written values alone; off"),
    Described(
        "timeout=SECONDS", "how long to wait for a store that does not answer or is down (10)"
    ),
    Described("nonempty", "mount although files in the mountpoint will be hidden"),
    Described("socket=PATH", "with embedded: where other clients find the store"),
    Described("load=FILE.json", "with embedded: what is in the store, instead of the sample"),
    Described("debug", "log each request with its answer and time"),
    Described("allow_other", "give other users access; needs user_allow_other in /etc/fuse.conf"),
    Described("allow_root", "give root access, and no other user; needs the same"),
    Described("default_permissions", "let the kernel check modes and owners (always on)"),
    Described("fsname=NAME", "what the mount table calls the source (SOURCE as it was given)"),
    Described("subtype=NAME", "the type in the mount table, after `fuse.` (xsfs)"),
    Described("max_read=BYTES", "accepted, and without effect: values are smaller than a page"),
)


# Options of mount(8) and fstab that do not concern the file system.
_IGNORED = frozenset(
    {
        "rw",
        "async",
        "auto",
        "noauto",
        "defaults",
        "nofail",
        "_netdev",
        "user",
        "nouser",
        "users",
        "nousers",
        "owner",
        "group",
        "relatime",
        "norelatime",
        "strictatime",
        "lazytime",
        "nolazytime",
        "loud",
        "silent",
        "iversion",
        "noiversion",
        "mand",
        "nomand",
        "diratime",
        "bsdgroups",
        "grpid",
    }
)
# Options that libfuse turns into flags of the mount, and FUSE's own.
_FUSE = frozenset(
    {
        "dev",
        "nodev",
        "suid",
        "nosuid",
        "exec",
        "noexec",
        "atime",
        "noatime",
        "nodiratime",
        "sync",
        "dirsync",
        "allow_other",
        "allow_root",
        "default_permissions",
        "auto_unmount",
    }
)
# Our own options without a value, and the fields that they set.
_SWITCHES = {
    "ro": "read_only",
    "raw": "raw",
    "quiet": "quiet",
    "debug": "debug",
    "nonempty": "nonempty",
}
# The limit of `timeout=`, a day: more is a typing error.
_TIMEOUT_MAX_S = 86400

# Options that go to the kernel's security modules.
_SECURITY = frozenset({"context", "fscontext", "defcontext", "rootcontext"})


def split(text: str) -> Iterator[str]:
    """The single options of an option string; quoted or escaped commas do not separate."""
    for match in re.finditer(r'(?:[^,"\\]|"[^"]*"|\\.)+', text):
        yield re.sub(r"\\(.)", r"\1", match.group())


def parse(text: str) -> MountOptions:
    """The options that `text` names, separated by commas; later ones win.

    Raises:
        OptionError: one is unknown, or its value is wrong.
    """
    values: dict[str, object] = {}
    fuse: set[str] = set()
    for word in split(text):
        name, equals, value = word.partition("=")
        if name in _IGNORED or name.startswith(("x-", "X-")) or name == "comment":
            continue
        name = name.replace("-", "_")
        if name == "remount":
            raise OptionError("remount is not supported: unmount, then mount with the new options")
        if name in _SWITCHES and not equals:
            values[_SWITCHES[name]] = True
        elif name in _FUSE and not equals:
            fuse -= {name[2:], "no" + name}
            fuse.add(name)
        elif name in _SECURITY and value:
            fuse.add(f"{name}={value}")
        elif name == "max_read" and value.isdecimal():
            # libfuse needs it set in its `init` handler, which pyfuse3 does not offer.
            continue
        elif name in _VALUED and value:
            values.update(_VALUED[name](name, value))
        else:
            raise OptionError(
                f"option {name} needs a value" if name in _VALUED else f"unknown option {word!r}"
            )
    return MountOptions(fuse=frozenset(fuse), **cast("dict[str, str]", values))  # type: ignore[arg-type]


def _number(name: str, value: str) -> dict[str, object]:
    if not re.fullmatch("[0-9]{1,10}", value) or int(value) >= 2**32 - 1:
        raise OptionError(f"option {name}={value}: a number is expected")
    return {name: int(value)}


def _mask(name: str, value: str) -> dict[str, object]:
    if re.fullmatch("[0-7]{1,4}", value) is None or int(value, 8) > 0o777:
        raise OptionError(f"option {name}={value}: an octal mask is expected, as in {name}=022")
    mask = int(value, 8)
    return {"fmask": mask, "dmask": mask} if name == "umask" else {name: mask}


def _seconds(name: str, value: str) -> dict[str, object]:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds < _TIMEOUT_MAX_S:
        raise OptionError(
            f"option {name}={value}: seconds are expected, more than 0 and less than "
            f"{_TIMEOUT_MAX_S}"
        )
    return {"timeout_s": seconds}


def _path(name: str, value: str) -> dict[str, object]:
    try:
        path = paths.check(os.fsencode(value.rstrip("/") or "/"))
    except ValueError:
        path = b""
    if not path.startswith(b"/"):
        raise OptionError(f"option {name}={value}: an absolute store path is expected")
    return {name: path}


def _text(name: str, value: str) -> dict[str, object]:
    return {name: value}


def _mode(name: str, value: str) -> dict[str, object]:
    modes = get_args(CacheMode if name == "cache" else EventMode)
    if value not in modes:
        raise OptionError(f"option {name}={value}: one of {', '.join(modes)} is expected")
    return {name: value}


_VALUED = {
    "uid": _number,
    "gid": _number,
    "umask": _mask,
    "fmask": _mask,
    "dmask": _mask,
    "root": _path,
    "cache": _mode,
    "events": _mode,
    "timeout": _seconds,
    "socket": _text,
    "load": _text,
    "fsname": _text,
    "subtype": _text,
}
