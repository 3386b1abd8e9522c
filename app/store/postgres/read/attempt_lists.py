"""Lists of calls to providers on PostgreSQL."""

from __future__ import annotations

from app.store.attempt_lists import AttemptLists
from app.store.filters import AttemptFilter
from app.store.postgres.lists import ListQueries
from app.store.where import Where


class AttemptListQueries(AttemptLists, ListQueries):
    """The part of `Reader` about lists of attempts."""

    _attempts = "@attempts"

    def _add_order(self, where: Where, wanted: AttemptFilter) -> None:
        if wanted.cancellation is not None:
            where.all_of(
                "(account, order_pk) = (SELECT account, order_pk FROM @cancellations WHERE id = ? LIMIT 1)",
                [wanted.cancellation],
            )
        where.add("account = (SELECT account FROM @orders WHERE pk = ?)", wanted.order_pk)
