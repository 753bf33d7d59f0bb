# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The handlers of requests: unpack, call, pack the answer. No policy.

They are called through the door (door.py), where exceptions become errno values.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING

import pyfuse3

from xsfs.errors import NotFound
from xsfs.fs.fuse.attributes import set_scratch
from xsfs.fs.model import names as filenames
from xsfs.fs.model.states import InodeKind
from xsfs.fs.store.handles import DirectoryHandle, Handle, ValueHandle
from xsfs.fs.store.reads import FSError
from xsfs.fs.turns import Turns
from xsfs.fs.virtual.files import VirtualInode
from xsfs.fs.virtual.scratch import ScratchFile, is_scratch
from xsfs.fs.virtual.xattrs import Xattrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsfs.fs.fuse.attributes import Attributes
    from xsfs.fs.model.nodes import Inode
    from xsfs.fs.store.changes import Changes
    from xsfs.fs.store.handles import Waker
    from xsfs.fs.store.reads import Tree
    from xsfs.fs.virtual.entries import Entries

log = logging.getLogger(__name__)

_DOTS = (b".", b"..")


class Operations:
    """The file system: a handler for each request, named as in `pyfuse3.Operations`."""

    def __init__(
        self,
        tree: Tree,
        changes: Changes,
        entries: Entries,
        attributes: Attributes,
    ) -> None:
        self._tree = tree
        self._table = tree.table
        self._options = tree.options
        self._changes = changes
        self._entries = entries
        self._attributes = attributes
        self._xattrs = Xattrs(tree, changes)
        self._handles: dict[int, Handle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._next_fh = 1

    # -- names --------------------------------------------------------------------------------

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._table[parent_inode]
        if name.endswith(filenames.LINK_SUFFIX):
            self._require_readable(ctx)
        inode = await self._entries.find(parent, name, ctx.pid)
        if inode.kind is not InodeKind.DIRECTORY:
            return self._attributes.counted(inode)
        # From here on its events count, and it cannot be forgotten.
        inode.count_lookup()
        try:
            await self._tree.prefetch(inode.node)
            return self._attributes.counted(inode)
        finally:
            self._table.forget(inode.ino, 1)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        turns = Turns()
        for ino, count in inode_list:
            self._table.forget(ino, count)
            # The kernel forgets up to some thousands at a time.
            await turns.over()

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        link = self._table[inode]
        if link.kind is InodeKind.LINK:
            self._require_readable(ctx)
            # As an open reads it: never older than this request.
            link.node.value = await self._tree.value(link.node)
        else:
            await self._tree.attributes(link)
        target = self._entries.link(link)
        if not target:
            raise FSError(errno.ENOENT)
        return target

    def _require_readable(self, ctx: pyfuse3.RequestContext) -> None:
        """A link shows a value, so only to those who may read the file of it."""
        if not self._attributes.is_readable(ctx):
            raise FSError(errno.EACCES)

    # -- attributes, asked for ----------------------------------------------------------------

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        known = self._table[inode]
        if known.kind is not InodeKind.VIRTUAL:
            try:
                await self._tree.attributes(known)
            except NotFound:
                # Removed a moment ago; a program that has it open may still use it.
                log.debug("%r is gone", known)
        return self._attributes.of(known)

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        known = self._table[inode]
        self._require_writable()
        if isinstance(known, VirtualInode) and isinstance(known.virtual_file, ScratchFile):
            set_scratch(known.virtual_file, attr, fields)
            return self._attributes.of(known)
        now = self._attributes.of(known)
        if not self._options.quiet and (
            (fields.update_mode and stat.S_IMODE(attr.st_mode) != stat.S_IMODE(now.st_mode))
            or (fields.update_uid and attr.st_uid != now.st_uid)
            or (fields.update_gid and attr.st_gid != now.st_gid)
        ):
            raise FSError(errno.EPERM)
        handle = None if fh is None else self._handles[fh]
        if fields.update_size:
            await self._truncate(known, handle, attr.st_size, ctx.uid)
        if fields.update_mtime:
            known.node.mtime_ns = attr.st_mtime_ns
            known.node.mtime_is_set = not fields.update_size
        if known.kind is not InodeKind.VIRTUAL:
            await self._tree.attributes(known)
        return self._attributes.of(known)

    async def _truncate(self, known: Inode, handle: Handle | None, size: int, uid: int) -> None:
        if handle is None:
            handle = await self._open(known, os.O_RDWR, uid)
            await handle.truncate(size)
            await handle.sync()
        else:
            await handle.truncate(size)

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_namemax = filenames.NAME_MAX
        return data

    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        # The kernel decides by modes and owners (default_permissions).
        return True

    # -- directories --------------------------------------------------------------------------

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        known = self._table[inode]
        names = await self._entries.names(known)
        fh = self._next_fh
        self._next_fh += 1
        self._directories[fh] = DirectoryHandle(known, names)
        return fh

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        handle = self._directories[fh]
        for index in range(start_id, len(handle.names)):
            name = handle.names[index]
            if name in _DOTS:
                entry = self._attributes.bare(self._entries.dot(handle, name))
                if not pyfuse3.readdir_reply(token, name, entry, index + 1):
                    return
                continue
            inode = self._entries.known(handle, name) or await self._entries.listed(handle, index)
            if inode is None:
                continue
            if not pyfuse3.readdir_reply(token, name, self._attributes.of(inode), index + 1):
                self._table.discard(inode)
                return
            inode.count_lookup()

    async def releasedir(self, fh: int) -> None:
        self._entries.close(self._directories.pop(fh))

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Nothing to do: every change of a directory is in the store already."""

    # -- files --------------------------------------------------------------------------------

    def _keep(self, handle: Handle) -> pyfuse3.FileInfo:
        fh = self._next_fh
        self._next_fh += 1
        self._handles[fh] = handle
        return pyfuse3.FileInfo(fh=fh, direct_io=True)

    async def _open(self, known: Inode, flags: int, uid: int) -> Handle:
        if isinstance(known, VirtualInode):
            return await known.virtual_file.open(flags, uid)
        if not known.node.alive:
            raise FSError(errno.ESTALE)
        if known.kind is InodeKind.FILE and known.node.directory:
            raise FSError(errno.ESTALE)
        handle = ValueHandle(self._tree, self._changes, known.node, flags)
        await handle.open(truncate=bool(flags & os.O_TRUNC))
        return handle

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        known = self._table[inode]
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self._require_writable()
        handle = await self._open(known, flags, ctx.uid)
        handle.ino = inode
        return self._keep(handle)

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self._require_writable()
        parent = self._directory(parent_inode)
        if is_scratch(name, flags, mode):
            file = self._entries.scratch.create(parent.node, name, (ctx.uid, ctx.gid))
            kept = self._keep(await file.open(flags, ctx.uid))
            return kept, self._attributes.counted(self._entries.virtual_inode(parent.node, file))
        exclusive = bool(flags & os.O_EXCL)
        inode, new = await self._changes.create(parent.node, name, exclusive=exclusive)
        handle = ValueHandle(
            self._tree, self._changes, inode.node, flags, created=new, exclusive=exclusive
        )
        try:
            await handle.open(truncate=bool(flags & os.O_TRUNC))
        except BaseException:
            self._table.discard(inode)
            raise
        return self._keep(handle), self._attributes.counted(inode)

    async def poll(
        self, inode: int, fh: int, poll_handle: Waker | None, ctx: pyfuse3.RequestContext
    ) -> int:
        return self._handles[fh].poll(poll_handle)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self._handles[fh].read(off, size)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self._handles[fh].write(off, buf)

    async def flush(self, fh: int) -> None:
        await self._handles[fh].flush()

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._handles[fh].sync()

    async def release(self, fh: int) -> None:
        await self._handles.pop(fh).release()

    # -- changes ------------------------------------------------------------------------------

    def _require_writable(self) -> None:
        if self._options.read_only:
            raise FSError(errno.EROFS)

    def _directory(self, ino: int) -> Inode:
        """A directory in which nodes can be made and removed."""
        inode = self._table[ino]
        if inode.kind is not InodeKind.DIRECTORY:
            raise FSError(errno.EPERM)
        return inode

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        self._require_writable()
        parent = self._table[parent_inode]
        if isinstance(parent, VirtualInode):
            node = await parent.virtual_file.mkdir(name)
        else:
            node = await self._changes.mkdir(self._directory(parent_inode).node, name)
        node.hidden_from = ctx.pid
        return self._attributes.counted(self._table.inode(node, InodeKind.DIRECTORY))

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        self._require_writable()
        if not stat.S_ISREG(mode):
            raise FSError(errno.EPERM)
        parent = self._directory(parent_inode)
        return self._attributes.counted(await self._changes.mknod(parent.node, name))

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._require_writable()
        parent = self._directory(parent_inode)
        if name == filenames.VALUE:
            await self._changes.write(parent.node, b"")
            parent.node.hidden_from = ctx.pid
            return
        if name in self._entries.scratch.in_directory(parent.node):
            self._entries.scratch.remove(parent.node, name)
            return
        self._require_node(parent, name)
        await self._changes.unlink(parent.node, name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._require_writable()
        parent = self._table[parent_inode]
        if isinstance(parent, VirtualInode):
            await parent.virtual_file.rmdir(name)
            return
        parent = self._directory(parent_inode)
        self._require_node(parent, name)
        await self._changes.rmdir(parent.node, name)

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
        scratch = self._entries.scratch
        if (file := scratch.in_directory(old.node).get(name_old)) is not None:
            if flags & ~pyfuse3.RENAME_NOREPLACE:
                raise FSError(errno.EINVAL)
            await scratch.store(file, self._changes, new.node, name_new, exclusive=bool(flags))
            scratch.remove(old.node, name_old)
            return
        self._require_node(old, name_old)
        if name_new == filenames.VALUE:
            raise FSError(errno.EPERM)
        await self._changes.rename(old.node, name_old, new.node, name_new, flags)

    def _require_node(self, parent: Inode, name: bytes) -> None:
        """Refuse to remove or move a virtual file."""
        if self._entries.is_ours(parent.node, name):
            raise FSError(errno.EPERM)

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise FSError(errno.EPERM)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise FSError(errno.EPERM)

    # -- extended attributes ------------------------------------------------------------------

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._xattrs.get(self._table[inode], name)

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        return self._xattrs.names(self._table[inode])

    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        self._require_writable()
        await self._xattrs.set(self._table[inode], name, value)

    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._require_writable()
        self._xattrs.remove(name)
