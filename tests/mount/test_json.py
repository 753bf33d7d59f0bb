# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.mount.outside import Outside
from tests.mount.shell import run, sh
from tests.programs import Program
from tests.xen.wire import Op

if TYPE_CHECKING:
    from tests.mount.conftest import Here


def fill(here: Here) -> None:
    here.store.write(here.at(b"state"), b"4")
    here.store.write(here.at(b"backend/id"), b"0")
    here.store.write(here.at(b"backend"), b"own")


SHOWN = {"backend": {"": "own", "id": "0"}, "state": "4"}


# -- reading --------------------------------------------------------------------------------------


def test_programs_read_it(here: Here) -> None:
    fill(here)
    assert json.loads(sh("cat .json", here.path)) == SHOWN
    assert sh("jq -r .state .json", here.path) == "4\n"
    assert sh("jq -cS . < .json", here.path) == sh("jq -cS . .json", here.path)
    assert json.loads(sh("python3 -c 'print(open(\".json\").read())'", here.path)) == SHOWN
    with open(here.path / ".json") as file:
        assert json.load(file) == SHOWN
    assert (
        sh("wc -c < .json; dd if=.json bs=7 status=none | wc -c", here.path).split()
        == [str(os.stat(here.path / ".json").st_size)] * 2
    )
    with TemporaryDirectory() as folder:
        for copy in ("cp .json {}", "cp -a .json {}", "cat .json > {}"):
            target = f"{folder}/copy"
            sh(copy.format(target), here.path)
            assert json.loads(Path(target).read_bytes()) == SHOWN
            os.unlink(target)


def test_once_open_its_size_is_that_of_the_text(here: Here) -> None:
    fill(here)
    with open(here.path / ".json", "rb") as file:
        assert os.fstat(file.fileno()).st_size == len(file.read())


def test_what_is_open_stays_as_it_was(here: Here) -> None:
    fill(here)
    with open(here.path / ".json", "rb", buffering=0) as file:
        start = file.read(5)
        here.store.write(here.at(b"state"), b"5")
        here.store.rm(here.at(b"backend"))
        assert json.loads(start + file.read()) == SHOWN


def test_it_is_in_every_directory_and_never_listed(here: Here) -> None:
    fill(here)
    assert json.loads((here.path / "backend/.json").read_bytes()) == SHOWN["backend"]
    assert (here.path / "state.d/.json").read_bytes() == b'"4"\n'
    assert ".json" not in sh("ls -A; ls -A backend; find .", here.path)
    whole = json.loads((here.mounted.path / ".json").read_bytes())
    assert whole[here.path.name] == SHOWN
    # oxenstored keeps these as nodes; they are not, and xenstored would not take them back.
    assert not any(name.startswith("@") for name in whole)


def test_a_node_without_children_is_its_value(here: Here) -> None:
    sh("mkdir empty", here.path)
    assert (here.path / "empty/.json").read_bytes() == b'""\n'


def test_any_bytes_come_through(here: Here) -> None:
    value = bytes(range(256))
    here.store.write(here.at(b"v"), value)
    text = (here.path / ".json").read_text()
    assert text.isascii()
    assert json.loads(text)["v"].encode("utf-8", "surrogateescape") == value


def test_a_snapshot_is_of_one_moment(here: Here) -> None:
    """Another client writes the same number to many nodes, in one transaction each time."""
    names = [b"n%d" % number for number in range(30)]
    stop = threading.Event()
    rival = Outside(here.daemon)
    for name in names:
        rival.write(here.at(name), b"0")

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            tx_id = int(rival.wire.ask(Op.TRANSACTION_START, b"\0")[:-1])
            for name in names:
                rival.wire.ask(Op.WRITE, here.at(name) + b"\0%d" % number, tx_id)
            rival.wire.ask(Op.TRANSACTION_END, b"T\0", tx_id)

    before = here.mounted.stats().get("unsteady_snapshots", 0)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        mixed = sum(
            len(set(json.loads((here.path / ".json").read_bytes()).values())) > 1 for _ in range(60)
        )
    finally:
        stop.set()
        writer.join()
        rival.close()
    assert mixed <= here.mounted.stats().get("unsteady_snapshots", 0) - before
    if here.daemon.kind == "oxenstored":
        assert mixed == 0


# -- patching -------------------------------------------------------------------------------------


def test_a_patch_changes_adds_and_removes(here: Here) -> None:
    fill(here)
    here.store.set_perms(here.at(b"state"), b"n0,r5")
    sh(
        """echo '{"state": "5", "backend": {"id": null, "new": {"x": "1"}}, "dir": {}}' > .json""",
        here.path,
    )
    assert here.store.tree(here.node) == {
        b"": b"",
        b"/state": b"5",
        b"/backend": b"own",
        b"/backend/new": b"",
        b"/backend/new/x": b"1",
        b"/dir": b"",
    }
    assert here.store.perms(here.at(b"state")) == b"n0,r5"


