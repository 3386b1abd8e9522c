"""Batches of cancellations, and what is foretold of each cancel when it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import Provider, until
from servers import ACCOUNT, CANCEL_BODY, Reply, Rescind, account_of, execute_sql

pytestmark = pytest.mark.usefixtures("quick")

BATCHES = "/v1/cancellation-batches"


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def item(order: str, **more: Any) -> dict[str, Any]:
    return {"account": ACCOUNT, "order": order, **CANCEL_BODY, **more}


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


async def ask(rescind: Rescind, *items: dict[str, Any], key: str = "") -> Reply:
    headers = {"Idempotency-Key": key} if key else None
    return await rescind.ask("POST", BATCHES, {"cancellations": list(items)}, headers=headers)


async def ended(rescind: Rescind, batch: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await rescind.get(f"{BATCHES}/{batch}")
        return found if found["final"] else None

    return dict(await until(look, "the end of the batch") or {})


async def test_many_at_once_each_with_its_own_outcome(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "a", "b", "late", "twice")
    await rescind.tell("order.delivered", "late")
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    other = await rescind.cancel("twice")
    reply = await ask(
        rescind,
        item("a"),
        item("late"),
        item("twice"),
        item("b"),
        item("b"),
        item("c", account="nobody"),
        item("c", reason="because"),
        item("c", deadline="2020-01-01T00:00:00Z"),
        item("\u0007"),
    )
    assert reply.status == 202, reply
    told = reply.json
    outcomes = [each["outcome"] for each in told["results"]]
    assert outcomes == ["scheduled", "rejected", "exists", "scheduled", "exists", *["invalid"] * 4]
    assert told["outcomes"] == {"exists": 2, "invalid": 4, "rejected": 1, "scheduled": 2}
    assert [each["order"] for each in told["results"]][:3] == ["a", "late", "twice"]
    assert told["results"][2]["cancellation"] == other
    assert all(each["detail"] for each in told["results"] if each["outcome"] != "scheduled")
    assert all(each["in_time"] is None for each in told["results"]), "nothing is sent: nobody can tell"
    assert (await rescind.get(f"{BATCHES}/{told['id']}"))["states"] == {"rejected": 1, "scheduled": 2}
    await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})
    done = await ended(rescind, told["id"])
    assert (done["states"], done["total"]) == ({"rejected": 1, "succeeded": 2}, 3)
    listed = (await rescind.get(f"/v1/cancellations?batch={told['id']}"))["data"]
    assert {each["order"] for each in listed} == {"a", "b", "late"}
    assert {each["batch"] for each in listed} == {told["id"]}


async def test_the_same_batch_again_is_the_first_answer_again(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "a", "b")
    first = await ask(rescind, item("a"), item("b"), key="k")
    again = await ask(rescind, item("a"), item("b"), key="k")
    assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (202, first.raw, "true")
    (await ask(rescind, item("a"), key="k")).problem(422, "idempotency-key-reused")
    await ended(rescind, first.json["id"])
    assert len(await provider.calls()) == 2


async def test_what_broke_off_goes_on_where_it_stopped(rescind: Rescind, provider: Provider, tmp_path: Path) -> None:
    """The process ended after the cancel requests were recorded, and before the response was."""
    await placed(rescind, provider, "a", "b")
    first = await ask(rescind, item("a"), item("b"), key="k")
    await ended(rescind, first.json["id"])
    execute_sql(tmp_path, "DELETE FROM answers")
    again = await ask(rescind, item("a"), item("b"), key="k")
    assert [each["cancellation"] for each in again.json["results"]] == [
        each["cancellation"] for each in first.json["results"]
    ]
    assert len(await provider.calls()) == 2
    execute_sql(tmp_path, "DELETE FROM answers")
    (await ask(rescind, item("a"), item("c"), key="k")).problem(422, "idempotency-key-reused")


async def test_batches_that_cannot_be(rescind: Rescind) -> None:
    (await rescind.ask("POST", BATCHES, {"cancellations": []})).problem(422, "invalid-request")
    (await rescind.ask("POST", BATCHES, {})).problem(422, "invalid-request")
    (await rescind.ask("GET", f"{BATCHES}/bat_0000000000000001")).problem(404, "not-found")


# -- Foretold --------------------------------------------------------------------------------


async def test_a_burst_is_told_which_of_it_can_make_it(rescind: Rescind, provider: Provider) -> None:
    limits = {"requests": 2, "per_s": 3600}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits=limits))
    await placed(rescind, provider, "a", "b", "c", "d", "e", "f")
    deadlines = {"a": 30_000, "b": 600, "c": 1800, "d": 1200, "e": 2400, "f": 24_000}
    reply = await ask(rescind, *(item(order, deadline=soon(by)) for order, by in deadlines.items()))
    told = {each["order"]: each["in_time"] for each in reply.json["results"]}
    # Two go at once, the most urgent; two an hour later, by when two are too late.
    assert told == {"b": True, "d": True, "c": False, "e": False, "a": True, "f": True}
    assert (reply.json["in_time"], reply.json["too_late"]) == (4, 2)
    await provider.arrived(2)
    assert {each["order"] for each in await provider.calls()} == {"b", "d"}
    for order, more, in_time in (("g", 1800, False), ("h", 18_000, True)):
        await placed(rescind, provider, order)
        one = (await rescind.request_cancel(order, deadline=soon(more))).json
        assert one["in_time"] is in_time
        assert datetime.fromisoformat(one["expected_at"]) > datetime.now(UTC) + timedelta(seconds=3000)


async def test_a_cancel_that_can_leave_at_once_is_in_time(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "a")
    one = (await rescind.request_cancel("a")).json
    assert one["in_time"] is True
    assert datetime.fromisoformat(one["expected_at"]) <= datetime.now(UTC)
    assert (one["closes_at"], one["send_by"]) == (None, None)


async def test_what_calls_take_of_late_is_learned_and_known_after_a_restart(
    rescind: Rescind, provider: Provider, start: Start
) -> None:
    await placed(rescind, provider, "a")
    await provider.fault("delay", seconds=0.3)
    await rescind.settled(await rescind.cancel("a"))

    async def learned(rescind: Rescind) -> float:
        # The lane says so when it has recorded the answer.
        return rescind.node.latency_s(ACCOUNT)

    assert await until(lambda: learned(rescind), "the latency") >= 0.3, "the answer did not come before"
    (stored,) = await rescind.node.store.latencies_s(ACCOUNT, 20)
    assert stored >= 0.3
    await rescind.stop()
    again = await start()
    assert await until(lambda: learned(again), "what the process before had learned") == stored
