"""Whatever the history: the search index answers as a look at every event of the log does."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from contract.store_cases import commit, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.contract import Facts
from app.core.event_types import ORDER_ERASED
from app.store import Window
from app.store.filters import EventFilter
from app.store.sqlite import SqliteStore, open_sqlite

WORDS = ["Rome", "rome-7", "Müller", "ß", "a.b@c.org", "2026-03-02", "7", "0.1", "x_y", "ﬁn", "Αθήνα", 'q"o', "n\0ul"]
VALUES = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    st.integers(-(2**40), 2**70),
    st.sampled_from([0.1 + 0.2, 52.52000659999999, 1e16, 1e-7, 7.0]),
    st.text(max_size=6),
)
EVENT = st.tuples(VALUES, st.sampled_from(["t.a", "t.b", "u.a"]), st.sampled_from(["acme", "other"]))
STEP = st.one_of(
    st.lists(EVENT, min_size=1, max_size=12).map(lambda events: ("append", events)),
    st.integers(1, 20).map(lambda rows: ("fill", rows)),
    st.integers(1, 40).map(lambda position: ("erase", position)),
    st.sampled_from([("restore", 0), ("discard", 0), ("reopen", 0)]),
)
QUERIES: list[dict[str, Any]] = [
    {"account": "acme"},
    {"types": ["t.*"]},
    {"account": "other", "types": ["*.a"]},
    *({"text": text} for text in ("rome", "rom", "rome-7", "muller", "ss", "b@c.org", "2026-03", "7", "0.3", "52.52")),
    *(
        {"text": text}
        for text in ("0.30000000000000004", "1e16", "x_y", "fin", "αθηνα", "o", "ul", "118059162071741130")
    ),
    {"text": "rom", "account": "acme", "types": ["t.a"]},
]


class History:
    """A store, and the steps that it goes through."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self.store: SqliteStore

    async def take(self, what: str, given: Any) -> None:
        """One step."""
        store = self.store
        if what == "append":
            rows = []
            for value, type, account in given:
                self.number += 1
                rows.append((1, event(f"o-{self.number % 3}", self.number, type, account, facts=_facts(value))))
            await commit(store, events=rows)
        elif what == "erase":
            await store._writer.execute("UPDATE events SET body = '{}' WHERE seq = ?", (given,))
            sql = """INSERT INTO erasures SELECT ?1, 1 + (SELECT count(*) FROM erasures WHERE position = ?1), '', x''
                     WHERE EXISTS (SELECT 1 FROM events WHERE seq = ?1)"""
            await store._writer.execute(sql, (given,))
            self.number += 1
            await commit(store, events=[(1, event("o-1", self.number, ORDER_ERASED))])
        elif what == "restore":
            await store.begin_log_generation(event("o-1", 1).received_at)
            await store._close_index()
        elif what == "discard":
            await store.discard_search_index()
        elif what == "reopen":
            await store.close()
            self.store = await open_sqlite(self.path)
        await self.store.open_search_index()
        if what == "fill":
            await self.store.fill_search_index(given)

    async def check(self) -> None:
        """Ask every query by the index, and without it."""
        index = self.store._index
        for query in QUERIES:
            self.store._index = None
            expected = [seq for seq, _ in await self.store.events(Window(1000), EventFilter(**query))]
            self.store._index = index
            for newer in (False, True):
                window = Window(1000, 0 if newer else None, newer=newer)
                assert [seq for seq, _ in await self.store.events(window, EventFilter(**query))] == expected, query


def _facts(value: Any) -> Facts:
    return Facts(attributes={"value": value})


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=4, max_size=14))
def test_the_index_answers_as_the_log_does(steps: list[tuple[str, Any]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            history = History(Path(folder) / "store.db")
            history.store = await open_sqlite(history.path)
            try:
                for what, given in steps:
                    await history.take(what, given)
                await history.check()
                while not (await history.store.fill_search_index(30)).idle:
                    pass
                await history.check()
            finally:
                await history.store.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.store.sqlite.index.schema.PART_BITS", 4)
        asyncio.run(run())
