from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import msgspec
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from unit.core.book import CRASH, MAY_HAVE_APPLIED, Book, answered, opened, sent, unseen
from unit.core.support import (
    ACCOUNT,
    BLIND,
    CANCELLATION,
    ORDER,
    PROBED,
    appointment,
    at,
    decoded,
    fact,
    phase,
    policy_of,
)

from app.contract import CancelOutcome, Facts, Phase, Source
from app.core.cancellation import (
    FINAL,
    TRANSITIONS,
    Cancellation,
    Cause,
    State,
    Waiting,
    advance,
    apply,
    begin,
    cancellation_of,
)
from app.core.event import Event, event_id
from app.core.policy.model import Mode
from app.core.results import ACCEPTED_POLLS, CANCEL_RETRIES

Row = tuple[State | None, Cause]
NEW = Cancellation(CANCELLATION, ACCOUNT, ORDER, "because", at(0), at(0))
LIVE = [each for each in State if each not in FINAL]


# -- The table -------------------------------------------------------------------------------


def test_final_states_have_no_exits() -> None:
    assert not [row for row in TRANSITIONS if row[0] in FINAL]


def test_every_state_can_be_reached_and_every_live_one_can_come_to_an_end() -> None:
    exits = {state: {to for (of, _), to in TRANSITIONS.items() if of is state} for state in (None, *State)}
    reached: dict[State | None, set[State]] = {}
    for state, nearest in exits.items():
        seen, new = set[State](), set(nearest)
        while new:
            seen |= new
            new = {to for each in new for to in exits[each]} - seen
        reached[state] = seen

    assert reached[None] == set(State)
    assert all(reached[state] & FINAL for state in LIVE)


def test_every_cause_has_its_place_in_the_table() -> None:
    assert {cause for _, cause in TRANSITIONS} == set(Cause)


def test_a_cancellation_begins_only_by_being_asked_for() -> None:
    assert {row for row in TRANSITIONS if row[0] is None} == {
        (None, Cause.REQUESTED),
        (None, Cause.PROPOSED),
        (None, Cause.NOT_CANCELABLE),
    }


# -- Every row has a story -------------------------------------------------------------------

Story = Callable[[], Book]


def then(book: Book, *deeds: Callable[[Book], Any]) -> Story:
    """`book`, after each of `deeds` was done to it."""

    def tell() -> Book:
        for deed in deeds:
            deed(book)
        return book

    return tell


def hears(order_phase: Phase) -> Callable[[Book], Any]:
    return lambda book: book.hear(phase(f"h{len(book.log)}", 12, order_phase))


def tells(order_phase: Phase) -> Callable[[Book], Any]:
    return lambda book: book.tell(order_phase, 20)


def answers(result: Any) -> Callable[[Book], Any]:
    return lambda book: book.answer(result)


def probes_fail(times: int, outcome: CancelOutcome = CancelOutcome.RETRY) -> Callable[[Book], Any]:
    def deed(book: Book) -> None:
        for _ in range(times):
            book.ask()
            book.fail_to_tell(outcome)

    return deed


def polls(times: int) -> Callable[[Book], Any]:
    def deed(book: Book) -> None:
        for _ in range(times):
            book.ask()
            book.tell(Phase.UNKNOWN)

    return deed


def fails_again_and_again(book: Book) -> None:
    for _ in range(CANCEL_RETRIES.attempts - 1):
        book.answer(CancelOutcome.RETRY)
        book.send()
    book.answer(CancelOutcome.RETRY)


def crashes_alone(book: Book) -> None:
    book.answer(CRASH, others_at=book.at(None) + timedelta(seconds=1))


def proposed() -> Book:
    book = Book(PROBED, "probe", policy_of(when="order.phase == 'open' && !('off' in order.tags)", mode=Mode.APPROVE))
    book.hear(phase("opened", 0, Phase.OPEN))
    return book


def appointed(book: Book) -> None:
    book.hear(fact("appointed", 12, Facts(appointments=(appointment(20_000),))))


S, C, O = State, Cause, CancelOutcome  # noqa: E741 - as in the table

