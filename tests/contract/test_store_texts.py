"""What every store must do with texts: any that can be written comes back, and the others are refused whole."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from contract.store_cases import ALL, A, at, attempt, commit, event, job, new_cancellation, order, place, receipt

from app.contract import Facts
from app.core.lane.state import LaneState
from app.core.pauses import Pause
from app.store import Resource, ResourceChange, Store, StoreError
from app.store.filters import EventFilter

_CHARACTERS = "%_'\"\\$@{};\u00e9\u2028\ufffe\U0001f600"
LARGE = "".join(Random(15).choices(_CHARACTERS + "abcdefghijklmnopqrstuvwxyz0123456789", k=500_000))  # noqa: S311
"""A megabyte that is as long when it is compressed."""


def changes(text: str) -> dict[str, Any]:
    """A text wherever a text from outside may stand; at most 200 characters where it is a name."""
    return {
        "job": job("o-1", cancellation=text[:200], policy=text[:200]),
        "shared_aliases": [(A, text[:200], 1)],
        "cancellations": [
            (1, new_cancellation("can_1", "o-1", note=text, requested_by=text, policy=text[:200], batch=text[:200]))
        ],
        "attempts": [attempt(5, 1, ended_at=at(1), outcome="retry", detail=text, exchanges=[{text: text}])],
        "pauses": [Pause("all", text, at(0), text)],
        "receipts": [
            receipt(9, "quarantined", reason=text, query=[(text, text)], headers=[(text, text)], body=text.encode())
        ],
    }


@pytest.mark.parametrize("text", [_CHARACTERS, "%", "_", "'; DROP TABLE orders; --", "@orders", LARGE])
async def test_any_text_comes_back_as_it_was(store: Store, text: str) -> None:
    facts = Facts(provider_status=text, attributes={"a\0b": text, text: "\0"})
    told = event("o-1", 1, facts=facts, data={text: [text]})
    given = changes(text)
    planned, (_, wanted), (sent,) = given["job"], given["cancellations"][0], given["attempts"]
    pauses, receipts = given["pauses"], given["receipts"]
    await place(store, 1, "o-1", told, event("o-1", 2), aggregate=order("o-1"), **given)
    await commit(store, names=[(A, text[:200], 1)])
    assert await store.event(told.id) == told
    assert await store.jobs(A, at(2), 9) == [(1, planned)]
    assert await store.cancellation("can_1") == wanted
    assert await store.attempts(1, 9) == [sent]
    assert await store.pauses() == pauses
    assert await store.receipt(9) == receipts[0]
    assert (await store.order(A, text[:200]) or (0,))[0] == 1
    assert await store.orders_sharing_alias(A, text[:200], 9) == ["o-1"]
    await store.save_lane(A, LaneState(down=text))
    assert await store.lane(A) == LaneState(down=text)
    change = ResourceChange("accounts", "acme", 1, at(0), text[:200], "create", {text: text})
    made = Resource("accounts", "acme", 1, at(0), text, text.encode())
    await store.save_resources([made], [], [change])
    assert (await store.resources(), [row for _, row in await store.resource_changes(ALL)]) == ([made], [change])
    looked_for = text[:20]
    assert [found.id for _, found in await store.events(ALL, EventFilter(text=looked_for))] in ([told.id], [])


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\udfff"])
async def test_a_text_that_cannot_be_written_is_refused_with_all_that_came_with_it(store: Store, text: str) -> None:
    """A store may take a NUL. Whatever it refuses, it keeps nothing of, and goes on."""
    await place(store, 1, "o-1", event("o-1", 1))
    tries: list[dict[str, Any]] = [
        {"names": [(A, text, 1)]},
        {"shared_aliases": [(A, text, 1)]},
        {"pauses": [Pause("all", text, at(0), "me")]},
        {"attempts": [attempt(6, 1, detail=text)]},
        {"receipts": [receipt(8, reason=text)]},
        {"events": [(1, event("o-1", 4, type=text))]},
    ]
    for number, given in enumerate(tries):
        mark = receipt(100 + number)
        told = {**given, "receipts": [*given.get("receipts", []), mark]}
        try:
            await commit(store, **told)
        except (StoreError, UnicodeEncodeError):
            assert await store.receipt(mark.id) is None, given
        else:
            assert "\0" in text, given
            assert await store.receipt(mark.id) == mark, given
    await commit(store, events=[(1, event("o-1", 3))])
    assert event("o-1", 3) in await store.order_events(1)
