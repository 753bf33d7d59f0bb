# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""pyfuse3's handlers: unpack the request, call, pack the answer. No policy.

Every handler goes through `_answering`, where exceptions become errno values.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyfuse3

from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission, NotFound, StoreError
from xsfs.fs import names as filenames
from xsfs.fs.control import Control
from xsfs.fs.events import Kind
from xsfs.fs.handles import DirectoryHandle, Handle, PokeHandle, ValueHandle
from xsfs.fs.nodes import Face
from xsfs.fs.notices import known_face
from xsfs.fs.tree import MAX_AGE_S, FSError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from xsfs.fs.changes import Changes
    from xsfs.fs.control import Controls
    from xsfs.fs.nodes import Inode, Node
    from xsfs.fs.notices import Courier
    from xsfs.fs.tree import Tree

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

# How many entries of a directory are asked for at a time.
_WINDOW = 512

_PERMS = b"user.xenstore.perms"
_PATH = b"user.xenstore.path"

# What the store's errors mean to a program that uses files; others keep their number.
_ERRNO = {errno.E2BIG: errno.EFBIG, errno.EINVAL: errno.ENAMETOOLONG}


def errno_of(error: Exception) -> int | None:
    """The errno to answer with; None for what should not have happened."""
    match error:
        case FSError():
            return error.errno
        case StoreError():
            return _ERRNO.get(error.errno or errno.EIO, error.errno)
        case StoreConnectionError():
            return errno.EIO
        case InvalidPayload():
            return errno.EFBIG
        case InvalidPath():
            return errno.ENAMETOOLONG
        case InvalidPermission():
            return errno.EINVAL
        case _:
            return None


