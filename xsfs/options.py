# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The options of a mount (`-o ...`), parsed into one frozen value. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast, get_args

from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

CacheMode = Literal["strict", "watch", "off"]
EventMode = Literal["full", "modify", "off"]


class OptionError(ValueError):
    """An option that is unknown, or has no sense as it stands; says which."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to mount. Times are in seconds, masks and ids as in chmod and chown."""

    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    fmask: int = 0
    dmask: int = 0
    root: bytes = b"/"
    raw: bool = False
    read_only: bool = False
    cache: CacheMode = "strict"
    events: EventMode = "full"
    timeout_s: float = 10.0
    socket: str | None = None
    load: str | None = None
    debug: bool = False
    # What goes on to libfuse and the kernel.
    fsname: str | None = None
    subtype: str = "xsfs"
    fuse: frozenset[str] = frozenset()


# Words that mount(8) and fstab pass and that say nothing to us, or are for other readers.
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
        "quiet",
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
# Words that libfuse turns into flags of the mount, and FUSE's own.
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
_FUSE_VALUED = frozenset({"max_read"})
# Words for the kernel's security modules.
_SECURITY = frozenset({"context", "fscontext", "defcontext", "rootcontext"})


def split(text: str) -> Iterator[str]:
    """The words of an option string; commas between double quotes, or after a backslash, stay."""
    for match in re.finditer(r'(?:[^,"\\]|"[^"]*"|\\.)+', text):
        yield re.sub(r"\\(.)", r"\1", match.group())


def parse(text: str) -> Options:
    """The options that `text` names, separated by commas; later ones win.

    Raises:
        OptionError: one is unknown, or its value makes no sense.
    """
    values: dict[str, object] = {}
    fuse: set[str] = set()
    for word in split(text):
        name, equals, value = word.partition("=")
        if name in _IGNORED or name.startswith(("x-", "X-")) or name == "comment":
            continue
        if name == "remount":
            raise OptionError("remount is not supported: unmount, then mount with the new options")
        if name in ("ro", "raw", "debug") and not equals:
            values[{"ro": "read_only"}.get(name, name)] = True
        elif name in _FUSE and not equals:
            fuse -= {name[2:], "no" + name}
            fuse.add(name)
        elif (name in _FUSE_VALUED or name in _SECURITY) and value:
            fuse.add(word)
        elif name in _VALUED and value:
            values.update(_VALUED[name](name, value))
        else:
            raise OptionError(
                f"option {name} needs a value" if name in _VALUED else f"unknown option {word!r}"
            )
    return Options(fuse=frozenset(fuse), **cast("dict[str, str]", values))  # type: ignore[arg-type]


def _number(name: str, value: str) -> dict[str, object]:
    if not value.isdecimal() or not 0 <= int(value) < 2**32 - 1:
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
    if not 0 < seconds < 86400:
        raise OptionError(f"option {name}={value}: seconds are expected, more than 0")
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
