"""Lists of cancellations on SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from app.store import codec
from app.store.cancellation_lists import CancellationLists, CancellationTables
from app.store.filters import CancellationFilter
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.ordered import SqliteGrouping
from app.store.sqlite.read.overview import first_since


def _source(wanted: CancellationFilter) -> str:
    """The table, by the index that tells most of them apart."""
    indexes = (
        (wanted.order_pk, "cancellations_by_order"),
        (wanted.batch, "cancellations_by_batch"),
        (wanted.policy, "cancellations_of_policy"),
        (wanted.state or wanted.waiting, "cancellations_by_state"),
    )
    index = next((index for value, index in indexes if value is not None), None)
    return "cancellations" if index is None else f"cancellations INDEXED BY {index}"


class CancellationListQueries(CancellationLists, Queries):
    """The part of `Reader` about lists of cancellations."""

    _cancellations = CancellationTables(
        source=_source,
        by_state=SqliteGrouping("cancellations", "cancellations_by_state", ("state",), "seq"),
        of_account=SqliteGrouping("cancellations", "cancellations_of_account", ("account", "state"), "seq"),
        # `send_slot` is the default, and defaults are not stored.
        waiting="coalesce(json_extract(body, '$.waiting'), 'send_slot')",
    )

    async def _requested_since(self, moments: Sequence[int]) -> dict[int, int]:
        sql = first_since("cancellations", "requested_at", "?")
        return dict(await self._db.fetch(sql, (codec.to_json(moments),)))
