# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How the store says no: the error's name, as it goes over the wire. Pure."""

from __future__ import annotations


class Refused(Exception):
    """The request is answered with an ERROR of this name (xs_wire.h, `xsd_errors`)."""

    def __init__(self, name: bytes) -> None:
        super().__init__(name)
        self.name = name
