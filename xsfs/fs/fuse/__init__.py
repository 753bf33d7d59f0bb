# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The file system as the kernel's FUSE asks for it, through pyfuse3."""
