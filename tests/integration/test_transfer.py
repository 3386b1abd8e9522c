"""`rescind migrate --from sqlite:///... --to postgresql://...`: everything, compared, resumed after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import example_server
import pytest
from postgres import new_target
from processes import Process
from servers import BOOTSTRAP_KEY

from app.store.postgres.connection import Session, Target, connect
from app.store.postgres.migrate import TransferUnfinishedError
from app.store.postgres.store import open_postgres
from app.store.transfer.run import transfer
from app.store.transfer.source import opened
from app.store.transfer.tables import EMPTY, LEFT_OUT, TABLES
from app.store.transfer.target import TransferError

SMALL_PAGES = "import app.store.transfer.source as source\nsource.PAGE_ROWS = source._FETCHED = 10\n"
KILLED = (
    SMALL_PAGES
    + """
import os
import app.store.transfer.target as target
keep, pages = target._keep, []
async def counted(session, table, position):
    await keep(session, table, position)
    pages.append(table.name)
    if pages.count("receipts") == 3:
        os.kill(os.getpid(), 9)
target._keep = counted
"""
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of history, in which one text holds NUL, as former releases took it."""
    directory = tmp_path_factory.mktemp("transfer")

    async def record() -> None:
        async with example_server.start(directory, history=True) as example:
            await example_server.backtest(example.rescind)

    asyncio.run(record())
    with closing(sqlite3.connect(directory / "rescind.db", isolation_level=None)) as db:
        db.execute("UPDATE receipts SET reason = 'a' || char(0) || 'b' WHERE id = (SELECT max(id) FROM receipts)")
    return directory


def environment(directory: Path, target: Target, **more: str) -> dict[str, str]:
    key = (directory / "rescind.db.key").read_text(encoding="ascii").strip()
    given = {
        "RESCIND_DATABASE_URL": target.url,
        "RESCIND_DATABASE_SCHEMA": target.schema,
        "RESCIND_SECRET_KEY": key,
        "RESCIND_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
    }
    return {"PATH": os.environ["PATH"], **given, **more}


def migrate(directory: Path, target: Target, prelude: str = "", **more: str) -> Process:
    arguments = ["migrate", "--from", f"sqlite:///{directory}/rescind.db", "--json"]
    return Process(arguments, env=environment(directory, target, **more), cwd=directory, prelude=prelude)


async def test_everything_is_copied_and_a_killed_transfer_goes_on(directory: Path) -> None:
    target = new_target()
    killed = migrate(directory, target, prelude=KILLED)
    assert killed.wait() == -signal.SIGKILL

    session = Session(await connect(target.url), target.schema)
    try:
        copied = await session.value("SELECT count(*) FROM @receipts")
        assert copied == 20  # the third page was not committed
        refused = Process(["serve"], env=environment(directory, target), cwd=directory)
        assert refused.wait() == 1
        assert "is being filled from a SQLite database" in refused.written("err")

        done = migrate(directory, target, prelude=SMALL_PAGES)
        out, err = done.communicate()
        assert done.returncode == 0, err + out
        summary = json.loads(out)
        assert summary["check"]["found"] == 0
        assert summary["check"]["events"] == summary["tables"]["events"]["rows"] > 0
        assert summary["tables"]["receipts"]["rows"] > copied
        reason = await session.value("SELECT reason FROM @receipts ORDER BY id DESC LIMIT 1")
        assert (summary["nul_replaced"], reason) == (1, "a\u2400b")
        with opened(directory / "rescind.db") as source:
            assert source.counts() == {name: table["rows"] for name, table in summary["tables"].items()}
        await _goes_on_behind(session)
    finally:
        await session.raw.close()


async def _goes_on_behind(session: Session) -> None:
    """Numbers that are drawn next are greater than those that were copied."""
    assert await session.value("SELECT nextval('@events_seq') > (SELECT max(seq) FROM @events)")
    sql = """INSERT INTO @cancellations (account, id, order_pk, state, body) VALUES ('x', 'x', 1, 'x', '')
        RETURNING seq > (SELECT max(seq) FROM @cancellations)"""
    assert await session.value(sql)


async def test_a_row_that_differs_is_found_and_servers_refuse_the_schema(directory: Path) -> None:
    target = new_target()
    session = Session(await connect(target.url), target.schema)

    async def copy_and_spoil() -> None:
        async for step in transfer(directory / "rescind.db", target):
            if step.phase == "comparing" and step.table == "resources":
                sql = "UPDATE @orders SET last_event_at = last_event_at + 1 WHERE pk = (SELECT max(pk) FROM @orders)"
                await session.run(sql)

    with pytest.raises(TransferError, match="orders differs"):
        await copy_and_spoil()
    await session.raw.close()
    with pytest.raises(TransferUnfinishedError):
        await open_postgres(target)


async def test_every_table_is_copied_or_known_to_have_no_counterpart(directory: Path) -> None:
    target = new_target()
    done = migrate(directory, target)
    assert done.wait() == 0, done.written("err")
    with closing(sqlite3.connect(directory / "rescind.db")) as db:
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        assert {name for (name,) in db.execute(sql)} == {table.name for table in TABLES} | set(LEFT_OUT)
    connection = await asyncpg.connect(target.url)
    try:
        sql = """SELECT c.relname AS table, array_agg(a.attname) AS columns FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            GROUP BY 1"""
        stored = {row["table"]: set(row["columns"]) for row in await connection.fetch(sql, target.schema)}
    finally:
        await connection.close()
    assert stored == {table.name: set(table.columns) for table in TABLES} | {
        name: stored[name] for name in (*EMPTY, "schema_version")
    }


async def test_what_cannot_be_copied_is_refused(directory: Path) -> None:
    target = new_target()
    with opened(directory / "rescind.db"):
        busy = migrate(directory, target)
        assert busy.wait() == 1
        assert "in use" in busy.written("err")
    wrong = migrate(directory, target, RESCIND_SECRET_KEY="x" * 40)
    assert wrong.wait() == 1
    assert "rescind.db.key" in wrong.written("err")
    assert migrate(directory, target).wait() == 0
    again = migrate(directory, target)
    assert again.wait() == 1
    assert "is in use" in again.written("err")
