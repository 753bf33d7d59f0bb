# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store in a real daemon's place: the same life at the same socket, no shim.

For tests that were written for the real daemons and should not notice. It has no rings.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys

from tests.deadline import DEADLINE_S
from tests.xen.daemons import Daemon, DaemonError


class Embedded(Daemon):
    """`python -m xsfs.server`, like the real daemon of the given kind."""

    @property
    def knows_extensions(self) -> bool:
        """As xenstored of today; the profile of oxenstored leaves them out."""
        return self.kind == "xenstored"

    def start(self, timeout_s: float = DEADLINE_S) -> None:
        """Starts the store and returns when its socket takes connections.

        Raises:
            DaemonError: it ended, or did not listen within timeout_s.
        """
        assert self.process is None, "already started"
        command = [sys.executable, "-m", "xsfs.server", "--socket", str(self.socket)]
        self._lifeline, writer = os.pipe()
        with (self.rundir / "output").open("wb") as output:
            self.process = subprocess.Popen(
                # The signal comes when who started it is gone (prctl(2), PR_SET_PDEATHSIG).
                ["setpriv", "--pdeathsig", "KILL", *command, "--like", self.kind],
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=output,
            )
        os.close(writer)
        if not select.select([self._lifeline], [], [], timeout_s)[0] or not os.read(
            self._lifeline, 100
        ):
            self.kill()
            raise DaemonError(f"the embedded store does not listen: {self.output()}")
