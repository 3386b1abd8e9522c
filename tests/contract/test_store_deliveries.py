"""What every store must do for deliveries: queues, turns, resending, and deleting in slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

from contract.store_cases import A, at, commit
from msgspec.structs import replace

from app.core.outbound.delivery import Backlog, Delivery, DeliveryAttempt, DeliveryState, DeliveryUpdate, Postponement
from app.core.outbound.health import SubscriptionState
from app.core.outbound.message import Message, Target
from app.runtime import ids
from app.store import Resource, ResourceChange, Store, Window
from app.store.codec import micros
from app.store.filters import DeliveryFilter

SUB = "crm"


def number(minutes: float, n: int = 0) -> int:
    """The id of a message of that time."""
    return ids.at(micros(at(minutes)) // 1000) + n


def message(minutes: float, *subscriptions: str, order: int = 0, n: int = 0, ordered: bool = False) -> Message:
    return Message(
        id=number(minutes, n),
        account=A,
        type="order.verdict_changed",
        order_pk=order,
        cause="evt_1",
        at=at(minutes),
        data=b'{"a":"\xc3\xa9"}',
        snapshot=b"{}",
        targets=tuple(Target(subscription, ordered) for subscription in subscriptions or (SUB,)),
    )


async def write(store: Store, *messages: Message) -> None:
    await commit(store, messages=list(messages))


def update(minutes: float, state: DeliveryState, due: float = 0, n: int = 0, tries: int = 1) -> DeliveryUpdate:
    tried = DeliveryAttempt(at(minutes), 12, 500, headers={"date": "x"}, body="\u00e9")
    return DeliveryUpdate(SUB, number(minutes, n), state, at(due), tries, (tried,))


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [delivery.message.id for delivery in deliveries]


def listed(rows: Sequence[tuple[int, Delivery]]) -> list[int]:
    assert numbers([delivery for _, delivery in rows]) == [position for position, _ in rows]
    return [position for position, _ in rows]


async def due(store: Store, minutes: float, limit: int = 10) -> list[int]:
    return numbers([row.delivery for row in await store.due_deliveries(SUB, at(minutes), limit)])


async def test_a_delivery_comes_back_as_it_was(store: Store) -> None:
    await write(store, message(1, SUB, "other"), message(2))
    (first,) = await store.due_deliveries(SUB, at(1), 10)
    told = message(1)
    assert first.turn is None
    assert (first.delivery.message.data, first.delivery.message.snapshot) == (told.data, told.snapshot)
    assert (first.delivery.state, first.delivery.due_at, first.delivery.tries) == (DeliveryState.PENDING, at(1), 0)
    state = SubscriptionState(failing_since=at(1), failed_orders=(1, 2), error="500")
    failed = update(1, DeliveryState.PENDING, due=30)
    await store.save_deliveries([failed], states=[(SUB, state)])
    stored = await store.delivery(SUB, number(1))
    assert stored is not None
    assert (stored.due_at, stored.tries, stored.attempts) == (at(30), 1, failed.attempts)
    assert await store.subscription_states() == {SUB: state}
    assert await store.deliveries_due_at([SUB, "other", "none"]) == {SUB: at(2), "other": at(1)}
    assert await store.delivery_backlogs() == {SUB: Backlog(2, at(2)), "other": Backlog(1, at(1))}
    assert await due(store, 29) == [number(2)]
    assert await due(store, 30) == [number(2), number(1)]
    (other,) = await store.due_deliveries(SUB, at(30), 10, skip=[number(2)])
    assert other.delivery.message.id == number(1)
    assert await store.delivery("none", number(1)) is None


async def test_a_settled_delivery_is_not_changed_by_a_late_result(store: Store) -> None:
    await write(store, message(1))
    await store.save_deliveries([update(1, DeliveryState.DELIVERED)])
    await store.save_deliveries([update(1, DeliveryState.PENDING)], [Postponement(SUB, number(1), at(9))])
    stored = await store.delivery(SUB, number(1))
    assert stored is not None
    assert stored.state is DeliveryState.DELIVERED
    assert await due(store, 99) == []


async def test_the_turn_of_a_sequence(store: Store) -> None:
    ordered = [message(minutes, order=7, ordered=True) for minutes in (1, 2, 3)]
    await write(store, *ordered, message(2, order=8, n=1, ordered=True), message(2, order=7, n=2))
    await store.save_deliveries([update(1, DeliveryState.PENDING, due=30)])
    rows = {row.delivery.message.id: row.turn for row in await store.due_deliveries(SUB, at(5), 10)}
    turn = rows.pop(number(2))
    assert turn is not None
    assert (turn.message, turn.due_at) == (number(1), at(30))
    assert rows.pop(number(3)) == turn
    other = rows.pop(number(2, 1))
    assert other is not None
    assert other.message == number(2, 1)
    assert rows == {number(2, 2): None}
    assert numbers(await store.deliveries_in_turn(SUB, 7, number(1), 1)) == [number(2)]
    # What waits for another is put off, never forward.
    await store.save_deliveries([], [Postponement(SUB, number(2), at(30)), Postponement(SUB, number(3), at(1))])
    assert await due(store, 5) == [number(2, 1), number(2, 2), number(3)]
    # Who is sent anew by hand takes along those that only wait for it.
    assert await store.resend_delivery(SUB, number(1), at(6))
    assert set(await due(store, 6)) == {number(1), *map(number, (2, 3)), number(2, 1), number(2, 2)}


async def test_lists_by_state_and_time(store: Store) -> None:
    await write(store, *(message(minutes) for minutes in range(1, 9)), message(4, "other", n=5))
    await store.save_deliveries(
        [update(n, DeliveryState.FAILED) for n in (2, 4)] + [update(n, DeliveryState.DELIVERED) for n in (3, 5, 8)]
    )
    every = await store.deliveries(Window(3), DeliveryFilter(subscription=SUB))
    assert listed(every) == [number(8), number(7), number(6)]
    assert listed(await store.deliveries(Window(2, number(6)), DeliveryFilter(subscription=SUB))) == [
        number(5),
        number(4),
    ]
    for state, minutes in {
        DeliveryState.FAILED: [4, 2],
        DeliveryState.DELIVERED: [8, 5, 3],
        DeliveryState.PENDING: [7, 6, 1],
    }.items():
        assert listed(await store.deliveries(Window(9), DeliveryFilter(subscription=SUB, state=state))) == [
            number(n) for n in minutes
        ]
        within = await store.deliveries(
            Window(9), DeliveryFilter(subscription=SUB, state=state, since=at(2), until=at(7))
        )
        assert listed(within) == [number(n) for n in minutes if n in range(2, 7)]
    assert await store.count_failed_deliveries(SUB, at(0), 9) == 2
    assert await store.count_failed_deliveries(SUB, at(3), 9) == 1
    assert await store.count_failed_deliveries(SUB, at(0), 1) == 1


async def test_lists_and_counts_by_every_combination_of_filters(store: Store) -> None:
    types, states = ("cancellation.failed", "cancellation.sent", "order.changed"), tuple(DeliveryState)
    told = [
        replace(message(n, SUB, "other", order=n % 4), type=types[n % 3], account=(A, "third", "")[n % 5 % 3])
        for n in range(1, 40)
    ]
    await write(store, *told)
    of = {row.id: states[n % 7 % 3] for n, row in enumerate(told)}
    await store.save_deliveries([update(n, of[number(n)]) for n in range(1, 40)])
    globs = {(): types, ("*.failed", "order.*"): (types[0], types[2]), ("cancellation.*",): types[:2], ("none",): ()}
    for state, (asked, wanted), account, order, (since, until) in product(
        (None, *states), globs.items(), (None, A, "nobody"), (None, 2), ((None, None), (at(5), at(30)))
    ):
        rows = [
            row
            for row in reversed(told)
            if state in (None, of[row.id])
            and row.type in wanted
            and account in (None, row.account)
            and order in (None, row.order_pk)
            and (since is None or until is None or since <= row.at < until)
        ]
        query: dict[str, Any] = {
            "state": state,
            "types": asked,
            "account": account,
            "order_pk": order,
            "since": since,
            "until": until,
        }
        found, position = list[int](), None
        while page := listed(await store.deliveries(Window(7, position), DeliveryFilter(subscription=SUB, **query))):
            found, position = [*found, *page], page[-1]
        assert found == [row.id for row in rows], query
        newer = await store.deliveries(Window(3, position, newer=True), DeliveryFilter(subscription=SUB, **query))
        assert position is None or listed(newer) == found[:-1][-3:], query
        counted = await store.delivery_facets(DeliveryFilter(subscription=SUB, **query))
        assert (counted.total, counted.complete) == (len(rows), True), query
        assert counted.counts == {
            "state": Counter(of[row.id] for row in rows),
            "type": Counter(row.type for row in rows),
            "account": Counter(row.account for row in rows if row.account),
        }, query


async def test_failed_deliveries_are_recovered_in_slices(store: Store) -> None:
    await write(store, *(message(minutes) for minutes in range(1, 7)))
    await store.save_deliveries([update(n, DeliveryState.FAILED, tries=9) for n in range(1, 6)])
    assert await store.recover_deliveries(SUB, at(2), 0, 2, at(10)) == (2, number(3))
    assert await store.recover_deliveries(SUB, at(2), number(3), 2, at(10)) == (2, number(5))
    assert await store.recover_deliveries(SUB, at(2), number(5), 2, at(10)) == (0, None)
    assert await due(store, 10) == [number(n) for n in (6, 2, 3, 4, 5)]
    again = await store.delivery(SUB, number(2))
    assert again is not None
    assert again.tries == 0
    assert len(again.attempts) == 1
    assert await store.resend_delivery(SUB, number(1), at(11))
    assert not await store.resend_delivery(SUB, number(1, 1), at(11))
    assert await store.count_failed_deliveries(SUB, at(0), 9) == 0


async def test_what_waits_for_another_try_is_hastened(store: Store) -> None:
    await write(store, message(1), message(2, order=7, ordered=True), message(3, order=7, ordered=True), message(99))
    await store.save_deliveries(
        [update(n, DeliveryState.PENDING, due=600) for n in (1, 2)], [Postponement(SUB, number(3), at(600))]
    )
    position, slices = await store.hasten_deliveries(SUB, at(10), None, 2), 1
    assert await due(store, 10) == [number(1)]  # no more than the limit: webhooks wait for it
    while position is not None:
        position, slices = await store.hasten_deliveries(SUB, at(10), position, 1), slices + 1
    assert slices == 4  # each of the four was looked at once
    assert await due(store, 10) == [number(n) for n in (1, 2, 3)]
    # What is due later without any try is meant to be.
    assert await due(store, 98) == [number(n) for n in (1, 2, 3)]


async def test_what_was_pulled_is_hidden_until_it_is_acknowledged_or_forgotten(store: Store) -> None:
    await write(store, message(1, order=7, ordered=True), message(2, order=7, ordered=True), message(3))
    assert numbers(await store.pull_deliveries(SUB, at(5), at(6), 10)) == [number(1), number(3)]
    assert await store.pull_deliveries(SUB, at(5), at(6), 10) == []
    assert await store.acknowledge_deliveries(SUB, [number(1), number(9)]) == 1
    assert await store.acknowledge_deliveries(SUB, [number(1)]) == 0
    again = await store.pull_deliveries(SUB, at(6), at(7), 10)
    assert [(delivery.message.id, delivery.tries) for delivery in again] == [(number(2), 0), (number(3), 1)]
    assert await store.deliveries_due_at([SUB]) == {SUB: at(7)}


async def test_thousands_of_one_order_are_pulled_in_turn_and_hide_no_other(store: Store) -> None:
    for start in range(0, 3000, 500):
        await write(store, *(message(1, n=start + n, order=1, ordered=True) for n in range(500)))
    await write(store, message(2, order=2, ordered=True), message(2, n=1))
    first = numbers(await store.pull_deliveries(SUB, at(5), at(600), 100))
    assert first == [number(1)]
    # The others are behind 2,999 that cannot be given.
    assert numbers(await store.pull_deliveries(SUB, at(5), at(600), 100)) == [number(2), number(2, 1)]
    for n in range(1, 6):
        assert await store.acknowledge_deliveries(SUB, [number(1, n - 1)]) == 1
        assert numbers(await store.pull_deliveries(SUB, at(6), at(600), 100)) == [number(1, n)]
    assert numbers(await store.pull_deliveries(SUB, at(6), at(600), 100)) == []
    again = [
        *await store.pull_deliveries(SUB, at(600), at(700), 1),
        *await store.pull_deliveries(SUB, at(600), at(700), 9),
    ]
    assert numbers(again) == [number(1, 5), number(2), number(2, 1)]


async def test_what_was_delivered_long_ago_is_deleted(store: Store) -> None:
    await write(store, message(1, SUB, "other"), message(2), message(3), message(4), message(5))
    await store.save_deliveries([update(n, DeliveryState.DELIVERED) for n in (1, 2, 4, 5)])
    assert await store.delete_delivered(SUB, 0, at(5), 2) == number(2)
    assert await store.delete_delivered(SUB, number(2), at(5), 3) is None
    assert listed(await store.deliveries(Window(9), DeliveryFilter(subscription=SUB))) == [number(5), number(3)]
    # Another subscription still has to receive its message.
    assert listed(await store.deliveries(Window(9), DeliveryFilter(subscription="other"))) == [number(1)]


async def test_a_removed_subscription_leaves_nothing_to_a_later_one_of_its_id(store: Store) -> None:
    await write(store, message(1, SUB, "other"), message(2), message(3))
    resource = Resource("subscriptions", SUB, 1, at(0), "me", b"")
    change = ResourceChange("subscriptions", SUB, 2, at(4), "me", "removed", {})
    await store.save_resources([resource], [], [])
    await store.save_resources([], [("subscriptions", SUB)], [change])
    until = (await store.subscription_states())[SUB].purge_until
    await write(store, message(4))
    await store.save_deliveries([], states=[(SUB, SubscriptionState(failures=3))])  # a call that ends late
    assert (await store.subscription_states())[SUB] == SubscriptionState(purge_until=until)
    assert await store.purge_deliveries(SUB, until, 2)
    assert not await store.purge_deliveries(SUB, until, 2)
    assert await store.subscription_states() == {}
    assert listed(await store.deliveries(Window(9), DeliveryFilter(subscription=SUB))) == [number(4)]
    assert listed(await store.deliveries(Window(9), DeliveryFilter(subscription="other"))) == [number(1)]
