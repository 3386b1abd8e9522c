"""What holds only for SQLite: how many rows its queries visit."""

from __future__ import annotations

from pathlib import Path

from contract.store_cases import at
from contract.test_store_deliveries import SUB, message, update, write

from app.core.outbound.delivery import DeliveryState
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.use import Use


async def test_a_page_is_found_at_once_however_much_is_pending(tmp_path: Path) -> None:
    """The due query reads its page and nothing else: by the index, not by sorting what is due."""
    store = await open_sqlite(tmp_path / "store.db")
    for n in range(5000):  # one order, others, and none in turn
        kinds = (message(1, n=n, order=1, ordered=True), message(1, n=n, order=n, ordered=True), message(1, n=n))
        await write(store, kinds[n % 3])
    await store.save_deliveries([update(1, DeliveryState.DELIVERED, n=n) for n in range(2000)])
    steps = await _rows_visited(store)
    assert steps < 20_000  # all 5,000 rows would be 100,000 and more
    await store.close()


async def _rows_visited(store: SqliteStore) -> int:
    connections = store._db
    visited = 0

    def count() -> int:
        nonlocal visited
        visited += 1
        return 0

    async with connections.borrow(Use.DELIVERIES) as one, connections.borrow(Use.DELIVERIES) as two:
        for db in (one, two):
            await db.set_progress_handler(count, 1)
    await store.due_deliveries(SUB, at(9), 100)
    async with connections.borrow(Use.DELIVERIES) as one, connections.borrow(Use.DELIVERIES) as two:
        for db in (one, two):
            await db.set_progress_handler(None, 0)
    return visited
