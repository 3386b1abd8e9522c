"""Fill the index from the log: one piece of events at a time, in SQL, as functions on the writing connection's thread.

Nothing here depends on what may change in the log: the merging of orders changes the number of an event's order, and
the index has none.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from time import perf_counter, thread_time

from app.core.event_types import ORDER_ERASED, RETENTION_PRUNED
from app.store.sqlite.index.schema import BLOCK_BITS, KIND, MICROS_PER_DAY, PART_BITS, TERM, create_words

PIECE_BYTES = 1 << 20
"""A piece ends after so much of events' JSON, and has one event at least."""
VALUES_MAX = 65_536
"""Characters of an event's values that are indexed."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What one piece of work came to."""

    events: int
    took_s: float
    cpu_s: float
    behind: int
    """Positions of the log that are not indexed yet."""


_PIECE = """CREATE TEMP TABLE piece (
    seq INTEGER PRIMARY KEY, account TEXT, type TEXT, source TEXT, received_at INTEGER, name TEXT, body TEXT)"""
_TAKE = """INSERT INTO temp.piece
    SELECT seq, account, type, source, received_at, name, body FROM (
        SELECT *, sum(length(body)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - length(body) AS before FROM (
            SELECT seq, account, type, source, received_at, name, body FROM log.events
            WHERE seq > :low AND seq <= :high ORDER BY seq LIMIT :rows))
    WHERE before < :bytes"""
_TERMS = [
    f"INSERT OR IGNORE INTO terms (field, value) SELECT DISTINCT '{field}', {field} FROM temp.piece"
    for field in ("account", "type", "source")
]
_OF_KIND = """JOIN terms AS account ON account.field = 'account' AND account.value = piece.account
    JOIN terms AS type ON type.field = 'type' AND type.value = piece.type
    JOIN terms AS source ON source.field = 'source' AND source.value = piece.source"""
_KINDS = f"""INSERT OR IGNORE INTO kinds (account, type, source)
    SELECT DISTINCT account.id, type.id, source.id FROM temp.piece AS piece {_OF_KIND}"""
_KIND = "JOIN kinds AS kind ON kind.account = account.id AND kind.type = type.id AND kind.source = source.id"
# Words are those that searches have: the tokenizer folds less (ß, accents in Greek), and knows fewer symbols. In ASCII,
# which most texts are, there is no difference; these do not go through Python.
_WORDS = f"""INSERT INTO {{table}} (rowid, words)
    SELECT seq, CASE WHEN length(CAST(text AS BLOB)) = length(text) THEN text ELSE words_of(text) END || terms FROM (
        SELECT piece.seq,
               piece.name || ' ' || substr(coalesce((SELECT group_concat(atom, ' ') FROM json_tree(piece.body)
                   WHERE type IN ('text', 'integer', 'real')), ''), 1, {VALUES_MAX}) AS text,
               ' {TERM}' || account.id || ' {TERM}' || type.id || ' {TERM}' || source.id || ' {KIND}' || kind.id
                   AS terms
        FROM temp.piece AS piece {_OF_KIND} {_KIND}) ORDER BY seq"""
_BLOCKS = f"""INSERT INTO blocks SELECT seq >> {BLOCK_BITS}, min(received_at), max(received_at) FROM temp.piece
    WHERE true GROUP BY 1 ON CONFLICT (id) DO UPDATE
    SET first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)"""
_COUNTS = f"""WITH grouped (account, day, type, source, n) AS MATERIALIZED (
        SELECT account.id, received_at / {MICROS_PER_DAY}, type.id, source.id, count(*)
        FROM temp.piece AS piece {_OF_KIND} GROUP BY 1, 2, 3, 4)
    INSERT INTO counts
    SELECT account, day, type, source, n FROM grouped
    UNION ALL SELECT 0, day, type, source, n FROM grouped
    UNION ALL SELECT account, -1, type, source, n FROM grouped
    UNION ALL SELECT 0, -1, type, source, n FROM grouped
    UNION ALL SELECT account, day, 0, 0, n FROM grouped
    UNION ALL SELECT account, -1, 0, 0, n FROM grouped
    WHERE true ON CONFLICT (account, day, type, source) DO UPDATE SET n = n + excluded.n"""
_NAMES = """WITH names (account, name) AS (
        SELECT account, name FROM temp.piece WHERE name <> ''
        UNION SELECT piece.account, alias.value
              FROM temp.piece AS piece, json_each(piece.body, '$.facts.aliases') AS alias
        UNION SELECT piece.account, alias.value
              FROM temp.piece AS piece, json_each(piece.body, '$.facts.shared_aliases') AS alias)
    INSERT OR IGNORE INTO order_names (key, account, name)
    SELECT lower(name), account, name FROM names
    UNION SELECT lower(substr(name, instr(name, ':') + 1)), account, name FROM names WHERE instr(name, ':')"""


