"""Databases that release 0.1 wrote, opened by this release: see `tests/fixtures/release_0_1/make.py`."""

from __future__ import annotations

import asyncio
import gzip
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from event_schemas import fault
from integration.test_rebuild import gather, rows
from servers import ACCOUNT, Rescind

from app.core.cancellation import EVENT_PREFIX
from app.core.event import Event
from app.core.event_types import EVENT_TYPES, POLICY_PREFIX
from app.engine.rebuild import check
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite

STORED = Path(__file__).resolve().parents[1] / "fixtures" / "release_0_1"
DATABASES = ("ledger", "server")
SECRET_KEY = "the-key-of-the-stored-database-0123456789"
SCHEMA = 8
"""The last schema of release 0.1."""
RENAMED = frozenset(
    {
        *("attempt", "crashed_alone", "crashed_at", "crashes", "doubt", "doubted", "doubtful", "lost", "overridden"),
        *("refused", "request", "since", "spared", "standings", "substance", "withdrawn", "woken_by"),
    }
)
"""Fields of release 0.1 that have other names now."""
WORDS = frozenset({"answer", "doubted", "no_answer", "turn", "withdrawn"})
"""Values of `cause` and `waiting` that are spelled otherwise now."""
NEWER = {
    "policy.decided",
    "breaker.opened",
    "breaker.closed",
    "limit.near",
    "endpoint.failing",
    "endpoint.silent",
    "subscription.failing",
    "subscription.disabled",
    "order.erased",
    "retention.pruned",
}
"""Types that it did not have."""


def restore(name: str, path: Path) -> Path:
    """The stored database as a file."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(gzip.decompress((STORED / f"{name}.sql.gz").read_bytes()).decode())
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    return path


def fields(data: Any) -> Iterator[tuple[str, Any]]:
    """Every field of an event's data, those of steps and triggers included."""
    for name, value in data.items() if isinstance(data, dict) else ():
        yield name, value
        if name in ("changes", "trigger"):
            yield from fields(value)


async def log_of(name: str, directory: Path) -> list[Event]:
    store = await open_sqlite(restore(name, directory / f"{name}.db"))
    try:
        return [event async for page in store.log() for _, _, event in page]
    finally:
        await store.close()


async def test_every_event_is_what_the_registry_says_and_every_type_has_an_example(tmp_path: Path) -> None:
    log = [event for name in DATABASES for event in await log_of(name, tmp_path)]
    assert [fault(event) for event in log if fault(event)] == []
    assert {event.type for event in log} >= EVENT_TYPES.keys() - NEWER


@pytest.mark.parametrize("name", DATABASES)
async def test_a_database_of_release_0_1_is_upgraded_without_difference(name: str, tmp_path: Path) -> None:
    store = await open_sqlite(restore(name, tmp_path / "rescind.db"))
    try:
        [(version,)] = rows(tmp_path / "rescind.db", "PRAGMA user_version")
        [(recorded,)] = rows(tmp_path / "rescind.db", "SELECT count(*) FROM events WHERE order_pk > 0")
        assert version == migrations("sqlite")[-1].version > SCHEMA
        mismatches, events, _ = await gather(check(store, page=10))
        assert mismatches == []
        assert events == recorded > 100
        log: list[Event] = [event async for page in store.log() for _, _, event in page]
    finally:
        await store.close()
    own = [event for event in log if event.type.startswith((EVENT_PREFIX, POLICY_PREFIX))]
    assert len(own) > 50
    for event in own:
        told = list(fields(event.data))
        assert not RENAMED & {name for name, _ in told}, event
        assert not WORDS & {value for name, value in told if name in ("cause", "waiting")}, event


KILLED_WHILE_IT_UPGRADES = """
import asyncio, os, signal, sys
from pathlib import Path
from app.store import upcast
from app.store.sqlite import open_sqlite

rewrite, rows = upcast.cancellation_state, []

def rewrite_some(text):
    rows.append(text)
    if len(rows) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return rewrite(text)

upcast.cancellation_state = rewrite_some
asyncio.run(open_sqlite(Path(sys.argv[1])))
"""


async def test_an_upgrade_that_is_killed_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    database = restore("ledger", tmp_path / "rescind.db")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_WHILE_IT_UPGRADES, str(database))
    assert await process.wait() == -signal.SIGKILL
    assert rows(database, "PRAGMA user_version") == [(SCHEMA,)]
    store = await open_sqlite(database)
    try:
        assert (await gather(check(store)))[0] == []
    finally:
        await store.close()


async def test_the_api_shows_what_release_0_1_recorded_under_the_names_of_today(tmp_path: Path) -> None:
    restore("server", tmp_path / "rescind.db")
    rescind = await Rescind.start(tmp_path, secret_key=SECRET_KEY)
    try:
        events = await rescind.pages("/v1/events", 100)
        timeline = await rescind.timeline("o-2")
        steps = [entry["event"]["data"] for entry in timeline if entry["kind"] == "event" and entry["event"]["data"]]
        assert {"lost_calls", "may_have_applied"} <= {name for step in steps for name in step["changes"]}
        assert not RENAMED & {name for event in events for name, _ in fields(event["data"])}
        [decided, *_] = [event["data"] for event in events if event["type"] == "policy.waiting"]
        assert (decided["policy"], len(decided["condition_hash"])) == ("later", 12)
        waiting = await rescind.get(f"/v1/cancellations?account={ACCOUNT}&waiting=approval")
        assert [found["waiting"]["for"] for found in waiting["data"]] == ["approval"] * len(waiting["data"])
    finally:
        await rescind.stop()
