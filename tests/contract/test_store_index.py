"""What every store must do with lists of events: the same rows however far its index is, in both directions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from contract.store_cases import ALL, A, at, commit, event, order, place, write
from msgspec.structs import replace

from app.contract import Facts, Source
from app.core.event import Event
from app.store import Store, Window
from app.store.filters import EventFilter, OrderFilter
from app.store.sqlite import SqliteStore

NUMBER = 2600
QUERIES: list[dict[str, Any]] = [
    {"account": A},
    {"account": "nobody"},
    {"types": ["t.3"]},
    {"types": ["t.1*", "*.5"]},
    {"types": ["none"]},
    {"account": "other", "types": ["t.*"], "source": "operator"},
    {"source": "operator"},
    {"source": "clock"},
    {"since": at(900), "until": at(1000)},
    {"account": A, "since": at(2000)},
    {"until": at(20), "types": ["t.1"]},
    {"text": "denver"},
    {"text": "muller-77"},
    {"text": "MÜLLER 7"},
    {"text": "77-müller"},
    {"text": "o-3"},
    {"text": "den", "account": "other", "types": ["t.2", "t.4"]},
    {"text": "nowhere"},
    {"text": "denver", "since": at(100), "until": at(300)},
    {"text": "%%"},
]
TEXTS: dict[str, Callable[[int], bool]] = {
    "denver": lambda n: n % 40 == 0,
    "muller-77": lambda n: n % 100 == 77,
    "MÜLLER 7": lambda n: (n % 11 == 7 and n % 40 != 0) or n == 7 or n % 50 == 7,
    "77-müller": lambda _: False,
    "o-3": lambda n: n % 7 == 3,
    "den": lambda n: n % 40 == 0,
    "nowhere": lambda _: False,
    "%%": lambda _: False,
}


def told(n: int) -> Event:
    city = "Denver" if n % 40 == 0 else f"Rome {n % 11}"
    facts = Facts(attributes={"city": city, "who": f"Müller-{n % 100}", "n": n}, aliases=(f"request:r-{n % 50}",))
    account, source = ("other", Source.OPERATOR) if n % 3 == 0 else (A, Source.WEBHOOK)
    made = event(f"o-{n % 7}", n, f"t.{n % 6}", account, facts=facts)
    # What is parsed again has the time of its receipt.
    received_at = at(n - 1500) if n % 500 == 499 else at(n)
    return replace(made, source=source if n % 5 else Source.PROVIDER, received_at=received_at)


def matches(n: int, query: dict[str, Any]) -> bool:
    """What the filters mean, without a database."""
    row, types = told(n), query.get("types", ["*"])
    return (
        query.get("account", row.account) == row.account
        and any(fnmatchcase(row.type, glob) for glob in types)
        and query.get("source", row.source) == row.source
        and query.get("since", row.received_at) <= row.received_at
        and ("until" not in query or row.received_at < query["until"])
        and ("text" not in query or TEXTS[query["text"]](n))
    )


async def written(store: Store) -> None:
    for start in range(0, NUMBER, 650):
        await commit(store, events=[(1 + n % 7, told(n)) for n in range(start, start + 650)])


@cache
def numbers() -> dict[str, int]:
    return {told(n).id: n for n in range(NUMBER)}


async def listed(store: Store, query: dict[str, Any], limit: int, *, newer: bool) -> list[int]:
    """The numbers of the events on all pages, in the order of the list."""
    pages: list[list[int]] = []
    position = 0 if newer else None
    while True:
        rows = await store.events(Window(limit, position, newer=newer), EventFilter(**query))
        pages.append([numbers()[found.id] for _, found in rows])
        if rows.resume is None and len(rows) < limit:
            return [n for page in (pages[::-1] if newer else pages) for n in page]
        position = rows.resume if rows.resume is not None else rows[0 if newer else -1][0]


@pytest.fixture(autouse=True)
def _no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that the index refuses would be answered from the log, and nobody would notice."""

    def fail(*_: object, **fault: object) -> None:
        raise AssertionError(fault)

    for module in ("event_lists", "event_facets", "order_lists"):
        monkeypatch.setattr(f"app.store.sqlite.read.{module}.log.warning", fail)


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.sqlite.index.schema.PART_BITS", 9)


@pytest.mark.usefixtures("_small_parts")
async def test_lists_are_the_same_however_far_the_index_is(store: Store) -> None:
    await written(store)
    expected = [[n for n in reversed(range(NUMBER)) if matches(n, query)] for query in QUERIES]
    assert [await listed(store, query, 1000, newer=False) for query in QUERIES] == expected
    await store.open_search_index()
    for goal in (700, NUMBER):
        behind = NUMBER
        while NUMBER - behind < goal:
            behind = (await store.fill_search_index(350)).behind
        for query, rows in zip(QUERIES, expected, strict=True):
            for newer in (False, True):
                assert await listed(store, query, 90, newer=newer) == rows, (goal, query, newer)
    done = await store.fill_search_index(100)
    assert (done.events, done.behind) == (0, 0)


