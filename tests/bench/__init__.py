# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Speed, measured against bars in one run; not part of the test suite."""