def _answering(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            number = errno_of(error)
            if number is None:
                log.exception("%s%r failed", handler.__name__, args[1:])
                number = errno.EIO
            elif isinstance(error, StoreConnectionError):
                log.warning("%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(number) from error

    return answer


class Operations(pyfuse3.Operations):
    """The file system, as pyfuse3 calls it."""

    def __init__(self, tree: Tree, changes: Changes, courier: Courier, controls: Controls) -> None:
        super().__init__()
        self._tree = tree
        self._table = tree.table
        self._options = tree.options
        self._changes = changes
        self._courier = courier
        self._controls = controls
        self._handles: dict[int, Handle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._next_fh = 1

    # -- attributes ---------------------------------------------------------------------------

    def _entry(self, inode: Inode) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        node, face, options = inode.node, inode.face, self._options
        size = 0
        mode = stat.S_IFREG | 0o644
        match face:
            case Face.FILE | Face.VALUE:
                if node.value:
                    size = len(node.value) + (not options.raw)
            case Face.DIRECTORY:
                mode = stat.S_IFDIR | 0o755
            case Face.LINK | Face.ALIAS:
                mode = stat.S_IFLNK | 0o777
                size = len(self._link(inode))
            case Face.CONTROL:
                control = self._control(inode)
                mode, size = control.mode, control.size
        if stat.S_ISREG(mode):
            mode &= ~options.fmask
        elif stat.S_ISDIR(mode):
            mode &= ~options.dmask
        entry.st_ino = inode.ino
        entry.st_mode = mode
        entry.st_nlink = 1 if node.alive else 0
        entry.st_uid = options.uid
        entry.st_gid = options.gid
        entry.st_size = size
        entry.st_blocks = (size + 511) // 512
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = (
            node.mtime_ns or self._tree.started_ns
        )
        plain = face in (Face.FILE, Face.DIRECTORY, Face.VALUE)
        lasting = plain and not node.pending and self._tree.is_fresh(node)
        entry.attr_timeout = entry.entry_timeout = MAX_AGE_S if lasting else 0
        return entry

    @staticmethod
    def _control(inode: Inode) -> Control:
        assert isinstance(inode.control, Control)
        return inode.control

    def _known(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The answer by which the kernel learns an inode."""
        entry = self._entry(inode)
        inode.lookups += 1
        return entry

    # -- names --------------------------------------------------------------------------------

    @_answering
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._table[parent_inode]
        if self._courier.is_helper(ctx.pid):
            return self._lookup_for_helper(parent, name)
        return self._known(await self._find(parent, name))

    async def _find(self, parent: Inode, name: bytes) -> Inode:
        node = parent.node
        if parent.face is Face.CONTROL:
            control = self._control(parent).entries().get(name)
            if control is None:
                raise FSError(errno.ENOENT)
            return self._control_inode(node, control)
        if (control := self._controls.find(node, name)) is not None:
            return self._control_inode(node, control)
        if name == filenames.VALUE:
            await self._tree.attributes(parent)
            return self._table.inode(node, Face.VALUE)
        stem, suffix = filenames.split_suffix(name)
        child = await self._tree.lookup(node, stem)
        if suffix == filenames.LINK_SUFFIX:
            inode = self._table.inode(child, Face.LINK)
            if not self._link(inode):
                self._table.discard(inode)
                raise FSError(errno.ENOENT)
            return inode
        if suffix:
            return self._table.inode(child, Face.ALIAS if child.directory else Face.DIRECTORY)
        return self._table.inode(child, child.shown)

    def _control_inode(self, node: Node, control: Control) -> Inode:
        for inode in node.faces:
            if inode.control is control:
                return inode
        return self._table.add(node, Face.CONTROL, control)

    def _lookup_for_helper(self, parent: Inode, name: bytes) -> pyfuse3.EntryAttributes:
        """Answer the event helper, from memory: what it is about to create is not there yet."""
        node = parent.node
        poke = self._courier.expected(node, name)
        if poke is not None and poke.notice.kind is Kind.CREATED:
            raise FSError(errno.ENOENT)
        if poke is not None:
            return self._known(known_face(poke.notice, self._table))
        if name == filenames.VALUE:
            return self._known(self._table.inode(node, Face.VALUE))
        child = node.children.get(name) if node.children else None
        if child is None:
            raise FSError(errno.ENOENT)
        return self._known(self._table.inode(child, child.shown))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, count in inode_list:
            self._table.forget(ino, count)

    def _link(self, inode: Inode) -> bytes:
        node = inode.node
        if inode.face is Face.ALIAS:
            return node.name
        parent = node.parent
        if parent is None or node.value is None:
            return b""
        root = node.view.root.name
        return filenames.link_target(node.value, root, parent.depth) or b""

    @_answering
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        link = self._table[inode]
        await self._tree.attributes(link)
        target = self._link(link)
        if not target:
            raise FSError(errno.ENOENT)
        return target

    # -- attributes, asked for ----------------------------------------------------------------

    @_answering
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        known = self._table[inode]
        if known.face is not Face.CONTROL and not self._courier.is_helper(ctx.pid):
            try:
                await self._tree.attributes(known)
            except NotFound:
                # Removed a moment ago; whoever holds it open may still look at it.
                log.debug("%r is gone", known)
        return self._entry(known)

    @_answering
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        known = self._table[inode]
        if self._courier.is_helper(ctx.pid):
            return self._entry(known)
        self._require_writable()
        now = self._entry(known)
        if (
            (fields.update_mode and stat.S_IMODE(attr.st_mode) != stat.S_IMODE(now.st_mode))
            or (fields.update_uid and attr.st_uid != now.st_uid)
            or (fields.update_gid and attr.st_gid != now.st_gid)
        ):
            raise FSError(errno.EPERM)
        handle = None if fh is None else self._handles[fh]
        if fields.update_size:
            await self._truncate(known, handle, attr.st_size)
        elif handle is not None and (fields.update_mtime or fields.update_atime):
            await handle.sync()
        if fields.update_mtime:
            known.node.mtime_ns = attr.st_mtime_ns
        if known.face is not Face.CONTROL:
            await self._tree.attributes(known)
        return self._entry(known)

    async def _truncate(self, known: Inode, handle: Handle | None, size: int) -> None:
        if handle is None:
            handle = await self._open(known, os.O_RDWR)
            await handle.truncate(size)
            await handle.sync()
        else:
            await handle.truncate(size)

    @_answering
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_files = len(self._table)
        data.f_namemax = filenames.NAME_MAX
        return data

    @_answering
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        # The kernel decides by modes and owners (default_permissions).
        return True

    # -- directories --------------------------------------------------------------------------

    @_answering
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        known = self._table[inode]
        if known.face is Face.CONTROL:
            names = sorted(self._control(known).entries())
        else:
            names = await self._tree.listing(known.node)
            await self._tree.attributes(known)
            if known.node.value:
                names.insert(0, filenames.VALUE)
            if known is self._table.root:
                names = sorted({*names, *self._controls.listed})
        fh = self._next_fh
        self._next_fh += 1
        self._directories[fh] = DirectoryHandle(known, [b".", b"..", *names])
        return fh

    @_answering
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        handle = self._directories[fh]
        for index in range(start_id, len(handle.names)):
            name = handle.names[index]
            inode = await self._listed(handle, index)
            if inode is None:
                continue
            taken = pyfuse3.readdir_reply(token, name, self._entry(inode), index + 1)
            if name not in (b".", b".."):
                if taken:
                    inode.lookups += 1
                else:
                    self._table.discard(inode)
            if not taken:
                return

    async def _listed(self, handle: DirectoryHandle, index: int) -> Inode | None:
        """The inode of a listed entry; None when it is gone by now."""
        name, inode = handle.names[index], handle.inode
        node = inode.node
        if name == b".":
            return inode
        if name == b"..":
            above = node.parent if node.parent is not None else node
            return above.face(Face.DIRECTORY) or inode
        if inode.face is Face.CONTROL or not filenames.is_node_name(name):
            return await self._find(inode, name)
        if (control := self._controls.find(node, name)) is not None:
            return self._control_inode(node, control)
        if index >= handle.asked:
            handle.asked = index + _WINDOW
            await self._tree.refresh(node, self._stale(node, handle.names[index : handle.asked]))
        child = node.children.get(name) if node.children else None
        return None if child is None else self._table.inode(child, child.shown)

    def _stale(self, node: Node, names: list[bytes]) -> list[bytes]:
        children = node.children or {}
        return [
            name
            for name in names
            if filenames.is_node_name(name)
            and self._controls.find(node, name) is None
            and ((child := children.get(name)) is None or not self._tree.is_fresh(child))
        ]

    @_answering
    async def releasedir(self, fh: int) -> None:
        del self._directories[fh]

    @_answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """All that was done is in the store."""

    # -- files --------------------------------------------------------------------------------

    def _keep(self, handle: Handle) -> pyfuse3.FileInfo:
        fh = self._next_fh
        self._next_fh += 1
        self._handles[fh] = handle
        return pyfuse3.FileInfo(fh=fh, direct_io=True)

    async def _open(self, known: Inode, flags: int) -> Handle:
        if known.face is Face.CONTROL:
            return await self._control(known).open(flags)
        if not known.node.alive:
            raise FSError(errno.ESTALE)
        if known.face is Face.FILE and known.node.directory:
            raise FSError(errno.ESTALE)
        handle = ValueHandle(self._tree, self._changes, known.node, flags)
        await handle.open(truncate=bool(flags & os.O_TRUNC))
        return handle

    @_answering
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        known = self._table[inode]
        if self._courier.is_helper(ctx.pid):
            return self._keep(PokeHandle())
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._require_writable()
        return self._keep(await self._open(known, flags))

    @_answering
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self._require_writable()
        parent = self._directory(parent_inode)
        exclusive = bool(flags & os.O_EXCL)
        node, new = await self._changes.create(parent.node, name, exclusive=exclusive)
        inode = self._table.inode(node, Face.FILE)
        handle = ValueHandle(self._tree, self._changes, node, flags, exclusive=exclusive and new)
        await handle.open(truncate=bool(flags & os.O_TRUNC))
        return self._keep(handle), self._known(inode)

    @_answering
    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self._handles[fh].read(off, size)

    @_answering
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self._handles[fh].write(off, buf)

    @_answering
    async def flush(self, fh: int) -> None:
        await self._handles[fh].flush()

    @_answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._handles[fh].sync()

    @_answering
    async def release(self, fh: int) -> None:
        await self._handles.pop(fh).release()

    # -- changes ------------------------------------------------------------------------------

    def _require_writable(self) -> None:
        if self._options.read_only:
            raise FSError(errno.EROFS)

    def _directory(self, ino: int) -> Inode:
        """A directory in which nodes can be made and removed."""
        inode = self._table[ino]
        if inode.face is not Face.DIRECTORY:
            raise FSError(errno.EPERM)
        return inode

    def _created_for_helper(self, parent_inode: int, name: bytes) -> pyfuse3.EntryAttributes:
        poke = self._courier.expected(self._table[parent_inode].node, name)
        if poke is None or poke.notice.kind is not Kind.CREATED:
            raise FSError(errno.EPERM)
        self._courier.fulfil(poke)
        return self._known(known_face(poke.notice, self._table))

    def _removed_for_helper(self, parent_inode: int, name: bytes) -> None:
        poke = self._courier.expected(self._table[parent_inode].node, name)
        if poke is None or poke.notice.kind is not Kind.REMOVED:
            raise FSError(errno.EPERM)
        self._courier.fulfil(poke)

    @_answering
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if self._courier.is_helper(ctx.pid):
            return self._created_for_helper(parent_inode, name)
        self._require_writable()
        node = await self._changes.mkdir(self._directory(parent_inode).node, name)
        return self._known(self._table.inode(node, Face.DIRECTORY))

    @_answering
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if self._courier.is_helper(ctx.pid):
            return self._created_for_helper(parent_inode, name)
        self._require_writable()
        if not stat.S_ISREG(mode):
            raise FSError(errno.EPERM)
        node = await self._changes.mknod(self._directory(parent_inode).node, name)
        return self._known(self._table.inode(node, Face.FILE))

    @_answering
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        if self._courier.is_helper(ctx.pid):
            self._removed_for_helper(parent_inode, name)
            return
        self._require_writable()
        parent = self._directory(parent_inode)
        if name == filenames.VALUE:
            await self._changes.write(parent.node, b"")
            return
        self._require_node(parent, name)
        await self._changes.unlink(parent.node, name)

    @_answering
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        if self._courier.is_helper(ctx.pid):
            self._removed_for_helper(parent_inode, name)
            return
        self._require_writable()
        parent = self._directory(parent_inode)
        self._require_node(parent, name)
        await self._changes.rmdir(parent.node, name)

    @_answering
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        self._require_writable()
        old, new = self._directory(parent_inode_old), self._directory(parent_inode_new)
        self._require_node(old, name_old)
        if name_new == filenames.VALUE:
            raise FSError(errno.EPERM)
        await self._changes.rename(old.node, name_old, new.node, name_new, flags)

    def _require_node(self, parent: Inode, name: bytes) -> None:
        """A name of our own making cannot be removed or moved."""
        ours = not filenames.is_node_name(name) or self._controls.find(parent.node, name)
        if ours:
            raise FSError(errno.EPERM)

    @_answering
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise FSError(errno.EPERM)

    @_answering
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise FSError(errno.EPERM)

    # -- extended attributes ------------------------------------------------------------------

    def _with_xattrs(self, ino: int) -> Node | None:
        inode = self._table[ino]
        return inode.node if inode.face in (Face.FILE, Face.DIRECTORY, Face.VALUE) else None

    @_answering
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        node = self._with_xattrs(inode)
        if node is not None and name == _PATH:
            return node.path
        if node is not None and name == _PERMS:
            perms = await self._tree.client.get_perms(node.path, node.view.tx_id)
            return b",".join(perms)
        raise FSError(pyfuse3.ENOATTR)

    @_answering
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        return [] if self._with_xattrs(inode) is None else [_PERMS, _PATH]

    @_answering
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        self._require_writable()
        node = self._with_xattrs(inode)
        if node is None or name not in (_PERMS, _PATH):
            raise FSError(errno.EOPNOTSUPP)
        if name == _PERMS:
            await self._changes.set_perms(node, value)
        elif value != node.path:
            # `cp -a` brings along where the original stood; that is not ours to set.
            log.debug("%r keeps its own path", node)

    @_answering
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._require_writable()
        raise FSError(errno.EPERM if name in (_PERMS, _PATH) else pyfuse3.ENOATTR)
