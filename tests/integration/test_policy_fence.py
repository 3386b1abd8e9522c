"""The fence asks policies too: an unsent cancel is revoked when the condition it was requested for no longer holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from providers import Provider
from servers import ACCOUNT, Rescind
from times import shift

from app.workers import attempt

pytestmark = pytest.mark.usefixtures("quick")

WORDS = {"reason": "duplicate_order", "note": "By policy."}
OPEN = "order.phase == 'open' && !('keep' in order.tags)"
TWICE = "order.duplicates.exists(d, d.came == 'before' && d.phase != 'canceled' && d.canceling == 'no')"
HOUSE = {"external_property_id": "house-1", "services": [{"slug": "photos"}]}


async def save(rescind: Rescind, **more: Any) -> None:
    body = {"accounts": [ACCOUNT], "when": OPEN, "cancel": WORDS, "mode": "enforce", **more}
    assert (await rescind.ask("PUT", "/v1/policies/p?confirm=true", body)).status in (200, 201)


async def pause(rescind: Rescind, what: str = "pause") -> None:
    assert (await rescind.ask("POST", f"/v1/{what}", {"account": ACCOUNT})).status == 200


async def waiting(rescind: Rescind) -> str:
    """The one cancellation that the policy made."""
    (found,) = (await rescind.get("/v1/cancellations?policy=p"))["data"]
    return str(found["id"])


async def test_when_the_first_is_canceled_meanwhile_the_second_stays(rescind: Rescind, provider: Provider) -> None:
    """No event tells the second of it: it is asked at the moment of sending."""
    await provider.create("a", "b")
    await save(rescind, when=TWICE)
    await pause(rescind)
    for order in ("a", "b"):
        await rescind.tell("order.processed", order, **HOUSE)
    id = await waiting(rescind)
    await rescind.tell("order.canceled", "a")
    await pause(rescind, "resume")
    done = await rescind.settled(id)
    assert (done["state"], done["cause"]) == ("revoked", "condition_ended")
    assert await provider.calls() == []


@pytest.mark.parametrize("change", ["delete", "shadow", "tag"])
async def test_what_was_not_sent_goes_with_its_reason(rescind: Rescind, provider: Provider, change: str) -> None:
    await provider.create("o-1")
    await save(rescind)
    await pause(rescind)
    await rescind.tell("order.processed", "o-1")
    id = await waiting(rescind)
    if change == "delete":
        assert (await rescind.ask("DELETE", "/v1/policies/p")).status == 204
    elif change == "shadow":
        await save(rescind, mode="shadow")
    else:
        await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/o-1/tags", {"add": ["keep"]})
    await pause(rescind, "resume")
    assert (await rescind.settled(id))["cause"] == "condition_ended"
    assert await provider.calls() == []


async def test_a_time_that_has_passed_ends_it_too(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.create("o-1")
    await save(rescind, when="order.phase == 'open' && now < order.opened_at + duration('1h')")
    await pause(rescind)
    await rescind.tell("order.processed", "o-1")
    id = await waiting(rescind)
    assert (await rescind.cancellation(id))["state"] == "scheduled"
    shift(monkeypatch, timedelta(hours=1), attempt)
    await pause(rescind, "resume")
    assert (await rescind.settled(id))["cause"] == "condition_ended"


async def test_a_cancel_request_does_not_make_a_policy_forget_to_look(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    await pause(rescind)
    rescind.node._tasks["timers"].cancel()
    await save(rescind, mode="shadow")
    await rescind.cancel("o-1")
    await rescind.node.store.recheck_step(9)  # as the timers do, where it is not done at once
    assert await rescind.node.store.overdue(datetime.now(UTC), 9) == [(ACCOUNT, "o-1")]


async def test_no_key_bears_the_name_in_which_rescind_acts_itself(rescind: Rescind) -> None:
    (await rescind.ask("POST", "/v1/keys", {"name": "Rescind "})).problem(422, "invalid-request")


async def test_long_texts_are_refused(rescind: Rescind) -> None:
    body = {"accounts": [ACCOUNT], "when": OPEN, "cancel": WORDS, "wait": "1h since a" + " " * 60_000 + "b"}
    (await rescind.ask("PUT", "/v1/policies/p", body)).problem(422, "invalid-request")