STORIES: dict[Row, Callable[[], Story]] = {
    (None, C.REQUESTED): lambda: then(opened(), Book.request_cancel),
    (None, C.PROPOSED): lambda: then(proposed()),
    (S.SCHEDULED, C.APPROVED): lambda: then(proposed(), Book.approve),
    (S.SCHEDULED, C.CONDITION_ENDED): lambda: then(proposed(), Book.tag_off),
    (S.SCHEDULED, C.RETIMED): lambda: then(opened(), Book.request_cancel, appointed),
    (S.SCHEDULED, C.RESTORED): lambda: then(proposed(), Book.restore),
    (None, C.NOT_CANCELABLE): lambda: then(opened(), hears(Phase.COMPLETED), Book.request_cancel),
    (S.SCHEDULED, C.CLAIMED): lambda: then(sent()),
    (S.SCHEDULED, C.PROBED): lambda: then(unseen(), tells(Phase.OPEN)),
    (S.SCHEDULED, C.PROBE_INCONCLUSIVE): lambda: then(unseen(), tells(Phase.UNKNOWN)),
    (S.SCHEDULED, C.PROBE_FAILED): lambda: then(unseen(), probes_fail(1)),
    (S.SCHEDULED, C.ORDER_UNKNOWN): lambda: then(unseen(), probes_fail(1, O.REFUSED)),
    (S.SCHEDULED, C.NOT_CANCELABLE): lambda: then(unseen(), tells(Phase.IN_PROGRESS)),
    (S.SCHEDULED, C.WINDOW_CLOSED): lambda: then(unseen(), hears(Phase.IN_PROGRESS)),
    (S.SCHEDULED, C.ORDER_CANCELED): lambda: then(unseen(), hears(Phase.CANCELED)),
    (S.SCHEDULED, C.TOOK_EFFECT): lambda: then(answered(MAY_HAVE_APPLIED), hears(Phase.CANCELED)),
    (S.SCHEDULED, C.OUTCOME_UNCERTAIN): lambda: then(answered(MAY_HAVE_APPLIED), hears(Phase.COMPLETED)),
    (S.SCHEDULED, C.REVOKE_REQUESTED): lambda: then(unseen(), Book.revoke),
    (S.SCHEDULED, C.DEADLINE_PASSED): lambda: then(answered(O.THROTTLED, deadline=30), lambda book: book.elapse(30)),
    (S.SCHEDULED, C.ATTEMPTS_USED_UP): lambda: then(unseen(), probes_fail(12)),
    (S.SENDING, C.SUCCEEDED): lambda: then(answered(O.SUCCEEDED)),
    (S.SENDING, C.ORDER_CANCELED): lambda: then(sent(), hears(Phase.CANCELED), answers(O.REFUSED)),
    (S.SENDING, C.ACCEPTED): lambda: then(answered(O.ACCEPTED)),
    (S.SENDING, C.REFUSED): lambda: then(answered(O.REFUSED)),
    (S.SENDING, C.RETRY): lambda: then(answered(O.RETRY)),
    (S.SENDING, C.THROTTLED): lambda: then(answered(O.THROTTLED)),
    (S.SENDING, C.UNAUTHORIZED): lambda: then(answered(O.UNAUTHORIZED)),
    (S.SENDING, C.ATTEMPTS_USED_UP): lambda: then(sent(), fails_again_and_again),
    (S.SENDING, C.WINDOW_CLOSED): lambda: then(sent(), hears(Phase.COMPLETED), Book.recheck),
    (S.SENDING, C.DEADLINE_PASSED): lambda: then(sent(deadline=30), lambda book: book.recheck(30)),
    (S.SENDING, C.NO_RESPONSE): lambda: then(answered(O.INDETERMINATE)),
    (S.SENDING, C.INTERRUPTED): lambda: then(sent(), Book.interrupt),
    (S.SENDING, C.OUTCOME_UNCERTAIN): lambda: then(answered(MAY_HAVE_APPLIED), Book.send, answers(O.REFUSED)),
    (S.INDETERMINATE, C.ORDER_CANCELED): lambda: then(answered(O.INDETERMINATE), hears(Phase.CANCELED)),
    (S.INDETERMINATE, C.ORDER_CLOSED): lambda: then(answered(O.INDETERMINATE), tells(Phase.COMPLETED)),
    (S.INDETERMINATE, C.STILL_CANCELABLE): lambda: then(answered(O.INDETERMINATE), tells(Phase.OPEN)),
    (S.INDETERMINATE, C.PROBE_INCONCLUSIVE): lambda: then(answered(O.INDETERMINATE), tells(Phase.UNKNOWN)),
    (S.INDETERMINATE, C.PROBE_FAILED): lambda: then(answered(O.INDETERMINATE), probes_fail(1)),
    (S.INDETERMINATE, C.ATTEMPTS_USED_UP): lambda: then(answered(O.INDETERMINATE), probes_fail(12)),
    (S.INDETERMINATE, C.RETRY): lambda: then(answered(CRASH, BLIND), Book.send, answers(CRASH)),
    (S.INDETERMINATE, C.REFUSED): lambda: then(
        Book(BLIND, "send"), Book.request_cancel, Book.send, answers(CRASH), Book.send, crashes_alone
    ),
    (S.INDETERMINATE, C.RESOLVED_SUCCEEDED): lambda: then(
        answered(O.INDETERMINATE), lambda book: book.resolve(succeeded=True)
    ),
    (S.INDETERMINATE, C.RESOLVED_REFUSED): lambda: then(
        answered(O.INDETERMINATE), lambda book: book.resolve(succeeded=False)
    ),
    (S.ACCEPTED, C.ORDER_CANCELED): lambda: then(answered(O.ACCEPTED), tells(Phase.CANCELED)),
    (S.ACCEPTED, C.ORDER_CLOSED): lambda: then(answered(O.ACCEPTED), hears(Phase.COMPLETED)),
    (S.ACCEPTED, C.PROBE_INCONCLUSIVE): lambda: then(answered(O.ACCEPTED), tells(Phase.OPEN)),
    (S.ACCEPTED, C.PROBE_FAILED): lambda: then(answered(O.ACCEPTED), probes_fail(1)),
    (S.ACCEPTED, C.ATTEMPTS_USED_UP): lambda: then(answered(O.ACCEPTED), polls(ACCEPTED_POLLS.attempts)),
    (S.ACCEPTED, C.RESOLVED_SUCCEEDED): lambda: then(answered(O.ACCEPTED), lambda book: book.resolve(succeeded=True)),
    (S.ACCEPTED, C.RESOLVED_REFUSED): lambda: then(answered(O.ACCEPTED), lambda book: book.resolve(succeeded=False)),
}


