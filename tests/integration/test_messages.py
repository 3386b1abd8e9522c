"""What becomes a message to subscribers, in the transaction of its cause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from outboxes import CLOSING, SHOP, T0, Office, account, office, read

from app.contract import CancelOutcome, CancelResult, Phase
from app.core.aggregate import JobKind
from app.core.commands import ClaimJob, Revoke
from app.core.results import RecordResult

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
        assert len(shop.messages()) == 3, "not again after a restart"
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
