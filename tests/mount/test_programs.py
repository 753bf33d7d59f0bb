# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Real programs do on the mount what they do on a tmpfs: same output, same status, same tree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing, require
from tests.mount.shell import run, sh
from tests.outcome import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mount.conftest import Here

# A tree that both can hold: each file is empty or ends in a newline.
TREE = {
    "name": "guest\n",
    "empty": "",
    "device/vbd/51712/state": "4\n",
    "device/vbd/51712/params": "two\nlines\n",
    "device/vif/0/mac": "00:16:3e:00:00:01\n",
    "control/shutdown": "",
}


@pytest.fixture
def tmpfs(here: Here) -> Iterator[Path]:
    """A directory on a tmpfs with TREE, as there is one on the mount."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        for top in (here.path, Path(folder)):
            for name, text in TREE.items():
                file = top / "top" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        yield Path(folder)


def picture(top: Path) -> dict[str, bytes | None]:
    """Every file's content, and None for every directory."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes()
        for path in sorted(top.rglob("*"))
    }


# Each program that needs a terminal gets one.
TERMINAL = "HOME=/dev/null TERM=xterm script -qec"

LISTED = """
import json, sys
def show(item, depth=0):
    head = item[0] if isinstance(item, list) else item
    print(depth and head["name"], isinstance(item, list) or head.get("asize"))
    for below in sorted(item[1:], key=str) if isinstance(item, list) else ():
        show(below, depth + 1)
show(json.load(sys.stdin)[3])
"""

ARCHIVE = """
import shutil, tempfile
with tempfile.TemporaryDirectory() as folder:
    shutil.unpack_archive(shutil.make_archive(folder + "/top", "tar", "top"), "out")
"""

TEMPORARY = """
import os, tempfile
with tempfile.NamedTemporaryFile(dir="top") as file, tempfile.TemporaryDirectory(dir="top") as made:
    file.write(b"text\\n")
    file.flush()
    print(open(file.name).read(), os.listdir(made))
    with open(os.path.join(made, "x"), "w") as other:
        other.write("1\\n")
"""

