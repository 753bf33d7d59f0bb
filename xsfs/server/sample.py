# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a store looks like on a host with three guests, for demos and tests. Pure.

Source of the layout: xenstore-paths.pandoc, and the headers in xen/include/public/io.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsfs.server.access import Entry, Perms, Right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.server.store import Store

# enum xenbus_state (xs_wire.h's neighbour, io/xenbus.h).
_CONNECTED = b"4"


class Guest(NamedTuple):
    """The differences between the guests of the sample."""

    domid: int
    name: bytes
    uuid: bytes
    memory_kib: int
    vcpus: int
    disks: tuple[bytes, ...]
    mac: bytes


GUESTS = (
    Guest(
        1,
        b"web",
        b"9c1f5a52-6b0e-4f3c-9a77-3f4f0f6a1c01",
        2097152,
        2,
        (b"/dev/vg0/web-root", b"/dev/vg0/web-data"),
        b"00:16:3e:5a:01:01",
    ),
    Guest(
        2,
        b"db",
        b"9c1f5a52-6b0e-4f3c-9a77-3f4f0f6a1c02",
        8388608,
        4,
        (b"/dev/vg0/db-root",),
        b"00:16:3e:5a:01:02",
    ),
    Guest(
        5,
        b"build",
        b"9c1f5a52-6b0e-4f3c-9a77-3f4f0f6a1c05",
        4194304,
        8,
        (b"/dev/vg0/build-root",),
        b"00:16:3e:5a:01:05",
    ),
)

# Of the first virtual disk and those after it: xvda, xvdb, ... (vbd-interface).
_FIRST_DISK = 51712
_DISK_STEP = 16


def load(store: Store) -> None:
    """Put the host into a store, its guests introduced."""
    store.load(tree(), permissions())
    for guest in GUESTS:
        store.domains[guest.domid].introduced = True


def tree() -> dict[bytes, bytes]:
    """The value of every node, by path, parents before children."""
    return {path: value for path, value, _ in _nodes()}


def permissions() -> dict[bytes, Perms]:
    """The permission entries of every node, by path."""
    return {path: perms for path, _, perms in _nodes()}


def _nodes() -> Iterator[tuple[bytes, bytes, Perms]]:
    dom0 = _perms(0)
    yield b"/tool", b"", dom0
    yield b"/tool/xenstored", b"", dom0
    yield from _below(b"/local", dom0, {b"": b"", b"domain": b""})
    yield from _below(
        b"/local/domain/0",
        dom0,
        {
            b"": b"",
            b"name": b"Domain-0",
            b"domid": b"0",
            b"device-model": b"",
            b"memory": b"",
            b"memory/target": b"4194304",
            b"memory/static-max": b"16777216",
            b"libxl": b"",
            b"libxl/disable_udev": b"1",
            b"backend": b"",
            b"backend/vbd": b"",
            b"backend/vif": b"",
            b"backend/console": b"",
        },
    )
    for top in (b"/vm", b"/libxl", b"/libxl/pool", b"/libxl/pool/0"):
        yield top, b"", dom0
    yield b"/libxl/pool/0/name", b"Pool-0", dom0
    for guest in GUESTS:
        yield from _guest(guest)


def _guest(guest: Guest) -> Iterator[tuple[bytes, bytes, Perms]]:
    home = b"/local/domain/%d" % guest.domid
    theirs = _perms(guest.domid)
    readable = _perms(0, guest.domid)
    yield from _below(
        home,
        readable,
        {
            b"": b"",
            b"vm": b"/vm/" + guest.uuid,
            b"name": guest.name,
            b"domid": b"%d" % guest.domid,
            b"cpu": b"",
            **{
                b"cpu/%d%b" % (number, tail): value
                for number in range(guest.vcpus)
                for tail, value in ((b"", b""), (b"/availability", b"online"))
            },
            b"memory": b"",
            b"memory/static-max": b"%d" % guest.memory_kib,
            b"memory/target": b"%d" % guest.memory_kib,
            b"memory/videoram": b"0",
            b"device": b"",
            b"device/vbd": b"",
            b"device/vif": b"",
            b"control": b"",
            b"control/platform-feature-multiprocessor-suspend": b"1",
            b"control/platform-feature-xs_reset_watches": b"1",
            b"console": b"",
            b"store": b"",
            b"store/port": b"1",
            b"store/ring-ref": b"%d" % (1048572 + guest.domid),
        },
    )
    yield from _below(
        home,
        theirs,
        {
            b"control/shutdown": b"",
            b"control/feature-poweroff": b"1",
            b"control/feature-reboot": b"1",
            b"data": b"",
            b"data/os_name": b"Debian GNU/Linux 12",
            b"drivers": b"",
            b"attr": b"",
        },
    )
    yield from _below(
        b"/vm/" + guest.uuid,
        readable,
        {
            b"": b"",
            b"name": guest.name,
            b"uuid": guest.uuid,
            b"start_time": b"1767225600.%02d" % guest.domid,
        },
    )
    yield from _below(
        b"/libxl/%d" % guest.domid,
        _perms(0),
        {b"": b"", b"type": b"pvh", b"dm-version": b"qemu_xen", b"device": b""},
    )
    yield from _console(guest)
    for number, disk in enumerate(guest.disks):
        yield from _disk(guest, number, disk)
    yield from _interface(guest)