def steps_of(log: list[Event], id: str = CANCELLATION) -> list[Event]:
    return [each for each in log if cancellation_of(each) == id]


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_row_of_the_table_is_used(row: Row) -> None:
    book = STORIES[row]()()
    steps = steps_of(book.log)
    before = None
    for step in steps[:-1]:
        before = apply(before, step)

    assert (before.state if before else None, Cause(steps[-1].data["cause"])) == row
    assert book.cancellation.state is TRANSITIONS[row]
    assert steps[-1].type == f"cancellation.{TRANSITIONS[row]}"


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_steps_replay_to_the_cancellation_and_a_repeated_step_changes_nothing(row: Row) -> None:
    book = STORIES[row]()()
    steps = steps_of(book.log)
    known: Cancellation | None = None
    for number, step in enumerate(steps, 1):
        known = apply(known, decoded(step))
        assert known is not None
        assert known.step == step.data["step"] == number
    assert known == book.cancellation
    assert msgspec.json.encode(known) == msgspec.json.encode(book.cancellation)
    assert known.final == (known.state in FINAL)
    if known.final:
        assert apply(known, steps[-1]) is known


# -- Steps -----------------------------------------------------------------------------------

UNKNOWN_STEPS = [row for row in product((None, *State), Cause) if row not in TRANSITIONS]


