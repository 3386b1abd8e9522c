"""What every store must do: everything that is written comes back, in the order and with the filters asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from contract.store_cases import (
    ALL,
    A,
    at,
    attempt,
    commit,
    event,
    job,
    new_cancellation,
    order,
    place,
    receipt,
    write,
)

from app.contract import Cancelable, Facts, Phase, Source, Verdict
from app.core.aggregate import PendingProbe
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.event import Event, event_id
from app.core.lane.state import LaneState
from app.core.pauses import Pause
from app.runtime import ids
from app.store import ApiKey, Resource, ResourceChange, Store, StoreConflict, StoredResponse, StoreError, Window
from app.store.filters import CancellationFilter, EventFilter, OrderFilter, ReceiptFilter

# -- Every kind of row, written and read back ----------------------------------------------------------------


async def test_everything_comes_back_as_it_was(store: Store) -> None:
    verdict = Verdict(Cancelable.UNKNOWN, "why", "Because.", ("evt_1",), at(3))
    facts = Facts(phase=Phase.UNKNOWN, provider_status="odd", opened_at=at(-1), attributes={"a": [1, {"b": None}]})
    told = event("o-1", 1, facts=facts, data={"x": [1.5, "y"]}, receipt="rcp_0000000000000009")
    known = new_cancellation(
        "can_1", "o-1", state=State.INDETERMINATE, waiting=Waiting.PROBE, due_at=at(2), cause=Cause.NO_RESPONSE
    )
    full = Cancellation(**{**_fields(known), "verdict": verdict, "overridden_evidence": ("evt_2",), "deadline": at(4)})
    aggregate = order("o-1", live=(full,), pending_probe=PendingProbe(at(1), at(2), 3), head=(at(1), 2, told.id))
    ended = attempt(
        5, 1, ended_at=at(1), calls=2, outcome="retry", detail="why", exchanges=[{"status": 500, "a": "\u00e9"}]
    )
    pause = Pause("account:acme", "holidays", at(0), "me")
    planned = job("o-1", 2, cancellation="can_1", deadline=at(4))
    changes = {"cancellations": [(1, full)], "attempts": [ended], "pauses": [pause], "receipts": [receipt(9)]}
    await place(store, 1, "o-1", told, aggregate=aggregate, job=planned, **changes)
    assert await store.order(A, "o-1") == (1, aggregate)
    assert await store.order_events(1) == [told]
    assert await store.event(told.id) == told
    assert await store.receipt(9) == receipt(9)
    assert await store.cancellation("can_1") == full
    assert await store.attempts(1, 9) == [ended]
    assert await store.pauses() == [pause]
    assert await store.jobs(A, at(2), 9) == [(1, planned)]
    assert [[row[1:] for row in page] async for page in store.log()] == [[(1, told)]]


def _fields(known: Cancellation) -> dict[str, Any]:
    return {name: getattr(known, name) for name in known.__struct_fields__}


async def test_later_writes_take_the_place_of_earlier_ones(store: Store) -> None:
    await place(
        store, 1, "o-1", job=job("o-1"), cancellations=[(1, new_cancellation("can_1", "o-1"))], attempts=[attempt(5, 1)]
    )
    closed = order("o-1", phase=Phase.CANCELED)
    done = new_cancellation("can_1", "o-1", state=State.SUCCEEDED)
    ended = attempt(5, 1, ended_at=at(1), outcome="succeeded")
    aggregates = [write(1, closed, None, "no", had_job=True)]
    await commit(store, orders=aggregates, cancellations=[(1, done)], attempts=[ended])
    assert await store.order(A, "o-1") == (1, closed)
    assert await store.cancellation("can_1") == done
    assert await store.attempts(1, 9) == [ended]
    assert await store.jobs(A, at(99), 9) == []
    assert await store.unfinished_attempts() == []
    assert [pk for pk, _ in await store.orders(ALL, OrderFilter(account=A, phase="canceled", cancelable="no"))] == [1]
    quarantined = receipt(9, "quarantined")
    await commit(store, receipts=[quarantined])
    quarantined.status, quarantined.reason = "accepted", "mended"
    await commit(store, reprocessed=[quarantined], pauses=[Pause("all", "a", at(0), "me")])
    assert await store.receipt(9) == quarantined
    await commit(store, pauses=[Pause("all", "b", at(1), "you")])
    assert await store.pauses() == [Pause("all", "b", at(1), "you")]
    await commit(store, resumes=["all", "never paused"])
    assert await store.pauses() == []


async def test_times_keep_their_microseconds(store: Store) -> None:
    moments = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 7, 1, 1, 2, 3, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    for n, moment in enumerate(moments):
        told = Event(event_id(A, f"o-{n}", "x", b""), A, f"o-{n}", "x", moment, moment, Source.CLOCK)
        await place(store, n + 1, f"o-{n}", told, job=job(f"o-{n}", deadline=moment))
        assert await store.event(told.id) == told
        assert [each.deadline for pk, each in await store.jobs(A, at(9), 9) if pk == n + 1] == [moment]


async def test_resources_keys_and_answers(store: Store) -> None:
    made = Resource("accounts", "acme", 1, at(0), "me", b"sealed")
    line = ResourceChange("accounts", "acme", 1, at(0), "me", "create", {"a": 1})
    await store.save_resources([made], [], [line])
    changed = Resource("accounts", "acme", 2, at(1), "you", b"sealed again")
    other = Resource("endpoints", "in", 1, at(1), "you", b"")
    await store.save_resources([changed, other], [], [])
    assert await store.resources() == [changed, other]
    await store.save_resources([], [("accounts", "acme"), ("accounts", "never")], [line])
    assert await store.resources() == [other]
    changes = await store.resource_changes(ALL)
    assert [change for _, change in changes] == [line, line]
    assert await store.resource_changes(Window(9, changes[0][0])) == changes[1:]
    key = ApiKey("key_1", "ci", "read", b"hash", at(0), "me")
    answer = StoredResponse("slot", b"digest", b"sealed", at(0))
    await store.save_key(key, answer)
    assert await store.api_keys() == [key]
    assert (await store.stored_response("slot"), await store.stored_response("none")) == (answer, None)
    with pytest.raises(StoreError):
        await store.save_key(ApiKey("key_2", "ci", "read", b"other", at(0), "me"), answer)
    assert await store.api_keys() == [key]
    assert [await store.revoke_key("key_1", at(5)), await store.revoke_key("key_1", at(6))] == [True, False]
    assert (await store.api_keys())[0].revoked_at == at(5)
    assert await store.revoke_key("key_9", at(5)) is False


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.order(A, "o-1") is None
    assert await store.event(event("o-1", 1).id) is None
    assert await store.receipt(1) is None
    assert await store.cancellation("can_1") is None
    assert await store.next_deadline() is None
    assert await store.next_due(A, at(0)) is None
    assert await store.accounts_with_cancellations() == set()
    assert [page async for page in store.log()] == []
    with pytest.raises(ValueError, match="evt_"):
        await store.event("nonsense")


# -- Lists ------------------------------------------------------------------------------------------------


async def filled(store: Store) -> None:
    """Six orders of two accounts, each with two events, a cancellation and a receipt."""
    for n in range(6):
        account, phase = ("acme", "other")[n % 2], (Phase.OPEN, Phase.COMPLETED)[n // 3]
        id = f"o-{n}"
        told = [event(id, 10 * n + i, ("order.opened", "order.Closed_x")[i], account) for i in range(2)]
        known = new_cancellation(f"can_{n}", id, account, state=(State.SCHEDULED, State.SUCCEEDED)[n % 3 == 0])
        await commit(
            store,
            orders=[write(n + 1, order(id, account, phase), None, ("yes", "no")[n % 2])],
            names=[(account, id, n + 1)],
            events=[(n + 1, each) for each in told],
            cancellations=[(n + 1, known)],
            receipts=[receipt(n + 1, ("accepted", "quarantined")[n % 2], ("in", "out")[n // 3])],
        )


def _window(given: dict[str, Any]) -> Window:
    """The window that `given` asks for; the rest of it are filters."""
    after = given.pop("after", None)
    return Window(given.pop("limit", 100), given.pop("before", after), newer=after is not None)


async def test_orders_are_filtered_and_paged_newest_first(store: Store) -> None:
    await filled(store)

    async def pks(**given: Any) -> list[int]:
        return [pk for pk, _ in await store.orders(_window(given), OrderFilter(**given))]

    assert await pks() == [6, 5, 4, 3, 2, 1]
    assert await pks(account="acme") == [5, 3, 1]
    assert await pks(phase="open", cancelable="no") == [2]
    assert await pks(limit=2) == [6, 5]
    assert await pks(limit=2, before=5) == [4, 3]
    assert await pks(before=1) == await pks(account="nobody") == await pks(limit=0) == []


async def test_events_are_filtered_and_paged_newest_first(store: Store) -> None:
    await filled(store)

    async def minutes(**given: Any) -> list[float]:
        found = await store.events(_window(given), EventFilter(**given))
        assert [seq for seq, _ in found] == sorted((seq for seq, _ in found), reverse=True)
        return [(each.received_at - at(0)).total_seconds() / 60 for _, each in found]

    assert await minutes() == [51, 50, 41, 40, 31, 30, 21, 20, 11, 10, 1, 0]
    assert await minutes(account="other") == [51, 50, 31, 30, 11, 10]
    assert await minutes(order_pk=2) == [11, 10]
    assert await minutes(order_pk=-1) == await minutes(types=["order."]) == await minutes(types=["order"]) == []
    assert await minutes(types=["order.opened"], account="acme") == [40, 20, 0]
    assert await minutes(types=["order.C*"], order_pk=1) == [1]
    assert await minutes(types=["order.*"], limit=3) == [51, 50, 41]
    assert await minutes(since=at(30), until=at(41)) == [40, 31, 30]
    (_, third), *_ = await store.events(ALL, EventFilter(since=at(40), until=at(41)))
    (seq, _), *_ = await store.events(ALL, EventFilter(since=at(40), until=at(41)))
    assert third.order == "o-4"
    assert await minutes(before=seq, limit=2) == [31, 30]


@pytest.mark.parametrize(("text", "found"), [("DENVER", 1), ("denver", 1), ("100%", 1), ("%", 0), ("_", 0), ("x'y", 0)])
async def test_events_are_searched_for_text_as_it_stands(store: Store, text: str, found: int) -> None:
    facts = Facts(attributes={"city": "Denver 100%"})
    await place(store, 1, "o-1", event("o-1", 1, facts=facts), event("o-1", 2))
    assert len(await store.events(ALL, EventFilter(text=text))) == found


async def test_receipts_are_found_by_the_text_of_their_body(store: Store) -> None:
    bodies = {1: b'{"city":"Denver"}', 2: b"DENVER \xff", 3: b"", 4: b'{"city":"Boulder"}'}
    await commit(store, receipts=[receipt(id, body=body) for id, body in bodies.items()])
    rows = await store.receipts(ALL, ReceiptFilter(text="denver"))
    assert [(row.id, row.size, row.body) for _, row in rows] == [(2, 8, b""), (1, 17, b"")]
    told = [event("o-1", id, receipt=ids.show(ids.RECEIPT, id)) for id in (1, 4)]
    await place(store, 1, "o-1", *told)
    of_order = await store.receipts(ALL, ReceiptFilter(text="denver", order_pk=1))
    assert ([row.id for _, row in of_order], of_order.resume) == ([1], None)


async def test_receipts_and_cancellations_are_filtered_and_paged(store: Store) -> None:
    await filled(store)

    async def receipts(**given: Any) -> list[int]:
        return [each.id for _, each in await store.receipts(_window(given), ReceiptFilter(**given))]

    assert await receipts() == [6, 5, 4, 3, 2, 1]
    assert await receipts(status="quarantined") == [6, 4, 2]
    assert await receipts(status="accepted", endpoint="in") == [3, 1]
    assert await receipts(before=4, limit=2) == [3, 2]
    assert await receipts(endpoint="none") == []

    async def cancellations(**given: Any) -> list[str]:
        return [each.id for _, each in await store.cancellations(_window(given), CancellationFilter(**given))]

    assert await cancellations() == [f"can_{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert await cancellations(account="acme") == ["can_4", "can_2", "can_0"]
    assert await cancellations(order_pk=4, state="succeeded") == ["can_3"]
    assert await cancellations(state="succeeded", limit=1) == ["can_3"]


async def test_the_log_comes_whole_and_in_order(store: Store) -> None:
    number = 4500
    await place(store, 1, "o-1", *(event("o-1", n) for n in range(number)))
    pages = [page async for page in store.log()]
    rows = [row for page in pages for row in page]
    assert len(pages) > 1
    assert [(pk, each) for _, pk, each in rows] == [(1, event("o-1", n)) for n in range(number)]
    assert [seq for seq, _, _ in rows] == sorted({seq for seq, _, _ in rows})


async def test_what_a_lane_has_learned_is_kept_until_its_account_is_removed(store: Store) -> None:
    assert await store.lane(A) is None
    await store.save_lane("other", LaneState(down="it is"))
    for state in (LaneState(at(9), 100, 7, "five calls failed"), LaneState()):
        await store.save_lane(A, state)
        assert await store.lane(A) == state
    learned = LaneState(latency_s=2.5)
    await store.save_lane(A, learned)
    assert await store.lanes() == {A: learned, "other": LaneState(down="it is")}
    await store.save_resources([], [("accounts", A), ("endpoints", "other")], [])
    assert await store.lane(A) is None
    assert await store.lanes() == {"other": LaneState(down="it is")}


async def test_what_flows_keep_durably_is_replaced_and_goes_with_its_account(store: Store) -> None:
    if store.lease is None:
        await store.join("node", "1")
    await store.take([f"account:{A}", "account:other"])
    accounts = [Resource("accounts", id, 1, at(0), "test", b"sealed") for id in (A, "other")]
    await store.save_resources(accounts, [], [])
    assert await store.account_secrets(A) is None
    for sealed in (b"first", b"\x00second"):
        await store.save_account_secrets(A, sealed)
        assert await store.account_secrets(A) == sealed
    await store.save_account_secrets("other", b"other")
    await store.save_resources([], [("accounts", A), ("endpoints", "other")], [])
    assert await store.account_secrets(A) is None
    with pytest.raises(StoreConflict):
        await store.save_account_secrets(A, b"late")
    assert await store.account_secrets(A) is None, "a later account of the same id inherits nothing"
    assert await store.account_secrets("other") == b"other"


# -- Rebuilds and counts ---------------------------------------------------------------------------------------


async def test_a_rebuild_overwrites_aggregates_jobs_and_cancellations(store: Store) -> None:
    await place(store, 1, "o-1", job=job("o-1"), cancellations=[(1, new_cancellation("can_1", "o-1"))])
    mended = order("o-1", phase=Phase.COMPLETED)
    done = new_cancellation("can_1", "o-1", state=State.REFUSED)
    await store.replace_orders([write(1, mended, None, "no", had_job=True)], [(1, done)])
    assert await store.order(A, "o-1") == (1, mended)
    assert await store.jobs(A, at(9), 9) == []
    assert await store.cancellation("can_1") == done


async def test_what_waits_for_people_is_counted_up_to_a_bound(store: Store) -> None:
    waits = [new_cancellation(f"can_{n}", "o-1", state=State.SCHEDULED, waiting=Waiting.APPROVAL) for n in range(3)]
    others = [
        new_cancellation("can_8", "o-1", state=State.SCHEDULED),
        new_cancellation("can_9", "o-1", state=State.REVOKED),
    ]
    receipts = [receipt(1, status="quarantined"), receipt(2), receipt(3, status="ignored")]
    told = event("o-1", 1)
    await place(store, 1, "o-1", told, receipts=receipts, cancellations=[(1, each) for each in (*waits, *others)])
    assert await store.counts_for_review(10) == {"quarantined": 1, "approvals": 3, "indeterminate": 0}
    assert await store.counts_for_review(2) == {"quarantined": 1, "approvals": 2, "indeterminate": 0}
