# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""xs: the interface of xen.lowlevel.xs, for programs that were written for it.

Arguments and results are those of the original: values are bytes; names, paths and handles are
str; tokens of watches are compared by identity; every refusal is an `Error` whose arguments are an
errno and its text. Arguments go to the store unchecked, so that the store refuses wrong ones.
As with pyxs's `xs`, paths may be bytes as well; names and the paths of events are then bytes.
Thread-safe.
Source: tools/python/xen/lowlevel/xs/xs.c, tools/libs/store/xs.c.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, AnyStr, TypeAlias, TypedDict, cast

from xsfs.client.client import Client
from xsfs.client.waiters import Mailbox
from xsfs.errors import StoreError, Timeout, XenStoreError
from xsfs.protocol.packet import PAYLOAD_MAX, Op
from xsfs.protocol.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.client.link import Link

# What any method may raise; its arguments are an errno and the text for it.
Error = XenStoreError

# A transaction: in hexadecimal, as `transaction_start` gave it; "0" or "" for none.
Handle: TypeAlias = "str | bytes | int | None"

# The letters of permission entries, by flags (xenstore.h, enum xs_perm_type).
_READ = 1
_WRITE = 2
_LETTERS = b"nrwb"

# What strtoul(3) reads of a handle; that is 0 where there is no number.
_HEXADECIMAL = re.compile(rb"\s*[+-]?(?:0[xX](?=[0-9a-fA-F]))?[0-9a-fA-F]+")
_UINT_MAX = 0xFFFFFFFF
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF


class Permission(TypedDict, total=False):
    """An entry of a node's permissions; access is given where the numbers are not 0."""

    dom: int
    read: int
    write: int


class _Token:
    """A caller's token, and the one that represents it on the wire."""

    def __init__(self, value: object, on_wire: bytes) -> None:
        self.value = value
        self.on_wire = on_wire
        self.watches = 0
        self.takes_bytes = False


