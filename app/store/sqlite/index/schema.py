"""The tables of the search index. A file of another version is not migrated: it is rebuilt."""

from __future__ import annotations

VERSION = 2
PART_BITS = 18
"""Events in one part: 2^18. A part is searched by one statement, and filled anew as a whole when words must go."""
BLOCK_BITS = 10
"""Events in a block, of which the times of receipt are known: 2^10."""
MICROS_PER_DAY = 86_400_000_000

SCHEMA = f"""
-- How far the index follows the log, and which log: `last_key` is that of the event at `filled_to`. `erasing` says
-- that an event about an erasure was indexed, and parts are to be compared with the log's erasures.
CREATE TABLE state (
    generation TEXT NOT NULL,
    filled_to  INTEGER NOT NULL,
    last_key   INTEGER NOT NULL,
    erasing    INTEGER NOT NULL DEFAULT 0
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

-- The full-text table of each part. Refilled parts have a new one; `refill` marks parts whose words must go.
CREATE TABLE parts (id INTEGER PRIMARY KEY, words TEXT NOT NULL, refill INTEGER NOT NULL DEFAULT 0,
                    erased INTEGER NOT NULL DEFAULT 0);  -- erasures when it was filled
CREATE TABLE refilling (
    part INTEGER NOT NULL, words TEXT NOT NULL, filled_to INTEGER NOT NULL, erased INTEGER NOT NULL
);

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


def create_words(table: str) -> str:
    """A full-text table: words and their events, nothing else. Terms of filters are words that no text has."""
    return (
        f"CREATE VIRTUAL TABLE {table} USING fts5(words, content='', columnsize=0, detail=none, "
        "tokenize='unicode61 remove_diacritics 2')"
    )


TERM, KIND = "\ue000", "\ue001"
"""First characters of the words that stand for a term and for a kind; no text is searched for these."""
