# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The XenStore wire protocol, sans-IO: no sockets, no threads, no clocks.

Source: xen/include/public/io/xs_wire.h and docs/misc/xenstore.txt.
"""