def step_event(cause: Cause, changes: dict[str, Any] | None = None) -> Event:
    data = {"cancellation": CANCELLATION, "step": 9, "cause": cause, "changes": changes or {"detail": "odd"}}
    return replace(fact("odd", 9, Facts(), type="cancellation.odd"), data=data)


def test_a_step_that_the_table_does_not_know_moves_nothing_on() -> None:
    for state, cause in UNKNOWN_STEPS:
        repeated = None if state is None else replace(NEW, state=state, step=9)
        assert apply(repeated, step_event(cause)) is repeated, (state, cause)
        if state is None:
            continue
        known = replace(NEW, state=state, step=8, due_at=at(30))
        after = apply(known, step_event(cause))
        assert after is not None
        if state in FINAL:
            assert after is known, (state, cause)
        else:
            # It is from a newer release: until somebody says what is to be done, nothing is.
            found = (after.state, after.step, after.waiting, after.due_at)
            assert found == (state, 9, Waiting.NOTHING, None), (state, cause)


words = st.text(max_size=8) | st.sampled_from(["null", "None", "true", "1", "", "2026-03-01T12:00:00Z"])
moments = st.integers(0, 10**12).map(lambda micros: at(micros / 1_000_000))


@examples(200)
@given(
    st.builds(
        Cancellation,
        id=words,
        account=words,
        order=words,
        reason=words,
        requested_at=moments,
        updated_at=moments,
        note=st.none() | words,
        requested_by=words,
        deadline=st.none() | moments,
        overridden_evidence=st.none() | st.lists(words, max_size=2).map(tuple),
    ),
    moments,
    st.sampled_from([row for row in TRANSITIONS if row[0] is S.SCHEDULED]),
)
def test_what_was_asked_for_survives_the_log_whatever_its_words(cancellation: Cancellation, now: Any, row: Row) -> None:
    first = begin(cancellation, C.REQUESTED, now, waiting=Waiting.SEND_SLOT, due_at=now)
    known = apply(None, decoded(first))

    assert known == replace(cancellation, updated_at=now, step=1, due_at=now)
    assert known is not None
    moved = apply(known, decoded(advance(known, row[1], now, detail="so")))
    assert moved == replace(
        known, state=TRANSITIONS[row], cause=row[1], step=2, waiting=Waiting.NOTHING, due_at=None, detail="so"
    )


def test_what_it_waits_for_and_why_ends_with_the_step() -> None:
    known = replace(
        NEW, waiting=Waiting.RETRY, due_at=at(5), detail="500", failures=3, may_have_applied=True, attempts=2
    )
    moved = apply(known, advance(known, C.CLAIMED, at(6)))

    assert moved == replace(
        known,
        state=S.SENDING,
        cause=C.CLAIMED,
        step=1,
        updated_at=at(6),
        waiting=Waiting.NOTHING,
        due_at=None,
        detail="",
    )


def test_the_id_of_a_step_is_of_the_cancellation_and_the_number_alone() -> None:
    claimed = advance(NEW, C.CLAIMED, at(1))

    assert claimed.id == advance(NEW, C.CLAIMED, at(1)).id
    assert claimed.id == advance(NEW, C.REVOKE_REQUESTED, at(2), Source.OPERATOR).id, (
        "only one of the two can be recorded"
    )
    assert claimed.id != advance(replace(NEW, step=1), C.CLAIMED, at(1)).id
    assert claimed.id != advance(replace(NEW, id="can-2"), C.CLAIMED, at(1)).id
    assert claimed.id != advance(replace(NEW, order="order-2"), C.CLAIMED, at(1)).id
    assert claimed.id == event_id(ACCOUNT, ORDER, "cancellation.", f"{CANCELLATION}\0{1}".encode())


def test_a_step_says_of_which_cancellation_it_is_and_states_nothing_of_the_order() -> None:
    step = advance(NEW, C.CLAIMED, at(1))

    assert cancellation_of(step) == CANCELLATION
    assert (step.type, step.facts, step.order) == ("cancellation.sending", Facts(), ORDER)
    assert cancellation_of(phase("1", 1, Phase.CANCELED)) is None
