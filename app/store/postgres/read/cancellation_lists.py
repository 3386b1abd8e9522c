"""Lists of cancellations on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.cancellation_lists import CancellationLists, CancellationTables
from app.store.postgres.grouping import PostgresGrouping
from app.store.postgres.lists import ListQueries
from app.store.postgres.read.overview import first_since


class CancellationListQueries(CancellationLists, ListQueries):
    """The part of `Reader` about lists of cancellations."""

    _cancellations = CancellationTables(
        source=lambda _: "@cancellations",
        by_state=PostgresGrouping("@cancellations", ("state",), "seq"),
        of_account=PostgresGrouping("@cancellations", ("account", "state"), "seq"),
        waiting="coalesce(waiting, 'send_slot')",
    )

    async def _requested_since(self, moments: Sequence[int]) -> dict[int, int]:
        sql = first_since("@cancellations", "requested_at")
        return dict(await self._lists.fetch(sql, (list(moments),)))
