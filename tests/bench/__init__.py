# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Speed, as ratios to what else there is: `make bench`."""
