"""A database as it was before the inspection of the log: schema 13, as the server of commit 554c093 wrote it.

In `tests/fixtures/schema_13`: webhooks once and twice, one in quarantine, one refused; cancels that succeeded, that
failed, and that wait behind a pause; a batch and a key by an Idempotency-Key; deliveries that fail; the verdicts then.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from integration.test_rebuild import check, gather, rows
from providers import until
from servers import ACCOUNT, Rescind, stored_in

from app.engine.log_verify import verify_end, verify_erasures
from app.store import codec

STORED = Path(__file__).resolve().parents[1] / "fixtures" / "schema_13"
SECRET_KEY = "the-key-of-the-stored-database-0123456789"
SCHEMA = 13


async def test_it_is_shown_searched_sealed_and_pruned_as_if_written_today(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "rescind.db")) as db:
        db.executescript(gzip.decompress((STORED / "server.sql.gz").read_bytes()).decode())
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    began = datetime.now(UTC)
    rescind = await Rescind.start(tmp_path, secret_key=SECRET_KEY)
    try:
        store = rescind.node.store
        for order, given in json.loads((STORED / "verdicts.json").read_text()).items():
            verdict = await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/{order}/verdict")
            assert {name: verdict[name] for name in given} == given, order
            for page in ("", "/timeline", "/explanation"):
                await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/{order}{page}")
        # What it does with deliveries and cancellations that have waited ever since is recorded, too.
        events = await rescind.pages("/v1/events", 10)
        assert len([event for event in events if datetime.fromisoformat(event["received_at"]) < began]) == 36
        for kind, number in (("receipts", 27), ("orders", 13), ("cancellations", 5)):
            assert len(await rescind.pages(f"/v1/{kind}", 10)) == number, kind
        assert len((await rescind.get("/v1/events?text=Quibble"))["data"]) == 12
        assert (await gather(check(store)))[0] == []

        async def is_sealed() -> bool:
            block = await store.last_block()
            return block is not None and block.last == (await store.log_bounds())[0]

        await until(is_sealed, "the log sealed")
        retention = rescind.node.retention
        await retention.start(timedelta(days=-1), by="ann").wait()
        assert retention.latest is not None
        pruned = retention.latest
        assert (pruned.error, pruned.orders, pruned.receipts) == ("", 4, 26)
        assert pruned.messages >= 35  # and those of what has happened since the server started
        assert (await gather(check(store)))[0] == []
        assert await verify_end(store) == []
        assert [fault async for fault in verify_erasures(store)] == []
        # Orders that are open keep their attributes.
        sql = f"SELECT {codec.EVENT_BODY} FROM events UNION ALL SELECT {codec.ORDER_STATE} FROM orders"  # noqa: S608 - ours
        (database,) = (path for path in tmp_path.glob("*.db") if "index" not in path.name)  # noqa: ASYNC240
        texts = str(rows(database, sql))
        assert "4 Quibble Street" in texts
        assert "1 Quibble Street" not in texts.replace("11 Quibble Street", "")
        assert b"1 Quibble Street" not in stored_in(tmp_path).replace(b"11 Quibble Street", b"")
    finally:
        await rescind.stop()
