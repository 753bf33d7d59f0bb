# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Conversations that every store is held to: each request type, each error, each difference.

Data only. Sources: xenstore.txt, and what C xenstored and oxenstored (Xen 4.17) were seen to
say; a fifth column is oxenstored's where it differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.tables import domains, nodes, packets, transactions, watches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.protocol.conversation import Row

TABLES: dict[str, Sequence[Row]] = {
    **nodes.TABLES,
    **watches.TABLES,
    **transactions.TABLES,
    **domains.TABLES,
    **packets.TABLES,
}
