"""Nodes, and which of them owns what. All times are the database's."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from app.runtime.uptime import boottime
from app.store.node_protocol import ACCOUNT, LEASE_S, SUBSCRIPTION, Errand, Lease, LiveNode, NodeChanges, Renewal
from app.store.postgres.connection import HEARTBEAT_LINE_S, Kind, Pool, Session
from app.store.postgres.errors import ERRORS, fault_of, is_lost
from app.store.postgres.writes import Writes
from app.store.protocol import StoreConflict, StoreFenced, StoreUnavailable

T = TypeVar("T")

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_LEASE = int(LEASE_S * 1e6)
_HOUR = 3_600_000_000
_PAGE = 1000
"""Subjects that one transaction takes: a claim of this node waits for none of them."""
_ERRANDS_MAX = 100
_ERRANDS_KEPT = 600_000_000

_ALIVE = f"NOT ended AND until > {NOW}"
_SAVE_SECRETS = """INSERT INTO @account_secrets (account, sealed)
    SELECT $1, $2::bytea WHERE EXISTS (SELECT 1 FROM @resources WHERE kind = 'accounts' AND id = $1 FOR SHARE)
    ON CONFLICT (account) DO UPDATE SET sealed = excluded.sealed"""
_JOIN = f"""
INSERT INTO @nodes AS node (number, epoch, until, ended, draining, name, version, last_id, started_at)
SELECT free, nextval('@node_epochs'), {NOW} + {_LEASE}, false, false, $1, $2, 0, {NOW}
FROM (SELECT free FROM generate_series(0, 511) AS free
      WHERE NOT EXISTS (SELECT 1 FROM @nodes WHERE number = free AND until > {NOW} - {_HOUR})
      ORDER BY random() LIMIT 1) AS numbers
ON CONFLICT (number) DO UPDATE SET epoch = excluded.epoch, until = excluded.until, ended = false, draining = false,
    name = excluded.name, version = excluded.version, started_at = excluded.started_at
    WHERE node.until <= {NOW} - {_HOUR}
RETURNING number, epoch, last_id"""
_RENEW = f"""
UPDATE @nodes SET until = {NOW} + {_LEASE}, last_id = greatest(last_id, $2), draining = $3
WHERE epoch = $1 AND NOT ended"""
_NODES = f"""SELECT number, epoch, name, version, draining, {NOW}, until FROM @nodes WHERE {_ALIVE} OR epoch = $1
             ORDER BY number"""
_CHANGES = f"""
WITH owned AS MATERIALIZED (SELECT subject FROM @ownership WHERE epoch = $1),
accounts AS MATERIALIZED (
    SELECT substr(subject, {len(ACCOUNT) + 1}) COLLATE "C" AS account FROM owned
    WHERE starts_with(subject, '{ACCOUNT}')),
subscriptions AS MATERIALIZED (
    SELECT substr(subject, {len(SUBSCRIPTION) + 1}) COLLATE "C" AS id FROM owned
    WHERE starts_with(subject, '{SUBSCRIPTION}')),
clock AS MATERIALIZED (SELECT {NOW} AS now),
open AS MATERIALIZED (
    SELECT id, subject, kind, request FROM @errands JOIN owned USING (subject)
    WHERE answered_at IS NULL ORDER BY id LIMIT {_ERRANDS_MAX})