def test_a_string_on_a_node_with_children_is_its_own_value(here: Here) -> None:
    fill(here)
    sh("""echo '{"backend": "other"}' > .json; echo '"top"' > .json""", here.path)
    assert here.store.tree(here.node) == {
        b"": b"top",
        b"/backend": b"other",
        b"/backend/id": b"0",
        b"/state": b"4",
    }


def test_null_removes_the_node_itself(here: Here) -> None:
    fill(here)
    sh("echo null > backend/.json; test ! -e backend", here.path)
    assert here.store.read(here.at(b"backend")) is None
    done = run("echo null > .json", here.mounted.path)
    assert "Device or resource busy" in done.stderr

    fill(here)
    for turn in range(20):
        sh(
            f"""
            stat -c %s state > /dev/null
            echo '{{"state": "{"x" * turn}", "new": {{"a": "1"}}}}' > .json
            test $(stat -c %s state) = {turn and turn + 1}
            ls new > /dev/null
            echo '{{"new": null}}' > .json
            test ! -e new
            """.replace("\n", " && ").strip(" &"),
            here.path,
        )


PATCH = json.dumps({"a": {f"n{number}": str(number) for number in range(100)}})


@pytest.mark.parametrize(
    "command",
    [
        "cat > .json",
        "dd of=.json bs=1 status=none",
        "dd of=.json bs=10 status=none",
        "tee .json > /dev/null",
        "cp /dev/stdin .json",
        "jq --indent 1 . > .json",
        'python3 -c \'import json,sys; json.dump(json.load(sys.stdin), open(".json", "w"))\'',
        "(head -c 50; cat) > .json 2> /dev/null",
        "cat >> .json",
        "cat 1<> .json",
    ],
)
def test_any_number_of_writes_is_one_patch(here: Here, command: str) -> None:
    here.store.watch(here.node)
    with TemporaryDirectory() as folder:
        patch = Path(folder) / "patch"
        patch.write_text(PATCH)
        sh(f"{command} < {patch}", here.path)
    assert json.loads((here.path / ".json").read_bytes()) == json.loads(PATCH)
    assert here.tap.count(Op.WRITE) == 100
    assert here.store.event() == here.at(b"a/n0")


def test_a_patch_is_done_in_the_write_that_completes_it(here: Here) -> None:
    fd = os.open(here.path / ".json", os.O_WRONLY)
    try:
        os.write(fd, b'{"a": ')
        assert here.store.read(here.at(b"a")) is None
        os.write(fd, b'"1"}')
        assert here.store.read(here.at(b"a")) == b"1"
        os.write(fd, b"\n \n")
        # Then the next may follow.
        os.write(fd, b'{"a": "2"}')
        assert here.store.read(here.at(b"a")) == b"2"
        os.pwrite(fd, b'{"a": "3"}', 0)
    finally:
        os.close(fd)
    assert here.tap.values(here.at(b"a")) == [b"1", b"2", b"3"]
    assert here.tap.count(Op.TRANSACTION_START) == 3


def test_a_number_is_complete_when_nothing_follows(here: Here) -> None:
    fill(here)
    fd = os.open(here.path / "state.d/.json", os.O_WRONLY)
    try:
        os.write(fd, b"1")
        os.write(fd, b"2")
        assert here.tap.changes() == []
        os.close(os.dup(fd))
        assert here.store.read(here.at(b"state")) == b"12"
        os.write(fd, b"5\n")
        assert here.store.read(here.at(b"state")) == b"5"
    finally:
        os.close(fd)
    assert here.tap.values(here.at(b"state")) == [b"12", b"5"]


def test_numbers_and_words_are_text(here: Here) -> None:
    fill(here)
    sh("cp .json /dev/stdout | jq '.state = 5 | .on = true | .off = false' > .json", here.path)
    sh("""echo '{"n": -1.50e3}' > .json""", here.path)
    assert json.loads((here.path / ".json").read_bytes()) == SHOWN | {
        "state": "5",
        "on": "true",
        "off": "false",
        "n": "-1.50e3",
    }


def test_a_shell_may_hold_it_open(here: Here) -> None:
    sh(
        """exec 3> .json; echo '{"a": "1"}' >&3; cat a; echo '{"a": "2", "b": "3"}' >&3
           exec 3>&-; cat a b""",
        here.path,
    )
    assert here.store.tree(here.node) == {b"": b"", b"/a": b"2", b"/b": b"3"}


