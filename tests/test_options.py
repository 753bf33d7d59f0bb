# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Mount options, as mount(8), fstab and people write them."""

from __future__ import annotations

import pytest

from xsfs.mount.options import MountOptions, OptionError, parse


def test_nothing_is_the_default() -> None:
    assert parse("") == parse("rw,defaults,_netdev,nofail,noauto,user,x-a=1,X-b,comment=x")
    assert parse("") == MountOptions()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("ro", "read_only", True),
        ("quiet", "quiet", True),
        ("uid=7", "uid", 7),
        ("umask=027", "dmask", 0o27),
        ("umask=027,fmask=0133", "fmask", 0o133),
        ("root=/local/domain/5/", "root", b"/local/domain/5"),
        ("root=/", "root", b"/"),
        ("timeout=0.5", "timeout_s", 0.5),
        ("cache=off,cache=watch", "cache", "watch"),
        (r"fsname=a\,b", "fsname", "a,b"),
        ("max_read=4096", "fuse", frozenset()),
        ("dev,suid,nodev", "fuse", frozenset({"nodev", "suid"})),
        ("allow-other", "fuse", frozenset({"allow_other"})),
        (
            'context="system_u:object_r:tmp_t:s0:c1,c2",noexec',
            "fuse",
            frozenset({'context="system_u:object_r:tmp_t:s0:c1,c2"', "noexec"}),
        ),
    ],
)
def test_options_are_understood(text: str, field: str, value: object) -> None:
    assert getattr(parse(text), field) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rowboat", "unknown option 'rowboat'"),
        ("ro=1", "unknown option 'ro=1'"),
        ("uid", "option uid needs a value"),
        ("uid=-1", "option uid=-1: a number is expected"),
        ("uid=4294967295", "option uid=4294967295: a number is expected"),
        ("umask=8", "option umask=8: an octal mask is expected, as in umask=022"),
        ("timeout=0", "option timeout=0: seconds are expected, more than 0 and less than 86400"),
        (
            "timeout=nan",
            "option timeout=nan: seconds are expected, more than 0 and less than 86400",
        ),
        ("root=local", "option root=local: an absolute store path is expected"),
        ("root=/a.b", "option root=/a.b: an absolute store path is expected"),
        ("cache=some", "option cache=some: one of strict, watch, off is expected"),
        ("remount", "remount is not supported: unmount, then mount with the new options"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert str(caught.value) == said
