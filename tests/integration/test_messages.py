"""What becomes a message to subscribers, in the transaction of its cause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from outboxes import CLOSING, SHOP, T0, Office, account, office, read

from app.contract import CancelOutcome, CancelResult, Phase, Source
from app.core.aggregate import JobKind
from app.core.commands import Approve, ClaimJob, Revoke
from app.core.event import internal_event
from app.core.event_types import SUBSCRIPTION_FAILING, SubscriptionFailing
from app.core.pauses import Pause
from app.core.results import RecordResult
from app.store import Receipt, Window
from app.store.filters import CancellationFilter

ALL = {"id": "all"}
HOUR = timedelta(hours=1)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path / "rescind.db", ALL) as made:
        yield made


async def test_a_verdict_is_told_when_it_changes_and_not_again(shop: Office) -> None:
    await shop.tell("a")
    [first] = shop.messages()
    assert first.type == "order.verdict_changed"
    data = read(first)
    assert (data["previous"], data["verdict"]["cancelable"], data["closes_at"]) == (None, "yes", None)
    assert data["event"] in data["verdict"]["evidence"]
    assert first.snapshot is None
    await shop.tell("a", attributes={"total": "1.00"})
    assert len(shop.messages()) == 1, "nothing changed"
    await shop.tell("a", booked=T0 + timedelta(days=3))
    moved = read(shop.messages()[-1])
    assert moved["previous"] == {"cancelable": "yes", "reason": "open", "closes_at": None}
    assert moved["closes_at"] == "2026-03-03T12:00:00Z"
    await shop.tell("a", Phase.CANCELED)
    canceled = read(shop.messages()[-1])
    assert (canceled["verdict"]["cancelable"], canceled["closes_at"]) == ("no", None)
    assert canceled["previous"]["closes_at"] == moved["closes_at"]
    assert len(shop.messages()) == 3


async def test_time_alone_changes_a_verdict_and_is_told_once(shop: Office) -> None:
    await shop.tell("a", booked=T0 + timedelta(days=3))
    await shop.tell("b", booked=T0 + timedelta(days=3))
    shop.forget()
    closes_at = T0 + timedelta(days=3) - CLOSING
    await shop.strike(closes_at - timedelta(seconds=1))
    assert shop.said() == [("order.closing_soon", "a"), ("order.closing_soon", "b")]
    shop.forget()
    shop.now = closes_at
    await shop.tell("b", attributes={"total": "1.00"})
    await shop.strike()
    await shop.strike(closes_at + HOUR)
    assert sorted(shop.said()) == [("order.verdict_changed", "a"), ("order.verdict_changed", "b")]
    by_time = next(message for message in shop.messages() if read(message)["order"] == "a")
    assert (by_time.cause, by_time.at) == (None, closes_at)


async def test_closing_soon_follows_the_appointment(tmp_path: Path) -> None:
    early, late = {"id": "early", "closing_soon": "6h"}, {"id": "late", "closing_soon": "1h"}
    both = [{**given, "events": ["order.closing_soon"]} for given in (early, late)]
    async with office(tmp_path / "rescind.db", *both) as shop:
        await shop.tell("a", booked=T0 + timedelta(days=3))
        closes_at = T0 + timedelta(days=2)
        await shop.strike(closes_at - 6 * HOUR - timedelta(seconds=1))
        assert shop.messages() == []
        await shop.strike(closes_at - 6 * HOUR)
        await shop.tell("a", attributes={"total": "1.00"})
        assert (shop.said("early"), shop.said("late")) == ([("order.closing_soon", "a")], [])
        # It moves by a day, and back again: of the time that was told last nothing is told twice.
        await shop.tell("a", booked=T0 + timedelta(days=4))
        await shop.strike(closes_at + 12 * HOUR)
        assert (len(shop.said("early")), shop.said("late")) == (1, [])
        await shop.strike(closes_at + timedelta(days=1) - HOUR)
        told = [read(message) for message in shop.messages()]
        assert [(data["lead_s"], data["closes_at"]) for data in told] == [
            (21600, "2026-03-03T12:00:00Z"),
            (21600, "2026-03-04T12:00:00Z"),
            (3600, "2026-03-04T12:00:00Z"),
        ]
        assert all(data["verdict"]["cancelable"] == "yes" for data in told)
        await shop.stop()
        await shop.start()
        await shop.strike(closes_at + timedelta(days=1) - timedelta(minutes=1))
        await shop.tell("a", attributes={"total": "2.00"})
        await shop.tell("a", attributes={"total": "3.00"})
        assert len(shop.messages()) == 3, "not again after a restart, however often the order is written"
        await shop.tell("short", booked=shop.now + CLOSING + timedelta(minutes=5))
        assert shop.said()[3:] == [("order.closing_soon", "short")] * 2, "the window is shorter than the lead"


async def test_closing_soon_is_not_told_of_what_is_gone(tmp_path: Path) -> None:
    async with office(tmp_path / "rescind.db", {**ALL, "events": ["order.closing_soon"]}) as shop:
        for order in ("canceled", "moved", "near"):
            await shop.tell(order, booked=T0 + timedelta(days=3))
        await shop.tell("canceled", Phase.CANCELED)
        await shop.tell("moved", booked=T0 + timedelta(days=9))
        await shop.strike(T0 + timedelta(days=2))
        assert shop.said() == [], "it was down all the time, and the window is closed by now"


async def test_a_subscription_that_comes_later(tmp_path: Path) -> None:
    async with office(tmp_path / "rescind.db") as shop:
        await shop.tell("old", booked=T0 + timedelta(days=3))
        await shop.tell("open")
        assert shop.rows("SELECT count(*) FROM messages") == [(0,)]
        await shop.apply(ALL)
        await shop.tell("old", attributes={"total": "1.00"})
        await shop.tell("open", attributes={"total": "1.00"})
        await shop.strike(T0 + HOUR)
        assert shop.messages() == [], "no verdict has changed"
        await shop.strike(T0 + timedelta(days=2) - HOUR)
        assert shop.said() == [("order.closing_soon", "old")]
        await shop.apply({"id": "soon", "events": ["order.closing_soon"], "closing_soon": "10m"})
        await shop.strike(T0 + timedelta(days=2) - timedelta(minutes=10))
        assert (len(shop.messages("all")), len(shop.messages("soon"))) == (1, 1)


async def test_an_order_of_an_earlier_release(shop: Office) -> None:
    await shop.tell("same", booked=T0 + timedelta(days=3))
    await shop.tell("other")
    shop.rows("UPDATE orders SET reason = NULL, closes_at = NULL, next_check_at = NULL")
    shop.rows("UPDATE orders SET cancelable = 'unknown' WHERE id = 'other'")
    await shop.stop()
    await shop.start()
    shop.forget()
    await shop.tell("same", attributes={"total": "1.00"})
    await shop.tell("other", attributes={"total": "1.00"})
    assert shop.said() == [("order.verdict_changed", "other")]
    assert read(shop.messages()[0])["previous"] == {"cancelable": "unknown", "reason": None, "closes_at": None}
    shop.rows("UPDATE orders SET reason = NULL, closes_at = NULL, next_check_at = NULL")
    shop.forget()
    await shop.apply({"id": "new", "events": ["order.closing_soon"], "closing_soon": "2h"})
    await shop.strike()
    await shop.strike(T0 + timedelta(days=2) - 2 * HOUR)
    assert shop.said() == [("order.closing_soon", "same")]


async def test_rules_that_change(shop: Office) -> None:
    await shop.tell("a")
    no = {"conditions": [{"when": "order.phase == 'open'", "cancelable": "no", "reason": "sealed"}]}
    await shop.apply(accounts=[account(rules=no)])
    shop.now += HOUR
    await shop.strike()
    told = read(shop.messages()[-1])
    assert (told["verdict"]["reason"], told["previous"]["reason"], told["event"]) == ("sealed", "open", None)


async def test_cancellations_are_told_at_each_change_of_state(shop: Office) -> None:
    await shop.tell("a")
    shop.forget()
    id = await shop.request("a")
    [(pk, job)] = await shop.store.jobs(SHOP, shop.now, 9)
    attempt = "att_0000000000000001"
    claim = ClaimJob(SHOP, "a", shop.now, attempt, JobKind.CANCEL, id, 60.0)
    await shop.record(claim, RecordResult(SHOP, "a", shop.now, attempt, id, CancelResult(CancelOutcome.RETRY, "busy")))
    states = [(read(each)["previous_state"], read(each)["cancellation"]["state"]) for each in shop.messages()]
    assert states == [(None, "scheduled"), ("scheduled", "sending"), ("sending", "scheduled")]
    await shop.record(Revoke(SHOP, "a", shop.now, id, "ann"))
    *_, last = shop.messages()
    assert (last.type, last.order_pk, last.at) == ("cancellation.revoked", pk, shop.now)
    assert read(last)["cancellation"]["waiting"] is None
    # Of an order that only a caller named nothing is known that could change.
    await shop.request("unknown")
    assert shop.said()[-1] == ("cancellation.scheduled", "unknown")
    await shop.tell("unknown")
    assert read(shop.messages()[-1])["previous"]["reason"] == "never_seen"
    # The next is rejected at once.
    await shop.record(shop.told("b", Phase.COMPLETED))
    await shop.request("b")
    assert shop.said()[-2:] == [("order.verdict_changed", "b"), ("cancellation.rejected", "b")]
    assert job.cancellation == id


async def test_messages_stand_in_the_order_of_their_causes(shop: Office) -> None:
    await shop.tell("a")
    await shop.tell("b")
    await shop.request("b")
    shop.forget()
    await shop.record(shop.told("b", Phase.CANCELED), shop.told("c"), shop.told("a", Phase.COMPLETED))
    assert shop.said() == [
        ("order.verdict_changed", "b"),
        ("cancellation.revoked", "b"),
        ("order.verdict_changed", "c"),
        ("order.verdict_changed", "a"),
    ]
    causes = [message.cause for message in shop.messages()]
    log = [event.id async for page in shop.store.log() for _, _, event in page]
    assert causes == sorted(causes, key=lambda cause: log.index(str(cause)))


async def test_only_who_subscribes_is_told(tmp_path: Path) -> None:
    given = [
        {"id": "verdicts", "events": ["order.verdict_changed"], "ordered": True},
        {"id": "cancels", "events": ["cancellation.*"], "accounts": ["other-*"], "payload": "full"},
        {"id": "paused", "enabled": False, "accounts": ["other-1"]},
    ]
    async with office(tmp_path / "rescind.db", *given, accounts=[account(), account("other-1")]) as shop:
        await shop.tell("a")
        await shop.tell("a", account="other-1")
        await shop.request("a")
        await shop.request("a", account="other-1")
        assert shop.said("verdicts") == [("order.verdict_changed", "a")] * 2
        assert shop.said("cancels") == [("cancellation.scheduled", "a")]
        assert shop.said("paused") == [("order.verdict_changed", "a"), ("cancellation.scheduled", "a")]
        full = shop.messages("cancels")[0]
        assert full.snapshot is not None
        snapshot = msgspec.json.decode(full.snapshot)
        assert (snapshot["id"], snapshot["cancellation"]) == ("a", read(full)["cancellation"]["id"])
        woken = [committed.subscriptions for committed in shop.committed]
        assert woken == [{"verdicts"}, {"verdicts", "paused"}, set(), {"cancels", "paused"}]
        sequences = shop.rows("SELECT subscription, sequence IS NOT NULL FROM deliveries")
        assert {subscription for subscription, ordered in sequences if ordered} == {"verdicts"}
        assert shop.rows("SELECT DISTINCT state, tries FROM deliveries") == [("pending", 0)]


async def test_an_example_is_sent_where_a_person_asks_for_a_test(tmp_path: Path) -> None:
    narrow = {"id": "narrow", "events": ["breaker.opened"], "accounts": ["other"]}
    full = {"id": "full", "events": ["policy.*"], "payload": "full"}
    async with office(tmp_path / "rescind.db", narrow, full) as shop:
        ledger = shop.ledger
        proposed = await ledger.send_test("policy.proposed", shop.now, account=SHOP)
        assert proposed is not None
        assert [target.subscription for target in proposed.targets] == ["full"]
        changed = await ledger.send_test("order.verdict_changed", shop.now, subscription="narrow")
        assert changed is not None
        assert [target.subscription for target in changed.targets] == ["narrow"], "whatever it subscribes to"
        assert await ledger.send_test("order.verdict_changed", shop.now) is None
        assert await ledger.send_test("policy.failed", shop.now, subscription="nobody") is None
        first, second = shop.messages()
        assert [first.id, second.id] == [proposed.id, changed.id]
        assert (first.account, second.account) == (SHOP, "")
        assert all(read(message)["test"] for message in (first, second))
        assert first.snapshot is not None
        assert shop.rows("SELECT count(*) FROM events") == shop.rows("SELECT count(*) FROM orders") == [(0,)]
        assert shop.committed[0].subscriptions == {"full"}


async def test_what_cannot_be_understood_is_told_once(shop: Office) -> None:
    def receipt(id: int, status: str) -> Receipt:
        return Receipt(id, "shop-in", SHOP, shop.now, status, "no status", [], [], b"{}")

    await shop.ledger.record_webhook(receipt(1, "quarantined"))
    await shop.ledger.record_webhook(receipt(1, "quarantined"), stored=True)
    await shop.ledger.record_webhook(receipt(2, "ignored"))
    [message] = shop.messages()
    assert message.type == "quarantine.added"
    data = read(message)
    assert (data["receipt"], data["endpoint"], data["reason"]) == ("rcp_0000000000000001", "shop-in", "no status")


async def test_pauses_are_told_to_those_whom_they_concern(tmp_path: Path) -> None:
    subscriptions = [{"id": id, "accounts": [f"{id}*"], "events": ["account.*", "policy.*"]} for id in ("a", "b", "c")]
    policy = {"id": "p", "accounts": ["a-1", "b-1"], "when": "order.phase == 'open'", "cancel": {"reason": "mistake"}}
    accounts = [account(id) for id in ("a-1", "b-1", "c-1")]
    async with office(tmp_path / "rescind.db", *subscriptions, accounts=accounts, policies=[policy]) as shop:

        async def said(scope: str, by: str = "ann") -> tuple[list[str], list[set[str]]]:
            shop.forget()
            await shop.ledger.pause(Pause(scope, "a break", shop.now, by))
            await shop.ledger.resume(Pause(scope, "resumed", shop.now, by))
            received = [
                shop.rows("SELECT subscription FROM deliveries WHERE message = ?", m.id) for m in shop.messages()
            ]
            return [message.type for message in shop.messages()], [{id for (id,) in ids} for ids in received]

        assert await said("account:a-1") == (["account.paused", "account.resumed"], [{"a"}] * 2)
        assert await said("all") == (["account.paused", "account.resumed"], [{"a", "b", "c"}] * 2)
        assert [read(message)["account"] for message in shop.messages()] == [None, None]
        assert await said("policies") == (["policy.paused", "policy.resumed"], [{"a", "b", "c"}] * 2)
        assert await said("policy:p") == (["policy.paused", "policy.resumed"], [{"a", "b"}] * 2)
        assert read(shop.messages()[0])["accounts"] == ["a-1", "b-1"]
        assert (await said("policy:p", "rescind"))[0] == ["policy.halted", "policy.resumed"]


async def test_what_policies_decide_is_told_once_for_each_outcome(tmp_path: Path) -> None:
    policy = {"accounts": [SHOP], "cancel": {"reason": "mistake", "note": "by policy"}}
    policies = [
        {**policy, "id": "asks", "when": "order.attributes.ask == 'yes'", "mode": "approve", "approve_within": "2h"},
        {**policy, "id": "waits", "when": "order.phase == 'open'", "wait": "1h"},
    ]
    async with office(tmp_path / "rescind.db", {**ALL, "events": ["policy.*"]}, policies=policies) as shop:
        await shop.tell("a")
        assert [read(message)["policy"] for message in shop.messages()] == ["asks"]
        assert shop.said() == [("policy.failed", "a")], "it has no attribute `ask`"
        await shop.tell("a")
        await shop.strike(T0 + HOUR)
        await shop.strike(T0 + 2 * HOUR)
        assert shop.said()[1:] == [("policy.matched", "a")]
        matched = read(shop.messages()[-1])
        assert (matched["outcome"], matched["mode"], matched["cancellation"]) == ("shadowed", "shadow", None)
        assert [clause["value"] for clause in matched["clauses"]] == [True]
        shop.forget()
        await shop.tell("a", attributes={"ask": "yes"}, booked=shop.now + CLOSING + HOUR)
        proposed = read(shop.messages()[0])
        assert shop.said() == [("policy.proposed", "a")]
        assert proposed["approve_until"] == "2026-03-01T15:00:00Z", "the window closes before its two hours are over"
        [(_, cancellation)] = await shop.store.cancellations(Window(9), CancellationFilter(policy="asks"))
        assert (proposed["cancellation"], proposed["note"]) == (cancellation.id, "by policy")
        await shop.apply({**ALL, "events": ["cancellation.*"]})
        shop.forget()
        await shop.record(Approve(SHOP, "a", shop.now, cancellation.id, "ann"))
        approved = read(shop.messages()[0])["cancellation"]
        assert (approved["state"], approved["cause"]) == ("scheduled", "approved")


async def test_a_policy_near_its_limit_is_told_once(tmp_path: Path) -> None:
    limits = {"per_hour": 10, "per_day": 100}
    policy = {"id": "p", "accounts": [SHOP], "when": "order.phase == 'open'", "mode": "enforce", "limits": limits}
    policies = [{**policy, "cancel": {"reason": "mistake"}}]
    subscription = {**ALL, "events": ["limit.near", "policy.halted"], "accounts": [SHOP]}
    async with office(tmp_path / "rescind.db", subscription, policies=policies) as shop:
        for number in range(12):
            await shop.tell(f"o-{number}")
        near, halted = shop.messages()
        assert (near.type, halted.type) == ("limit.near", "policy.halted")
        data = read(near)
        assert (data["policy"], data["limit"], data["used"], data["maximum"]) == ("p", "per_hour", 8, 10)
        # What hovers about the limit is one episode; an hour without it ends it.
        await shop.ledger.resume(Pause("policy:p", "resumed", shop.now, "ann"))
        for minutes, expected in ((61, 2), (62, 2), (63, 3)):
            shop.now = T0 + timedelta(minutes=minutes)
            await shop.tell(f"later-{minutes}")
            for number in range(7 if minutes == 63 else 0):
                await shop.tell(f"more-{number}")
            assert len(shop.messages()) == expected, minutes


async def test_notices_in_the_log_are_told_but_not_to_the_subscription_that_fails(tmp_path: Path) -> None:
    async with office(tmp_path / "rescind.db", ALL, {"id": "crm"}) as shop:
        failing = SubscriptionFailing("crm", shop.now - HOUR, 9, "HTTP 503", shop.now + HOUR)
        event = internal_event("", "", SUBSCRIPTION_FAILING, "1", shop.now, Source.CLOCK, failing)
        await shop.ledger.record_notice(event)
        await shop.ledger.record_notice(internal_event(SHOP, "", "tags.changed", "2", shop.now, Source.CLOCK, {}))
        [message] = shop.messages()
        assert (message.type, message.cause, read(message)["error"]) == (SUBSCRIPTION_FAILING, event.id, "HTTP 503")
        assert shop.rows("SELECT subscription FROM deliveries") == [("all",)]
