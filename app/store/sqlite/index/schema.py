"""The tables of the search index. A file of another version is not migrated: it is rebuilt."""

from __future__ import annotations

VERSION = 3
PART_BITS = 16
"""Events in one part: 2^16. A part is searched by one statement, and filled anew as a whole when words must go."""
BLOCK_BITS = 10
"""Events in a block, of which the times of receipt are known: 2^10."""
MICROS_PER_DAY = 86_400_000_000

SCHEMA = f"""
-- How far the index follows the log, and which log: `last_key` is that of the event at `filled_to`. The rest is about
-- words that must go: up to `noticed_to` the log was looked through for events about erasures; `checking` is the part
-- that is compared with the log's erasures next, downwards; `again` says that another pass follows, and `unclean` that
-- such words may still be in the file or in its write-ahead log.
CREATE TABLE state (
    generation TEXT NOT NULL,
    filled_to  INTEGER NOT NULL,
    last_key   INTEGER NOT NULL,
    noticed_to INTEGER NOT NULL,
    checking   INTEGER,
    again      INTEGER NOT NULL DEFAULT 0,
    unclean    INTEGER NOT NULL DEFAULT 0
);

-- Accounts, types and sources by number, and which of them occur together.
CREATE TABLE terms (id INTEGER PRIMARY KEY, field TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (field, value));
CREATE TABLE kinds (
    id      INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    source  INTEGER NOT NULL,
    UNIQUE (account, type, source)
);

-- The full-text table of each part. `erased`: erasures of its events when it was filled. `merged`: it is complete, and
-- its segments are one.
CREATE TABLE parts (
    id     INTEGER PRIMARY KEY,
    words  TEXT NOT NULL,
    erased INTEGER NOT NULL,
    merged INTEGER NOT NULL DEFAULT 0
);
-- The new table of the part whose words must go, and former tables, which are emptied piece by piece.
CREATE TABLE refilling (
    part INTEGER NOT NULL, words TEXT NOT NULL, filled_to INTEGER NOT NULL, erased INTEGER NOT NULL
);
CREATE TABLE former (words TEXT NOT NULL);

CREATE TABLE blocks (id INTEGER PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL);

-- Events a day (UTC, by receipt). Account 0 and day -1 stand for all; so do type and source 0, of one account.
CREATE TABLE counts (
    account INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    source  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (account, day, type, source)
) WITHOUT ROWID;

-- Ids and aliases of orders, to be found by their beginning; of `kind:value` also the value.
CREATE TABLE order_names (
    key     TEXT NOT NULL,
    account TEXT NOT NULL,
    name    TEXT NOT NULL,
    PRIMARY KEY (key, account, name)
) WITHOUT ROWID;

PRAGMA user_version = {VERSION};
"""


def create_words(table: str) -> tuple[str, ...]:
    """Make a full-text table: words and their events, nothing else. Terms of filters are words that no text has.

    Its segments are merged by `merge` only: FTS5 would do it within the statement that writes, for as long as it takes.
    """
    return (
        f"""CREATE VIRTUAL TABLE {table} USING fts5(words, content='', columnsize=0, detail=none,
            tokenize='unicode61 remove_diacritics 2')""",
        f"INSERT INTO {table} ({table}, rank) VALUES ('automerge', 0)",
        f"INSERT INTO {table} ({table}, rank) VALUES ('crisismerge', 1999)",
        f"INSERT INTO {table} ({table}, rank) VALUES ('usermerge', 4)",
    )


def part_of(position: int) -> int:
    """The part that has this position of the log."""
    return position >> PART_BITS


def bounds(part: int) -> tuple[int, int]:
    """The first and the last position of a part."""
    return part << PART_BITS, ((part + 1) << PART_BITS) - 1


TERM, KIND = "\ue000", "\ue001"
"""First characters of the words that stand for a term and for a kind; no text is searched for these."""
