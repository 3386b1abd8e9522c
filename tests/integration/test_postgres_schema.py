"""The schema on PostgreSQL: it can be distributed by account, and two releases work with it side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import new_target

from app.store.migrations import Migration, SchemaTooNewError, migrations
from app.store.postgres import migrate as steps
from app.store.postgres.connection import Session, Target, connect
from app.store.postgres.migrate import SchemaMissingError, migrate, pending
from app.store.postgres.store import open_postgres

DISTRIBUTED = {
    "orders",
    "names",
    "events",
    "receipts",
    "cancellations",
    "jobs",
    "attempts",
    "shared_aliases",
    "messages",
    "deliveries",
    "erasures",
    "policy_decisions",
    "pending_rechecks",
    "endpoint_counts",
    "endpoint_refusals",
    "endpoint_states",
}
KEYS = """
SELECT t.relname AS table, i.relname AS key, array_agg(a.attname ORDER BY a.attnum)::text[] AS columns
FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY(x.indkey)
WHERE t.relnamespace = $1::text::regnamespace AND x.indisunique AND NOT t.relispartition GROUP BY 1, 2"""
TABLES = """
SELECT t.relname, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'account'
    AND a.attnotnull) FROM pg_class t
WHERE t.relnamespace = $1::text::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition"""
DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations" / "postgresql.md"
NEWEST = migrations("postgres")[-1].version
EXPAND = Migration(
    NEWEST + 1, "notes", "CREATE TABLE @notes (account text NOT NULL, id bigint, PRIMARY KEY (account, id))"
)
INDEX = Migration(
    NEWEST + 2,
    "notes_by_id",
    "-- transaction: no\nCREATE INDEX CONCURRENTLY IF NOT EXISTS notes_by_id ON @notes (id)",
)
CONTRACT = Migration(
    NEWEST + 3,
    "without_lanes",
    f"-- phase: contract\n-- works with: {NEWEST + 1}\nALTER TABLE @lanes RENAME TO lanes_of_old",
)


async def session_of(target: Target) -> Session:
    return Session(await connect(target.url), target.schema)


async def test_every_key_of_a_hot_table_holds_the_account() -> None:
    target = new_target()
    await migrate(target)
    session = await session_of(target)
    tables = {row[0]: row[1] for row in await session.fetch(TABLES, target.schema)}
    keys = await session.fetch(KEYS, target.schema)
    await session.raw.close()
    assert tables.keys() >= DISTRIBUTED
    # What has an account in every row and is not listed was forgotten; of these an account has one row.
    assert {table for table, has_account in tables.items() if has_account} == DISTRIBUTED | {"lanes", "account_secrets"}
    assert {row["table"] for row in keys} >= DISTRIBUTED
    without = [
        (row["table"], row["key"]) for row in keys if row["table"] in DISTRIBUTED and "account" not in row["columns"]
    ]
    assert without == []
    section = DOCS.read_text(encoding="utf-8").partition("## Distributed tables")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", section)) - {"account"} == DISTRIBUTED


def later_release(monkeypatch: pytest.MonkeyPatch, *later: Migration) -> None:
    """This process becomes a later release: one with these steps, too."""
    known = migrations("postgres")
    given: Callable[[str], list[Migration]] = lambda _dialect: [*known, *later]  # noqa: E731 - typed in one place
    monkeypatch.setattr(steps, "migrations", given)
    monkeypatch.setattr(steps, "__version__", "later")


async def test_two_releases_work_side_by_side_until_the_schema_is_contracted(monkeypatch: pytest.MonkeyPatch) -> None:
    target = new_target()
    old = await open_postgres(target, migrates=True)
    await old.join("old", "this")
    with monkeypatch.context() as patched:
        later_release(patched, EXPAND, INDEX, CONTRACT)
        # Neither serves before it is migrated, nor contracts while a node of the former release lives.
        with pytest.raises(SchemaMissingError, match="run `rescind migrate`"):
            await open_postgres(target)
        told: list[str] = []
        assert await migrate(target, told.append) == [EXPAND, INDEX]
        assert "no node of another release" in told[0]
        assert "old this" in told[0]
        new = await open_postgres(target)
        await new.join("new", "later")
        # The old one goes on, and may be started again.
        await old.renew(0)
    restarted = await open_postgres(target)
    await restarted.close()
    await old.leave()
    await old.close()
    with monkeypatch.context() as patched:
        later_release(patched, EXPAND, INDEX, CONTRACT)
        assert await pending(target) == [CONTRACT]
        assert await migrate(target) == [CONTRACT]
        await new.renew(0)
        await new.close()
    with pytest.raises(SchemaTooNewError, match="install a later release"):
        await open_postgres(target)
    with pytest.raises(SchemaTooNewError):
        await migrate(target)


async def test_an_index_that_was_interrupted_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    target = new_target()
    await migrate(target)
    later_release(monkeypatch, EXPAND, INDEX)
    session = await session_of(target)
    await migrate(target)
    await session.script("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('@notes_by_id')")
    await session.run("UPDATE @schema_version SET version = $1", EXPAND.version)
    assert await migrate(target) == [INDEX]
    assert await session.value("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('@notes_by_id')")
    await session.raw.close()


async def test_a_step_waits_for_a_lock_in_short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that comes after it would wait behind it."""
    target = new_target()
    await migrate(target)
    alter = Migration(NEWEST + 1, "more", "ALTER TABLE @orders ADD COLUMN more bigint")
    later_release(monkeypatch, alter)
    holder = await session_of(target)
    await holder.script("BEGIN; LOCK TABLE @orders IN ROW SHARE MODE; SELECT 1 FROM @orders")
    turns: list[float] = []

    async def end_after_the_first(seconds: float) -> None:
        turns.append(seconds)
        await holder.script("ROLLBACK")

    monkeypatch.setattr(steps.asyncio, "sleep", end_after_the_first)
    assert await migrate(target) == [alter]
    assert len(turns) == 1
    await holder.raw.close()
