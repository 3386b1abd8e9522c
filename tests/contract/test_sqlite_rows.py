"""What holds only for SQLite: rows that were pruned, or written by an earlier release, and are changed here by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from contract.store_cases import ALL, A, commit, receipt
from contract.test_store_log import fault, follow_to_end, write_events

from app.store import CursorFault
from app.store.filters import ReceiptFilter
from app.store.sqlite import open_sqlite


async def test_a_cursor_before_pruned_events_is_refused(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    written = await write_events(store, 1, 6)
    start = await store.log_start()
    fourth = (await store.follow(start, 4)).cursor
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
        db.execute("DELETE FROM events WHERE seq <= 4")
        db.execute("UPDATE log_generations SET pruned_through = 4")
    assert await fault(store, start) == (CursorFault.PRUNED, fourth)
    assert await store.log_start() == fourth
    assert (await follow_to_end(store, fourth))[0] == written[4:]
    await store.close()


async def test_receipts_of_before_compression_are_found_and_read(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    await commit(store, receipts=[receipt(1, body=b'{"city":"Denver"}')])
    for id, body in ((5, b"denver \xff"), (6, b"Boulder")):
        headers = '[["X-A","x"]]'
        sql = "INSERT INTO receipts (id, endpoint, account, received_at, status, reason, query, headers, body)"
        values = "VALUES (?, 'in', ?, 0, 'accepted', '', '[]', ?, ?)"
        await store._writer.execute(f"{sql} {values}", (id, A, headers, body))
    rows = await store.receipts(ALL, ReceiptFilter(text="denver"))
    assert [(row.id, row.size, row.body) for _, row in rows] == [(5, 8, b""), (1, 17, b"")]
    old = await store.receipt(5)
    assert old is not None
    assert (old.headers, old.query, old.body, old.size) == ([("X-A", "x")], [], b"denver \xff", 8)
    await store.close()
