# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What all parts have found so far, as the table in docs/proof.md: `python -m tests.soak`."""

from __future__ import annotations

import sys

from tests.soak.run import STATES, Run


def main() -> int:
    """Print the table; 1 when something is wrong."""
    runs = [Run.load(path.stem) for path in sorted(STATES.glob("*.json"))]
    print("| part | time, pieces | what was done | wrong |", "| --- | --- | --- | --- |", sep="\n")
    print(*(run.row() for run in runs), sep="\n")
    return any(run.wrong for run in runs)


if __name__ == "__main__":
    sys.exit(main())
