"""Writes of resources, API keys, stored responses and encrypted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.core.lane.state import LaneState
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.node_protocol import EVERYTHING
from app.store.postgres.connection import Session
from app.store.postgres.locks import CONFIGURATION as CONFIGURATION_LOCK
from app.store.postgres.locks import lock
from app.store.postgres.pending_rechecks import note_rechecks
from app.store.postgres.sessions import end_all
from app.store.postgres.traffic import remove_traffic
from app.store.postgres.versions import CONFIGURATION, KEYS, raise_version
from app.store.postgres.waking import Waking
from app.store.postgres.writes import Writes
from app.store.protocol import AccountInUse, StoreConflict, StoreOutdated
from app.store.records import ApiKey, Backtest, RecheckOrders, Resource, ResourceChange, StoredResponse
from app.store.sealed import SealedColumn

_PUT = """INSERT INTO @resources (kind, id, version, updated_at, updated_by, body) VALUES ($1, $2, $3, $4, $5, $6)
          ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, updated_at = excluded.updated_at,
          updated_by = excluded.updated_by, body = excluded.body"""
_TRAIL = """INSERT INTO @resource_changes (kind, id, version, at, by, action, body)
            VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_IN_TRAIL = """SELECT 1 FROM @resource_changes WHERE kind = $1 AND id = $2 AND version = $3 AND at = $4 AND by = $5
               AND action = $6 AND body = $7"""
_PURGE = """INSERT INTO @subscription_states (subscription, purge_until, state)
            SELECT subscription, $2, $3 FROM unnest($1::text[]) AS removed (subscription)
            ON CONFLICT (subscription) DO UPDATE SET purge_until = excluded.purge_until, state = excluded.state"""