COMMANDS = [
    "cat top/name top/device/vbd/51712/*",
    "ls -R top",
    "ls -1F top top/device/vbd/51712",
    "ls none top",
    "find top -type f | sort",
    "find top -type d -empty | sort",
    "find top -type f -empty | sort; find top -size -20c -type f | sort",
    "find top -name state -exec cat {} +",
    "find top -name vbd -prune -o -print | sort",
    "find top -depth -type f -delete; find top | sort",
    "tree top; tree -fi --noreport top",
    "stat -c '%n %F %s %A %U' top/name top/empty top/device/vbd/51712/state",
    "stat -c '%n %F %A %U' top top/device",
    "wc top/name top/device/vbd/51712/params",
    "grep -r 4 top | sort",
    "grep -rl lines top; grep -rc o top | sort; grep -r none top",
    "head -n1 top/device/vbd/51712/params; tail -n1 top/device/vbd/51712/params",
    "sort top/device/vbd/51712/params; md5sum top/name",
    "cp top/name top/copy; cat top/copy; cmp top/name top/copy",
    "cp -r top copy; diff -r top copy && echo same",
    "cp -a top copy; diff -r top copy && echo same",
    "cp -a top/. top2 2>&1; mkdir top2; cp -a top/. top2; diff -r top top2",
    "cp -n top/name top/empty; cat top/empty; cp -u top/name top/empty; cat top/empty",
    "cp --backup=none top/name top/empty; cat top/empty",
    "cp top/device x; cp top/name none/x; cp top/name top/device; cat top/device/name",
    "mv top/name top/new; cat top/new; mv top/new top/device; find top | sort",
    "mv top other; find other -type f | sort; cat other/name",
    "mv -n top/name top/empty; cat top/name; mv top/device top/control; find top | sort",
    "mv top/device top/name; mv top/name top/device/vbd; mv top top/device",
    "rm top/name; rm top/device; rm -f none; rm none; find top | sort",
    "rm -r top/device; find top | sort; rm -rf top; ls",
    "rmdir top/device; rmdir -p top/control; rm top/control/shutdown; rmdir top/control; ls top",
    "mkdir -p a/b/c; mkdir a; mkdir -m 755 d; find a d | sort",
    "touch top/name top/touched; ls -s --block-size=1 top/touched; cat top/touched",
    "diff top/name top/empty; diff -r top/device top/control; cmp top/name top/empty",
    "sed -i s/guest/other/ top/name; cat top/name; ls top",
    "sed -i '$a added' top/name top/device/vbd/51712/params; cat top/name top/device/vbd/*/params",
    "tar cf - top | tar tf - | sort",
    "tar cf - top | (mkdir out; tar xf - -C out); diff -r top out/top && echo same",
    "tar cf - top > /dev/null; tar cf - top | tar xf -; cat top/name",
    "mkdir out; cp -a top out; diff -r top out/top && echo same",
    "(cd top; find . | sort | cpio -o --quiet 2>&1 | wc -c) > /dev/null; echo $?",
    "rsync -a --inplace top/ copy; diff -r top copy && echo same; rsync -ai --inplace top/ copy",
    "rsync -a --inplace --delete top/control/ top/device; find top | sort",
    "exec 3> top/name; echo a >&3; echo b >&3; exec 3>&-; cat top/name",
    "echo a > top/name; echo b >> top/name; tee -a top/name <<< c; cat top/name",
    "dd if=top/device/vbd/51712/params bs=1 status=none; dd if=top/name of=dd status=none; cat dd",
    "truncate -s 6 top/name; cat top/name; truncate -s 0 top/name; wc -c top/name",
    "cd top; test -s name -a -f name -a -d . -a -r name -a -w name -a ! -x name; echo $?",
    "test -e none -o -L top/name -o -x top/name; echo $?",
    "[[ top/name -nt none ]]; echo $?; realpath --relative-to=. top/name",
    "python3 -c \"import shutil; shutil.copytree('top', 'c'); shutil.rmtree('top')\"; find | sort",
    "python3 -c \"import shutil; shutil.move('top', 'm')\"; cat m/name",
    "sha256sum top/name > sums; sha256sum -c sums",
    "xargs -a top/device/vbd/51712/params echo; while read -r l; do echo \"<$l>\"; done < top/name",
    "flock top/name echo locked; flock top echo locked too",
    "sync top/name; sync top; sync -f top; echo $?",
    "split -n l/2 top/device/vbd/51712/params top/part; cat top/part*",
    "awk '{ print FILENAME, $0 }' top/name; paste top/name top/name",
    "rg -n --no-heading --sort path . top; rg -l guest top; rg --files --sort path top; rg x top",
    "fdfind . top | sort; fdfind -t f -x wc -c . top | sort; fdfind -t e . top | sort",
    "printf 'g/guest/s//edited/\nw\nq\n' | ed -s top/name; cat top/name; ls top",
    "printf '$a\nadded\n.\nwq\n' | ed -s top/device/vbd/51712/params; cat top/device/vbd/*/params",
    f"ncdu -o- top | python3 -c '{LISTED}'",
    "rclone copy -q top copy --config /dev/null; diff -r top copy && echo same",
    "rclone sync -q top/device top/control --config /dev/null; find top -type f | sort",
    "rclone check -q top top --config /dev/null && rclone lsf -R top --config /dev/null | sort",
    "rclone move -q top moved --config /dev/null; find moved -type f | sort; find top -type f",
    f"{TERMINAL} \"ranger --clean --cmd='mkdir made' --cmd='touch made/file' --cmd='quit!' top\" "
    "/dev/null > /dev/null; find top | sort",
    f"printf '\\e[21~' | {TERMINAL} 'mc -u -d top top' /dev/null > /dev/null; find top | sort",
    f"python3 -c '{TEMPORARY}'; find top | wc -l",
    "python3 -c \"import shutil; shutil.copy2('top/name', 'x'); shutil.copy('x', 'y')\"; cat x y",
    f"python3 -c '{ARCHIVE}'; diff -r top out && echo same",
]  # fmt: skip

# Those of them that few machines have; what is missing would be missing on the tmpfs too.
RARE = ("ed", "fdfind", "mc", "ncdu", "ranger", "rclone", "rg", "rsync", "tree")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_program_does_the_same_as_on_a_tmpfs(here: Here, tmpfs: Path, command: str) -> None:
    words = set(re.findall(r"\w+", command))
    for program in words.intersection(RARE):
        require(program)
    ours, theirs = run(command, here.path), run(command, tmpfs)
    # Names of temporary files are random.
    assert re.sub(r"XXXXXX|sed\w{6}", "", ours.stderr) == re.sub(r"sed\w{6}", "", theirs.stderr)
    assert ours.stdout == theirs.stdout
    assert ours.returncode == theirs.returncode
    until(lambda: picture(here.path) == picture(tmpfs))


