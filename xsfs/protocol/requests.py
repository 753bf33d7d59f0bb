# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Every operation of the protocol: how its request is encoded, and its reply decoded.

Both clients speak through these functions, so each operation is spelled, and documented, once.
They raise a `ValueError` (`InvalidPath`, ...) for what no store would take. Pure.
Source: xenstore.txt, "Communication with xenstore".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from xsfs.errors import InvalidOperation, InvalidPayload, UnexpectedPacket
from xsfs.protocol import paths
from xsfs.protocol import perms as permissions
from xsfs.protocol.packet import PAYLOAD_MAX, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T_co = TypeVar("T_co", covariant=True)


# The most frequent ones, looked up once: access to an enum's member is slow.
_DIRECTORY = Op.DIRECTORY.value
_READ = Op.READ.value
_WRITE = Op.WRITE.value


# Requests that may be sent again when their reply was lost with the connection: they change
# nothing, and a transaction that was started is gone with the connection.
REPEATABLE = frozenset(
    {
        Op.DIRECTORY,
        Op.DIRECTORY_PART,
        Op.READ,
        Op.GET_PERMS,
        Op.GET_DOMAIN_PATH,
        Op.IS_DOMAIN_INTRODUCED,
        Op.GET_FEATURE,
        Op.GET_QUOTA,
        Op.TRANSACTION_START,
    }
)


class Request(NamedTuple, Generic[T_co]):
    """What to send, and how to decode the payload of a reply that is not an error."""

    op: int
    payload: bytes
    decode: Callable[[bytes], T_co]
    # The result if the store answers that there is no such node; None: that error.
    missing: T_co | None = None


class Part(NamedTuple):
    """A piece of a long directory listing."""

    generation: bytes
    names: list[bytes]
    # How far to move the offset for the next piece, in bytes.
    length: int
    last: bool


def _nothing(payload: bytes) -> None:
    """Decode a reply that is `OK` and nothing else."""


def _same(payload: bytes) -> bytes:
    return payload


def _there(payload: bytes) -> bool:
    return True


def _string(payload: bytes) -> bytes:
    return payload.removesuffix(b"\0")


def _strings(payload: bytes) -> list[bytes]:
    return payload.split(b"\0")[:-1]


def _number(payload: bytes) -> int:
    try:
        return int(_string(payload))
    except ValueError:
        raise UnexpectedPacket(f"a number was expected, not {payload!r}") from None


def _truth(payload: bytes) -> bool:
    if payload not in (b"T\0", b"F\0"):
        raise UnexpectedPacket(f"T or F was expected, not {payload!r}")
    return payload == b"T\0"


def _part(payload: bytes) -> Part:
    generation, nul, rest = payload.partition(b"\0")
    if not nul:
        raise UnexpectedPacket(f"not a part of a directory: {payload!r}")
    # The last piece ends with an extra empty name; an empty directory is that name alone.
    last = rest.endswith(b"\0\0") or rest in (b"", b"\0")
    return Part(generation, [name for name in rest.split(b"\0") if name], len(rest), last)


def _fitting(payload: bytes) -> bytes:
    if len(payload) > PAYLOAD_MAX:
        raise InvalidPayload(f"payload of {len(payload)} bytes, the limit is {PAYLOAD_MAX}")
    return payload


def _fields(*fields: bytes) -> bytes:
    for field in fields:
        if b"\0" in field:
            raise InvalidPayload(f"a NUL byte, which the protocol does not allow, in {field!r}")
    return _fitting(b"\0".join(fields) + b"\0")


def _numbers(*numbers: int) -> bytes:
    return b"".join(b"%d\0" % number for number in numbers)


def raw(op: int, payload: bytes) -> Request[bytes]:
    """Any request at all; the reply's payload as it is."""
    return Request(op, _fitting(payload), _same)


def directory(path: bytes) -> Request[list[bytes]]:
    """The names of the children. E2BIG from C xenstored beyond 4096 bytes: see `part`."""
    return Request(_DIRECTORY, paths.check(path) + b"\0", _strings)


def part(path: bytes, offset: int) -> Request[Part]:
    """The names of the children from `offset` (in bytes) on. oxenstored: ENOSYS."""
    return Request(Op.DIRECTORY_PART, paths.check(path) + b"\0%d\0" % offset, _part)


def read(path: bytes, default: bytes | None = None) -> Request[bytes]:
    """The value of a node, to the byte; `default`, if given, when there is no such node."""
    return Request(_READ, paths.check(path) + b"\0", _same, default)


def exists(path: bytes) -> Request[bool]:
    """Whether there is such a node."""
    return Request(_READ, paths.check(path) + b"\0", _there, False)


def listing_and_value(path: bytes) -> list[Request[object]]:
    """`directory` and `read`, of a node that the store itself has named: not checked again."""
    payload = path + b"\0"
    return [Request(_DIRECTORY, payload, _strings), Request(_READ, payload, _same)]


