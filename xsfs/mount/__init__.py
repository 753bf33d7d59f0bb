# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The process: command line, options, mount table, and the life of a mount."""
