"""What lists, searches and counts of events take in a long log: `python -m tests.bench.inspection 10000000`.

Makes a database with so many events by bulk SQL, fills its search index, and prints what that costs, and the slowest of
several runs of each query. It is no part of `make bench`: ten million events take minutes and 6 GB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from app.store import Window
from app.store.codec import moment
from app.store.filters import EventFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.sqlite.index import index_path

FIRST_AT = 1_767_225_600_000_000
APART_US = 3_000_000
RUNS = 5
DEFAULT = 1_000_000
_EVENTS = """INSERT INTO events (order_pk, key, account, name, type, source, occurred_at, received_at, receipt, body)
    WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
    SELECT n / 10 + 1, n, 'account-' || (n / 10 % 50), 'order-' || (n / 10), 'type.' || (n * 7 % 23),
           iif(n % 10 = 9, 'operator', 'webhook'), :start + n * :apart, :start + n * :apart, NULL,
           json_object('facts', json_object('phase', 'open', 'provider_status', 'status ' || (n % 10),
               'aliases', json_array('request:r-' || (n / 10)),
               'attributes', json_object('request_id', 'r-' || (n / 10), 'city', 'city' || (n / 10 % 9973),
                   'customer', 'name' || (n / 10 * 31 % 200003) || ' surname' || (n / 10 * 17 % 100003),
                   'note', 'the appointment was confirmed by phone on day ' || (n % 365),
                   'amount', n % 100000 || '.00')))
    FROM numbers"""


async def make(path: Path, number: int) -> float:
    """Write the events; returns the seconds that took."""
    began = perf_counter()
    store = await open_sqlite(path)
    db = store._writer
    await db.execute("PRAGMA synchronous = OFF")
    for first in range(0, number, 100_000):
        await db.execute("BEGIN")
        last = min(first + 100_000, number) - 1
        await db.execute(_EVENTS, {"first": first, "last": last, "start": FIRST_AT, "apart": APART_US})
        await db.execute("COMMIT")
    await store.close()
    return perf_counter() - began


async def fill(store: SqliteStore) -> dict[str, float]:
    """Fill the index; returns what it took."""
    await store.open_search_index()
    began, used, slowest, rows = perf_counter(), process_time(), 0.0, 200
    while True:
        done = await store.fill_search_index(rows)
        slowest = max(slowest, done.took_s)
        rows = min(2000, rows * 2) if done.took_s < 0.025 else max(20, rows // 2 if done.took_s > 0.05 else rows)
        if not done.behind:
            return {"s": perf_counter() - began, "cpu_s": process_time() - used, "slowest_piece_ms": slowest * 1000}


def queries(number: int) -> dict[str, dict[str, Any]]:
    """Filters by name."""
    end = moment(FIRST_AT + number * APART_US)
    middle = moment(FIRST_AT + number // 2 * APART_US)
    return {
        "all": {},
        "account": {"account": "account-7"},
        "type": {"types": ["type.3"]},
        "types": {"types": ["type.1*"]},
        "account, types": {"account": "account-7", "types": ["type.1*", "type.2"]},
        "account, type, source": {"account": "account-7", "types": ["type.3"], "source": "operator"},
        "source": {"source": "operator"},
        "no such source": {"source": "clock"},
        "an hour": {"since": middle, "until": middle + timedelta(hours=1)},
        "account, an hour": {"account": "account-7", "since": middle, "until": middle + timedelta(hours=1)},
        "a day": {"since": end.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)},
        "text, rare": {"text": f"r-{number // 20}"},
        "text, common": {"text": "confirmed"},
        "text, prefix": {"text": "nam"},
        "text, two words": {"text": "name31 surname17"},
        "text, none": {"text": "nonesuch"},
        "text, account": {"text": "city77", "account": "account-7"},
        "text, apart": {"text": "phone-confirmed"},
        "order": {"order_pk": number // 20},
    }


async def slowest_ms(ask: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """(the longest of some runs after the first, the result)."""
    result = await ask()
    times = []
    for _ in range(RUNS):
        began = perf_counter()
        result = await ask()
        times.append(perf_counter() - began)
    return max(times) * 1000, result


def report(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def sizes(*paths: Path) -> list[int]:
    """The bytes of each database with its write-ahead log."""
    files = [[Path(f"{path}{suffix}") for suffix in ("", "-wal")] for path in paths]
    return [sum(file.stat().st_size for file in of if file.exists()) for of in files]


async def main(number: int) -> None:
    """Make a database, and print a line for each measurement."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        made_s = await make(path, number)
        store = await open_sqlite(path)
        took = await fill(store)
        log, index = sizes(path, index_path(path))
        report(f"{number} events made in {made_s:.0f} s, {log / number:.0f} bytes each")
        report(
            f"index: {index / number:.0f} bytes and {took['cpu_s'] / number * 1e6:.1f} us of processor time an event"
        )
        report(f"filled in {took['s']:.0f} s, slowest piece {took['slowest_piece_ms']:.0f} ms")
        for name, query in queries(number).items():
            ms, rows = await slowest_ms(lambda query=query: store.events(Window(51), EventFilter(**query)))
            facets_ms, facets = await slowest_ms(lambda query=query: store.event_facets(EventFilter(**query)))
            found = {
                "rows": len(rows),
                "complete": rows.resume is None,
                "total": facets.total,
                "exact": facets.complete,
            }
            report(f"{name:24} list {ms:7.1f} ms   facets {facets_ms:7.1f} ms   {json.dumps(found)}")
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
