# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Sphinx's settings; `make docs` builds, with warnings as errors."""

import importlib.metadata

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
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autoclass_content = "class"

# A reference in the pages that leads nowhere is a warning; a type in a signature need not lead
# anywhere, unless it is one of the public names.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(?!xsfs\.).*"),
    ("py:class", r"xsfs\.\w+\.\w+\..*"),
    ("py:(exc|func)", r"Error|OSError|ValueError|os\.walk"),
]
