"""Fill the index from the log: one piece of events at a time, in SQL, as functions on the writing connection's thread.

Nothing here depends on what may change in the log: the merging of orders changes the number of an event's order, and
the index has none.
"""

from __future__ import annotations

import sqlite3

from app.store import codec
from app.store.sqlite.index.schema import BLOCK_BITS, KIND, MICROS_PER_DAY, TERM, bounds, create_words, part_of

PIECE_BYTES = 1 << 20
"""A piece ends after so much of events' JSON, and has one event at least."""
MERGE_PAGES = 64
"""Pages that are merged with each piece at most: some times what a piece writes, and about 10 ms."""

_PIECE = """CREATE TEMP TABLE piece (
    seq INTEGER PRIMARY KEY, account TEXT, type TEXT, source TEXT, received_at INTEGER, name TEXT, body TEXT)"""
_TAKE = f"""INSERT INTO temp.piece
    SELECT seq, account, type, source, received_at, name, body FROM (
        SELECT *, sum(length(body)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - length(body) AS before FROM (
            SELECT seq, account, type, source, received_at, name, {codec.EVENT_BODY} AS body FROM log.events
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
# which most texts are, there is no difference; these do not go through Python. SQLite writes numbers with a fraction,
# and integers that it does not hold, in a way of its own, and ends a text at a NUL.
_TEXT = """CASE WHEN instr(piece.body, '\\u0000') THEN values_of(piece.body) ELSE coalesce((
        SELECT CASE WHEN max(typeof(atom) = 'real') THEN values_of(piece.body) ELSE group_concat(atom, ' ') END
        FROM json_tree(piece.body) WHERE type IN ('text', 'integer', 'real')), '') END"""
_WORDS = f"""INSERT INTO {{table}} (rowid, words)
    SELECT seq, CASE WHEN length(CAST(text AS BLOB)) = length(text) THEN text ELSE words_of(text) END || terms FROM (
        SELECT piece.seq, piece.name || ' ' || {_TEXT} AS text,
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


def prepare(db: sqlite3.Connection) -> None:
    """Make the temporary table that a piece is copied into."""
    db.execute(_PIECE)


def fill(db: sqlite3.Connection, rows: int) -> int:
    """Index the next events of the log, at most `rows`; returns how many."""
    (low,) = db.execute("SELECT filled_to FROM state").fetchone()
    (first,) = db.execute("SELECT min(seq) FROM log.events WHERE seq > ?", (low,)).fetchone()
    if first is None:
        return 0
    part = part_of(first)
    row = db.execute("SELECT words FROM parts WHERE id = ?", (part,)).fetchone()
    table = f"words_{part}" if row is None else row[0]
    if row is None:
        create(db, table)
        db.execute("INSERT INTO parts (id, words, erased) VALUES (?, ?, ?)", (part, table, erasures(db, part)))
    taken = _take(db, low, bounds(part)[1], rows)
    for statement in (*_TERMS, _KINDS, _WORDS.format(table=table), _BLOCKS, _COUNTS, _NAMES):
        db.execute(statement)
    (last, key) = db.execute("SELECT seq, key FROM log.events WHERE seq = (SELECT max(seq) FROM temp.piece)").fetchone()
    db.execute("UPDATE state SET filled_to = ?, last_key = ?", (last, key))
    _merge(db, table, MERGE_PAGES)
    return taken


def refill(db: sqlite3.Connection, table: str, low: int, high: int, rows: int) -> tuple[int, int]:
    """Copy the words of events after `low` up to `high` into a new table; returns (how many, the last position)."""
    taken = _take(db, low, high, rows)
    if not taken:
        return 0, high
    db.execute(_WORDS.format(table=table))
    _merge(db, table, MERGE_PAGES)
    return taken, int(db.execute("SELECT max(seq) FROM temp.piece").fetchone()[0])


def create(db: sqlite3.Connection, table: str) -> None:
    """Make a full-text table."""
    for statement in create_words(table):
        db.execute(statement)


def erasures(db: sqlite3.Connection, part: int) -> int:
    """How many erasures the log has of events in a part."""
    sql = "SELECT count(*) FROM log.erasures WHERE position BETWEEN ? AND ?"
    return int(db.execute(sql, bounds(part)).fetchone()[0])


def merge_complete(db: sqlite3.Connection) -> bool:
    """Merge more of the oldest complete part that is not one segment yet; False if all are."""
    sql = """SELECT id, words FROM parts WHERE NOT merged AND id < (SELECT max(id) FROM parts) ORDER BY id LIMIT 1"""
    row = db.execute(sql).fetchone()
    if row is None:
        return False
    part, table = row
    # A negative number of pages: whatever the levels of its segments.
    if not _merge(db, table, -MERGE_PAGES):
        db.execute("UPDATE parts SET merged = 1 WHERE id = ?", (part,))
    return True


def _take(db: sqlite3.Connection, low: int, high: int, rows: int) -> int:
    """Copy events into the piece; returns how many."""
    db.execute("DELETE FROM temp.piece")
    return db.execute(_TAKE, {"low": low, "high": high, "rows": rows, "bytes": PIECE_BYTES}).rowcount


def _merge(db: sqlite3.Connection, table: str, pages: int) -> bool:
    """Merge segments of a full-text table; False if there was nothing to merge."""
    before = db.total_changes
    db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', ?)", (pages,))
    return db.total_changes - before > 1  # the statement itself is one
