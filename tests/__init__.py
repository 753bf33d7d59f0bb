# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Tests of xsfs; the folders mirror those of the package."""
