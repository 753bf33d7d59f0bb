# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Xen's own xenstored, oxenstored and tools, run without a hypervisor."""
