# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""XenStore as a file system, and a XenStore client for Python programs."""
