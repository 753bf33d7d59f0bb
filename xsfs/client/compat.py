# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""xs: the interface of xen.lowlevel.xs, for programs that were written for it.

Paths may be str or bytes; names and event paths come back as the path was given. Values,
and what no path was given for, are bytes. Transactions are handles that the caller passes
in, "0" or "" for none. Thread-safe, as the client is.
Source: tools/python/xen/lowlevel/xs/xs.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, AnyStr, TypeAlias, TypedDict

from xsfs.client.client import Client
from xsfs.errors import NotFound, StoreError, Timeout, XenStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What any method may raise. Of the store's errors the first argument is the errno.
Error = XenStoreError

# A transaction, in hexadecimal.
Handle: TypeAlias = "str | bytes | int | None"

# The letters of permission entries, by flags (xenstore.h, enum xs_perm_type).
_READ = 1
_WRITE = 2
_LETTERS = b"nrwb"


class Permission(TypedDict, total=False):
    """An entry of a node's permissions; access is given where the numbers are not 0."""

    dom: int
    read: int
    write: int


class xs:
    """A connection to the store.

    Args:
        readonly: accepted for the original's sake; no daemon has a read-only socket any more.
    """

    def __init__(self, readonly: int = 0) -> None:
        self.client = Client()
        self.client.connect()
        self.monitor = self.client.monitor()
        # The original's tokens are any objects; on the wire each watch has a number.
        self._watches: dict[bytes, tuple[str | bytes, object]] = {}
        self._last_watch = 0

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
        self.monitor.close()
        self._watches.clear()

    # -- nodes --------------------------------------------------------------------------------

    def read(self, transaction: Handle, path: str | bytes) -> bytes | None:
        """The value of a node; None when there is no such node."""
        with suppress(NotFound):
            return self._within(transaction).read(_bytes(path))
        return None

    def write(self, transaction: Handle, path: str | bytes, data: str | bytes) -> None:
        """Set the value of a node; creates it, and its parents."""
        self._within(transaction).write(_bytes(path), _bytes(data))

    def ls(self, transaction: Handle, path: AnyStr) -> list[AnyStr] | None:
        """The names of all children; None when there is no such node."""
        with suppress(NotFound):
            names = self._within(transaction).list(_bytes(path))
            return [name.decode() if isinstance(path, str) else name for name in names]
        return None

    def mkdir(self, transaction: Handle, path: str | bytes) -> None:
        """Create a node, and its parents."""
        self._within(transaction).mkdir(_bytes(path))

    def rm(self, transaction: Handle, path: str | bytes) -> None:
        """Remove a node and all below it, if it exists."""
        with suppress(NotFound):
            self._within(transaction).delete(_bytes(path))

    def get_permissions(self, transaction: Handle, path: str | bytes) -> list[Permission]:
        """The permission entries, owner first."""
        entries = self._within(transaction).get_perms(_bytes(path))
        return [_permission(entry) for entry in entries]

    def set_permissions(
        self, transaction: Handle, path: str | bytes, perms: Sequence[Permission | bytes]
    ) -> None:
        """Replace the permission entries, owner first.

        Args:
            perms: entries as `get_permissions` has them, or as `Client.get_perms` does.
        """
        entries = [perm if isinstance(perm, bytes) else _entry(perm) for perm in perms]
        # The original's rule: who is given access by a first entry is not the owner.
        first = perms[0] if perms else b""
        if not isinstance(first, bytes) and entries[0][:1] != b"n" and first["dom"]:
            entries.insert(0, b"n0")
        self._within(transaction).set_perms(_bytes(path), entries)

    # -- transactions -------------------------------------------------------------------------

    def transaction_start(self) -> bytes:
        """Start a transaction; its handle."""
        tx_id = self._within(None).transaction()
        return b"%X" % tx_id

    def transaction_end(self, transaction: Handle, abort: int = 0) -> bool:
        """End a transaction; False when others were in the way: start over."""
        client = self._within(transaction)
        if abort:
            client.rollback()
            return True
        return client.commit()

    # -- watches ------------------------------------------------------------------------------

    def watch(self, path: str | bytes, token: object) -> None:
        """Have an event for every change of `path` or of a node below it.

        Args:
            token: any object; comes back with the events.
        """
        self._last_watch += 1
        number = b"%d" % self._last_watch
        self._watches[number] = path, token
        try:
            self.monitor.watch(_bytes(path), number)
        except BaseException:
            del self._watches[number]
            raise

    def unwatch(self, path: str | bytes, token: object) -> None:
        """Take back a watch."""
        for number, watch in self._watches.items():
            if _bytes(watch[0]) == _bytes(path) and watch[1] == token:
                self.monitor.unwatch(_bytes(path), number)
                del self._watches[number]
                return
        raise StoreError.of(b"ENOENT")

    def read_watch(self) -> tuple[str | bytes, object]:
        """The next event, waited for: the path that changed, and the watch's token."""
        return self._next_event(None)

    def check_watch(self) -> tuple[str | bytes, object] | None:
        """The next event, if there is one already."""
        try:
            return self._next_event(0)
        except Timeout:
            return None

    def fileno(self) -> int:
        """A descriptor to poll: readable when `check_watch` may have an event."""
        return self.monitor.fileno()

    def _next_event(self, timeout_s: float | None) -> tuple[str | bytes, object]:
        event = next(self.monitor.wait(timeout_s=timeout_s))
        path, token = self._watches[event.token]
        return event.path.decode() if isinstance(path, str) else event.path, token

    # -- domains ------------------------------------------------------------------------------

    def get_domain_path(self, domid: int) -> bytes:
        """The domain's home, whether or not it exists."""
        return self._within(None).get_domain_path(domid)

    def introduce_domain(self, dom: int, page: int, port: int) -> None:
        """Let the store communicate with a domain by its ring page and event channel."""
        self._within(None).introduce_domain(dom, page, port)

    def set_target(self, dom: int, target: int) -> None:
        """Give a domain the rights of the domain `target`."""
        self._within(None).set_target(dom, target)

    def resume_domain(self, dom: int) -> None:
        """Let the store report the domain's next shutdown again."""
        self._within(None).resume_domain(dom)

    def release_domain(self, dom: int) -> None:
        """Let the store end its communication with a domain."""
        self._within(None).release_domain(dom)

    def _within(self, transaction: Handle) -> Client:
        """The client, whose transaction is this thread's until it is set again."""
        if isinstance(transaction, str | bytes):
            transaction = int(transaction or b"0", 16)
        self.client.tx_id = transaction or 0
        return self.client


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _permission(entry: bytes) -> Permission:
    flags = _LETTERS.index(entry[:1])
    return {"dom": int(entry[1:]), "read": flags & _READ, "write": flags & _WRITE}


def _entry(permission: Permission) -> bytes:
    flags = (_READ if permission.get("read") else 0) | (_WRITE if permission.get("write") else 0)
    return b"%c%d" % (_LETTERS[flags], permission["dom"])
