# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Xen's own Python binding, xen.lowlevel.xs, in a process of its own.

It is built for one version of Python, which need not be this one's. Run as a program, this
file is the other end: it reads calls from stdin, makes them, and writes what came of them to
stdout; it imports nothing but the standard library, and the binding.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Self

    from tests.xen.daemons import Daemon


class BindingError(RuntimeError):
    """What xen.lowlevel.xs.Error was raised with."""


_KINDS: dict[str, type[Exception]] = {
    "Error": BindingError,
    "TypeError": TypeError,
    "ValueError": ValueError,
}


class Binding:
    """A handle of xen.lowlevel.xs: its methods, and what they raise, as if it were here.

    Tokens of watches are strings; equal ones are one object there.

    Args:
        daemon: the one to connect to.
        python: a Python of the version that the binding is built for.
    """

    def __init__(self, daemon: Daemon, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-I", __file__, str(daemon.xen.python_modules)],
            env=daemon.tool_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=20)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._call(name, args, kwargs)

    def _call(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(ascii((name, args, kwargs)), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the binding died of {name}{args}"
        kind, value = ast.literal_eval(answer)
        if kind != "returned":
            raise _KINDS[kind](*value)
        return value


def _serve(modules: str) -> None:
    sys.path.insert(0, modules)
    from xen.lowlevel import xs as module  # type: ignore[import-not-found]

    handle = module.xs()
    for line in sys.stdin:
        name, args, kwargs = ast.literal_eval(line)
        if name in ("watch", "unwatch"):
            args = (*args[:-1], sys.intern(args[-1]))
        try:
            answer: tuple[str, object] = "returned", getattr(handle, name)(*args, **kwargs)
        except Exception as error:
            answer = type(error).__name__, error.args
        print(ascii(answer), flush=True)


if __name__ == "__main__":
    # A call that waits for an event that never comes must not outlive the test.
    import signal

    signal.alarm(60)
    _serve(sys.argv[1])
    os._exit(0)
