# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a process does to a client: fork, exec, signals, the import itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from xsfs import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.xen.daemons import Daemon


def in_child(body: Callable[[], object]) -> str:
    """What a forked child's `body` says, or how it fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        text = "nothing"
        try:
            text = str(body())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def test_a_forked_child_keeps_off(xenstored: Daemon) -> None:
    with Client(xenstored.socket) as client:
        monitor = client.monitor()
        monitor.watch(b"/watched", b"token")
        events = monitor.wait()
        next(events)
        for use in (lambda: client.read(b"/tool"), lambda: next(events)):
            assert "ConnectionError" in in_child(use)
            assert "forked child" in in_child(use)
        # Whatever the child does, the parent's connection is as it was.
        assert in_child(client.close) == "None"
        assert in_child(lambda: monitor.close()) == "None"
        client[b"/watched"] = b"1"
        assert next(events) == (b"/watched", b"token")


def test_a_forked_child_connects_anew(xenstored: Daemon) -> None:
    with Client(xenstored.socket) as client:

        def work() -> bytes:
            client.connect()
            client[b"/child"] = b"was here"
            return client[b"/child"]

        assert in_child(work) == "b'was here'"
        assert client[b"/child"] == b"was here"


def test_a_child_does_not_keep_the_connection_open(xenstored: Daemon) -> None:
    """The store sees the parent's close while the child lives on."""
    reader, writer = os.pipe()
    client = Client(xenstored.socket)
    client.connect()
    descriptor = client.router.link().fileno()
    pid = os.fork()
    if not pid:
        try:
            os.close(writer)
            open_still = os.path.exists(f"/proc/self/fd/{descriptor}")
            os.read(reader, 1)
        finally:
            os._exit(open_still)
    os.close(reader)
    client.close()
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_no_descriptor_goes_through_exec(xenstored: Daemon) -> None:
    with Client(xenstored.socket) as client:
        client.monitor().fileno()
        listing = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, check=True, close_fds=False
        ).stdout
        ours = f"socket:[{os.stat(client.router.link().fileno()).st_ino}]"
        assert ours.encode() not in listing
        assert b"eventfd" not in listing
        assert b"eventpoll" not in listing


def test_close_gives_all_descriptors_back(xenstored: Daemon) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(3):
        with Client(xenstored.socket) as client, client.monitor() as monitor:
            monitor.fileno()
            assert descriptors() > before
        assert descriptors() == before
    client = Client(xenstored.socket)
    client.connect()
    del client
    assert descriptors() == before


def test_a_lost_store_does_not_kill_by_sigpipe(xenstored: Daemon) -> None:
    program = """
import os, signal, sys, xsfs
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
client = xsfs.Client(sys.argv[1])
client.connect()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    try:
        client.write(b"/a", b"1")
    except xsfs.ConnectionError as error:
        print("lost", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(xenstored.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        xenstored.kill()
        output, _ = process.communicate("go\n", timeout=DEADLINE_S)
    assert process.returncode == 0
    assert output == "lost\n" * 3
    xenstored.start()


def test_an_interrupt_while_waiting_leaves_the_connection_usable(xenstored: Daemon) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    with Client(xenstored.socket) as client:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            xenstored.freeze()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                client.read(b"/tool")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        xenstored.thaw()
        assert client.list(b"/tool") == [b"xenstored"]
        assert client.read(b"/tool") == b""


# -- the import -------------------------------------------------------------------------------


def python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout


def test_import_loads_no_event_loop_and_no_fuse() -> None:
    loaded = python(
        "import sys, xsfs; xsfs.Client, xsfs.xs, xsfs.Monitor; print(*sys.modules, sep='\\n')"
    ).split()
    assert "xsfs.client.client" in loaded
    assert not {"trio", "pyfuse3", "xsfs.aio.client"} & set(loaded)


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads, beside what all of our modules need."""
    program = f"""
import __future__, importlib, sys, typing
before = set(sys.modules)
{statement}
print(*set(sys.modules) - before)
"""
    return set(python(program).split())


def test_import_loads_nothing() -> None:
    assert loaded_by("import xsfs; dir(xsfs)") == {"xsfs"}


@pytest.mark.parametrize("name", ["Client", "xs", "errors", "compat"])
def test_the_synchronous_client_needs_nothing_else(name: str) -> None:
    loaded = loaded_by(f"import xsfs; xsfs.{name}")
    assert "xsfs.errors" in loaded
    assert not loaded & {"trio", "asyncio", "pyfuse3", "importlib.metadata"}


def test_the_pytest_plugin_loads_nothing() -> None:
    loaded = loaded_by("import pytest; before = set(sys.modules); import xsfs.server.pytest_plugin")
    assert loaded == {"xsfs", "xsfs.server", "xsfs.server.pytest_plugin"}


def test_one_import_is_enough() -> None:
    program = """
import xsfs
with xsfs.server.running({b"/a": b"1"}) as path, xsfs.Client(path) as client:
    print(client[b"/a"], xsfs.aio.Client.__name__, xsfs.errors.NotFound is xsfs.NotFound)
"""
    assert python(program).split() == ["b'1'", "Client", "True"]


def test_the_package_tells_what_is_in_it() -> None:
    import pydoc
    from importlib.metadata import version

    assert {*xsfs.__all__, "aio", "server", "errors", "__version__"} <= set(dir(xsfs))
    assert xsfs.__version__ == version("xsfs")
    text = pydoc.plain(pydoc.render_doc(xsfs))
    for name in xsfs.__all__:
        assert name in text
    assert "running" in dir(xsfs.server)


def test_without_trio() -> None:
    program = """
import sys
sys.modules["trio"] = None
import pydoc, xsfs
pydoc.render_doc(xsfs)
xsfs.Client, xsfs.xs, xsfs.aio.Client, xsfs.server
try:
    xsfs.server.running
except ImportError as error:
    print(error.name)
"""
    assert python(program).split() == ["trio"]


def test_all_names_are_there() -> None:
    for name in xsfs.__all__:
        assert getattr(xsfs, name) is not None
    namespace: dict[str, object] = {}
    exec("from xsfs import *", namespace)
    assert set(xsfs.__all__) <= set(namespace)
    with pytest.raises(AttributeError):
        xsfs.no_such_name  # noqa: B018


def test_where_modules_may_import_from() -> None:
    """The protocol core knows neither sockets nor threads nor clocks."""
    core = Path(xsfs.__file__).parent / "protocol"
    for module in core.glob("*.py"):
        text = module.read_text()
        for name in ("socket", "threading", "time", "select", "trio"):
            assert f"import {name}\n" not in text, module