class xs:
    """A connection to the store.

    Args:
        readonly: accepted for the original's sake; no daemon has a read-only socket any more.

    Raises:
        Error: the store cannot be reached.
    """

    def __init__(self, readonly: int = 0) -> None:
        self.client = Client()
        with _as_errors(lost=None):
            self.client.connect()
        self._open_link: Link | None = self.client.router.link()
        self._mailbox = Mailbox()
        # Held while a watch is set or removed.
        self._lock = threading.Lock()
        self._tokens: dict[int, _Token] = {}
        self._tokens_on_wire: dict[bytes, _Token] = {}
        self._last_number = 0

    def close(self) -> None:
        """Close the connection; every call after it, another `close` too, is an EINVAL."""
        self._link.close_poll(self._mailbox)
        self._open_link = None
        self.client.close()

    # -- nodes --------------------------------------------------------------------------------

    def read(self, transaction: Handle, path: str | bytes) -> bytes | None:
        """The value of a node; None when there is no such node."""
        with _missing_is_none():
            return self._ask(Op.READ, transaction, _string(path))

    def write(self, transaction: Handle, path: str | bytes, data: str | bytes) -> None:
        """Set the value of a node; creates it, and its parents."""
        self._ask(Op.WRITE, transaction, _string(path), _bytes(data))

    def ls(self, transaction: Handle, path: AnyStr) -> list[AnyStr] | None:
        """The names of all children; None when there is no such node."""
        with _missing_is_none():
            try:
                names = _strings(self._ask(Op.DIRECTORY, transaction, _string(path)))
            except Error as error:
                if error.args[0] != errno.E2BIG or len(path) >= PAYLOAD_MAX:
                    raise
                names = self._ls_by_parts(transaction, path)
            return [name.decode() if isinstance(path, str) else name for name in names]

    def mkdir(self, transaction: Handle, path: str | bytes) -> None:
        """Create a node, and its parents."""
        self._ask(Op.MKDIR, transaction, _string(path))

    def rm(self, transaction: Handle, path: str | bytes) -> None:
        """Remove a node and all below it, if it exists."""
        with _missing_is_none():
            self._ask(Op.RM, transaction, _string(path))

    def get_permissions(self, transaction: Handle, path: str | bytes) -> list[Permission]:
        """The permission entries, owner first."""
        entries = _strings(self._ask(Op.GET_PERMS, transaction, _string(path)))
        return [_permission(entry) for entry in entries]

    def set_permissions(
        self, transaction: Handle, path: str | bytes, perms: list[Permission] | list[bytes]
    ) -> None:
        """Replace the permission entries, owner first.

        Args:
            perms: entries as `get_permissions` has them, or as `Client.get_perms` does. When
                the first gives access to another domain than 0, the owner is domain 0.
        """
        if not isinstance(perms, list):
            raise _error(errno.EINVAL)
        entries = [perm if isinstance(perm, bytes) else _entry(**perm) for perm in perms]
        if perms and isinstance(perms[0], dict) and perms[0]["dom"] and entries[0][:1] != b"n":
            entries.insert(0, b"n0")
        self._ask(Op.SET_PERMS, transaction, _string(path), *map(_string, entries))

    # -- transactions -------------------------------------------------------------------------

    def transaction_start(self) -> str:
        """Start a transaction; its handle."""
        return f"{int(_text(self._ask(Op.TRANSACTION_START, None, _string('')))):X}"

    def transaction_end(self, transaction: Handle, abort: int = 0) -> bool:
        """End a transaction; False when others were in the way: start over."""
        try:
            self._ask(Op.TRANSACTION_END, transaction, _string("F" if abort else "T"))
        except Error as error:
            if error.args[0] != errno.EAGAIN:
                raise
            return False
        return True

    # -- watches ------------------------------------------------------------------------------

    def watch(self, path: str | bytes, token: object) -> None:
        """Set a watch: an event for every change of `path` or of a node below it.

        Args:
            token: any object; comes back with the events. Two that are equal are two tokens.
        """
        with self._lock:
            entry = self._tokens.get(id(token)) or self._add(token)
            # First, as its event may come before the reply.
            entry.watches += 1
            entry.takes_bytes = isinstance(path, bytes)
            try:
                self._ask(Op.WATCH, None, _string(path), _string(entry.on_wire))
            except BaseException:
                self._drop_watch(entry)
                raise

    def unwatch(self, path: str | bytes, token: object) -> None:
        """Remove a watch."""
        with self._lock:
            entry = self._tokens.get(id(token))
            # With a token that no watch has, so that the store checks the path and refuses.
            self._ask(Op.UNWATCH, None, _string(path), _string(entry.on_wire if entry else "0"))
            if entry:
                self._drop_watch(entry)

    def read_watch(self) -> tuple[str | bytes, object]:
        """The next event, waited for: the path that changed, and the watch's token."""
        event = self._next_event(None)
        assert event is not None
        return event

    def check_watch(self) -> tuple[str | bytes, object] | None:
        """The next event, if there is one already."""
        return self._next_event(0)

    def fileno(self) -> int:
        """A descriptor to poll: readable when `check_watch` may have an event."""
        with _as_errors():
            return self._link.poll_fd(self._mailbox)

    def _add(self, token: object) -> _Token:
        link = self._link
        self._last_number += 1
        entry = _Token(token, b"%d" % self._last_number)
        self._tokens[id(token)] = self._tokens_on_wire[entry.on_wire] = entry
        link.subscribe(entry.on_wire, self._mailbox)
        return entry

    def _drop_watch(self, entry: _Token) -> None:
        entry.watches -= 1
        if not entry.watches:
            del self._tokens[id(entry.value)], self._tokens_on_wire[entry.on_wire]
            self._link.unsubscribe(entry.on_wire, self._mailbox)

    def _next_event(self, timeout_s: float | None) -> tuple[str | bytes, object] | None:
        while True:
            with _as_errors(lost=errno.EINVAL):
                try:
                    event = self._link.take(self._mailbox, timeout_s)
                except Timeout:
                    return None
            entry = self._tokens_on_wire.get(event.token)
            # None when the watch was removed while the event was on its way.
            if entry is not None:
                return event.path if entry.takes_bytes else event.path.decode(), entry.value

    # -- domains ------------------------------------------------------------------------------

    def get_domain_path(self, domid: int) -> str:
        """The domain's home, whether or not it exists."""
        return _text(self._ask(Op.GET_DOMAIN_PATH, None, _uint(domid)))

    def introduce_domain(self, dom: int, page: int, port: int) -> None:
        """Let the store communicate with a domain by its ring page and event channel."""
        fields = _uint(dom), _uint(page, _ULONG_MAX), _uint(port)
        self._ask(Op.INTRODUCE, None, *fields)

    def set_target(self, dom: int, target: int) -> None:
        """Give a domain the rights of the domain `target`."""
        self._ask(Op.SET_TARGET, None, _uint(dom), _uint(target))

    def resume_domain(self, dom: int) -> None:
        """Let the store report the domain's next shutdown again."""
        self._ask(Op.RESUME, None, _uint(dom))

    def release_domain(self, dom: int) -> None:
        """Let the store end its communication with a domain."""
        self._ask(Op.RELEASE, None, _uint(dom))

    # -- requests -----------------------------------------------------------------------------

    @property
    def _link(self) -> Link:
        if self._open_link is None:
            raise _error(errno.EINVAL)
        return self._open_link

    def _ask(self, op: Op, transaction: Handle, *fields: bytes) -> bytes:
        """Send a request; the payload of its reply."""
        payload = b"".join(fields)
        link = self._link
        if len(payload) > PAYLOAD_MAX:
            raise _error(errno.E2BIG)
        request = Request(op, payload, bytes)
        with _as_errors():
            (reply,) = link.call((request,), _tx_id(transaction), self.client.timeout_s)
            if isinstance(reply, StoreError):
                raise reply
        return cast("bytes", reply)

    def _ls_by_parts(self, transaction: Handle, path: str | bytes) -> list[bytes]:
        client = copy(self.client)
        client.tx_id = _tx_id(transaction)
        with _as_errors():
            return client.list(_bytes(path))