_ERASING = f"""UPDATE state SET erasing = 1
    WHERE EXISTS (SELECT 1 FROM temp.piece WHERE type IN ('{ORDER_ERASED}', '{RETENTION_PRUNED}'))"""


def prepare(db: sqlite3.Connection) -> None:
    """Make the temporary table that a piece is copied into."""
    db.execute(_PIECE)


def fill(db: sqlite3.Connection, rows: int) -> Filled:
    """Index the next events of the log, at most `rows`, in a transaction of its own."""
    began, cpu = perf_counter(), thread_time()
    db.execute("BEGIN IMMEDIATE")
    try:
        events = _fill(db, rows)
        (behind,) = db.execute(
            "SELECT max(0, coalesce((SELECT max(seq) FROM log.events), 0) - filled_to) FROM state"
        ).fetchone()
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return Filled(events, perf_counter() - began, thread_time() - cpu, behind)


def _fill(db: sqlite3.Connection, rows: int) -> int:
    (low,) = db.execute("SELECT filled_to FROM state").fetchone()
    (first,) = db.execute("SELECT min(seq) FROM log.events WHERE seq > ?", (low,)).fetchone()
    if first is None:
        return 0
    part = first >> PART_BITS
    table = f"words_{part}"
    row = db.execute("SELECT words FROM parts WHERE id = ?", (part,)).fetchone()
    if row is None:
        db.execute(create_words(table))
        db.execute("INSERT INTO parts (id, words, erased) VALUES (?, ?, ?)", (part, table, _erased(db, part)))
    else:
        (table,) = row
    taken = _take(db, low, ((part + 1) << PART_BITS) - 1, rows)
    for statement in (*_TERMS, _KINDS, _WORDS.format(table=table), _BLOCKS, _COUNTS, _NAMES):
        db.execute(statement)
    (last, key) = db.execute("SELECT seq, key FROM log.events WHERE seq = (SELECT max(seq) FROM temp.piece)").fetchone()
    db.execute("UPDATE state SET filled_to = ?, last_key = ?", (last, key))
    db.execute(_ERASING)
    return taken


def _take(db: sqlite3.Connection, low: int, high: int, rows: int) -> int:
    """Copy events into the piece; returns how many."""
    db.execute("DELETE FROM temp.piece")
    return db.execute(_TAKE, {"low": low, "high": high, "rows": rows, "bytes": PIECE_BYTES}).rowcount


def refill(db: sqlite3.Connection, rows: int) -> Filled:
    """Fill a marked part anew, by at most `rows` events; 0 events if no part is marked."""
    began, cpu = perf_counter(), thread_time()
    db.execute("BEGIN IMMEDIATE")
    try:
        events = _refill(db, rows)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return Filled(events, perf_counter() - began, thread_time() - cpu, 0)


def _refill(db: sqlite3.Connection, rows: int) -> int:
    row = db.execute("SELECT part, words, filled_to, erased FROM refilling").fetchone()
    if row is None:
        marked = db.execute("SELECT id, words FROM parts WHERE refill ORDER BY id DESC LIMIT 1").fetchone()
        if marked is None:
            return _mark_erased(db)
        part, former = marked
        number = int(former.rpartition("x")[2]) + 1 if "x" in former else 1
        row = (part, f"words_{part}x{number}", (part << PART_BITS) - 1, _erased(db, part))
        db.execute(create_words(row[1]))
        db.execute("INSERT INTO refilling VALUES (?, ?, ?, ?)", row)
    part, table, low, erased = row
    (filled_to,) = db.execute("SELECT filled_to FROM state").fetchone()
    taken = _take(db, low, min(filled_to, ((part + 1) << PART_BITS) - 1), rows)
    if taken:
        db.execute(_WORDS.format(table=table))
        db.execute("UPDATE refilling SET filled_to = (SELECT max(seq) FROM temp.piece)")
        return taken
    (former,) = db.execute("SELECT words FROM parts WHERE id = ?", (part,)).fetchone()
    db.execute("UPDATE parts SET words = ?, erased = ?, refill = 0 WHERE id = ?", (table, erased, part))
    db.execute("DELETE FROM refilling")
    db.execute(f"DROP TABLE {former}")
    return 1


def _erased(db: sqlite3.Connection, part: int) -> int:
    """How many erasures the log has of events in a part."""
    sql = "SELECT count(*) FROM log.erasures WHERE position BETWEEN ? AND ?"
    return int(db.execute(sql, (part << PART_BITS, ((part + 1) << PART_BITS) - 1)).fetchone()[0])


def _mark_erased(db: sqlite3.Connection) -> int:
    """After an event about an erasure: mark the parts of which events were erased since they were filled."""
    if not db.execute("SELECT erasing FROM state").fetchone()[0]:
        return 0
    parts = db.execute("SELECT id, erased FROM parts").fetchall()
    marked = [(part,) for part, erased in parts if _erased(db, part) != erased]
    db.executemany("UPDATE parts SET refill = 1 WHERE id = ?", marked)
    db.execute("UPDATE state SET erasing = 0")
    return len(marked)
