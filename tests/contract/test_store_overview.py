"""What every store must count for the overview of an installation."""

from __future__ import annotations

from contract.store_cases import A, at, commit, event, job, new_cancellation, order, place, receipt, write
from msgspec.structs import replace

from app.core.cancellation import State, Waiting
from app.runtime import ids
from app.store import Store
from app.store.overview import Backlog, ClosingWindow

LIVE, FINAL = [State.SCHEDULED, State.INDETERMINATE], [State.SUCCEEDED, State.REFUSED]


def drawn(minutes: float) -> int:
    return ids.at(int(at(minutes).timestamp() * 1000) + 1)


async def test_a_lane_s_backlog_is_what_is_due(store: Store) -> None:
    for number, due in enumerate((3, 1, 2, 8), 1):
        await place(store, number, f"o-{number}", job=job(f"o-{number}", due))
    await place(store, 9, "else", job=job("else", 4, account="other"), account="other")
    await commit(store, receipts=[replace(receipt(1), id=drawn(minutes)) for minutes in (1, 4, 4.5, 5)])
    backlogs = await store.backlogs([A, "other", "none"], at(5), at(4), 100)
    assert backlogs == {A: Backlog(3, at(1), 3), "other": Backlog(1, at(4), 0), "none": Backlog(0, None, 0)}
    assert (await store.backlogs([A], at(5), at(0), 2))[A] == Backlog(2, at(1), 2), "up to the bound"
    heard = [await store.heard_since(account, at(minutes)) for account, minutes in ((A, 5), (A, 5.1), ("other", 0))]
    assert heard == [True, False, False]


async def test_windows_are_counted_by_when_they_close(store: Store) -> None:
    closings = {1: 0, 2: 10, 3: 19.9, 4: 20, 5: 39, 6: 40, 7: None, 8: -1}
    for pk, closes in closings.items():
        account = "other" if pk == 3 else A
        row = write(pk, order(f"o-{pk}", account))
        row = replace(row, closes_at=None if closes is None else at(closes), reason="r")
        await commit(store, orders=[row])
    assert await store.closing_windows(at(0), at(40), 4, None, 100) == ([1, 2, 1, 1], True)
    assert await store.closing_windows(at(0), at(40), 4, A, 100) == ([1, 1, 1, 1], True)
    assert await store.closing_windows(at(0), at(40), 4, None, 2) == ([1, 2, 1, 1], False), "it says where it ended"
    assert await store.closing_windows(at(0), at(40), 4, A, 1) == ([1, 1, 1, 1], False)
    assert await store.next_to_close(at(0), None, 2) == [
        ClosingWindow(A, "o-2", at(10), "yes", "r"),
        ClosingWindow("other", "o-3", at(19.9), "yes", "r"),
    ]
    assert [window.order for window in await store.next_to_close(at(0), A, 2)] == ["o-2", "o-4"]


async def test_cancellations_are_counted_by_state(store: Store) -> None:
    states = [State.SUCCEEDED] * 3 + [State.SCHEDULED, State.SUCCEEDED, State.REFUSED, State.SCHEDULED]
    for minute, state in enumerate(states):
        account = "other" if minute == 5 else A
        row = replace(new_cancellation(f"can_{minute}", "o-1", account), state=state, requested_at=at(minute))
        await commit(store, cancellations=[(1, row)])

    async def counts(since: float, account: str | None = None, maximum: int = 100) -> list[int]:
        found = await store.cancellations_by_state(LIVE, FINAL, at(since), account, maximum)
        return [found[state] for state in (*LIVE, *FINAL)]

    assert await counts(0) == [2, 0, 4, 1]
    assert await counts(2) == [2, 0, 2, 1], "live ones whenever they were requested"
    assert await counts(9) == [2, 0, 0, 0]
    assert await counts(0, A) == [2, 0, 4, 0]
    assert await counts(0, maximum=3) == [2, 0, 3, 1]
    assert await counts(0, "other", maximum=1) == [0, 0, 0, 1]
    assert await counts(0, A, maximum=1) == [1, 0, 1, 0]


async def test_what_the_log_got_is_counted_by_time(store: Store) -> None:
    assert await store.events_recorded([at(0), at(1)]) == [0, 0], "an empty log"
    for number, minute in enumerate((0, 0, 1, 3, 3, 3, 7)):
        told = replace(event(f"o-{number}", number), received_at=at(minute))
        await commit(store, events=[(number + 1, told)])
    assert await store.events_recorded([at(0), at(1), at(2), at(3), at(5), at(8)]) == [2, 1, 0, 3, 1, 0]
    assert await store.events_recorded([at(2.5)]) == [4]


async def test_indeterminate_cancellations_that_wait_for_a_person_are_counted(store: Store) -> None:
    waiting = [Waiting.WEBHOOK, Waiting.PROBE, Waiting.WEBHOOK]
    rows = [
        new_cancellation(f"can_{n}", "o-1", state=State.INDETERMINATE, waiting=wait) for n, wait in enumerate(waiting)
    ]
    rows.append(new_cancellation("can_9", "o-1", account="other", state=State.INDETERMINATE, waiting=Waiting.WEBHOOK))
    receipts = [receipt(1, status="quarantined"), receipt(2, status="quarantined")]
    await commit(store, cancellations=[(1, row) for row in rows], receipts=receipts)
    assert (await store.counts_for_review(10))["indeterminate"] == 3
    assert await store.counts_for_review(10, "other") == {"quarantined": 0, "approvals": 0, "indeterminate": 1}
    assert await store.counts_for_review(10, A) == {"quarantined": 2, "approvals": 0, "indeterminate": 2}
