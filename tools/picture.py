#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Makes docs/tour.svg, the README's picture, of a real run of tools/tour on the sample store.

    .venv/bin/python tools/picture.py

The mountpoint is a temporary folder; in the picture it is called /mnt/xenstore.
"""

from __future__ import annotations

import html
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHOWN = "/mnt/xenstore"

# In pixels, for a monospaced font of this size.
SIZE, LINE, COLUMN, MARGIN, TITLE = 14, 19, 8.43, 18, 36

STYLES = {"\x1b[1m": "bold", "\x1b[2m": "dim", "\x1b[0m": ""}


def record(mountpoint: str, store: str) -> str:
    """What the tour writes to a terminal."""
    ours, theirs = pty.openpty()
    env = {
        **os.environ,
        "PYTHON": sys.executable,
        "XENSTORED_PATH": store,
        "COLUMNS": "80",
        "LC_ALL": "C.UTF-8",
    }
    with subprocess.Popen(
        [ROOT / "tools/tour", mountpoint],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as tour:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:
            # How a terminal says that nobody writes to it any more.
            os.close(ours)
    if tour.returncode:
        sys.exit(said.decode(errors="replace"))
    text = said.decode().replace("\r\n", "\n").expandtabs()
    return text.replace(mountpoint, SHOWN).replace(sys.executable, "python3").strip("\n")


def spans(line: str) -> str:
    """A line as SVG, styled as the terminal's escapes say."""
    shown, style = [], ""
    for piece in re.split("(\x1b\\[[0-9]m)", line):
        if piece in STYLES:
            style = STYLES[piece]
        elif piece:
            name = f' class="{style}"' if style else ""
            shown.append(f"<tspan{name}>{_escape(piece)}</tspan>")
    return "".join(shown)


def _escape(text: str) -> str:
    """Blanks that do not break are the only ones that every renderer keeps."""
    return html.escape(text, quote=False).replace(" ", "\xa0")


def picture(text: str) -> str:
    """The session as a window with a terminal in it."""
    lines = text.split("\n")
    width = round(80 * COLUMN + 2 * MARGIN)
    height = TITLE + LINE * len(lines) + MARGIN
    rows = "\n".join(
        f'<text xml:space="preserve" x="{MARGIN}" y="{y}">{spans(line)}</text>'
        for y, line in zip(range(TITLE + LINE - 5, height, LINE), lines, strict=False)
        if line
    )
    dots = "".join(
        f'<circle cx="{20 + 20 * number}" cy="18" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">
<title>A tour of a mounted XenStore in a terminal</title>
<style>
text {{ font: {SIZE}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre; fill: #d7dae0; }}
.bold {{ font-weight: bold; fill: #ffffff; }}
.dim {{ fill: #8b93a3; }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#1e222a"/>
{dots}
{rows}
</svg>
"""


def main() -> None:
    """Mount, record, draw."""
    with tempfile.TemporaryDirectory(prefix="xsfs-") as folder:
        mountpoint, store = f"{folder}/m", f"{folder}/socket"
        os.mkdir(mountpoint)
        xsfs = (sys.executable, "-m", "xsfs")
        subprocess.run([*xsfs, "embedded", mountpoint, "-o", f"socket={store}"], check=True)
        try:
            text = record(mountpoint, store)
        finally:
            unmount = ("umount",) if os.getuid() == 0 else ("fusermount3", "-u")
            subprocess.run([*unmount, mountpoint], check=True)
    (ROOT / "docs/tour.svg").write_text(picture(text), encoding="utf-8")


if __name__ == "__main__":
    main()
