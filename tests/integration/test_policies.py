"""Policies at work: on a real server, with a real provider to cancel at."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from providers import Provider, until
from servers import ACCOUNT, Rescind

pytestmark = pytest.mark.usefixtures("quick")

OPEN = "order.phase == 'open' && size(order.appointments) == 0"


def policy(**more: Any) -> dict[str, Any]:
    words = {"reason": "client_requested_cancelation", "note": "By policy."}
    return {"accounts": [ACCOUNT], "when": OPEN, "cancel": words, "mode": "enforce", **more}


async def save(rescind: Rescind, id: str = "p", **more: Any) -> None:
    reply = await rescind.ask("PUT", f"/v1/policies/{id}?confirm=true", policy(**more))
    assert reply.status in (200, 201), reply


async def decisions(rescind: Rescind, order: str, policy: str = "p") -> list[dict[str, Any]]:
    found = [each["event"]["data"] for each in await rescind.timeline(order) if each["kind"] == "decision"]
    return [each for each in found if each["policy"] == policy]


async def outcomes(rescind: Rescind, order: str, policy: str = "p") -> list[str]:
    return [each["outcome"] for each in await decisions(rescind, order, policy)]


async def test_a_policy_cancels_without_being_asked(rescind: Rescind, provider: Provider) -> None:
    await save(rescind)
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    (listed,) = (await rescind.get("/v1/cancellations?policy=p"))["data"]
    done = await rescind.settled(listed["id"])
    assert (done["state"], done["policy"], done["requested_by"]) == ("succeeded", "p", "policy p")
    assert [each["order"] for each in await provider.calls()] == ["o-1"]
    (decided,) = await decisions(rescind, "o-1")
    assert (decided["outcome"], decided["cancellation"]) == ("acted", listed["id"])
    assert decided["clauses"] == [
        {"text": "order.phase == 'open'", "value": True},
        {"text": "size(order.appointments) == 0", "value": True},
    ]


async def test_not_canceling_is_explained(rescind: Rescind, provider: Provider) -> None:
    await save(rescind)
    await rescind.tell("order.post_processing", "o-1")
    assert await decisions(rescind, "o-1") == [], "it follows from the order"
    assert await provider.calls() == []
    (told,) = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/o-1/policies"))["data"]
    assert (told["policy"], told["outcome"]) == ("p", "unmatched")
    assert told["clauses"][0] == {"text": "order.phase == 'open'", "value": False}


async def test_two_policies_one_cancellation_and_both_decisions(rescind: Rescind, provider: Provider) -> None:
    await save(rescind, "a")
    await save(rescind, "b")
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    (one,) = (await rescind.get("/v1/cancellations"))["data"]
    assert (await rescind.settled(one["id"]))["state"] == "succeeded"
    assert await outcomes(rescind, "o-1", "a") == ["acted"]
    assert await outcomes(rescind, "o-1", "b") == ["joined"]
    (joined,) = await decisions(rescind, "o-1", "b")
    assert joined["cancellation"] == one["id"]
    assert len(await provider.calls()) == 1


async def backtest(rescind: Rescind, **more: Any) -> dict[str, Any]:
    reply = await rescind.ask("POST", "/v1/policies/p/backtest", more)
    assert reply.status == 202, reply

    async def look() -> dict[str, Any] | None:
        found = await rescind.get(f"/v1/policies/p/backtests/{reply.json['id']}")
        return found if found["state"] in ("done", "failed") else None

    found = dict(await until(look, "the end of the backtest", 300) or {})
    assert found["state"] == "done", found
    return dict(found["report"])


async def test_a_backtest_says_what_would_have_been(rescind: Rescind, provider: Provider) -> None:
    for number in range(3):
        await rescind.tell("order.processed", f"o-{number}")
    await rescind.tell("order.post_processing", "o-2")
    report = await backtest(rescind, policy=policy(mode="shadow"))
    assert (report["orders"], report["would_cancel"], report["in_time"]) == (3, 3, 3)
    assert report["happened"] == {"in_progress": 1, "open": 2}
    assert [each["order"] for each in report["decisions"]] == ["o-0", "o-1", "o-2"]
    assert await provider.calls() == []


async def test_a_policy_that_fails_on_every_order_is_seen(rescind: Rescind) -> None:
    await save(rescind, when="order.attributes.nowhere == 'x'")
    with structlog.testing.capture_logs() as logs:
        for number in range(3):
            assert "failing" not in await rescind.get("/v1/policies/p")
            await rescind.tell("order.processed", f"o-{number}")
    (logged,) = [each for each in logs if each["event"] == "policy_failed"]
    assert (logged["policy"], logged["order"]) == ("p", "o-0")
    (listed,) = (await rescind.get("/v1/policies"))["data"]
    assert (listed["failing"]["order"], listed["failing"]["account"]) == ("o-2", ACCOUNT)
    assert "nowhere" in listed["failing"]["detail"]
    (finding,) = [each for each in (await rescind.get("/v1/status"))["findings"] if each["code"] == "policy_failing"]
    assert (finding["what"], finding["state"]) == ("policy p", "fault")
    assert b'rescind_decisions_total{outcome="failed",policy="p"}' in (await rescind.ask("GET", "/metrics")).raw
    await save(rescind)
    await rescind.tell("order.processed", "o-3")
    assert "failing" not in await rescind.get("/v1/policies/p")


async def test_a_policy_that_fails_on_some_orders_is_not_failing(rescind: Rescind) -> None:
    """On the others it waits, of which nothing is recorded."""
    await save(rescind, when="order.attributes.metadata.rush == 'yes'", wait="48h since order.opened_at")
    for number in range(6):
        given = {"metadata": {"rush": "no"}} if number == 2 else {}
        await rescind.tell("order.processed", f"o-{number}", **given)
    (listed,) = (await rescind.get("/v1/policies"))["data"]
    assert [event["data"]["outcome"] for event in (await rescind.get("/v1/policies/p/decisions"))["data"]] == [
        "failed"
    ] * 5
    assert "failing" not in listed
