# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Telling the kernel of changes made elsewhere: its caches, and its watchers by inotify."""