def _console(guest: Guest) -> Iterator[tuple[bytes, bytes, Perms]]:
    backend = b"/local/domain/0/backend/console/%d" % guest.domid
    yield from _below(
        b"/local/domain/%d/console" % guest.domid,
        _perms(0, guest.domid),
        {
            b"backend": backend + b"/0",
            b"backend-id": b"0",
            b"type": b"xenconsoled",
            b"output": b"pty",
            b"tty": b"/dev/pts/%d" % guest.domid,
            b"limit": b"1048576",
            b"port": b"2",
            b"ring-ref": b"%d" % (1048560 + guest.domid),
        },
    )
    yield backend, b"", _perms(0)
    yield from _below(
        backend + b"/0",
        _perms(0, guest.domid),
        {
            b"": b"",
            b"frontend": b"/local/domain/%d/console" % guest.domid,
            b"frontend-id": b"%d" % guest.domid,
            b"online": b"1",
            b"state": b"1",
            b"protocol": b"vt100",
        },
    )


def _disk(guest: Guest, number: int, device: bytes) -> Iterator[tuple[bytes, bytes, Perms]]:
    virtual = _FIRST_DISK + _DISK_STEP * number
    yield from _device(
        guest,
        b"vbd",
        virtual,
        {
            b"virtual-device": b"%d" % virtual,
            b"device-type": b"disk",
            b"protocol": b"x86_64-abi",
            b"ring-ref": b"%d" % (8 + number),
            b"event-channel": b"%d" % (17 + number),
            b"feature-persistent": b"1",
        },
        {
            b"params": device,
            b"dev": b"xvd%c" % (ord("a") + number),
            b"type": b"phy",
            b"mode": b"w",
            b"device-type": b"disk",
            b"bootable": b"1",
            b"physical-device": b"fd:%x" % number,
            b"sectors": b"41943040",
            b"sector-size": b"512",
            b"info": b"0",
            b"feature-flush-cache": b"1",
            b"feature-persistent": b"1",
        },
    )


def _interface(guest: Guest) -> Iterator[tuple[bytes, bytes, Perms]]:
    yield from _device(
        guest,
        b"vif",
        0,
        {
            b"handle": b"0",
            b"mac": guest.mac,
            b"mtu": b"1500",
            b"tx-ring-ref": b"768",
            b"rx-ring-ref": b"769",
            b"event-channel": b"23",
            b"request-rx-copy": b"1",
            b"feature-sg": b"1",
        },
        {
            b"handle": b"0",
            b"mac": guest.mac,
            b"bridge": b"xenbr0",
            b"script": b"/etc/xen/scripts/vif-bridge",
            b"type": b"vif",
            b"hotplug-status": b"connected",
            b"feature-sg": b"1",
            b"feature-rx-copy": b"1",
        },
    )


def _device(
    guest: Guest,
    kind: bytes,
    number: int,
    frontend: dict[bytes, bytes],
    backend: dict[bytes, bytes],
) -> Iterator[tuple[bytes, bytes, Perms]]:
    front = b"/local/domain/%d/device/%b/%d" % (guest.domid, kind, number)
    back = b"/local/domain/0/backend/%b/%d/%d" % (kind, guest.domid, number)
    common_front = {b"": b"", b"backend": back, b"backend-id": b"0", b"state": _CONNECTED}
    common_back = {
        b"": b"",
        b"frontend": front,
        b"frontend-id": b"%d" % guest.domid,
        b"online": b"1",
        b"state": _CONNECTED,
    }
    yield from _below(front, _perms(guest.domid, 0), common_front | frontend)
    yield back.rpartition(b"/")[0], b"", _perms(0, guest.domid)
    yield from _below(back, _perms(0, guest.domid), common_back | backend)
    libxl = b"/libxl/%d/device/%b" % (guest.domid, kind)
    yield libxl, b"", _perms(0)
    yield from _below(
        libxl + b"/%d" % number, _perms(0), {b"": b"", b"frontend": front, b"backend": back}
    )


def _below(
    top: bytes, perms: Perms, values: dict[bytes, bytes]
) -> Iterator[tuple[bytes, bytes, Perms]]:
    for path, value in values.items():
        yield (top + b"/" + path if path else top), value, perms


def _perms(owner: int, reader: int | None = None) -> Perms:
    mine = (Entry(owner, Right.NONE),)
    return Perms(mine if reader is None else (*mine, Entry(reader, Right.READ)))