def test_du_counts_what_files_hold(here: Here, tmpfs: Path) -> None:
    # What a directory itself takes is each file system's own.
    command = "find top -type f -print0 | du --files0-from=- --apparent-size -b | sort"
    assert sh(command, here.path) == sh(command, tmpfs)
    assert sh("du -s --apparent-size -b top", here.path).split()[0] == str(
        sum(map(len, TREE.values()))
    )


TAR = "tar --xattrs --xattrs-include='*'"

VIM = "vim -Nu NONE -i NONE -n -es -c 'set backupcopy={}' -c '{}' -c wq {}"


@pytest.mark.parametrize("backupcopy", ["yes", "no", "auto"])
def test_vim_edits_a_value_in_place(here: Here, tmpfs: Path, backupcopy: str) -> None:
    if shutil.which("vim") is None:
        missing("vim is missing (Debian: vim)")
    here.store.set_perms(here.at(b"top/name"), b"n0,r7")
    command = VIM.format(backupcopy, "%s/guest/edited", "top/name")
    ours, theirs = run(command, here.path), run(command, tmpfs)
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)
    assert here.store.read(here.at(b"top/name")) == b"edited"
    assert here.store.names(here.at(b"top")) == {b"name", b"empty", b"device", b"control"}
    if backupcopy == "yes":
        assert here.store.perms(here.at(b"top/name")) == b"n0,r7"


@pytest.mark.parametrize("file_system", ["/dev/shm", "/var/tmp"])
@pytest.mark.parametrize(
    "copy",
    [
        "cp -a {0} {1}",
        "rsync -aX --inplace {0}/ {1}",
        f"mkdir {{1}}; {TAR} -cf - -C {{0}} . | {TAR} -xf - -C {{1}}",
    ],
    ids=["cp", "rsync", "tar"],
)
def test_a_copy_of_a_subtree_out_and_back_restores_values_and_permissions(
    here: Here, file_system: str, copy: str
) -> None:
    values = {b"": b"own\n\n", b"/a": b"", b"/a/b": b"\0\xff\n", b"/a/c": b"", b"/d": b"x" * 1500}
    for number, (path, value) in enumerate(values.items()):
        here.store.write(here.at(b"s") + path, value)
        here.store.set_perms(here.at(b"s") + path, b"n0,r%d" % number)
    until((here.path / "s/a/b").exists)
    with TemporaryDirectory(dir=file_system) as folder:
        sh(copy.format("s", folder + "/out"), here.path)
        sh("rm -r s; test ! -e s", here.path)
        sh(copy.format(folder + "/out", "s"), here.path)
    assert here.store.tree(here.at(b"s")) == values
    for number, path in enumerate(values):
        assert here.store.perms(here.at(b"s") + path) == b"n0,r%d" % number


def test_a_file_that_is_removed_while_it_is_open_can_be_written_no_more(here: Here) -> None:
    # tempfile.TemporaryFile, for one, lives from such a file: a node that is gone has no value.
    with TemporaryFile(dir=here.path, buffering=0) as file, pytest.raises(FileNotFoundError):
        file.write(b"1")
    assert here.store.names(here.node) == set()


def test_rm_r_of_a_tree_with_values_everywhere(here: Here) -> None:
    sh("mkdir -p d/e/f; for p in d d/e d/e/f; do echo v > $p/.value; done; rm -r d", here.path)
    assert here.store.tree(here.node) == {b"": b""}


@pytest.mark.parametrize("options", ["", "--temp-dir={tmpfs}"])
def test_rsync_without_inplace(here: Here, tmpfs: Path, options: str) -> None:
    sh(f"rsync -a {options.format(tmpfs=tmpfs)} {tmpfs}/top/ copy", here.path)
    assert sh(f"diff -r {tmpfs}/top copy; find copy -name '.*.*'", here.path) == ""


@pytest.mark.parametrize("options", ["", "-m 644"])
def test_install_is_refused_its_modes_and_has_stored_the_value(
    here: Here, tmpfs: Path, options: str
) -> None:
    # Whatever mode is asked for, it first sets 0600.
    done = run(f"install {options} {tmpfs}/top/name copy", here.path)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert here.store.read(here.at(b"copy")) == b"guest"
