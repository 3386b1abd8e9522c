"""What a transaction reads of the orders that it has locked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy.limits import PolicyUsage
from app.runtime.time_slice import TimeSlice
from app.store import codec
from app.store.postgres import locks as advisory
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.connection import Session
from app.store.postgres.read.names import PROVIDER_NAMES, read_provider_names
from app.store.records import LoggedRow, LogMark

_OF_ORDERS = """FROM (SELECT account, pk FROM @orders WHERE pk = ANY($1::bigint[])) AS wanted
    JOIN @events AS event ON event.account = wanted.account AND event.order_pk = wanted.pk"""
_COLUMNS = ", ".join(f"event.{column}" for column in EVENT_COLUMNS.split(", "))
_MARKS = """SELECT pk, (SELECT count(*) FROM @events AS event WHERE event.account = wanted.account AND order_pk = pk),
    (SELECT coalesce(max(seq), 0) FROM @events AS event WHERE event.account = wanted.account AND order_pk = pk),
    (SELECT count(*) FROM @events AS event JOIN @erasures AS erasure
        ON erasure.account = event.account AND erasure.position = event.seq
        WHERE event.account = wanted.account AND event.order_pk = pk)
    FROM (SELECT account, pk FROM @orders WHERE pk = ANY($1::bigint[])) AS wanted"""
_USAGE = """SELECT policy, count(*) FILTER (WHERE requested_at > $2), count(*) FROM @cancellations
    WHERE policy = ANY($1::text[]) AND requested_at > $3 GROUP BY policy"""
_OPEN = """SELECT count(*) FROM (SELECT 1 FROM @orders WHERE account = ANY($1::text[])
    AND phase NOT IN ('completed', 'canceled') LIMIT $2) AS open"""
_LOCK_ALL = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"
_WITH_FINGERPRINTS = """SELECT wanted.account, wanted.fingerprint, stored.pk, stored.state
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (account, fingerprint, place) CROSS JOIN LATERAL
    (SELECT pk, state FROM @orders AS stored WHERE stored.account = wanted.account
        AND stored.fingerprint = wanted.fingerprint ORDER BY pk DESC LIMIT $3) AS stored
    ORDER BY place, pk DESC"""


class LockedReads:
    """The queries of a `Transaction`, described there."""

    limits = False

    def __init__(self, session: Session) -> None:
        self._session = session
        self._accounts: dict[int, str] = {}
        """Order number → account of the orders that are locked."""

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        histories: dict[int, list[Event]] = {pk: [] for pk in pks}
        time_slice = TimeSlice()
        sql = f"SELECT event.order_pk, {_COLUMNS} {_OF_ORDERS} ORDER BY event.seq"
        for pk, *row in await self._session.fetch(sql, list(histories)):
            histories[pk].append(codec.read_event(row))
            await time_slice.pause()
        return histories

    async def logged(self, pks: Sequence[int]) -> dict[int, list[LoggedRow]]:
        logs: dict[int, list[LoggedRow]] = {pk: [] for pk in pks}
        sql = f"SELECT event.order_pk, event.seq, {_COLUMNS} {_OF_ORDERS} ORDER BY event.seq"
        for pk, position, *columns in await self._session.fetch(sql, list(logs)):
            logs[pk].append(LoggedRow(position, tuple(columns)))
        return logs

    async def log_marks(self, pks: Sequence[int]) -> dict[int, LogMark]:
        marks = {pk: LogMark(0, 0, 0) for pk in pks}
        return marks | {pk: LogMark(*mark) for pk, *mark in await self._session.fetch(_MARKS, list(marks))}

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        if self.limits:
            schema = self._session.schema
            await self._session.fetch(_LOCK_ALL, sorted(advisory.limits(schema, policy) for policy in policies))
        hour, day = (codec.micros(now - timedelta(hours=hours)) for hours in (1, 24))
        rows = await self._session.fetch(_USAGE, list(policies), hour, day)
        return {policy: PolicyUsage(in_hour, in_day) for policy, in_hour, in_day in rows}

    async def count_open_orders(self, accounts: Sequence[str], maximum: int) -> int:
        return int(await self._session.value(_OPEN, list(accounts), maximum))

    async def fingerprints(self, pks: Sequence[int]) -> dict[int, int]:
        sql = "SELECT pk, fingerprint FROM @orders WHERE pk = ANY($1::bigint[]) AND fingerprint IS NOT NULL"
        return {row[0]: row[1] for row in await self._session.fetch(sql, list(pks))}

    async def orders_with_fingerprints(
        self, fingerprints: Mapping[str, Collection[int]], limit: int
    ) -> list[tuple[str, int, int, OrderAggregate]]:
        wanted = [(account, value) for account, values in fingerprints.items() for value in sorted(values)]
        if not wanted:
            return []
        # Two duplicates that arrive at once would otherwise not see each other: neither is stored.
        schema = self._session.schema
        await self._session.fetch(_LOCK_ALL, sorted({advisory.fingerprint(schema, *pair) for pair in wanted}))
        rows = await self._session.fetch(_WITH_FINGERPRINTS, *zip(*wanted, strict=True), limit)
        return [(account, fingerprint, pk, codec.read_aggregate(state)) for account, fingerprint, pk, state in rows]

    async def provider_names(self, pks: Sequence[int]) -> dict[int, set[str]]:
        names_of: dict[int, set[str]] = {pk: set() for pk in pks}
        for pk, names in read_provider_names(await self._session.fetch(PROVIDER_NAMES, list(names_of))):
            names_of[pk] |= names
        return names_of
