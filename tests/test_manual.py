# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is written about the command is what the command does: --help, manual page, completion."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing
from xsfs.mount import cli
from xsfs.mount.options import DESCRIPTIONS, OptionError, parse

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "man/xsfs.8"
COMPLETION = ROOT / "completions/xsfs"

# A value that each option takes.
VALUES = {
    "umask=": "022",
    "fmask=": "133",
    "dmask=": "022",
    "root=": "/local",
    "cache=": "watch",
    "events=": "modify",
}

OPTIONS = [re.sub("(?<==).*", "", option.syntax) for option in DESCRIPTIONS]


def page() -> str:
    """The manual page as man(1) shows it, without its formatting."""
    if shutil.which("man") is None:
        missing("man is missing (Debian: man-db)")
    done = subprocess.run(
        ["man", "-l", "--warnings", "-E", "ascii", "-P", "cat", PAGE],
        env={"PATH": os.environ["PATH"], "MANWIDTH": "200", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return re.sub(".\b", "", done.stdout)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_is_described_exists(option: str) -> None:
    parse(option + VALUES.get(option, "1") if option.endswith("=") else option)


def test_the_page_has_every_option_and_no_other() -> None:
    text = page()
    section = text.partition("Mount options\n")[2].partition("The options that mount(8)")[0]
    shown = re.findall(r"^ {7}([a-z_]+=?)[A-Za-z.]*(?:  .*)?$", section, re.MULTILINE)
    assert shown == OPTIONS
    for switch, _ in cli.SWITCHES:
        assert f"       {switch}" in text


def test_the_page_has_every_section() -> None:
    headings = re.findall(r"^[A-Z][A-Z ]+$", page(), re.MULTILINE)
    for heading in ("OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"):
        assert heading in headings


def test_help_has_the_same_words() -> None:
    for name, meaning in (*cli.SWITCHES, *DESCRIPTIONS):
        assert re.search(rf"^  {re.escape(name)} +{re.escape(meaning)}$", cli.usage(), re.MULTILINE)


def complete(line: str) -> list[str]:
    """What bash offers when the cursor is at the end of the line."""
    script = """
        source "$1"
        compopt() { :; }
        COMP_LINE=$2 COMP_POINT=${#2}
        # As readline splits it; a blank at the end begins an empty word.
        read -ra COMP_WORDS <<< "${2//=/ = }"
        [[ $2 != *' ' ]] || COMP_WORDS+=('')
        [[ $2 != *= ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _xsfs xsfs "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", COMPLETION, line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_offers_every_option() -> None:
    assert complete("xsfs /m -o ") == OPTIONS
    assert complete("xsfs /m -o ro,ca") == ["ro,cache="]
    assert complete("xsfs /m -o ro,cache=") == ["strict", "watch", "off"]
    assert complete("xsfs /m -o events=m") == ["modify"]
    assert complete("xsfs emb") == ["embedded"]
    assert complete("xsfs -") == ["-o", "-f", "-d", "-V", "--version", "-h", "--help"]
    assert complete("xsfs embedded LIC") == ["LICENSE"]
    assert complete("xsfs embedded /m -o load=LIC") == ["LICENSE"]


@pytest.mark.parametrize("value", ["strict", "watch", "off"])
def test_completed_values_are_taken(value: str) -> None:
    assert parse(f"cache={value}").cache == value
    with pytest.raises(OptionError):
        parse(f"cache={value}x")
