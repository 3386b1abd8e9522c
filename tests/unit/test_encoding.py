"""Lists are encoded and decoded row by row, so that nobody waits for all of a large one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from app.runtime import time_slice
from app.web.console.wording import event_in_words
from app.web.encoding import decoded, encoded
from app.web.pages import Page, SearchPage

ROWS: list[Any] = [{"name": f"order {number} 🙂", "note": None} for number in range(20)]
BODIES = (
    Page(ROWS, has_more=True, next_cursor="abc", previous_cursor="x"),
    SearchPage(ROWS, has_more=False, next_cursor=None, complete=False),
    Page[Any]([], has_more=False, next_cursor=None),
    {"data": ROWS},
    ROWS,
    None,
)


async def turns_of_others(work: Callable[[], Awaitable[Any]]) -> int:
    """How many turns another task has while `work` is done."""
    turns, done = 0, False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    await asyncio.sleep(0)
    await work()
    done = True
    await other
    return turns


async def test_others_run_between_the_rows_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slice, "SLICE_S", 0.0)
    for body in BODIES:
        assert await encoded(body) == msgspec.json.encode(body)
        assert await decoded(body) == msgspec.json.decode(msgspec.json.encode(body))
    assert await decoded(msgspec.json.encode(BODIES[0])) == msgspec.to_builtins(BODIES[0])
    for convert in (encoded, decoded):
        assert await turns_of_others(lambda convert=convert: convert(BODIES[0])) > len(ROWS)  # type: ignore[misc]


def test_an_event_is_put_in_words_no_further_than_they_are_shown() -> None:
    booked = {"id": "a" * 30, "status": "scheduled"}
    unread = [{}] * 100
    says = event_in_words({"facts": {"appointments": [booked] * 10 + unread}, "data": {}})
    assert (len(says), says[-1]) == (300, "…")
