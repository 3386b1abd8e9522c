"""Why an order can or cannot be canceled, and how it was known at an earlier time, over the API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from integration.test_long_orders import told
from providers import Provider, until
from servers import ACCOUNT, Rescind

ORDER = f"/v1/accounts/{ACCOUNT}/orders/1"


def stamp(moment: str) -> str:
    return moment.replace("+", "%2B")


async def test_which_event_decided_and_what_would_have_to_change(rescind: Rescind):
    await rescind.tell("order.processed", "1", status="ordered")
    explained = await rescind.get(f"{ORDER}/explanation")
    assert explained["verdict"] == {
        **(await rescind.get(f"{ORDER}/verdict")),
        "as_of": explained["verdict"]["as_of"],
    }
    decisive = explained["clauses"][-1]
    assert (decisive["rule"], decisive["decisive"], decisive["holds"]) == ("status_cancelable", True, True)
    status = decisive["operands"][0]
    (event,) = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=1"))["data"]
    assert status == {"field": "provider_status", "value": "ordered", "event": event["id"]}
    assert decisive["setting"]["name"] == "cancelable_statuses"
    assert decisive["opposite"]["cancelable"] != "yes"
    assert [one["id"] for one in explained["events"]] == [event["id"]]
    assert explained["policies"] == []
    (await rescind.ask("GET", f"/v1/accounts/{ACCOUNT}/orders/none/explanation")).problem(404, "not-found")


async def test_policies_are_explained_as_of_a_time(rescind: Rescind):
    policy = {
        "accounts": [ACCOUNT],
        "when": 'order.phase == "open" && "vip" in order.tags',
        "cancel": {"reason": "duplicate_order", "note": "We sent it twice."},
        "mode": "shadow",
    }
    assert (await rescind.ask("PUT", "/v1/policies/vip", policy)).status == 201
    await rescind.tell("order.processed", "1", status="ordered")
    (first,) = (await rescind.get(f"{ORDER}/explanation"))["policies"]
    assert (first["outcome"], [clause["value"] for clause in first["clauses"]]) == ("unmatched", [True, False])
    await rescind.ask("POST", f"{ORDER}/tags", {"add": ["vip"]})
    (acted,) = (await rescind.get(f"{ORDER}/explanation"))["policies"]
    assert (acted["outcome"], [clause["value"] for clause in acted["clauses"]]) == ("shadowed", [True, True])
    decided = acted["decided"][-1]
    assert (await rescind.get(f"/v1/events/{decided['id']}"))["type"] == "policy.shadowed"
    events = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=1&type=order.processed"))["data"]
    known = stamp(events[0]["received_at"])
    (then,) = (await rescind.get(f"{ORDER}/explanation?known_at={known}&at={known}"))["policies"]
    assert (then["outcome"], [clause["value"] for clause in then["clauses"]]) == ("unmatched", [True, False])
    assert "shadowed" not in {one["outcome"] for one in then["decided"]}


async def test_an_order_as_it_was_known(rescind: Rescind, provider: Provider):
    await provider.create("1")
    await rescind.tell("order.processed", "1", status="ordered")
    (opened,) = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=1"))["data"]
    id = await rescind.cancel("1")
    await rescind.settled(id)

    async def closed() -> Any:
        return (await rescind.get(ORDER))["phase"] == "canceled"

    await until(closed, "the order is canceled")
    steps = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=1&type=cancellation.*"))["data"][::-1]
    early = stamp(opened["received_at"])
    then = await rescind.get(f"{ORDER}?known_at={early}&at={early}")
    assert (then["phase"], then["verdict"]["cancelable"], then["cancellation"]) == ("open", "yes", None)
    assert (await rescind.get(f"{ORDER}/cancellations?known_at={early}"))["data"] == []
    for step in steps:
        moment = stamp(step["received_at"])
        known = (await rescind.get(f"{ORDER}/cancellations?known_at={moment}"))["data"]
        latest = [one for one in steps if one["received_at"] <= step["received_at"]][-1]
        assert [(one["id"], f"cancellation.{one['state']}") for one in known] == [(id, latest["type"])]
    now = (await rescind.get(f"{ORDER}/cancellations"))["data"]
    assert now == (await rescind.get(f"/v1/cancellations?account={ACCOUNT}&order=1"))["data"]
    assert [one["id"] for one in now] == [id]
    never = stamp((datetime.fromisoformat(opened["received_at"]) - timedelta(days=1)).isoformat())
    unknown = await rescind.get(f"{ORDER}?known_at={never}")
    assert (unknown["version"], unknown["verdict"]["reason"]) == (0, "never_seen")


async def test_cancellations_of_an_order_are_paged_also_in_the_past(rescind: Rescind):
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    await rescind.tell("order.processed", "1", status="ordered")
    for _ in range(3):
        id = await rescind.cancel("1")
        assert (await rescind.ask("POST", f"/v1/cancellations/{id}/revoke", {})).status == 200
    whole = [one["id"] for one in (await rescind.get(f"{ORDER}/cancellations"))["data"]]
    assert len(whole) == 3
    moment = stamp((await rescind.get("/v1/overview"))["as_of"])
    path = f"{ORDER}/cancellations?known_at={moment}"
    first = await rescind.get(f"{path}&limit=2")
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (whole[:2], True)
    rest = await rescind.get(f"{path}&limit=2&cursor={first['next_cursor']}")
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (whole[2:], False)


async def test_a_long_order_is_replayed_in_slices(rescind: Rescind):
    for part in range(3):
        for number in range(part, 60, 3):
            assert (await rescind.hook(told(number))).status == 200
    events = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=long&limit=500"))["data"]
    moment = sorted(one["received_at"] for one in events)[30]
    known = await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/long?known_at={stamp(moment)}")
    assert known["version"] == sum(one["received_at"] <= moment and not one["data"] for one in events)
