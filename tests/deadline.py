# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How long a test waits for what has to come: long, as a wait ends with what it is for."""

DEADLINE_S = 20.0
