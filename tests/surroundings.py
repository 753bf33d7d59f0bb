# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a process inherits from whoever started it, made the same for every run of the tests.

A background shell leaves SIGINT ignored, nohup SIGHUP, a service its standard input closed; the
programs that tests start would inherit that, and behave otherwise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

# Ways to start the tests, as words of the shell.
STARTS = {
    "foreground": '"$@"',
    "background": '"$@" & wait $!',
    "nohup": 'nohup "$@" > /dev/null 2>&1',
    "closed-stdin": '"$@" <&-',
    "closed": '"$@" <&- >&- 2>&-',
    "signals-blocked": 'env --block-signal "$@"',
    "signals-ignored": 'env --ignore-signal "$@"',
    "umask": 'umask 077; "$@"',
    "settings": 'LC_ALL=C TMPDIR=/ TZ=Asia/Tokyo XENSTORED_PATH=/x "$@"',
}

# What the programs under test, and those beside them, look at.
_VARIABLES = (
    *("NOTIFY_SOCKET", "XENSTORED_PATH", "XENSTORED_RUNDIR"),
    *("LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "TZ"),
    *("BASH_ENV", "BLOCK_SIZE", "CDPATH", "ENV", "POSIXLY_CORRECT", "QUOTING_STYLE"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE", "PYTHONUNBUFFERED", "PYTHONWARNINGS"),
)

# Python's own choice at its start.
_PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}


def make_usual() -> None:
    """Have this process be as one that a login shell started in the foreground."""
    _reset_signals()
    for descriptor in range(3):
        try:
            os.set_inheritable(descriptor, True)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
    os.umask(0o022)
    for name in _VARIABLES:
        os.environ.pop(name, None)
    os.environ["LANG"] = "C.UTF-8"
    # Short enough for sockets in it, and open to all users.
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"
    if sys.version_info < (3, 11, 4):
        # Such a Python stands still until the program that it starts has entered its directory,
        # for ever if that is in a mount whose store is reached through a thread of the tests.
        # Its documentation names this switch.
        subprocess._USE_VFORK = False  # type: ignore[misc]


def _reset_signals() -> None:
    for number in signal.valid_signals() - _PYTHON_IGNORES:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
