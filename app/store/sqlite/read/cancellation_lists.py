"""Lists of cancellations, and how many there are by state and account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.cancellation import Cancellation
from app.store import codec
from app.store.index_protocol import Facets
from app.store.records import Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.read.facets import COUNTED_MAX, count_groups, count_rows
from app.store.sqlite.read.ordered import GROUPS_MAX, Group, Grouping, snapshot
from app.store.sqlite.read.overview import first_since
from app.store.sqlite.read.search import END, Where, direction, in_order

_BY_STATE = Grouping("cancellations", "cancellations_by_state", ("state",), "seq")
_OF_ACCOUNT = Grouping("cancellations", "cancellations_of_account", ("account", "state"), "seq")
CLOCK_SET_BACK = 86_400_000_000
"""Cancellations are numbered as they are requested, unless the clock was set back: by so many microseconds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationFilter:
    """What the cancellations of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    state: str | None = None
    policy: str | None = None
    waiting: str | None = None
    batch: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def source(self) -> str:
        """The table, by the index that tells most of them apart."""
        indexes = (
            (self.order_pk, "cancellations_by_order"),
            (self.batch, "cancellations_by_batch"),
            (self.policy, "cancellations_of_policy"),
            (self.state or self.waiting, "cancellations_by_state"),
        )
        index = next((index for value, index in indexes if value is not None), None)
        return "cancellations" if index is None else f"cancellations INDEXED BY {index}"

    @property
    def by_account(self) -> bool:
        """Whether the account tells most of them apart."""
        return self.account is not None and (self.order_pk, self.policy, self.batch) == (None, None, None)

    def where(self) -> Where:
        """The conditions that any row tells."""
        where = Where(order_pk=self.order_pk, batch=self.batch, policy=self.policy)
        if not self.by_account:
            where.add("account = ?", self.account)
            where.add("state = ?", self.state)
        # `send_slot` is the default of `waiting`, and defaults are not stored.
        where.add("state = 'scheduled' AND coalesce(json_extract(body, '$.waiting'), 'send_slot') = ?", self.waiting)
        where.add("requested_at >= ?", codec.micros_or_none(self.since))
        where.add("requested_at < ?", codec.micros_or_none(self.until))
        return where

    def has_group(self, group: Group) -> bool:
        """Whether those of this account and state are wanted."""
        return self.state in (None, group[-1]) and (self.waiting is None or group[-1] == "scheduled")


class CancellationListQueries(Queries):
    """The part of `Reader` about lists of cancellations."""

    async def cancellations(
        self,
        window: Window,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[tuple[int, Cancellation]]:
        wanted = CancellationFilter(
            account=account,
            order_pk=order_pk,
            state=state,
            policy=policy,
            waiting=waiting,
            batch=batch,
            since=since,
            until=until,
        )
        rows = await self._cancellation_rows(wanted, window, "body")
        return [(seq, codec.read_cancellation(body)) for seq, body in rows]

    async def cancellation_facets(
        self,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Facets:
        wanted = CancellationFilter(
            account=account,
            order_pk=order_pk,
            state=state,
            policy=policy,
            waiting=waiting,
            batch=batch,
            since=since,
            until=until,
        )
        if (order_pk, policy, waiting, batch, since, until) == (None,) * 6:
            async with snapshot(self._db, Use.SEARCHES) as db:
                first = () if account is None else (account,)
                counted = await count_groups(db, _OF_ACCOUNT, wanted.has_group, first)
                if counted is None:
                    counted = await count_groups(db, _BY_STATE, wanted.has_group)
                if counted is not None:
                    return counted
        rows = await self._cancellation_rows(wanted, Window(COUNTED_MAX + 1), "account, state", Use.SEARCHES)
        return count_rows(("account", "state"), rows)

    async def _cancellation_rows(
        self, wanted: CancellationFilter, window: Window, columns: str, use: Use = Use.LISTS
    ) -> Rows:
        """Rows of (seq, columns)."""
        where = wanted.where()
        for condition, seq in zip(("seq >= ?", "seq < ?"), await self._bounds(wanted), strict=True):
            where.add(condition, seq)
        if wanted.by_account:
            async with snapshot(self._db, use) as db:
                groups = await _OF_ACCOUNT.groups(db, GROUPS_MAX, wanted.has_group, (wanted.account,))
                return await _OF_ACCOUNT.merged(db, columns, groups or [], where, window)
        where.beyond("seq", window)
        sql = f"SELECT seq, {columns} FROM {wanted.source} {where} ORDER BY seq {direction(window)} LIMIT ?"
        rows = await self._db.fetch(sql, (*where.values, window.limit), Use.LOOKUPS if wanted.batch else use)
        return in_order(rows, window)

    async def _bounds(self, wanted: CancellationFilter) -> Sequence[int | None]:
        """Between which numbers those of these times are."""
        if (wanted.since, wanted.until) == (None, None):
            return None, None
        moments = [
            0 if wanted.since is None else codec.micros(wanted.since) - CLOCK_SET_BACK,
            END if wanted.until is None else codec.micros(wanted.until) + CLOCK_SET_BACK,
        ]
        sql = first_since("cancellations", "requested_at", "?")
        found: dict[int, int] = dict(await self._db.fetch(sql, (codec.to_json(moments),)))
        return [found[moment] for moment in moments]
