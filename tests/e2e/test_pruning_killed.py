"""Retention and erasure, killed (SIGKILL) again and again: no order is half erased, and the next run goes on."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
from collections import defaultdict
from pathlib import Path

from integration.test_rebuild import check, gather, rows
from servers import ACCOUNT, ENDPOINT, ROOT, Rescind, account_of, endpoint_of, stored_in, webhook

from app.config.log_key import stored_public_key
from app.config.secrets import open_vault
from app.engine.log_verify import verify, verify_end, verify_erasures
from app.store import Store, codec
from app.store.sqlite import open_sqlite

PERSON = "Mx-Quibble"
ORDERS = 6
KILLS = 8
STEPS_MAX = 14
"""A run is killed after at most so many steps."""
ERASED = "o-0"
DIES = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from app.config.secrets import open_vault
from app.config.store import ConfigStore
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store.sqlite import open_sqlite, store, transaction
from app.workers import pace, retention

database, left, order = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
pace.SIZE_MIN = pace.SIZE_MAX = 3
retention.CHECKPOINT_EVERY = 2

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def commit(db, statements):
    transaction._begin_once(db)
    for sql, values in statements:
        db.execute(sql, values)
        step()
    db.execute("COMMIT")
    step()

def dying(function):
    def wrapped(*args):
        step()
        result = function(*args)
        step()
        return result
    return wrapped

transaction._commit = commit
store.checkpoint, store.truncate_log = dying(store.checkpoint), dying(store.truncate_log)

async def main():
    opened = await open_sqlite(database)
    config, ids = ConfigStore(opened, open_vault("", Path(f"{database}.key")), Redactor()), Ids()
    await config.load()
    ledger = Ledger(opened, config.view, ids)
    await ledger.load()
    running = asyncio.create_task(ledger.run())
    worker = retention.Retention(opened, ledger, ids, period=None, alone=True)
    pk, aggregate = await opened.order("acme", order)
    if aggregate.erased_at is None:
        await worker.erase(pk, aggregate, by="ann", reason="request 17")
    await worker.start(timedelta(days=-1), by="rescind").wait()
    assert worker.latest.error == "", worker.latest
    ledger.close()
    await running
    await opened.close()

asyncio.run(main())
"""


async def fill(folder: Path) -> None:
    """A database with orders that are over, and the person in each of their webhooks; and its log sealed."""
    rescind = await Rescind.start(folder)
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    for event in ("order.processed", "appointment.scheduled", "order.delivered"):
        for number in range(ORDERS):
            body = webhook(event, f"o-{number}", property={"street": f"{number} {PERSON} Street"})
            assert (await rescind.hook(body)).json["status"] == "accepted"
    await rescind.stop()


async def look(database: Path) -> bool:
    """Whether all is expunged. What is there must be exact, and each order erased as a whole or not at all."""
    named = defaultdict(set)
    for order, body in rows(database, f"SELECT order_pk, {codec.EVENT_BODY} FROM events WHERE order_pk > 0"):  # noqa: S608
        if "street" in body.lower():
            named[order].add(PERSON in body)
    for order, state in rows(database, f"SELECT pk, {codec.ORDER_STATE} FROM orders"):  # noqa: S608 - ours
        named[order].add(PERSON in state)
    assert all(len(told) == 1 for told in named.values()), named
    store = await open_sqlite(database)
    try:
        mismatches, _, _ = await gather(check(store))
        assert mismatches == []
        await verified(store, database)
    finally:
        await store.close()
    return not any(True in told for told in named.values())


async def verified(store: Store, database: Path) -> None:
    """The log is as its chain and the recorded erasures say."""
    key = await stored_public_key(store, open_vault("", Path(f"{database}.key")))
    _, last = await store.block_numbers()
    assert key is not None
    assert [fault async for progress in verify(store, key, 1, last) for fault in progress.faults] == []
    assert [fault async for fault in verify_erasures(store)] == []
    assert await verify_end(store) == []


async def run(database: Path, steps: int) -> int:
    """Prune until the process is killed at this step, or done; 0 if it was done."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-c", DIES, str(database), str(steps), ERASED)
    process = await asyncio.create_subprocess_exec(*command, cwd=database.parent, env=environment)
    code = await process.wait()
    assert code in (0, -signal.SIGKILL)
    return code


async def test_what_is_killed_goes_on_and_no_order_is_half_erased(tmp_path: Path) -> None:
    seed = int(os.environ.get("CRASH_SEED", "0")) or secrets.randbits(32)
    print(f"CRASH_SEED={seed}")  # noqa: T201 - to run it again
    chance, database = random.Random(seed), tmp_path / "rescind.db"  # noqa: S311
    await fill(tmp_path)
    assert not await look(database)
    kills = 0
    while kills < KILLS and await run(database, chance.randint(1, STEPS_MAX)):
        kills += 1
        await look(database)
    assert kills > KILLS / 2
    assert await run(database, 0) == 0
    assert await look(database)
    assert PERSON.encode() not in stored_in(tmp_path)
    [(receipts,)] = rows(database, "SELECT count(*) FROM receipts WHERE expunged_at IS NULL")
    assert receipts == 0
