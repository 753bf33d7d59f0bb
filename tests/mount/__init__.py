# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Tests through the kernel: a real mount over a real daemon."""
