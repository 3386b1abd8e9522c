"""Jobs that are due some day, such as the probes of a large import, cost the lanes nothing."""

from __future__ import annotations

from pathlib import Path

import aiosqlite
import pytest
from contract.store_cases import A, at

from app.core.aggregate import JobKind
from app.store import codec
from app.store.sqlite import SqliteReader, open_sqlite

AHEAD = 20_000
STEPS = 1000
"""Of the database's machine, at the most, for one look; a walk along what is not due takes several for each job."""


@pytest.mark.parametrize("failures", [0, 1])
async def test_what_is_due_is_found_before_what_is_not(tmp_path: Path, failures: int) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    await store.close()
    steps: list[None] = []
    async with aiosqlite.connect(tmp_path / "store.db", isolation_level=None) as db:
        sql = "INSERT INTO jobs (order_pk, account, name, kind, due_at, sending, failures) VALUES (?, ?, ?, ?, ?, 0, ?)"
        rows = [(pk, A, str(pk), JobKind.PROBE, codec.micros(at(pk)), failures) for pk in range(AHEAD)]
        await db.execute("BEGIN")
        await db.executemany(sql, rows)
        await db.execute("COMMIT")
        reader = SqliteReader([db])
        await db.set_progress_handler(lambda: steps.append(None), 1)
        due = [pk for pk, _ in await reader.jobs(A, at(2), 9)]
        nothing = await reader.jobs(A, at(-1), 9)
        await db.set_progress_handler(None, 0)
    assert (due, nothing) == ([0, 1, 2], [])
    assert 0 < len(steps) < 2 * STEPS
