# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The distributions: what is in them, what an index shows, and clients without FUSE."""

from __future__ import annotations

import re
import sys
import tarfile
import venv
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.source_tree import ROOT, check, copy_tree

# Where README is read: the repository, and its files as they are.
URLS = (
    "https://github.com/xsfs/xsfs/blob/main/",
    "https://raw.githubusercontent.com/xsfs/xsfs/main/",
)

pytestmark = pytest.mark.timeout(180)


class Distributions(NamedTuple):
    """What `make dist` makes."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp("dist")
    tree = copy_tree(folder)
    check(sys.executable, "-m", "build", "-q", "--no-isolation", "-o", folder, tree)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Distributions(sdist, wheel)


def test_an_index_takes_them(distributions: Distributions) -> None:
    check(sys.executable, "-m", "twine", "check", "--strict", *distributions)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a repository")
def test_the_source_distribution_holds_the_repository(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = set(check("git", "ls-files").splitlines())
    assert tracked <= names
    files = {name for name in names if not (ROOT / name).is_dir()}
    assert {name for name in files - tracked if "egg-info" not in name} == {"PKG-INFO", "setup.cfg"}


def test_the_tests_run_in_the_source_distribution(
    distributions: Distributions, tmp_path: Path
) -> None:
    check("tar", "-xf", str(distributions.sdist), "-C", str(tmp_path))
    (tree,) = tmp_path.iterdir()
    assert "pytest" in check("make", "-n", "test", cwd=tree)
    quick = ("tests/test_manual.py", "tests/test_options.py", "tests/protocol/test_packet.py")
    pytest_here = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    check(*pytest_here, *quick, cwd=tree)


def test_the_links_of_readme_lead_somewhere_from_an_index() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert link.startswith("https://"), link
        for url in URLS:
            if link.startswith(url):
                assert (ROOT / link.removeprefix(url)).exists(), link


def lend(folder: Path, *names: str) -> None:
    """Have installed packages, and what they need, in another environment, as links."""
    wanted = list(names)
    for name in wanted:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.is_symlink():
                link.symlink_to(Path(str(distribution.locate_file(top))))
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted += {requirement.name} - set(wanted)


PROGRAM = """
import sys
import xsfs

with xsfs.server.running({b"/a": b"1"}) as path, xsfs.Client(path) as client:
    print(client[b"/a"], xsfs.aio.Client.__name__, "pyfuse3" in sys.modules)
"""

TESTS = """
import xsfs

def test_client(xenstore):
    with xsfs.Client() as client:
        client[b"/a"] = b"1"
        assert client[b"/a"] == b"1"
"""


def test_clients_without_fuse(distributions: Distributions, tmp_path: Path) -> None:
    install = (ROOT / "docs/install.rst").read_text()
    assert "$ pip install --no-deps xsfs\n   $ pip install trio\n" in install
    venv.create(tmp_path / "fresh")
    python = tmp_path / "fresh/bin/python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    check(*pip, "install", "-q", "--no-deps", "--no-index", distributions.wheel)
    run = (python, "-I", "-W", "error", "-c")
    check(*run, "import xsfs; dir(xsfs); help(xsfs); xsfs.Client; xsfs.xs; xsfs.__version__")
    (site,) = (tmp_path / "fresh/lib").glob("python*/site-packages")
    lend(site, "trio")
    assert check(*run, PROGRAM).split() == ["b'1'", "Client", "False"]
    lend(site, "pytest")
    (tmp_path / "test_it.py").write_text(TESTS)
    check(python, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "test_it.py")
    mountpoint = tmp_path / "m"
    mountpoint.mkdir()
    with pytest.raises(AssertionError, match="pyfuse3"):
        check(python, "-I", "-m", "xsfs", "embedded", mountpoint)
