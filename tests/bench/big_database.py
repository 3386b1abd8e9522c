"""A whole database of many events: `python -m tests.bench.big_database 10000000 /tmp/big/rescind.db`.

A real server records an order of each kind (`tests.bench.recorded`); its rows are then written again and again, with
other numbers, names, times, ids and digests, as if the orders of 1,000 accounts had come in for sixty days. The steps
of an order lie two hours apart, so that in the log the orders are interleaved as in reality. One order has 3,000
events. Receipts of the last days have their content, packed as the server does; those before are expunged, and messages
to subscribers are kept for a month. The log is neither sealed nor indexed for searches: a server does both when it is
started on the database.

The SQL is made of the names of tables and columns.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from app.store import codec
from app.store.compression import Compressor, unpack
from app.store.records import Receipt
from app.store.sqlite.row_compression import INSERT as DICTIONARY
from app.store.sqlite.row_compression import open_dictionaries
from tests.bench.copier import PACKED, Copier, Row
from tests.bench.recorded import COMPRESSED, KINDS, PLANO, SHOP, Kind, Recording, record

DAYS, WITH_CONTENT_DAYS, DELIVERED_DAYS = 60, 12, 29
STEP_H = 2
HOUR_US = 3_600_000_000
FLUSHED = 2000
"""Orders between two commits."""
QUARANTINED_EVERY = 10_000
FAILED_EVERY = 50
"""One of so many deliveries has failed."""
_ONCE = ("long", "quarantined")
_ID_BITS = 21
_ROWS = ("names", "shared_aliases", "orders", "events", "receipts", "cancellations", "attempts", "messages")
_CLEARED = (*_ROWS, "deliveries", "jobs", "receipt_dictionaries", "log_blocks", "trace_contexts", "sqlite_sequence")
_SPREAD, _ASIDE = {"names": "key, account, name", "shared_aliases": "account, name, order_pk"}, "aside_"


class Maker:
    """Writes the orders of all accounts into a database."""

    def __init__(self, db: sqlite3.Connection, recordings: list[Recording], events: int) -> None:
        self._db = db
        per_kind = {(recording.kind.provider, recording.kind.name): recording for recording in recordings}
        first = ("plano", "delivered")
        self._receipt = list(per_kind[first].rows["receipts"][0])
        shares = sum(kind.share for kind in KINDS)
        each = [len(per_kind[kind.provider, kind.name].rows["events"]) * kind.share for kind in KINDS]
        self.orders = round(events * shares / sum(each))
        self._until = time.time_ns() // 1000 - 60_000_000
        self._apart = DAYS * 24 * HOUR_US // self.orders
        self._lag = max(1, STEP_H * HOUR_US // self._apart)
        self._copiers = {
            (*key, age): Copier(aged)
            for key, recording in per_kind.items()
            for age, aged in enumerate((_new(recording), _expunged(recording), _old(recording)))
            if key[1] not in _ONCE or not age
        }
        for copier in self._copiers.values():
            copier.place(self._until - self.orders * self._apart, self._apart, self._lag)
        self._waiting: dict[int, list[Row]] = defaultdict(list)
        self._compressor = Compressor()
        self._row_compressor = open_dictionaries(db)
        self._sql: dict[str, str] = {}
        self._places: dict[str, tuple[int, ...]] = {}
        """Of account, number, content and dictionary in the rows of tables that are compressed."""
        for copier in self._copiers.values():
            for table, columns in copier.columns().items():
                marks = ", ".join("?" * len(columns))
                into = f"{_ASIDE}{table}" if table in _SPREAD else table
                if table in COMPRESSED:
                    named = ("account", "pk" if table == "orders" else "order_pk", COMPRESSED[table][0], "dictionary")
                    self._places[table] = tuple(columns.index(name) for name in named)
                self._sql[table] = f"INSERT INTO {into} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        self._choices: dict[Any, list[Kind]] = {}

    async def run(self) -> None:
        """Write everything."""
        for first in range(0, self.orders, FLUSHED):
            rows: list[Row] = []
            for number in range(first, min(first + FLUSHED, self.orders)):
                self._begin(number)
                rows += sorted(self._waiting.pop(number, ()), key=itemgetter(1))
            await self._write(rows)
            if first % 200_000 < FLUSHED:
                sys.stderr.write(f"{first} of {self.orders} orders\n")

    def _begin(self, number: int) -> None:
        """Put the rows of an order where its steps happen."""
        kind = self._kind(number)
        account = self._account(number, kind)
        days = (self.orders - number) * self._apart / HOUR_US / 24
        age = (days > WITH_CONTENT_DAYS) + (days > DELIVERED_DAYS)
        self._copy(kind.provider, kind.name, age, number, account)
        if number % QUARANTINED_EVERY == 1:
            self._copy("plano", "quarantined", 0, number, account.replace("shop", "plano"))
        if number == self.orders - 1:
            self._copy("plano", "long", 0, number, "plano-0001")

    def _copy(self, provider: str, name: str, age: int, number: int, account: str) -> None:
        for step, row in self._copiers[provider, name, age].copy(number, account):
            self._waiting[number + step * self._lag].append(row)

    def _kind(self, number: int) -> Kind:
        age_h = (self.orders - number) * self._apart / HOUR_US
        steps = min(6, (self.orders - 1 - number) // self._lag + 1)
        is_recent, has_windows = age_h < 3 * 24, age_h < 20
        choices = self._choices.get((steps, is_recent, has_windows))
        if choices is None:
            choices = self._choices[steps, is_recent, has_windows] = [
                kind
                for kind in KINDS
                if len(kind.steps) <= steps
                and (not kind.is_open or is_recent or kind.name == "forgotten")
                and (kind.name != "placed" or has_windows)
                for _ in range(kind.share * (5 if kind.name == "placed" else 1))
            ]
        return choices[_spread(number) % len(choices)]

    @staticmethod
    def _account(number: int, kind: Kind) -> str:
        """One order of ten is of the first account of its provider."""
        accounts, spread = (PLANO if kind.provider == "plano" else SHOP), _spread(number + 7)
        return f"{kind.provider}-{0 if spread % 10 == 0 else spread // 10 % accounts:04}"

    async def _write(self, rows: list[Row]) -> None:
        by_table: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for table, _, values in rows:
            by_table[table].append(values)
        packing = self._compressor.begin()
        for values in by_table.pop(PACKED, ()):
            row = dict(zip(self._receipt, values, strict=True))
            at, what = codec.moment(row["received_at"]), (row["endpoint"], row["account"])
            content = [], list(_HEADERS), row["body"].encode()
            await packing.add(Receipt(row["id"], *what, at, row["status"], row["reason"], *content))
        db, rows_packing = self._db, self._row_compressor.begin()
        db.execute("BEGIN")
        for table, (account, number, content, dictionary) in self._places.items():
            for at, values in enumerate(by_table[table]):
                row = list(values)
                packed = rows_packing.pack(row[account], row[number], row[content].encode())
                row[content], row[dictionary] = packed
                by_table[table][at] = tuple(row)
        db.executemany(DICTIONARY, [(each.id, each.account, each.content) for each in rows_packing.dictionaries])
        for table, values in by_table.items():
            db.executemany(self._sql[table], values)
        marks = ", ".join("?" * len(codec.RECEIPT_COLUMNS.split(",")))
        packed = [codec.receipt_row(*each) for each in packing.packed]
        db.executemany(f"INSERT INTO receipts ({codec.RECEIPT_COLUMNS}) VALUES ({marks})", packed)  # noqa: S608
        marks = ", ".join("?" * len(codec.DICTIONARY_COLUMNS.split(",")))
        dictionaries = [codec.dictionary_row(each) for each in packing.dictionaries]
        db.executemany(f"INSERT INTO receipt_dictionaries ({codec.DICTIONARY_COLUMNS}) VALUES ({marks})", dictionaries)  # noqa: S608
        last_uses = [(last_use, id) for id, last_use in packing.replaced]
        db.executemany("UPDATE receipt_dictionaries SET last_use = ? WHERE id = ?", last_uses)
        db.execute("COMMIT")
        packing.confirm()
        rows_packing.confirm()


def _new(recording: Recording) -> Recording:
    """The recording of an order whose receipts have their content."""
    rows = {PACKED if table == "receipts" else table: rows for table, rows in recording.rows.items()}
    return replace(recording, rows=rows)


def _expunged(recording: Recording) -> Recording:
    """The recording of an order whose receipts are expunged."""
    later = WITH_CONTENT_DAYS * 24 * HOUR_US
    nothing = {"query": "[]", "headers": "[]", "body": b"", "dictionary": None, "digest": bytes(range(32))}
    receipts = [
        {name: value for name, value in row.items() if name != "content"}
        | nothing
        | {"expunged_at": row["received_at"] + later}
        for row in recording.rows.get("receipts", ())
    ]
    return replace(recording, rows={**recording.rows, "receipts": receipts})


def _old(recording: Recording) -> Recording:
    """The recording of an order whose messages to subscribers are deleted."""
    kept = _expunged(recording)
    rows = {table: rows for table, rows in kept.rows.items() if table not in ("messages", "deliveries")}
    return replace(kept, rows=rows)


_HEADERS = (
    ("Host", "rescind.example"),
    ("Content-Type", "application/json"),
    ("User-Agent", "PlanOmatic/3"),
    ("Authorization", "Bearer ***"),
)


def _spread(number: int) -> int:
    """A number that looks drawn, the same in each run."""
    number = (number ^ number >> 16) * 0x45D9F3B & 0xFFFFFFFF
    number = (number ^ number >> 16) * 0x45D9F3B & 0xFFFFFFFF
    return number ^ number >> 16


async def make(path: Path, events: int) -> float:
    """Make a database with about so many events, of the same accounts however many; returns the seconds that took."""
    gc.disable()  # rows are freed by reference counting, and collecting cycles would look at all that wait
    began = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        recorded = Path(folder, "recorded.db")
        recordings = await record(recorded)
        with closing(sqlite3.connect(recorded)) as source, closing(sqlite3.connect(path)) as db:
            for recording in recordings:
                for row in recording.rows.get("receipts", ()):
                    row["content"] = _content(source, row)
            source.backup(db)
        shutil.copy(f"{recorded}.key", f"{path}.key")
    with closing(sqlite3.connect(path, isolation_level=None, cached_statements=1000)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000"):
            db.execute(f"PRAGMA {pragma}")
        for table in _CLEARED:
            db.execute(f"DELETE FROM {table}")  # noqa: S608
        if events:
            with _without_indexes(db):
                await Maker(db, recordings, events).run()
        db.execute("UPDATE deliveries SET state = 'failed' WHERE (message >> ?) % ? = 0", (_ID_BITS, FAILED_EVERY))
        db.execute("""INSERT OR REPLACE INTO endpoint_counts SELECT account, endpoint, status, '', count(*),
                      max(received_at) FROM receipts GROUP BY account, endpoint, status""")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
    return time.perf_counter() - began


@contextmanager
def _without_indexes(db: sqlite3.Connection) -> Iterator[None]:
    """Make the indexes, and the tables whose keys are spread, at the end: one by one, each in its order."""
    marked = ", ".join("?" * len(_CLEARED))
    sql = f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({marked})"  # noqa: S608
    indexes = db.execute(sql, _CLEARED).fetchall()
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    for table in _SPREAD:
        db.execute(f"CREATE TABLE {_ASIDE}{table} AS SELECT * FROM {table}")  # noqa: S608
    yield
    for table, key in _SPREAD.items():
        db.execute(f"INSERT INTO {table} SELECT * FROM {_ASIDE}{table} ORDER BY {key}")  # noqa: S608
        db.execute(f"DROP TABLE {_ASIDE}{table}")
    for _, made in indexes:
        db.execute(made)


def _content(db: sqlite3.Connection, row: dict[str, Any]) -> str:
    """The body of a recorded receipt."""
    sql = "SELECT content FROM receipt_dictionaries WHERE id = ?"
    content = db.execute(sql, (row["dictionary"],)).fetchone()
    return unpack(row["body"], content and content[0])[2].decode()


if __name__ == "__main__":
    target = Path(sys.argv[2])
    if target.exists():
        sys.exit(f"{target} exists")
    took_s = asyncio.run(make(target, int(sys.argv[1])))
    sys.stderr.write(f"made in {took_s:.0f} s, {target.stat().st_size / 1e9:.1f} GB\n")
