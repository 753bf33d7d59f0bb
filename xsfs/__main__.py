# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`python -m xsfs` is the xsfs command."""

import sys

from xsfs.mount.cli import main

sys.exit(main())