@pytest.mark.usefixtures("_small_parts")
async def test_a_list_says_where_to_go_on_when_its_time_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(store)
    await store.open_search_index()
    while (await store.fill_search_index(1000)).behind > 100:
        pass
    expected = [await listed(store, query, 1000, newer=False) for query in QUERIES]
    monkeypatch.setattr("app.store.sqlite.read.event_index.SLICE_S", 0.001)
    spent = 0
    for query, rows in zip(QUERIES, expected, strict=True):
        for newer in (False, True):
            monkeypatch.setattr("app.store.pieces.SEARCH_S", 0.002)
            spent += (
                await store.events(Window(1000, 0 if newer else None, newer=newer), EventFilter(**query))
            ).resume is not None
            assert await listed(store, query, 400, newer=newer) == rows, (query, newer)
    assert spent


async def test_facets_count_what_lists_show(store: Store) -> None:
    await written(store)
    await store.open_search_index()
    whole = {"since": at(0).replace(day=2, hour=0, minute=0, second=0, microsecond=0)}
    queries = [query for query in QUERIES if query.get("text") != "%%"] + [whole, {**whole, "account": A}, {}]
    for goal in (0, 1200, NUMBER):
        behind = NUMBER
        while NUMBER - behind < goal:
            behind = (await store.fill_search_index(400)).behind
        for query in queries:
            rows = [found for _, found in await store.events(Window(NUMBER), EventFilter(**query))]
            facets = await store.event_facets(EventFilter(**query))
            if len(rows) > 2000 and (NUMBER - goal > 2000 or not isinstance(store, SqliteStore)):
                # Only an index that is kept apart has counts of days.
                assert (facets.total >= 2000, facets.complete) == (True, False), (goal, query)
                continue
            assert (facets.total, facets.complete) == (len(rows), True), (goal, query)
            assert facets.counts["type"] == Counter(row.type for row in rows), query
            assert facets.counts["account"] == Counter(row.account for row in rows), query
            assert facets.counts["source"] == Counter(row.source.value for row in rows), query
            assert facets.counts["day"] == Counter(f"{row.received_at:%Y-%m-%d}" for row in rows), query


async def test_orders_are_found_by_the_beginning_of_any_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(1, 9):
        facts = Facts(aliases=(f"request:R-{n}0",), shared_aliases=(f"cart-{n % 2}",))
        aggregate = replace(order(f"O-{n}", A), order=replace(order(f"O-{n}", A).order, **_names(facts)))
        aliases = [(A, f"O-{n}", n), (A, f"request:R-{n}0", n)]
        shared = [(A, f"cart-{n % 2}", n)]
        writes = [write(n, aggregate)]
        rows = [(n, event(f"O-{n}", n, facts=facts))]
        await commit(store, orders=writes, names=aliases, shared_aliases=shared, events=rows)
    expected = {
        "o-3": [3],
        "o-": list(range(8, 0, -1)),
        "REQUEST:r-4": [4],
        "r-50": [5],
        "cart-1": [7, 5, 3, 1],
        "3": [],
    }

    async def check() -> None:
        for text, numbers in expected.items():
            assert [pk for pk, _ in await store.orders(ALL, OrderFilter(text=text))] == numbers, text
            assert [pk for pk, _ in await store.orders(Window(1, 4), OrderFilter(text=text))] == [
                pk for pk in numbers if pk < 4
            ][:1]
            newer = [pk for pk, _ in await store.orders(Window(9, 4, newer=True), OrderFilter(text=text))]
            assert newer == [pk for pk in numbers if pk > 4]
        assert await store.orders(ALL, OrderFilter(text="o-", account="other")) == []

    await check()
    await store.open_search_index()
    for _ in range(9):
        await check()
        await store.fill_search_index(2)
    # None is looked for one by one.
    monkeypatch.setattr("app.store.order_lists.search", None)
    await check()
    monkeypatch.undo()
    monkeypatch.setattr("app.store.order_lists.NAMES_MAX", 2)
    await check()


def _names(facts: Facts) -> dict[str, Any]:
    return {"aliases": facts.aliases, "shared_aliases": facts.shared_aliases}


async def test_searches_wait_for_no_filling_and_survive_a_lost_index(store: Store) -> None:
    facts = Facts(attributes={"city": "Denver"})
    await place(store, 1, "o-1", *(event("o-1", n, facts=facts) for n in range(300)))
    await store.open_search_index()
    filling = [asyncio.create_task(store.fill_search_index(20)) for _ in range(10)]
    assert len(await store.events(ALL, EventFilter(text="denver"))) == 300
    await asyncio.gather(*filling)
    await store.discard_search_index()
    assert len(await store.events(ALL, EventFilter(text="denver"))) == 300


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("o'x", "o'x"),
        ('say "hi', 'say "hi there'),
        ("a\\b", "a\\b"),
        ("東京", "東京"),
        ("x_y", "x_y"),
        ("ABC-def", "abc-DEF"),
        ("caf\u0065\u0301", "Café"),
        ("١٢٣", "١٢٣"),
        ("NOT AND", "not x and"),
        ("ß", "straße ß"),
        ("STRASSE", "Straße 7"),
        ("straße", "STRASSE 7"),
        ("αθηνα", "Αθήνα"),
        ("istanbul", "İstanbul"),
        ("fin", "ﬁn"),
        ("one two", "two lines\none"),
    ],
)
async def test_any_text_finds_what_has_it(store: Store, text: str, body: str) -> None:
    await place(store, 1, "n-1", event("n-1", 1, facts=Facts(attributes={"v": body})), event("n-1", 2))
    assert len(await store.events(ALL, EventFilter(text=text))) == 1
    await store.open_search_index()
    await store.fill_search_index(10)
    assert len(await store.events(ALL, EventFilter(text=text))) == 1