SELECT
    ARRAY(SELECT what FROM @shared_versions ORDER BY what) AS what,
    ARRAY(SELECT version FROM @shared_versions ORDER BY what) AS versions,
    ARRAY(SELECT account FROM accounts, clock, LATERAL (
        SELECT 1 FROM @jobs WHERE jobs.account = accounts.account AND due_at <= now AND sending = 0 LIMIT 1) AS due
    ) AS accounts,
    ARRAY(SELECT id FROM subscriptions, clock, LATERAL (
        SELECT 1 FROM @deliveries AS delivery WHERE subscription = subscriptions.id AND delivery.state = 'pending'
        AND due_at <= now LIMIT 1) AS due
    ) AS subscriptions,
    EXISTS (SELECT 1 FROM @jobs JOIN accounts USING (account), clock WHERE deadline <= now)
    OR EXISTS (SELECT 1 FROM @jobs JOIN accounts USING (account), clock WHERE sending = 1 AND due_at <= now)
    OR EXISTS (SELECT 1 FROM @orders JOIN accounts USING (account), clock WHERE next_check_at <= now)
    OR EXISTS (SELECT 1 FROM @pending_rechecks JOIN accounts USING (account)) AS timers,
    ARRAY(SELECT id FROM open ORDER BY id) AS errands,
    ARRAY(SELECT subject FROM open ORDER BY id) AS errand_subjects,
    ARRAY(SELECT kind FROM open ORDER BY id) AS errand_kinds,
    ARRAY(SELECT request FROM open ORDER BY id) AS errand_requests,
    (SELECT last_value FROM @events_seq) AS position"""


def clock_offset_s(there: float, asked_at: float, answered_at: float) -> float:
    """By how much a clock that showed `there` at least differs, if it was read at some time between these two."""
    return there - min(max(there, asked_at), answered_at)


class NodeWrites(Writes):
    """The part of `Store` that writes nodes, and which of them owns what."""

    lease: Lease | None = None
    has_joined = False
    _line: Pool | None = None
    """A connection for the lease alone: heartbeats wait for nothing else that this node does."""

    async def join(self, name: str, version: str) -> Renewal:
        """See `NodeStore.join`."""

        async def work(session: Session) -> tuple[Lease, int]:
            for _ in range(3):
                began = boottime()
                row = await session.row(_JOIN, name, version)
                if row is not None:  # else another node took the number
                    return Lease(row["number"], row["epoch"], began + LEASE_S), row["last_id"]
            raise StoreUnavailable("PostgreSQL: no number for this node is free: 512 were taken within the hour")

        lease, last_id = await self._on_line(work)
        self.lease, self.has_joined = lease, True
        renewal = await self.renew(last_id)
        return replace(renewal, lease=lease, last_id=last_id)

    async def renew(self, last_id: int, *, draining: bool = False) -> Renewal:
        """See `NodeStore.renew`."""
        lease = self._require()

        async def work(session: Session) -> Renewal:
            began = boottime()
            if not await session.run(_RENEW, lease.epoch, last_id, draining):
                raise StoreFenced("this node's lease has ended, and another node does its work")
            asked_at = datetime.now(UTC).timestamp()
            rows = await session.fetch(_NODES, lease.epoch)
            answered_at = datetime.now(UTC).timestamp()
            nodes = tuple(LiveNode(*row[:5]) for row in rows)
            offset_s = clock_offset_s(rows[0][5] / 1e6, asked_at, answered_at)
            ends_s = [(row[6] - row[5]) / 1e6 for row in rows if row["epoch"] != lease.epoch]
            renewed = Lease(lease.number, lease.epoch, began + LEASE_S)
            return Renewal(renewed, nodes, offset_s, last_id, min(ends_s, default=math.inf))

        try:
            renewal = await self._on_line(work)
        except StoreFenced:
            self.lease = None
            raise
        self.lease = renewal.lease
        return renewal

    async def leave(self) -> None:
        """See `NodeStore.leave`."""
        lease, self.lease = self.lease, None
        if lease is not None:
            sql = f"UPDATE @nodes SET ended = true, until = least(until, {NOW}) WHERE epoch = $1 AND NOT ended"
            await self._on_line(lambda session: session.run(sql, lease.epoch))

    async def take(self, subjects: Collection[str]) -> dict[str, int]:
        """See `NodeStore.take`."""
        taken: dict[str, int] = {}
        ordered = sorted(subjects)
        for start in range(0, len(ordered), _PAGE):
            page = ordered[start : start + _PAGE]
            taken |= await self._write(partial(self._take, subjects=page))
        return taken

    async def _take(self, session: Session, subjects: list[str]) -> dict[str, int]:
        epoch = self._require().epoch
        if not await session.fetch(f"SELECT 1 FROM @nodes WHERE epoch = $1 AND {_ALIVE} FOR KEY SHARE", epoch):
            raise StoreFenced("this node's lease has ended")
        await session.run(
            "INSERT INTO @ownership SELECT subject, 0 FROM unnest($1::text[]) AS subject ORDER BY subject"
            " ON CONFLICT DO NOTHING",
            subjects,
        )
        # Its claims hold its row until they are committed, and look at it first: afterwards there are none.
        ended = await session.fetch(
            f"""SELECT epoch FROM @nodes WHERE NOT ended AND until <= {NOW}
                AND epoch IN (SELECT epoch FROM @ownership WHERE subject = ANY($1::text[]))
                ORDER BY number FOR UPDATE""",
            subjects,
        )
        if ended:
            sql = "UPDATE @nodes SET ended = true WHERE epoch = ANY($1::bigint[])"
            await session.run(sql, [row["epoch"] for row in ended])
        rows = await session.fetch(
            """SELECT subject, epoch FROM @ownership WHERE subject = ANY($1::text[]) AND epoch <> $2
               AND NOT EXISTS (SELECT 1 FROM @nodes AS node WHERE node.epoch = ownership.epoch AND NOT node.ended)
               ORDER BY subject FOR UPDATE""",
            subjects,
            epoch,
        )
        former = {row["subject"]: row["epoch"] for row in rows}
        await session.run("UPDATE @ownership SET epoch = $2 WHERE subject = ANY($1::text[])", list(former), epoch)
        # A commit whose answer was lost is repeated: what it took is already this node's, and is not known to be new.
        own = await session.fetch(
            "SELECT subject FROM @ownership WHERE subject = ANY($1::text[]) AND epoch = $2", subjects, epoch
        )
        return {row["subject"]: former.get(row["subject"], epoch) for row in own}

    async def save_account_secrets(self, account: str, sealed: bytes) -> None:
        """See `Store.save_account_secrets`."""
        epoch = self._require().epoch

        async def work(session: Session) -> None:
            # Who takes the account from this node waits for these rows.
            owned = await session.fetch(
                f"""SELECT 1 FROM @nodes AS node JOIN @ownership AS owned USING (epoch)
                    WHERE epoch = $1 AND {_ALIVE} AND subject = $2 FOR KEY SHARE OF node FOR SHARE OF owned""",
                epoch,
                ACCOUNT + account,
            )
            if not owned:
                raise StoreFenced(f"the account {account} is not this node's")
            if not await session.run(_SAVE_SECRETS, account, sealed):
                raise StoreConflict(f"the account {account} was removed")

        await self._write(work)

    async def release(self, subjects: Collection[str]) -> None:
        """See `NodeStore.release`."""
        lease = self.lease
        if lease is not None and subjects:
            sql = "UPDATE @ownership SET epoch = 0 WHERE subject = ANY($1::text[]) AND epoch = $2"
            await self._write(lambda session: session.run(sql, sorted(subjects), lease.epoch))

    async def owned(self) -> frozenset[str]:
        """See `NodeStore.owned`."""
        sql, epoch = "SELECT subject FROM @ownership WHERE epoch = $1", self._require().epoch
        return frozenset(row[0] for row in await self._on_line(lambda session: session.fetch(sql, epoch)))

    async def owners(self, subjects: Collection[str]) -> dict[str, LiveNode]:
        """See `NodeStore.owners`."""
        sql = f"""SELECT subject, number, node.epoch, name, version, draining
                  FROM @ownership AS owned JOIN @nodes AS node ON node.epoch = owned.epoch
                  WHERE subject = ANY($1::text[]) AND {_ALIVE}"""
        rows = await self._on_line(lambda session: session.fetch(sql, list(subjects)))
        return {row[0]: LiveNode(*row[1:]) for row in rows}

    async def changes(self) -> NodeChanges:
        """See `NodeStore.changes`."""
        epoch = self._require().epoch
        (row,) = await self._on_line(lambda session: session.fetch(_CHANGES, epoch))
        errands = zip(row["errands"], row["errand_subjects"], row["errand_kinds"], row["errand_requests"], strict=True)
        return NodeChanges(
            versions=dict(zip(row["what"], row["versions"], strict=True)),
            accounts=frozenset(row["accounts"]),
            subscriptions=frozenset(row["subscriptions"]),
            timers=row["timers"],
            errands=tuple(Errand(*errand) for errand in errands),
            position=row["position"],
        )

    async def ask(self, errand: Errand) -> None:
        """See `NodeStore.ask`."""

        async def work(session: Session) -> None:
            await session.run(f"DELETE FROM @errands WHERE made_at < {NOW} - {_ERRANDS_KEPT}")
            sql = f"""INSERT INTO @errands (id, subject, kind, request, made_at) VALUES ($1, $2, $3, $4, {NOW})
                      ON CONFLICT DO NOTHING"""
            await session.run(sql, *errand)

        await self._write(work)

    async def answer(self, id: int, answer: str) -> None:
        """See `NodeStore.answer`."""
        sql = f"UPDATE @errands SET answer = $2, answered_at = {NOW} WHERE id = $1 AND answered_at IS NULL"
        await self._write(lambda session: session.run(sql, id, answer))

    async def answers(self, ids: Collection[int]) -> dict[int, str]:
        """See `NodeStore.answers`."""
        sql = "SELECT id, answer FROM @errands WHERE id = ANY($1::bigint[]) AND answered_at IS NOT NULL"
        return {row[0]: row[1] for row in await self._on_line(lambda session: session.fetch(sql, list(ids)))}

    def _require(self) -> Lease:
        if self.lease is None:
            raise StoreFenced("this node has no lease")
        return self.lease

    async def _on_line(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run statements of which each is a transaction, and that come to the same if they are done twice."""
        if self._line is None:
            self._line = self._db.pool(1, Kind.WRITES)
        for last in (False, True):
            try:
                async with self._line.lend(HEARTBEAT_LINE_S) as session:
                    return await work(session)
            except ERRORS as error:
                if last or not is_lost(error):
                    raise fault_of(error) from error
        raise AssertionError("the second try returns or raises")
