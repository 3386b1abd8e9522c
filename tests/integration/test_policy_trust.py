"""What lets a policy be trusted: limits across restarts, pauses, approval, confirmation, and people who say no."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Start
from providers import Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, Rescind, account_of, endpoint_of

from app.core.aggregate import JobKind
from app.core.commands import ClaimJob

pytestmark = pytest.mark.usefixtures("quick")

WORDS = {"reason": "client_requested_cancelation", "note": "By policy."}
OPEN = "order.phase == 'open'"


def policy(**more: Any) -> dict[str, Any]:
    return {"accounts": [ACCOUNT], "when": OPEN, "cancel": WORDS, "mode": "enforce", **more}


async def save(rescind: Rescind, id: str = "p", **more: Any) -> None:
    reply = await rescind.ask("PUT", f"/v1/policies/{id}?confirm=true", policy(**more))
    assert reply.status in (200, 201), reply


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)
    # Where many nodes share a database, what has limits is decided a moment later, by the node that counts them.
    await until(lambda: all_checked(rescind), "a look at all")


async def outcome(rescind: Rescind, order: str, policy: str = "p") -> str:
    """How the policy stands to the order."""
    found = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/{order}/policies"))["data"]
    return str(next(each["outcome"] for each in found if each["policy"] == policy))


async def decided(rescind: Rescind, order: str, outcome: str = "acted") -> bool:
    """The policy has decided so, as the log says: what is shown may be what it would decide now."""
    found = [each["event"]["data"] for each in await rescind.timeline(order) if each["kind"] == "decision"]
    return ("p", outcome) in {(each["policy"], each["outcome"]) for each in found}


async def all_checked(rescind: Rescind) -> bool:
    """No order waits for its policies to look at it."""
    deadline = await rescind.node.store.next_deadline()
    return deadline is None or deadline > datetime.now(UTC)


async def made(rescind: Rescind, policy: str = "p") -> list[dict[str, Any]]:
    return list((await rescind.get(f"/v1/cancellations?policy={policy}&limit=500"))["data"])


async def pauses(rescind: Rescind, what: str, **body: Any) -> list[str]:
    reply = await rescind.ask("POST", f"/v1/{what}", body or {"scope": "all"})
    assert reply.status == 200, reply
    return [each["scope"] for each in reply.json["paused"]]


# -- Limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"per_hour": 2}, {"per_day": 2}, {"per_hour": 2, "per_day": 9}])
async def test_a_policy_that_reaches_a_limit_halts_itself_and_says_so(
    rescind: Rescind, provider: Provider, limits: dict[str, int]
) -> None:
    await save(rescind, limits=limits)
    await placed(rescind, provider, "o-1", "o-2", "o-3", "o-4")
    assert sorted(each["order"] for each in await made(rescind)) == ["o-1", "o-2"]
    assert [await outcome(rescind, order) for order in ("o-3", "o-4")] == ["held", "held"]
    shown = await rescind.get("/v1/policies/p")
    assert (shown["paused"]["scope"], shown["paused"]["by"]) == ("policy:p", "rescind")
    assert "limit of 2" in shown["paused"]["reason"]
    halts = (await rescind.get("/v1/events?type=sending.paused"))["data"]
    assert [each["data"]["scope"] for each in halts] == ["policy:p"]
    async with rescind.session.get(
        f"{rescind.url}/metrics", headers={"Authorization": f"Bearer {BOOTSTRAP_KEY}"}
    ) as told:
        shown = await told.text()
    assert 'rescind_pauses_total{scope="policy:p"}' in shown
    assert 'rescind_decisions_total{outcome="held",policy="p"}' in shown
    # What it had decided before that is sent all the same.
    for each in await made(rescind):
        assert (await rescind.settled(each["id"]))["state"] == "succeeded"


async def test_limits_are_counted_across_restarts(start: Start, provider: Provider) -> None:
    rescind = await start()
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await save(rescind, limits={"per_day": 2})
    await placed(rescind, provider, "o-1")
    await rescind.stop()
    rescind = await start()
    await placed(rescind, provider, "o-2", "o-3")
    assert sorted(each["order"] for each in await made(rescind)) == ["o-1", "o-2"]
    assert await outcome(rescind, "o-3") == "held"
    await rescind.stop()
    rescind = await start()
    await placed(rescind, provider, "o-4")
    assert len(await made(rescind)) == 2
    assert (await rescind.get("/v1/policies/p"))["paused"]["by"] == "rescind"


async def test_a_share_of_the_open_orders(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, *(f"o-{number}" for number in range(10)))
    await save(rescind, limits={"open_share": 0.3})

    async def halted() -> bool:
        return "paused" in await rescind.get("/v1/policies/p")

    await until(halted, "the halt")
    assert len(await made(rescind)) == 3
    assert "30.00%" in (await rescind.get("/v1/policies/p"))["paused"]["reason"]


async def test_who_raises_the_limit_and_resumes_lets_it_go_on_with_what_was_held(
    rescind: Rescind, provider: Provider
) -> None:
    await save(rescind, limits={"per_hour": 1})
    await placed(rescind, provider, "o-1", "o-2")
    assert await outcome(rescind, "o-2") == "held"
    # Resumed as it is, it halts at once again: the limit holds in every hour.
    assert await pauses(rescind, "resume", policy="p") == []

    async def halted() -> bool:
        return "paused" in await rescind.get("/v1/policies/p")

    await until(halted, "the halt")
    assert len(await made(rescind)) == 1
    await save(rescind, limits={"per_hour": 5})
    await pauses(rescind, "resume", policy="p")
    await until(lambda: decided(rescind, "o-2"), "the policy's decision")


# -- Pauses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [{"policies": True}, {"policy": "p"}])
async def test_pausing_policies_holds_back_what_they_want_sent_and_nothing_else(
    rescind: Rescind, provider: Provider, scope: dict[str, Any]
) -> None:
    await provider.fault("status", status=503, times=1_000_000)
    await save(rescind)
    await placed(rescind, provider, "o-1", "o-2")
    await provider.arrived()
    await pauses(rescind, "pause", **scope)
    await provider.mend()
    await provider.create("o-3")
    await rescind.tell("order.processed", "o-3")
    # The policy's were due before, and would be sent first.
    assert (await rescind.settled(await rescind.cancel("o-3")))["state"] == "succeeded"
    assert {each["state"] for each in await made(rescind)} == {"scheduled"}
    await placed(rescind, provider, "o-4")
    assert await outcome(rescind, "o-4") == "held"
    assert await pauses(rescind, "resume", **scope) == []
    for each in await made(rescind):
        assert (await rescind.settled(each["id"]))["state"] == "succeeded"
    await until(lambda: decided(rescind, "o-4"), "the policy's decision")


async def test_a_pause_holds_at_the_moment_of_sending_too(rescind: Rescind, provider: Provider) -> None:
    """A lane that found the job just before may claim it after the pause."""
    await save(rescind)
    await pauses(rescind, "pause", account=ACCOUNT)
    await placed(rescind, provider, "o-1")
    (waiting,) = await made(rescind)
    await pauses(rescind, "pause", policies=True)
    await pauses(rescind, "resume", account=ACCOUNT)
    now = datetime.now(UTC)
    claim = ClaimJob(ACCOUNT, "o-1", now, "att_1", JobKind.CANCEL, waiting["id"], 60.0)
    assert await rescind.node.ledger.execute(claim) is None
    await pauses(rescind, "resume", policies=True)
    assert (await rescind.settled(waiting["id"]))["state"] == "succeeded"


async def test_what_was_decided_before_a_halt_is_sent_after_it(rescind: Rescind, provider: Provider) -> None:
    await save(rescind, limits={"per_hour": 1})
    await pauses(rescind, "pause", account=ACCOUNT)
    await placed(rescind, provider, "o-1", "o-2")
    assert await outcome(rescind, "o-2") == "held"
    await pauses(rescind, "resume", account=ACCOUNT)
    (one,) = await made(rescind)
    assert (await rescind.settled(one["id"]))["state"] == "succeeded"


# -- Approval, confirmation, people ----------------------------------------------------------


async def test_a_proposal_is_sent_when_a_person_approves(rescind: Rescind, provider: Provider) -> None:
    await save(rescind, mode="approve", approve_within="2h")
    await placed(rescind, provider, "o-1", "o-2")
    waiting = (await rescind.get("/v1/cancellations?waiting=approval"))["data"]
    assert {each["order"] for each in waiting} == {"o-1", "o-2"}
    assert all(each["waiting"]["for"] == "approval" for each in waiting)
    first, second = sorted(waiting, key=lambda each: each["order"])
    approved = await rescind.ask("POST", f"/v1/cancellations/{first['id']}/approve")
    assert (approved.status, approved.json["cause"]) == (200, "approved")
    assert (await rescind.settled(first["id"]))["state"] == "succeeded"
    again = await rescind.ask("POST", f"/v1/cancellations/{first['id']}/approve")
    again.problem(409, "wrong-state")
    assert (await rescind.ask("POST", f"/v1/cancellations/{second['id']}/revoke")).status == 200
    await rescind.tell("order.processed", "o-2")
    assert [each["order"] for each in await provider.calls()] == ["o-1"]
    assert len(await made(rescind)) == 2


async def test_a_policy_that_nobody_has_seen_at_work_needs_a_confirmation(rescind: Rescind) -> None:
    body = (await rescind.ask("PUT", "/v1/policies/p", policy())).problem(409, "confirmation-needed")
    assert body["policies"] == ["p"]
    file = {"resources": {"policies": [policy(id="p")]}}
    (await rescind.ask("POST", "/v1/apply", file)).problem(409, "confirmation-needed")
    assert (await rescind.ask("POST", "/v1/apply", {**file, "dry_run": True})).status == 200
    assert (await rescind.ask("PUT", "/v1/policies/p", policy(mode="approve"))).status == 201
    (await rescind.ask("PUT", "/v1/policies/p", policy())).problem(409, "confirmation-needed")
    assert (await rescind.ask("POST", "/v1/apply", {**file, "confirm": True})).status == 200
    # It was confirmed once; only what decides must be seen anew.
    assert (await rescind.ask("PUT", "/v1/policies/p", policy(limits={"per_day": 3}))).status == 200
    (await rescind.ask("PUT", "/v1/policies/p", policy(when="true"))).problem(409, "confirmation-needed")


async def test_who_saw_it_in_shadow_or_in_a_backtest_is_not_asked(rescind: Rescind) -> None:
    assert (await rescind.ask("PUT", "/v1/policies/p", policy(mode="shadow"))).status == 201
    assert (await rescind.ask("PUT", "/v1/policies/p", policy())).status == 200
    await rescind.tell("order.processed", "o-1")
    run = (await rescind.ask("POST", "/v1/policies/q/backtest", {"policy": policy(mode="shadow")})).json

    async def done() -> bool:
        return bool((await rescind.get(f"/v1/policies/q/backtests/{run['id']}"))["state"] == "done")

    await until(done, "the backtest", 300)
    assert (await rescind.ask("PUT", "/v1/policies/q", policy())).status == 201


async def test_what_cannot_be_is_said_when_it_is_saved(rescind: Rescind) -> None:
    for more, said in (
        ({"when": "order.phaze == 'x'"}, "policy p: when: line 1, column 7: there is no order.phaze"),
        ({"accounts": ["nobody"]}, "policy p: accounts.0: there is no account 'nobody'"),
        ({"cancel": {"reason": "because", "note": "x"}}, "policy p: cancel.reason: account acme:"),
        ({"cancel": {"reason": "duplicate_order"}}, "policy p: cancel.note: account acme:"),
        ({"mode": "often"}, "mode"),
        ({"limits": {"per_hour": 0}}, "limits.per_hour"),
        ({"wait": "48 hours"}, "policy p: wait:"),
    ):
        reply = await rescind.ask("PUT", "/v1/policies/p?confirm=true", policy(**more))
        assert said in reply.problem(422, "invalid-request")["detail"]
    rules = {"duplicate_keys": []}
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1", rules=rules))
    reply = await rescind.ask("PUT", "/v1/policies/p?confirm=true", policy(when="size(order.duplicates) > 0"))
    assert "duplicate_keys" in reply.problem(422, "invalid-request")["detail"]
    await save(rescind)
    reply = await rescind.ask("DELETE", f"/v1/accounts/{ACCOUNT}")
    assert f"account {ACCOUNT} is used by" in (detail := reply.problem(409, "resource-in-use")["detail"])
    assert "policy p" in detail


async def test_a_tag_keeps_policies_off(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    tags = f"/v1/accounts/{ACCOUNT}/orders/o-1/tags"
    assert (await rescind.ask("POST", tags, {"add": ["vip", "b"], "remove": ["none"]})).json == {"tags": ["b", "vip"]}
    assert (await rescind.order("o-1"))["tags"] == ["b", "vip"]
    await save(rescind, when=f"{OPEN} && !('vip' in order.tags)")
    await until(lambda: all_checked(rescind), "a look at the order")
    assert await outcome(rescind, "o-1") == "unmatched"
    assert (await rescind.ask("POST", tags, {"remove": ["vip"]})).json == {"tags": ["b"]}
    assert await decided(rescind, "o-1")
    (await rescind.ask("POST", tags, {"add": ["a b"]})).problem(422, "invalid-request")
    (await rescind.ask("POST", tags.replace("o-1", "o-9"), {"add": ["a"]})).problem(404, "not-found")


async def test_a_saved_policy_looks_at_the_orders_that_are_open_already(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await rescind.tell("order.delivered", "o-2")
    await save(rescind)
    await until(lambda: decided(rescind, "o-1"), "the policy's decision")
    assert [each["order"] for each in await made(rescind)] == ["o-1"]


# -- Duplicates, in the store ----------------------------------------------------------------

TWICE = "order.duplicates.exists(d, d.came == 'before' && d.phase != 'canceled' && d.canceling == 'no')"


async def test_of_orders_that_are_the_same_the_first_stays(rescind: Rescind, provider: Provider) -> None:
    await provider.create("a", "b", "c", "d")
    house = {"external_property_id": "house-1", "services": [{"slug": "photos"}]}
    other = {**house, "external_property_id": "house-2"}
    await rescind.tell("order.processed", "a", **house)
    await rescind.tell("order.processed", "d", **other)
    await save(rescind, when=TWICE, cancel={"reason": "duplicate_order", "note": "Twice."})
    # Only when it has looked at them, the orders that were there before are known for what they are.
    await until(lambda: all_checked(rescind), "a look at both")
    for order in ("b", "c"):
        await rescind.tell("order.processed", order, **house)
        assert await decided(rescind, order)
    assert await outcome(rescind, "a") == await outcome(rescind, "d") == "unmatched"
    for each in await made(rescind):
        assert (await rescind.settled(each["id"]))["state"] == "succeeded"
    assert sorted(each["order"] for each in await provider.calls()) == ["b", "c"]
    assert {each["reason"] for each in await made(rescind)} == {"duplicate_order"}


async def test_the_first_may_be_heard_of_last(rescind: Rescind, provider: Provider) -> None:
    await provider.create("a", "b")
    house = {"external_property_id": "house-1", "services": [{"slug": "photos"}]}
    await save(rescind, when=TWICE, cancel={"reason": "duplicate_order", "note": "Twice."})
    await rescind.tell("order.processed", "b", **house)
    assert await outcome(rescind, "b") == "unmatched"
    await rescind.tell("order.processed", "a", at=1_700_000_000.0, **house)
    assert await outcome(rescind, "a") == "unmatched"
    # They were opened too far from each other to count.
    await rescind.tell("order.processed", "c", at=1_700_000_060.0, **house)
    assert await decided(rescind, "c")
    assert await outcome(rescind, "b") == "unmatched"


# -- Trying a policy -------------------------------------------------------------------------


async def policy_test(rescind: Rescind, **body: Any) -> dict[str, Any]:
    reply = await rescind.ask("POST", "/v1/policies/p/test", body)
    assert reply.status == 200, reply
    return dict(reply.json)


async def test_a_policy_is_tried_on_an_order(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    body = policy(when=f"{OPEN} && order.version > 1")
    found = await policy_test(rescind, policy=body, account=ACCOUNT, order="o-1")
    assert (found["outcome"], [each["value"] for each in found["clauses"]]) == ("unmatched", [True, False])
    found = await policy_test(rescind, policy=policy(wait="48h since order.opened_at"), account=ACCOUNT, order="o-1")
    assert found["outcome"] == "waiting"
    later = {"at": "2031-01-01T00:00:00Z", "account": ACCOUNT, "order": "o-1"}
    assert (await policy_test(rescind, policy=policy(wait="48h since order.opened_at"), **later))[
        "outcome"
    ] == "shadowed"
    assert (await policy_test(rescind, policy=policy(on=["order.x"]), account=ACCOUNT, order="o-1"))[
        "outcome"
    ] == "dormant"
    found = await policy_test(rescind, policy=policy(on=["order.*"], when="event.type == 'order.processed'"), **later)
    assert found["outcome"] == "shadowed"
    assert await provider.calls() == []
    assert (await rescind.get("/v1/cancellations"))["data"] == []
    (await rescind.ask("POST", "/v1/policies/p/test", {"account": ACCOUNT, "order": "o-1"})).problem(404, "not-found")


async def test_a_policy_is_tried_on_a_fixture(rescind: Rescind) -> None:
    order = {"phase": "open", "provider_status": "ordered", "attributes": {"rush": "no"}}
    body = policy(when=f"{OPEN} && order.attributes.rush == 'no' && 'late' in order.tags && event.type == 'x'")
    fixture = {"account": ACCOUNT, "order": order, "tags": ["late"], "event": {"type": "x"}}
    found = await policy_test(rescind, policy=body, fixture=fixture)
    assert (found["outcome"], found["verdict"]["cancelable"]) == ("shadowed", "yes")
    fixture["order"] = {**order, "phase": "in_progress"}
    assert (await policy_test(rescind, policy=body, fixture=fixture))["outcome"] == "unmatched"
    fixture["order"] = {"phase": "no such phase"}
    for order in (fixture["order"], {"phaze": "open"}, {"phase": "open", "opened_at": "2026-01-01T00:00:00"}):
        sent = {"policy": body, "fixture": {**fixture, "order": order}}
        (await rescind.ask("POST", "/v1/policies/p/test", sent)).problem(422, "invalid-request")
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:1"))
    sent = {"policy": body, "fixture": {**fixture, "account": "other", "order": {}}}
    problem = (await rescind.ask("POST", "/v1/policies/p/test", sent)).problem(422, "invalid-request")
    assert "not to account other" in problem["detail"]


async def test_a_saved_policy_is_shown_with_what_was_not_written(rescind: Rescind) -> None:
    bare = {"accounts": [ACCOUNT], "when": OPEN, "cancel": WORDS}
    await rescind.put("policies", "p", bare)
    shown = await rescind.get("/v1/policies/p")
    assert (shown["mode"], shown["approve_within"], shown["limits"]) == ("shadow", "24h", {})
    assert (await rescind.put("policies", "p", shown)).status == 200
