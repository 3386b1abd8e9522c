"""The index of policies finds what a loop over all of them finds: against a plain reference, on random histories.

The reference evaluates every policy after every event and stores every state, that of waiting included. It looks at
whole conditions, one by one, remembers nothing, and has timers for what the stored states say.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace
from unit.core.book import Book
from unit.core.support import PROBED, appointment, at, fact, policy_of

from app.contract import Facts, Phase
from app.core.aggregate import after_decisions
from app.core.event import Event
from app.core.policy import decide as deciding
from app.core.policy.decide import next_check_at
from app.core.policy.decisions import decisions_of
from app.core.policy.evaluate import Evaluation, policy_check_at, values_of
from app.core.policy.index import OVER, reads_of
from app.core.policy.model import ACTED, HOLDING, Mode, Outcome, Policy, PolicyState, Trigger
from app.core.policy.readers import KEY_CHARS_MAX, readers_of
from app.core.unit_of_work import UnitOfWork
from app.kit.cel.expression import ExpressionFailed

HOUR = 3600.0
CONDITIONS = (
    "order.phase == 'open'",
    "order.phase == 'open' && size(order.appointments) == 0",
    "order.phase != 'completed' && order.provider_status in ['new', 'stuck']",
    "order.phase == 'open' && order.attributes.rush == 'yes'",
    "has(order.attributes.rush) && order.attributes.rush == 'yes' && order.provider_status == 'new'",
    "has(order.attributes.about.region) && order.attributes.about.region == 'west'",
    "order.attributes.?about.region.orValue('none') == 'west' && order.phase == 'open'",
    "order.attributes.size > 3 && order.phase == 'open'",
    "order.attributes.list.exists(item, item == 'x')",
    "order.verdict.cancelable == 'yes' && !('keep' in order.tags)",
    "now - order.opened_at > duration('5h') && order.phase == 'open'",
    "order.phase == 'open' && now - order.opened_at < duration('40h')",
    "order.version > 3 && order.phase == 'open'",
    "event.type == 'order.late' && order.phase == 'open'",
    "order.appointments.exists(a, a.status == 'booked')",
    "order.duplicates.exists(d, d.came == 'before')",
    "timestamp(order.attributes.at) < now && order.phase == 'open'",
    "true",
)
MOMENTS: tuple[dict[str, str], ...] = (
    {},
    {"wait": "3h"},
    {"wait": "7h since order.opened_at"},
    {"wait": "20h since order.opened_at"},
    {"wait": "1h since timestamp(order.appointments[0].starts_at)"},
    {"wait": "2h since order.last_event_at"},
    {"before_close": "30m"},
    {"before_close": "5h"},
)


class Reference(Book):
    """The same ledger with the plain loop."""

    def consider(self, unit: UnitOfWork, events: Sequence[Event]) -> None:
        settled = {state.policy for state in unit.aggregate.policy_states if state.outcome in ACTED}
        deciding.review(unit, self.context)
        for policy in self.account.policies:
            state = unit.aggregate.policy_state(policy.id)
            evaluation = None if policy.id in settled else self._evaluate(policy, state, unit, events)
            if evaluation is None:
                continue
            if evaluation.outcome is None:
                decided = deciding._act(policy, state, unit, self.context, evaluation)
            else:
                decided = deciding._state_after(policy, state, evaluation)
            self._record(policy, state, decided, unit)
        states = [(policy, unit.aggregate.policy_state(policy.id)) for policy in self.account.policies]
        checks = [policy_check_at(policy, state, unit.now) for policy, state in states]
        over = unit.aggregate.order.phase in OVER
        unit.policies_check_at = None if over else min((at for at in checks if at is not None), default=None)

    def _record(self, policy: Policy, state: PolicyState | None, decided: PolicyState, unit: UnitOfWork) -> None:
        if decided.outcome in (Outcome.WAITING, Outcome.UNMATCHED):
            unit.aggregate = after_decisions(unit.aggregate, [decided])
        elif state is None or replace(state, number=0) != replace(decided, number=0):
            deciding.record(unit, self.context, [(policy, decided)])

    def _evaluate(
        self, policy: Policy, state: PolicyState | None, unit: UnitOfWork, events: Sequence[Event]
    ) -> Evaluation | None:
        if state is not None and policy.is_settled(state):
            return None
        trigger = None
        if policy.on or policy.reads_event:
            event = next((event for event in reversed(events) if policy.is_triggered_by(event.type)), None)
            trigger = state.trigger if event is None and state is not None else None
            if event is not None:
                trigger = Trigger(event.id, event.type, event.source.value, event.occurred_at, event.received_at)
            if trigger is None:
                return None
        phase = unit.aggregate.order.phase
        if phase in OVER:
            waited = state is not None and state.outcome in (Outcome.WAITING, Outcome.HELD)
            return Evaluation(Outcome.UNMATCHED) if waited else None
        holding = state is not None and state.outcome in HOLDING
        if phase is Phase.UNKNOWN and state is not None and holding and (not state.due_at or state.due_at > unit.now):
            return None
        try:
            return self._of(policy, state, unit, trigger)
        except (ExpressionFailed, OverflowError) as error:
            return Evaluation(Outcome.FAILED, f"{error}.", trigger)

    def _of(self, policy: Policy, state: PolicyState | None, unit: UnitOfWork, trigger: Trigger | None) -> Evaluation:
        values = values_of(policy, unit, self.context, trigger)
        since = state.matched_since if state is not None and state.matched_since else unit.now
        if not policy.when.evaluate(values):
            reads_time = "now" in policy.when.names and (policy.since is not None or policy.before_close is not None)
            due_at = self._moment(policy, values, unit, unit.now) if reads_time else None
            if due_at is not None and due_at > unit.now:
                return Evaluation(Outcome.WAITING, "", trigger, None, due_at)
            return Evaluation(Outcome.UNMATCHED)
        due_at = self._moment(policy, values, unit, since)
        matched_since = since if policy.wait is not None and policy.since is None else None
        waits = due_at is None or due_at > unit.now
        return Evaluation(Outcome.WAITING if waits else None, "", trigger, matched_since, due_at if waits else None)

    def _moment(self, policy: Policy, values: dict[str, Any], unit: UnitOfWork, since: datetime) -> datetime | None:
        if policy.before_close is not None:
            closes_at = unit.closes_at()
            if closes_at is not None:
                return closes_at - policy.before_close
            return unit.now if unit.verdict().cancelable.value == "no" else None
        if policy.wait is None:
            return unit.now
        moment = since if policy.since is None else policy.since.evaluate(values)
        return None if moment is None else moment + policy.wait


def some_policies(chance: random.Random, count: int) -> list[Policy]:
    policies = []
    for number in range(count):
        more: dict[str, Any] = dict(chance.choice(MOMENTS))
        if chance.random() < 0.15:
            more["on"] = chance.choice([("order.late",), ("order.*",)])
        when = chance.choice(CONDITIONS)
        mode = chance.choice([Mode.SHADOW, Mode.SHADOW, Mode.SHADOW, Mode.ENFORCE, Mode.APPROVE])
        policies.append(policy_of(f"p-{number:02}", when=when, mode=mode, condition_hash=f"{number}", **more))
    return policies


def some_facts(chance: random.Random, *, known: bool) -> Facts:
    """Facts; while the phase of the order is unknown they do not move what a policy waits for."""
    given: dict[str, Any] = {}
    if chance.random() < 0.5:
        given["provider_status"] = chance.choice(["new", "stuck", "moving"])
    if chance.random() < 0.4 and known:
        given["attributes"] = chance.choice(
            [
                {"rush": "yes"},
                {"rush": True},
                {"about": {"region": "west"}},
                {"about": "west"},
                {"size": 1},
                {"size": 5.5},
                {"size": True},
                {"list": ["x"]},
                {"rush": "y" * 9000},
                {"at": "2026-03-02T00:00:00Z"},
            ]
        )
    if chance.random() < 0.2 and known:
        given["appointments"] = (appointment(chance.choice([5, 30, 60]) * HOUR, chance.choice("ab")),)
    return Facts(**given)


def live(book: Book, seed: int) -> None:
    """One history: events, tags, a person who revokes, and every timer at its time."""
    chance, now, phase = random.Random(seed), 0.0, Phase.OPEN  # noqa: S311 - a test, repeatable
    for number in range(30):
        given = some_facts(chance, known=phase is not Phase.UNKNOWN)
        if chance.random() < 0.25 or not number:
            phase = chance.choice([Phase.OPEN, Phase.OPEN, Phase.IN_PROGRESS, Phase.UNKNOWN])
            given = Facts(phase=phase)
        if number == 25 and chance.random() < 0.5:
            given = Facts(phase=chance.choice(OVER))
        type, tag, revokes = chance.choice(["order.late", "order.updated"]), chance.random(), chance.random()
        book.hear(fact(f"e-{number}", now, given, type=type))
        if tag < 0.15:
            book.tag("keep", remove=("rush",))
        elif tag < 0.3:
            book.tag(remove=("keep",))
        if revokes < 0.02 and book.aggregate.live:
            book.revoke(book.aggregate.live[0].id)
        if chance.random() < 0.1:
            book.duplicates = [] if book.duplicates else [{"id": "o-0", "came": "before"}]
            book.elapse(now)  # as the ledger has duplicates checked
        until = now + chance.choice([1.0, 600.0, HOUR, 4 * HOUR, 12 * HOUR])
        while (check := next_timer(book)) is not None and check <= at(until):
            book.elapse((check - at(0)).total_seconds())
        now = until


def next_timer(book: Book) -> datetime | None:
    """When the order is looked at next: for its policies or verdict, or as a cancellation expires."""
    ends = [cancellation.sendable_until for cancellation in book.aggregate.live]
    moments = [next_check_at(book.unit), *(end for end in ends if end is not None and end > book.unit.now)]
    return min((moment for moment in moments if moment is not None), default=None)


def happened(book: Book) -> list[tuple[str, datetime, Any]]:
    """What came of it: steps of cancellations, and decisions from which something follows."""
    rows: list[tuple[str, datetime, Any]] = []
    for event in book.log:
        if event.type.startswith("cancellation."):
            rows.append((event.type, event.received_at, event.data.get("cancellation")))
        rows += [
            (data["policy"], event.received_at, (data["outcome"], data.get("detail")))
            for data in decisions_of(event)
            if data["outcome"] not in (Outcome.WAITING, Outcome.UNMATCHED)
        ]
    return sorted(rows, key=repr)


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_what_is_found_by_the_index_is_what_a_loop_finds(first: int) -> None:
    outcomes: set[Any] = set()
    for seed in range(first, first + 15):
        policies = some_policies(random.Random(seed), 12)  # noqa: S311 - a test, repeatable
        ours, plain = Book(PROBED, "probe", *policies), Reference(PROBED, "probe", *policies)
        live(ours, seed)
        live(plain, seed)
        assert happened(ours) == happened(plain), seed
        outcomes |= {what[0] for _, _, what in happened(ours) if isinstance(what, tuple)}
    assert outcomes >= {"shadowed", "acted", "joined", "refrained", "failed", "proposed"}


def test_values_that_are_equal_and_differ_in_type_are_told_apart() -> None:
    book = Book(PROBED, "probe", policy_of(when="order.attributes.n == true", mode=Mode.SHADOW))
    book.hear(fact("a", 0, Facts(phase=Phase.OPEN, attributes={"n": 1})))
    assert book.recorded("p") == []
    book.hear(fact("b", 1, Facts(attributes={"n": 1.0})))
    assert book.recorded("p") == []
    book.hear(fact("c", 2, Facts(attributes={"n": True})))
    assert book.recorded("p") == ["shadowed"]


def test_long_texts_are_not_remembered() -> None:
    policy = policy_of(when="order.attributes.note != ''", mode=Mode.SHADOW)
    (reader,) = readers_of(reads_of(policy.when) or ()) or ()
    book = Book(PROBED, "probe", policy)
    book.hear(fact("a", 0, Facts(phase=Phase.OPEN, attributes={"note": "x" * (KEY_CHARS_MAX + 1)})))
    with pytest.raises(TypeError):
        hash(reader(book.aggregate.order, book.unit))
    assert book.recorded("p") == ["shadowed"]


def test_hundreds_of_policies_that_wait_give_one_moment_and_no_event() -> None:
    waits = [policy_of(f"p-{n}", wait=f"{n + 10}h since order.opened_at", mode=Mode.SHADOW) for n in range(300)]
    book = Book(PROBED, "probe", *waits)
    book.hear(fact("a", 0, Facts(phase=Phase.OPEN)))
    assert len(book.log) == 1
    assert next_check_at(book.unit) == at(10 * HOUR)
    book.elapse(29 * HOUR)
    (decided,) = book.log[1:]
    assert [each["policy"] for each in decisions_of(decided)] == [f"p-{n}" for n in range(20)]
    assert next_check_at(book.unit) == at(30 * HOUR)


def test_a_dormant_policy_whose_condition_time_may_make_true_waits_again_when_it_is_triggered() -> None:
    when = "order.phase == 'open' && now - order.opened_at > duration('1h')"
    book = Book(
        PROBED, "probe", policy_of(when=when, wait="2h since order.last_event_at", on=("order.late",), mode=Mode.SHADOW)
    )
    book.hear(fact("a", 0, Facts(phase=Phase.OPEN)))
    book.hear(fact("b", HOUR, Facts(phase=Phase.IN_PROGRESS), type="order.late"))
    book.elapse(3 * HOUR)
    assert book.recorded("p") == ["waiting", "unmatched"]
    book.hear(fact("c", 4 * HOUR, Facts(provider_status="x"), type="order.late"))
    assert (book.recorded("p")[2:], next_check_at(book.unit)) == (["waiting"], at(6 * HOUR))
    book.hear(fact("d", 5 * HOUR, Facts(phase=Phase.OPEN)))
    book.elapse(7 * HOUR)
    assert book.recorded("p")[-1] == "shadowed"


def test_a_wait_of_a_former_version_does_not_go_on_when_that_version_comes_back() -> None:
    held = policy_of(wait="3h", condition_hash="one", mode=Mode.SHADOW)
    since = policy_of(wait="50h since order.opened_at", condition_hash="two", mode=Mode.SHADOW)
    late = policy_of(wait="50h since order.opened_at", on=("order.late",), condition_hash="one", mode=Mode.SHADOW)
    for former, type in ((held, "order.updated"), (late, "order.late")):
        book = Book(PROBED, "probe", former)
        book.hear(fact("a", 0, Facts(phase=Phase.OPEN), type=type))
        assert book.recorded("p") == ["waiting"]
        book.have(since)
        book.elapse(HOUR)
        book.hear(fact("b", 2 * HOUR, Facts(phase=Phase.IN_PROGRESS)))
        book.hear(fact("c", 3 * HOUR, Facts(phase=Phase.OPEN)))
        assert book.recorded("p") == ["waiting", "waiting"], "that it waits since something else is stored once"
        book.have(former)
        book.elapse(5 * HOUR)
        if former is held:
            assert next_check_at(book.unit) == at(8 * HOUR), "its condition has held for two hours, not for five"
        else:
            book.elapse(51 * HOUR)
        assert "shadowed" not in book.recorded("p")