@pytest.mark.parametrize(
    "text",
    ["not json", "{not json", '{"a":}', '{"state": 4x}', '{"state": ["5"]}', '{"a.b": "1"}', "[]"],
)
def test_a_malformed_patch_is_refused_by_the_write(here: Here, text: str) -> None:
    fill(here)
    before = here.store.tree(here.node)
    done = run(f"echo '{text}' > .json", here.path)
    assert done.returncode == 1
    assert "Invalid argument" in done.stderr
    assert here.store.tree(here.node) == before
    assert here.tap.changes() == []


def test_a_patch_cut_short_is_refused_at_close(here: Here) -> None:
    fill(here)
    done = run("""printf '{"state": "5", "b"' | cat > .json""", here.path)
    assert done.returncode == 1
    assert "Invalid argument" in done.stderr
    assert here.tap.changes() == []
    fd = os.open(here.path / ".json", os.O_WRONLY)
    os.write(fd, b"{")
    with pytest.raises(OSError, match="Invalid argument") as caught:
        os.close(fd)
    assert caught.value.errno == errno.EINVAL


def test_two_texts_in_one_write_are_no_patch(here: Here) -> None:
    assert run("""echo '{"a": "1"} {"b": "1"}' > .json""", here.path).returncode == 1
    assert here.store.tree(here.node) == {b"": b""}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": [1]}', "byte 6: an object, a string, a number, true, false or null is expected"),
        ('{"a": {"b.c": "1"}}', "{node}/a: 'b.c' is not the name of a node"),
        ('{"a": {"b": "%s"}}' % ("x" * 5000), "{node}/a/b: payload of "),
        ('{"a": ', "byte 7: the text ends where an object"),
        ('{"a": {".perms": "x9"}}', "{node}/a: 'x9' is not a list of permissions"),
    ],
)
def test_a_refusal_can_be_asked_why(here: Here, text: str, reason: str) -> None:
    assert sh("cat .error", here.path) == ""
    assert run(f"echo '{text}' | cat > .json", here.path).returncode == 1
    said = sh("cat .error", here.path)
    assert said.startswith(reason.format(node=here.node.decode()))
    assert said.count("\n") == 1
    assert ".error" not in os.listdir(here.path)
    sh("""echo '{"a": "1"}' > .json""", here.path)
    assert sh("cat .error", here.path) == ""


def test_another_user_is_not_told_why(root: None, here: Here) -> None:
    assert run("echo '{' | cat > .json", here.path).returncode == 1
    assert sh("setpriv --reuid 65534 cat .error 2>&1 || true", here.path).find("byte") < 0
    assert sh("cat .error", here.path).startswith("byte ")


def test_what_the_store_refuses_is_named(here: Here) -> None:
    # A path too long for either daemon; the protocol has room for it.
    fill(here)
    text = json.dumps({"state": "5", "n" * 1500: {"m" * 1000: "1"}})
    assert "File name too long" in run(f"echo '{text}' > .json", here.path).stderr
    assert sh("cat .error", here.path).startswith(f"{here.node.decode()}/{'n' * 1500}/mm")
    assert "WRITE: Invalid argument" in sh("cat .error", here.path).replace("[Errno 22] ", "")
    assert here.store.read(here.at(b"state")) == b"4"


def test_a_value_too_long_for_the_store_changes_nothing(here: Here) -> None:
    fill(here)
    # oxenstored takes 2048 bytes, the protocol 4096 with the path; the rest was fine.
    for length, refused in ((3000, here.daemon.kind == "oxenstored"), (5000, True)):
        before = here.store.tree(here.node)
        patch = json.dumps({"state": "5", "long": "x" * length, "z": "1"})
        done = run(f"echo '{patch}' > .json", here.path)
        if refused:
            assert "File too large" in done.stderr
            assert here.store.tree(here.node) == before


def test_watchers_hear_a_patch_once(here: Here) -> None:
    sh("mkdir backend; echo 0 > backend/id; echo 4 > state", here.path)
    command = ["inotifywait", "-m", "--format", "%e %f", "-e", "create,delete,modify", "."]
    with Program(["env", "-C", str(here.path), *command]) as watcher:
        while b"Watches established" not in watcher.read_line():
            pass
        sh("""echo '{"state": "5", "backend": null, "new": "x"}' > .json""", here.path)
        sh("touch end", here.path)
        heard = []
        while (line := watcher.read_line()) != b"CREATE end":
            heard.append(line)
    # Truncating and writing .json itself are modifications as of any file.
    assert sorted(line for line in heard if line != b"MODIFY .json") == [
        b"CREATE new",
        b"DELETE,ISDIR backend",
        b"MODIFY new",
        b"MODIFY state",
    ]
