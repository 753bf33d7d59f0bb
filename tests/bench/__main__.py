# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""All measurements, one after the other: `python -m tests.bench`.

Ends with status 1 when any bar is missed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Each in a process of its own."""
    missed = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem in ("__init__", "__main__", "floor"):
            continue
        print(f"== {path.stem}", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"tests.bench.{path.stem}"], check=False
        ).returncode:
            missed.append(path.stem)
    print("bars missed in: " + ", ".join(missed) if missed else "all bars are met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
