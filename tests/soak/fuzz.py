# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fuzzing that goes on where it ended: tests/targets.py under atheris (libFuzzer).

What has been found to reach new code is kept in a folder for each target, and how long it has
gone on in `state.json` beside it. An input that fails is kept there too, and becomes a row of
FOUND in tests/test_fuzz.py. The status is 1 if there is one.

    pip install -e '.[fuzz]'
    python -m tests.soak.fuzz [--seconds 60] [--state build/fuzz] [TARGET...]
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("packets", "server", "stream", "json", "orders", "options")

# An input of a few KiB takes milliseconds. Wall time is counted: a machine that is busy, or stands
# still for minutes, as a virtual one may, is not to be taken for an endless loop.
INPUT_MAX = 4096
INPUT_TIMEOUT_S = 600


def fuzz(name: str, arguments: list[str]) -> None:
    """One target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["xsfs"]):
        targets = importlib.import_module("tests.targets")
    atheris.Setup([sys.argv[0], *arguments], targets.TARGETS[name])
    atheris.Fuzz()


def dictionary(words: list[bytes]) -> str:
    """Words as libFuzzer reads them."""
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words)


def go_on(name: str, seconds: int, folder: Path) -> bool:
    """Fuzz a target for a while in a process of its own; whether nothing was found."""
    targets = importlib.import_module("tests.targets")
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS.get(name, ())):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / f"{name}.words"
    words.write_text(dictionary(list(targets.WORDS[name])))
    command = [
        *(sys.executable, "-m", "tests.soak.fuzz", "--only", name, "--"),
        *(f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}", f"-timeout={INPUT_TIMEOUT_S}"),
        *(f"-dict={words}", f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1"),
        *("-rss_limit_mb=2048", str(corpus)),
    ]
    start_s = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    runs = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    note(folder, name, round(time.monotonic() - start_s), int(runs[1]) if runs else 0)
    if done.returncode:
        print("\n".join(done.stderr.splitlines()[-40:]), file=sys.stderr)
        print(f"{name}: failed with status {done.returncode}; the input is {folder}/{name}-*")
    return done.returncode == 0


def note(folder: Path, name: str, seconds: int, runs: int) -> None:
    """Add to what has been done, and print the sum."""
    file = folder / "state.json"
    state = json.loads(file.read_text()) if file.exists() else {}
    before = state.get(name, {"seconds": 0, "runs": 0})
    state[name] = {"seconds": before["seconds"] + seconds, "runs": before["runs"] + runs}
    file.write_text(json.dumps(state, indent=2) + "\n")
    kept = len(list((folder / name).iterdir()))
    print(f"{name}: {runs} inputs in {seconds} s; in all {state[name]}, {kept} kept", flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--state", type=Path, default=Path("build/fuzz"), help="(%(default)s)")
    parser.add_argument("--only", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    options = parser.parse_args()
    if options.only:
        fuzz(options.only, options.names)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    options.state.mkdir(parents=True, exist_ok=True)
    found = [
        name
        for name in options.names or NAMES
        if not go_on(name, options.seconds, options.state.resolve())
    ]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