class ConfigurationWrites(Waking, Writes):
    """The part of `Store` that writes resources, API keys, stored responses and encrypted values."""

    async def save_resources(
        self,
        put: Sequence[Resource],
        removed: Sequence[tuple[str, str]],
        trail: Sequence[ResourceChange],
        rechecks: Sequence[RecheckOrders] = (),
        response: StoredResponse | None = None,
        expected_version: int = 0,
    ) -> int:
        puts = sorted(
            (row.kind, row.id, row.version, codec.micros(row.updated_at), row.updated_by, row.body) for row in put
        )
        entries = [
            (row.kind, row.id, row.version, codec.micros(row.at), row.by, row.action, codec.to_json(row.body))
            for row in trail
        ]

        tried = False

        async def work(db: Session) -> int:
            nonlocal tried
            again, tried = tried, True
            # Commits that decide by the resources hold it shared: none is under way, and the next sees what is new.
            await lock(db, CONFIGURATION_LOCK)
            version = int(await db.value("SELECT version FROM @shared_versions WHERE what = $1", CONFIGURATION))
            if expected_version and version != expected_version:
                if again and version == expected_version + 1 and entries and await db.value(_IN_TRAIL, *entries[0]):
                    return version  # the answer to its commit was lost
                raise StoreOutdated("the configuration was changed on another node meanwhile")
            await _refuse_if_in_use(db, [id for kind, id in removed if kind == "accounts"])
            await db.run_many(_PUT, puts)
            await _remove(db, removed)
            await db.run_many(_TRAIL, entries)
            await note_rechecks(db, rechecks)
            if response is not None:
                await _save_response(db, response)
            return await raise_version(db, CONFIGURATION)

        version = await self._write(work)
        await self.wake((EVERYTHING,))  # nodes that do not hear it see the version within a second
        return version

    async def save_response(self, response: StoredResponse) -> None:
        async def work(db: Session) -> None:
            # The answer to its commit may have been lost.
            if await db.value("SELECT answer FROM @answers WHERE key = $1", response.key) != response.response:
                await _save_response(db, response)

        await self._write(work)

    async def save_key(
        self, key: ApiKey, response: StoredResponse | None, *, retire: tuple[str, datetime] | None = None
    ) -> None:
        row = codec.key_row(key)
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))

        async def work(db: Session) -> None:
            sql = f"INSERT INTO @api_keys ({codec.KEY_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
            if not await db.run(sql, *row):
                if await db.value("SELECT 1 FROM @api_keys WHERE id = $1 AND hash = $2", key.id, key.hash):
                    return  # the answer to its commit was lost
                raise StoreConflict(f"there is a key {key.id} already")
            if retire is not None:
                sql = """UPDATE @api_keys SET expires_at = least(expires_at, $2)
                         WHERE id = $1 AND revoked_at IS NULL"""
                if not await db.run(sql, retire[0], codec.micros(retire[1])):
                    raise StoreConflict(f"the key {retire[0]} was revoked meanwhile")
            if response is not None:
                await _save_response(db, response)
            await raise_version(db, KEYS)

        await self._write(work)
        await self.wake((EVERYTHING,))

    async def note_key_use(self, last_used: Mapping[str, datetime]) -> None:
        rows = sorted((id, codec.micros(at)) for id, at in last_used.items())
        # Sorted: every node notes the use of the same keys. Nodes need not load the keys for it.
        sql = "UPDATE @api_keys SET last_used_at = greatest(last_used_at, $2) WHERE id = $1"
        await self._write(lambda db: db.run_many(sql, rows))

    async def revoke_key(self, id: str, at: datetime) -> bool:
        async def work(db: Session) -> bool:
            sql = "UPDATE @api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL"
            revoked = await db.run(sql, id, codec.micros(at)) > 0
            await end_all(db, id)
            if revoked:
                await raise_version(db, KEYS)
            # The answer to its commit may have been lost.
            sql = "SELECT 1 FROM @api_keys WHERE id = $1 AND revoked_at = $2"
            return revoked or bool(await db.value(sql, id, codec.micros(at)))

        revoked = await self._write(work)
        await self.wake((EVERYTHING,))
        return revoked

    async def replace_sealed(
        self, column: SealedColumn, values: Sequence[tuple[tuple[str, ...], bytes, bytes]]
    ) -> None:
        where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(column.key, 3))
        sql = f"UPDATE @{column.table} SET {column.column} = $1 WHERE {where} AND {column.column} = $2"
        rows = [(new, former, *key) for key, former, new in sorted(values)]
        await self._write(lambda db: db.run_many(sql, rows))

    async def keep_key(self, name: str, sealed: bytes) -> bytes:
        async def work(db: Session) -> bytes:
            await db.run("INSERT INTO @sealed_keys VALUES ($1, $2) ON CONFLICT DO NOTHING", name, sealed)
            return bytes(await db.value("SELECT key FROM @sealed_keys WHERE name = $1", name))

        return await self._write(work)

    async def save_backtest(self, backtest: Backtest) -> None:
        values = (
            backtest.id,
            backtest.policy,
            backtest.condition_hash,
            codec.micros(backtest.at),
            backtest.by,
            int(backtest.report.get("events") or 0),
            codec.to_json(backtest.report),
        )
        sql = """INSERT INTO @backtests (id, policy, condition_hash, at, by, events, report)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING"""
        await self._write(lambda db: db.run(sql, *values))

    async def save_lane(self, account: str, state: LaneState) -> None:
        sql = """INSERT INTO @lanes (account, state) VALUES ($1, $2)
                 ON CONFLICT (account) DO UPDATE SET state = excluded.state"""
        text = codec.to_json(state)
        await self._write(lambda db: db.run(sql, account, text))


async def _refuse_if_in_use(db: Session, accounts: Sequence[str]) -> None:
    sql = "SELECT account FROM @jobs WHERE cancellation IS NOT NULL AND account = ANY($1::text[]) LIMIT 1"
    account = await db.value(sql, accounts) if accounts else None
    if account is not None:
        raise AccountInUse(account)


async def _remove(db: Session, removed: Sequence[tuple[str, str]]) -> None:
    if not removed:
        return
    await db.run_many("DELETE FROM @resources WHERE kind = $1 AND id = $2", sorted(removed))
    # A later account of the same id may have another provider.
    accounts = [id for kind, id in removed if kind == "accounts"]
    await db.run("DELETE FROM @lanes WHERE account = ANY($1::text[])", accounts)
    await db.run("DELETE FROM @account_secrets WHERE account = ANY($1::text[])", accounts)
    await remove_traffic(db, [id for kind, id in removed if kind == "endpoints"])
    subscriptions = sorted(id for kind, id in removed if kind == "subscriptions")
    if subscriptions:
        # Their deliveries are to be deleted: a later one of the same id must not send them.
        last = int(await db.value("SELECT coalesce(max(id), 0) FROM @messages"))
        await db.run(_PURGE, subscriptions, last or None, codec.to_json(SubscriptionState(purge_until=last)))


async def _save_response(db: Session, stored: StoredResponse) -> None:
    sql = "INSERT INTO @answers (key, digest, answer, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
    if not await db.run(sql, stored.key, stored.digest, stored.response, codec.micros(stored.created_at)):
        raise StoreConflict("there is a response to this Idempotency-Key already")
