"""A database of an earlier release: it is brought to the newest schema when it is opened, which is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from structlog.testing import capture_logs

from app.store import Window
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite

FIRST = 3
"""The schema of the first release of which a database may be there."""
EVENT = "INSERT INTO events VALUES (NULL, 7, ?, 'acme', 'o-1', ?, 'clock', 1000000, 1000000, NULL, ?)"
JOB = """INSERT INTO jobs (order_pk, account, name, kind, cancellation, due_at, sending)
         VALUES (7, 'acme', 'o-1', 'cancel', 'can_1', 1000000, 0)"""
CANCELLATION = """INSERT INTO cancellations (id, order_pk, account, state, body)
                  VALUES ('can_1', 7, 'acme', 'scheduled', '{"failures": 2, "lost": 1}')"""


async def test_what_an_earlier_release_wrote_is_found_by_what_this_one_asks(tmp_path: Path) -> None:
    steps = migrations("sqlite")
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as db:
        for step in steps[:FIRST]:
            db.executescript(step.sql)
        db.execute(f"PRAGMA user_version = {FIRST}")
        db.execute(EVENT, (1, "order.processed", '{"data": {"policy": "no decision"}}'))
        db.execute(EVENT, (2, "policy.waiting", '{"data": {"policy": "stale", "outcome": "waiting"}}'))
        db.execute(CANCELLATION)
        db.execute(JOB)
    shown: list[str] = []
    with capture_logs() as logged:
        store = await open_sqlite(tmp_path / "old.db", shown.append)
    try:
        told = [(each["to"], each["of"]) for each in logged if each["event"] == "upgrading_schema"]
        assert told == [(step.version, steps[-1].version) for step in steps[FIRST:]]
        assert shown[0] == f"Migrating the database: step {FIRST + 1} of {steps[-1].version} ({steps[FIRST].name})"
        assert len(shown) == len(told)
        assert [event.type for _, event in await store.decisions("stale", Window(9))] == ["policy.waiting"]
        assert await store.decisions("no decision", Window(9)) == []
        async with store._db.borrow() as db:
            rows = await db.execute_fetchall("SELECT failures FROM jobs")
        assert [tuple(row) for row in rows] == [(3,)], "behind those that never failed"
    finally:
        await store.close()
    with capture_logs() as logged:
        await (await open_sqlite(tmp_path / "new.db")).close()
    assert not [each for each in logged if each["event"] == "upgrading_schema"], "nothing was there before"
