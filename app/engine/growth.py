"""How a database grows, from its own log: looked up by position, so that it costs as much for a log of any length."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from app.core.capacity import Growth
from app.store.codec import micros
from app.store.sqlite.index import index_path

DAYS = 7
"""How many days are looked at."""
HOUR = timedelta(hours=1)
RECEIPTS = 1000
"""The newest receipts tell how large webhooks are."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes in, as a log tells it."""

    growth: Growth
    events_per_order: float
    body_bytes: float
    peak: float
    """Events of the busiest hour ÷ those of a mean hour."""


def traffic(database: Path, now: datetime) -> Traffic | None:
    """What the last days were; None if the log is empty. Raises `sqlite3.Error`."""
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
        first, last = db.execute("SELECT min(seq), max(seq) FROM events").fetchone()
        if not last:
            return None
        (begin,) = db.execute("SELECT received_at FROM events WHERE seq = ?", (first,)).fetchone()
        days = min(float(DAYS), (micros(now) - begin) / 86_400e6)
        hours = max(1, round(days * 24))
        marks = [position_at(db, now - HOUR * ago, first, last + 1) for ago in range(hours, -1, -1)]
        busiest = max(later - earlier for earlier, later in pairwise(marks))
        recent = marks[-1] - marks[0]
        (orders,) = db.execute("SELECT count(*) FROM orders").fetchone()
        (body,) = db.execute(
            "SELECT avg(size) FROM (SELECT size FROM receipts WHERE size > 0 ORDER BY id DESC LIMIT ?)", (RECEIPTS,)
        ).fetchone()
    return Traffic(
        growth=Growth(
            database_bytes=_bytes_of(database),
            events=last - first + 1,
            events_per_day=recent * 24 / hours,
            days=days if days >= 1 else 0.0,
        ),
        events_per_order=(last - first + 1) / max(1, orders),
        body_bytes=body or 1000.0,
        peak=max(1.0, busiest * hours / recent) if recent else 1.0,
    )


def position_at(db: sqlite3.Connection, time: datetime, low: int, high: int) -> int:
    """The first position from `low` whose event was received at that time or later; `high` if there is none."""
    at = micros(time)
    while low < high:
        middle = (low + high) // 2
        row = db.execute("SELECT seq, received_at FROM events WHERE seq >= ? LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= at:
            high = middle
        else:
            low = row[0] + 1
    return low


def _bytes_of(database: Path) -> int:
    index = index_path(database.resolve())
    files = [database, Path(f"{database}-wal"), index, Path(f"{index}-wal")]
    return sum(file.stat().st_size for file in files if file.exists())