def _error(number: int) -> Error:
    return Error(number, os.strerror(number))


@contextmanager
def _as_errors(lost: int | None = errno.EBADF) -> Iterator[None]:
    """Whatever goes wrong with the store is an `Error` with an errno.

    Args:
        lost: the errno of a lost connection; None: its own.
    """
    try:
        yield
    except OSError as error:
        is_loss = isinstance(error, ConnectionError) and not isinstance(error, Timeout)
        number = lost if is_loss and lost is not None else error.errno
        raise _error(number or errno.EIO) from error


@contextmanager
def _missing_is_none() -> Iterator[None]:
    """Leave the block when there is no such node; its method then returns None."""
    try:
        yield
    except Error as error:
        if error.args[0] != errno.ENOENT:
            raise


def _tx_id(transaction: Handle) -> int:
    if not isinstance(transaction, str | bytes):
        return transaction or 0
    number = _HEXADECIMAL.match(_string(transaction))
    return int(number[0], 16) & _UINT_MAX if number else 0


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _string(text: str | bytes) -> bytes:
    """A C string: without a NUL in it."""
    data = _bytes(text)
    if b"\0" in data:
        raise ValueError("embedded null character")
    return data + b"\0"


def _uint(number: int, limit: int = _UINT_MAX) -> bytes:
    return b"%d\0" % (number & limit)


def _strings(payload: bytes) -> list[bytes]:
    return payload.split(b"\0")[:-1]


def _text(payload: bytes) -> str:
    return payload.removesuffix(b"\0").decode()


def _permission(entry: bytes) -> Permission:
    flags = _LETTERS.index(entry[:1])
    return {"dom": int(entry[1:]), "read": flags & _READ, "write": flags & _WRITE}


def _entry(dom: int, read: int = 0, write: int = 0) -> bytes:
    flags = (_READ if read else 0) | (_WRITE if write else 0)
    return b"%c%d" % (_LETTERS[flags], dom & _UINT_MAX)
