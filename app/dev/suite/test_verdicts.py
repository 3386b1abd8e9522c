"""What every handler must do with orders: verdicts from evidence, with their clauses."""

from __future__ import annotations

import itertools
from datetime import timedelta

from msgspec.structs import replace

from app.contract import Cancelable, Handler, Order, Phase, Source
from app.core.erasure import Eraser
from app.core.event import to_event
from app.core.order import fold
from app.core.verdict import judge
from app.dev.suite.cases import NOW, Fixture, observed, rules_of
from app.dev.suite.parameters import by_event, by_handler
from app.kit.clauses import tracing


@by_handler
def test_the_verdict_is_total(handler: Handler) -> None:
    rules = rules_of(handler)
    statuses = [None, "", "never heard of", *handler.words]
    for phase, status, version in itertools.product(Phase, statuses, (0, 1)):
        order = Order("account", "1", phase=phase, provider_status=status, version=version, sources={"phase": "evt_1"})
        verdict = handler.verdict(order, rules, NOW)
        assert verdict.reason == verdict.reason.lower().replace(" ", "_").replace("-", "_")
        assert verdict.explanation.endswith((".", "!"))
        if phase in (Phase.CANCELED, Phase.COMPLETED):
            assert verdict.cancelable is Cancelable.NO
        if verdict.cancelable is Cancelable.NO:
            assert phase is not Phase.UNKNOWN
            assert verdict.evidence == ("evt_1",)


@by_handler
def test_every_verdict_says_what_it_tested(handler: Handler) -> None:
    rules = rules_of(handler)
    statuses = [None, "", "never heard of", *handler.words]
    for phase, status in itertools.product(Phase, statuses):
        order = Order("account", "1", phase=phase, provider_status=status, version=1, sources={"phase": "evt_1"})
        verdict = handler.verdict(order, rules, NOW)
        with tracing() as trace:
            assert handler.verdict(order, rules, NOW) == verdict, "it is the same while it is explained"
        assert trace.clauses, f"no condition was tested by app.kit.clauses.clause: {phase}, {status}"
        for tested in trace.clauses.values():
            assert all(map(_is_field, tested.fields)), tested
            assert tested.setting is None or tested.setting in type(rules).model_fields, tested
            with tracing(opposite=tested.rule):
                handler.verdict(order, rules, NOW)  # it does not take for granted what the clause said


def _is_field(name: str) -> bool:
    return name == "now" or name.partition(".")[0] in Order.__struct_fields__


@by_event
def test_every_event_leads_to_a_verdict_with_evidence(fixture: Fixture) -> None:
    events = [to_event(each, "account", NOW, Source.WEBHOOK, None) for each in observed(fixture.parse())]
    order, _ = fold("account", events[0].order, events)
    verdict = judge(fixture.handler, rules_of(fixture.handler), order, NOW)
    assert verdict.reason != "rule_failed"
    assert set(verdict.evidence) <= {each.id for each in events}
    assert verdict.evidence or verdict.cancelable is Cancelable.UNKNOWN


@by_event
def test_no_verdict_reads_what_is_personal(fixture: Fixture) -> None:
    """Erasure replaces the values of personal attributes, and changes nothing else."""
    events = [to_event(each, "account", NOW, Source.WEBHOOK, None) for each in observed(fixture.parse())]
    eraser = Eraser(1, fixture.handler.personal)
    erased = [eraser.erase(event) for event in events]
    order, _ = fold("account", events[0].order, events)
    without, _ = fold("account", events[0].order, erased)
    assert replace(without, attributes=order.attributes) == order
    assert list(without.attributes) == list(order.attributes)
    for days in (0, 1, 400):
        now, rules = NOW + timedelta(days=days), rules_of(fixture.handler)
        assert judge(fixture.handler, rules, without, now) == judge(fixture.handler, rules, order, now)
    assert [eraser.erase(event) for event in erased] == erased
