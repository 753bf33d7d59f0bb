# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The store as files: what a tree of files looks like, and how the kernel is served."""