def write(path: bytes, value: bytes) -> Request[None]:
    """Set the value of a node; creates it, and its parents with empty values."""
    return Request(_WRITE, _fitting(paths.check(path) + b"\0" + value), _nothing)


def mkdir(path: bytes) -> Request[None]:
    """Create a node, and its parents; one that exists keeps its value."""
    return Request(Op.MKDIR, paths.check(path) + b"\0", _nothing)


def rm(path: bytes) -> Request[None]:
    """Remove a node and all below it; it may be missing, but not its parent."""
    return Request(Op.RM, paths.check(path) + b"\0", _nothing)


def get_perms(path: bytes) -> Request[list[bytes]]:
    """The permission entries, owner first: `[b"n0", b"r5"]`."""
    return Request(Op.GET_PERMS, paths.check(path) + b"\0", _strings)


def set_perms(path: bytes, perms: Iterable[bytes]) -> Request[None]:
    """Replace the permission entries, owner first."""
    return Request(Op.SET_PERMS, _fields(paths.check(path), *permissions.check(perms)), _nothing)


def watch(path: bytes, token: bytes, depth: int | None = None) -> Request[None]:
    """Have events for `path` and what is below it, down to `depth` levels, marked `token`."""
    tail = b"" if depth is None else b"%d\0" % depth
    return Request(Op.WATCH, _fields(paths.check_watched(path), token) + tail, _nothing)


def unwatch(path: bytes, token: bytes) -> Request[None]:
    """Remove a watch."""
    return Request(Op.UNWATCH, _fields(paths.check_watched(path), token), _nothing)


def reset_watches() -> Request[None]:
    """Drop all watches and transactions of the connection; refused over XenBus."""
    return Request(Op.RESET_WATCHES, b"\0", _nothing)


def transaction_start() -> Request[int]:
    """The id of a new transaction."""
    # oxenstored leaves an empty payload unanswered.
    return Request(Op.TRANSACTION_START, b"\0", _number)


def transaction_end(commit: bool) -> Request[None]:
    """Commit (EAGAIN on conflict), or drop the transaction."""
    return Request(Op.TRANSACTION_END, b"T\0" if commit else b"F\0", _nothing)


def get_domain_path(domid: int) -> Request[bytes]:
    """The domain's home, `b"/local/domain/<domid>"`, whether or not it exists."""
    return Request(Op.GET_DOMAIN_PATH, _numbers(domid), _string)


def is_domain_introduced(domid: int) -> Request[bool]:
    """Whether the store is in communication with the domain."""
    return Request(Op.IS_DOMAIN_INTRODUCED, _numbers(domid), _truth)


def introduce_domain(domid: int, mfn: int, eventchn: int) -> Request[None]:
    """Let the store communicate with a domain.

    Args:
        domid: not 0.
        mfn: the machine frame of the domain's ring page.
        eventchn: an unbound event channel in the domain.
    """
    if not domid:
        raise InvalidOperation("domain 0 cannot be introduced")
    return Request(Op.INTRODUCE, _numbers(domid, mfn, eventchn), _nothing)


def release_domain(domid: int) -> Request[None]:
    """Let the store end its communication with a domain."""
    return Request(Op.RELEASE, _numbers(domid), _nothing)


def resume_domain(domid: int) -> Request[None]:
    """Let the store report the domain's next shutdown again."""
    return Request(Op.RESUME, _numbers(domid), _nothing)


def set_target(domid: int, target: int) -> Request[None]:
    """Give a domain the rights of the domain `target`."""
    return Request(Op.SET_TARGET, _numbers(domid, target), _nothing)


def control(command: bytes, *arguments: bytes) -> Request[bytes]:
    """Say something to the daemon; its answer. What it knows is the daemon's own: `help`, ..."""
    return Request(Op.CONTROL, _fields(command, *arguments), _string)


def get_feature(domid: int | None = None) -> Request[int]:
    """The feature bits of the daemon, or those that a domain is offered."""
    payload = b"\0" if domid is None else _numbers(domid)
    return Request(Op.GET_FEATURE, payload, _number)


def set_feature(domid: int, features: int) -> Request[None]:
    """What features a domain, not yet introduced, shall be offered."""
    return Request(Op.SET_FEATURE, _numbers(domid, features), _nothing)


def quota_names() -> Request[list[bytes]]:
    """The names of the quotas that the daemon knows."""
    return Request(Op.GET_QUOTA, b"\0", lambda payload: _string(payload).split())


def get_quota(name: bytes, domid: int | None = None) -> Request[int]:
    """A quota's value, for new domains or for one domain."""
    payload = _fields(name) if domid is None else _numbers(domid) + _fields(name)
    return Request(Op.GET_QUOTA, payload, _number)


def set_quota(name: bytes, value: int, domid: int | None = None) -> Request[None]:
    """Set a quota, for new domains or for one domain."""
    payload = _fields(name) + _numbers(value)
    return Request(Op.SET_QUOTA, payload if domid is None else _numbers(domid) + payload, _nothing)
