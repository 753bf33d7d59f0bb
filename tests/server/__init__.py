# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store, judged by the real daemons and by programs that talk to them."""
