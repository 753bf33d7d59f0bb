# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is known of the store's nodes, and what changed: pure, with no event loop and no clock."""
