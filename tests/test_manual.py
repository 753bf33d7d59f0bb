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

from tests.conftest import missing, require
from xsfs.mount import cli
from xsfs.mount.options import DESCRIPTIONS, OptionError, parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "man/xsfs.8", ROOT / "man/xsfs.5"]
COMPLETION = ROOT / "completions/xsfs"
README = ROOT / "README.md"

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


def page(path: Path = PAGES[0]) -> str:
    """A manual page as man(1) shows it, without its formatting."""
    if shutil.which("man") is None:
        missing("man is missing (Debian: man-db)")
    done = subprocess.run(
        ["man", "-l", "--nj", "--warnings", "-E", "ascii", "-P", "cat", path],
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


def test_the_pages_have_every_section() -> None:
    headings = re.findall(r"^[A-Z][A-Z ]+$", page(), re.MULTILINE)
    for heading in ("OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"):
        assert heading in headings
    headings = re.findall(r"^[A-Z][A-Z ]+$", page(PAGES[1]), re.MULTILINE)
    for heading in ("DESCRIPTION", "EXTENDED ATTRIBUTES", "EVENTS", "ERRORS", "EXAMPLES"):
        assert heading in headings


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_has_a_date_and_no_fault(path: Path) -> None:
    require("mandoc")
    done = subprocess.run(
        ["mandoc", "-T", "lint", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert re.search(r"^\.TH XSFS [58] \d{4}-\d\d-\d\d ", path.read_text(), re.MULTILINE)


def table(heading: str) -> list[list[str]]:
    """The cells of a table of the README, without its head."""
    section = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


# A file or an extended attribute, as the mapping table and xsfs(5) write it.
MAPPED = re.compile(r"(?<![\w/])(?:NAME)?(?:\.[a-z](?:[\w./-]*\w)?|@\w+)|user\.xenstore\.\w+")


def test_the_readme_maps_what_the_page_describes() -> None:
    cells = [cell for row in table("Nodes as files") for cell in row]
    code = "\n".join(word for cell in cells for word in re.findall("`(.*?)`", cell))
    text = page(PAGES[1]).partition("\nEXAMPLES\n")[0]
    tags = "\n".join(re.findall(r"^ {7}(\S.*?)(?:  .*)?$", text, re.MULTILINE))
    tags = tags.replace(".transactions/NAME/.commit", ".commit")
    mapped = {name.removesuffix("/NAME") for name in MAPPED.findall(code)}
    described = {name.removesuffix("/NAME") for name in MAPPED.findall(tags)}
    assert mapped >= {"NAME.d", ".value", ".json", ".xsfs/stats", "@introduceDomain"}
    assert mapped == described


def test_each_program_that_the_readme_says_listens_is_tried() -> None:
    text = README.read_text()
    sentence = re.search(r"store\. (inotifywait, [^`]*?) and all others\s+that listen", text)
    assert sentence is not None
    programs = sentence[1].replace(".", "_").split(", ")
    tests = "".join(path.read_text() for path in (ROOT / "tests/mount").glob("test_*.py"))
    assert len(programs) >= 5
    for program in programs:
        assert re.search(rf"def test_(\w+_)?{program}_", tests), program


def test_the_readme_has_no_option_but_those_of_the_page() -> None:
    shown = {
        re.sub("=.*", "=", option)
        for row in table("Options")
        for word in re.findall("`(.*?)`", row[0])
        for option in word.split()
        if re.match("[a-z]", option)
    }
    assert {"ro", "cache="} <= shown - {"watch", "off", "modify"} <= set(OPTIONS)


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


def test_completion_in_zsh_offers_every_option() -> None:
    text = (ROOT / "completions/_xsfs").read_text()
    require("zsh")
    subprocess.run(["zsh", "-n", ROOT / "completions/_xsfs"], check=True)
    offered = re.findall(r"^\t\t'([a-z_]+)\[[^\]]*\](:?)", text, re.MULTILINE)
    assert [name + ("=" if value else "") for name, value in offered] == OPTIONS
    assert "(strict watch off)" in text
    assert "(full modify off)" in text


def complete_in_fish(line: str) -> set[str]:
    require("fish")
    script = f"source {ROOT}/completions/xsfs.fish; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True
    )
    return {offered.split("\t")[0] for offered in done.stdout.splitlines()}


def test_completion_in_fish_offers_every_option() -> None:
    assert complete_in_fish("xsfs /m -o ") == set(OPTIONS)
    assert "ro,cache=" in complete_in_fish("xsfs /m -o ro,ca")
    assert complete_in_fish("xsfs /m -o ro,cache=") == {
        f"ro,cache={mode}" for mode in ("strict", "watch", "off")
    }
    assert "embedded" in complete_in_fish("xsfs emb")


@pytest.mark.parametrize("value", ["strict", "watch", "off"])
def test_completed_values_are_taken(value: str) -> None:
    assert parse(f"cache={value}").cache == value
    with pytest.raises(OptionError):
        parse(f"cache={value}x")
