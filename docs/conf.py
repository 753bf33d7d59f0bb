# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Sphinx's settings; `make docs` builds, with warnings as errors."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "xsfs"
copyright = "2026 The xsfs authors"  # noqa: A001 - Sphinx's name
release = importlib.metadata.version("xsfs")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "XenStore clients for Python", "fixed_sidebar": True}
html_show_sphinx = False

# What docstrings have in single quotes is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
autoclass_content = "class"

# A reference in the pages that leads nowhere is a warning; a type in a signature need not lead
# anywhere, unless it is one of the public names.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(?!xsfs\.).*"),
    ("py:class", r"xsfs\.\w+\.\w+\..*"),
    ("py:(exc|func)", r"\w*Error|NoStore|os\.walk"),
]
# Two clients, and two kinds of transactions: a bare name in a signature may be either's.
suppress_warnings = ["ref.python"]


def part_plurals(
    app: Sphinx, what: str, name: str, object_: object, options: object, lines: list[str]
) -> None:
    """Let docstrings say `Error`s, where reStructuredText wants a backslash."""
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", part_plurals)
