from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contract.handler_cases import drive
from unit.planomatic.support import observe

from app.contract import (
    Appointment,
    Cancelable,
    Context,
    Facts,
    HttpResponse,
    InvalidCancel,
    Order,
    ParsedEvent,
    Phase,
    Source,
    Verdict,
)
from app.core.event import to_event
from app.core.order import fold
from app.core.verdict import judge
from handlers.planomatic import HANDLER
from handlers.planomatic.cancel import probe
from handlers.planomatic.config import Config
from handlers.planomatic.rules import Rules, check, verdict

NOW = datetime(2026, 3, 2, 16, tzinfo=UTC)
RULES = Rules()
START = datetime(2026, 3, 4, 16, tzinfo=UTC)
CONFIG = Config.model_validate({"api_key": "k"})

YES, NO, UNKNOWN = Cancelable.YES, Cancelable.NO, Cancelable.UNKNOWN


def order(phase: Phase, status: str | None = None, /, *appointments: str, version: str = "v2", **sources: str) -> Order:
    made = tuple(Appointment(str(number), each, START) for number, each in enumerate(appointments))
    attributes = {"status_version": version} if status else {}
    known = {"phase": "evt_p", "provider_status": "evt_p", "appointments": "evt_p", **sources}
    return Order(
        "a",
        "1",
        phase=phase,
        provider_status=status,
        appointments=made,
        version=3,
        sources=known,
        attributes=attributes,
    )


@pytest.mark.parametrize(
    ("known", "cancelable", "reason"),
    [
        (order(Phase.CANCELED, "canceled"), NO, "already_canceled"),
        (order(Phase.COMPLETED, "ordered", "scheduled"), NO, "completed"),
        (order(Phase.OPEN, "ordered", "scheduled"), NO, "appointment_confirmed"),
        (order(Phase.UNKNOWN, "hold", "confirmed"), NO, "appointment_confirmed"),
        (order(Phase.IN_PROGRESS, "scheduled", "canceled", "scheduled"), NO, "appointment_confirmed"),
        (order(Phase.IN_PROGRESS, "scheduled", "scheduled", appointments="evt_a"), NO, "appointment_confirmed"),
        (order(Phase.OPEN, "ordered", "scheduled", appointments="evt_a"), UNKNOWN, "appointment_unclear"),
        (order(Phase.UNKNOWN, None, "scheduled", appointments="evt_a"), UNKNOWN, "appointment_unclear"),
        (order(Phase.OPEN, "ordered", "canceled", "requested", "in_doubt"), YES, "status_cancelable"),
        (order(Phase.OPEN, "new_request"), YES, "status_cancelable"),
        (order(Phase.OPEN, "scheduling"), YES, "status_cancelable"),
        (order(Phase.OPEN, "ordered", provider_status="evt_s"), YES, "status_cancelable"),
        (order(Phase.OPEN), YES, "not_scheduled"),
        (order(Phase.OPEN, "booked"), NO, "status_not_cancelable"),
        (order(Phase.OPEN, "scheduled", provider_status="evt_s"), UNKNOWN, "status_unclear"),
        (order(Phase.IN_PROGRESS, "scheduled"), NO, "in_progress"),
        (order(Phase.IN_PROGRESS), NO, "in_progress"),
        (order(Phase.IN_PROGRESS, "scheduling"), NO, "in_progress"),
        (order(Phase.UNKNOWN), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "hold"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "scheduling"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "never heard of"), UNKNOWN, "status_unclear"),
    ],
)
def test_the_verdict(known: Order, cancelable: Cancelable, reason: str) -> None:
    found = verdict(known, RULES, NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)
    assert found.changes_at is None
    assert found.evidence
    assert set(found.evidence) <= set(known.sources.values())


def test_evidence_names_the_event_that_the_verdict_rests_on() -> None:
    known = order(Phase.IN_PROGRESS, "scheduled", "scheduled", appointments="evt_a")
    assert verdict(known, RULES, NOW).evidence == ("evt_a",)
    known = order(Phase.IN_PROGRESS, "scheduled", provider_status="evt_s")
    assert verdict(known, RULES, NOW).evidence == ("evt_p",)


def test_an_explanation_names_the_appointment() -> None:
    assert "2026-03-04 16:00 UTC" in verdict(order(Phase.IN_PROGRESS, None, "scheduled"), RULES, NOW).explanation


def test_an_order_without_sources_is_judged_all_the_same() -> None:
    bare = Order("a", "1", phase=Phase.OPEN, appointments=(Appointment("x", "scheduled"),))
    assert verdict(bare, RULES, NOW) == Verdict(
        NO,
        "appointment_confirmed",
        "An appointment is confirmed; PlanOmatic cancels scheduled orders only by its staff.",
    )


@pytest.mark.parametrize(
    ("statuses", "known", "cancelable", "reason"),
    [
        (("ordered",), order(Phase.OPEN, "scheduling"), NO, "status_not_cancelable"),
        ((), order(Phase.OPEN, "ordered"), NO, "status_not_cancelable"),
        ((), order(Phase.OPEN), YES, "not_scheduled"),
        (("hold",), order(Phase.UNKNOWN, "hold"), YES, "status_cancelable"),
        (("awaiting_weather",), order(Phase.UNKNOWN, "awaiting_weather"), YES, "status_cancelable"),
        (("hold",), order(Phase.UNKNOWN, "hold", provider_status="evt_s"), UNKNOWN, "status_unclear"),
        (("hold",), order(Phase.UNKNOWN, "hold", "scheduled"), NO, "appointment_confirmed"),
        (("assembly",), order(Phase.IN_PROGRESS, "assembly"), YES, "status_cancelable"),
        (("assembly",), order(Phase.IN_PROGRESS, "assembly", phase="evt_later"), NO, "in_progress"),
        (("scheduling",), order(Phase.IN_PROGRESS, "scheduling"), NO, "in_progress"),
        (("completed",), order(Phase.COMPLETED, "completed"), NO, "completed"),
    ],
)
def test_an_override_of_the_statuses_works_both_ways(
    statuses: tuple[str, ...], known: Order, cancelable: Cancelable, reason: str
) -> None:
    found = verdict(known, Rules(cancelable_statuses=statuses), NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)


def of_v3(phase: Phase, status: str, /, *appointments: str, **sources: str) -> Order:
    return order(phase, status, *appointments, version="v3", **sources)


def test_a_status_of_v3_outside_of_the_set_is_no_whatever_the_word() -> None:
    for status in ("hold", "committed", "pending_appointment", "booked", "never heard of", "submitted_cancel_onsite"):
        for phase in (Phase.OPEN, Phase.UNKNOWN):
            found = verdict(of_v3(phase, status), RULES, NOW)
            assert (found.cancelable, found.reason) == (NO, "status_not_cancelable")
            assert found.evidence == ("evt_p",)
            assert status in found.explanation
            assert "new_request, ordered, scheduling" in found.explanation
        assert verdict(order(Phase.UNKNOWN, status), RULES, NOW).cancelable is UNKNOWN, "as a word of V2"


def test_the_set_of_v3_is_the_account_s_and_what_happened_later_outranks_the_status() -> None:
    hold = of_v3(Phase.UNKNOWN, "hold")
    assert verdict(hold, Rules(cancelable_statuses=("hold",)), NOW).cancelable is YES
    assert verdict(hold, Rules(cancelable_statuses=()), NOW).cancelable is NO
    assert verdict(of_v3(Phase.UNKNOWN, "hold", provider_status="evt_s"), RULES, NOW).cancelable is UNKNOWN
    assert verdict(of_v3(Phase.UNKNOWN, "scheduling"), RULES, NOW).cancelable is UNKNOWN, "the event's name says more"
    former = of_v3(Phase.UNKNOWN, "hold", "scheduled", appointments="evt_a")
    assert verdict(former, RULES, NOW).reason == "status_not_cancelable"


def test_an_override_of_the_appointments() -> None:
    booked = order(Phase.OPEN, "ordered", "booked")
    assert verdict(booked, RULES, NOW).cancelable is YES
    assert verdict(booked, Rules(confirmed_appointment_statuses=("booked",)), NOW).cancelable is NO


# -- Through the fold ------------------------------------------------------------------------


def story(*bodies: dict[str, Any], rules: Rules = RULES) -> Verdict:
    """The verdict after these webhooks, a minute apart."""
    events = []
    for number, body in enumerate(bodies):
        at = NOW + timedelta(minutes=number)
        seen = observe({"order_id": 1, "occurred_at": at.isoformat(), **body}, CONFIG)
        events.append(to_event(seen, "a", at + timedelta(seconds=1), Source.WEBHOOK, None))
    known, _ = fold("a", "1", reversed(events))
    return judge(HANDLER, rules, known, NOW)


PROCESSED = {"event": "order.processed", "status": "ordered"}
SCHEDULED = {"event": "appointment.scheduled", "appointments": [{"start_datetime": START.isoformat()}]}


def test_a_scheduled_order_closes_and_an_uncertain_one_is_unknown() -> None:
    rescheduling = {"event": "appointment.awaiting_reschedule"}
    assert story(PROCESSED).cancelable is YES
    assert story(PROCESSED, SCHEDULED).reason == "appointment_confirmed"
    assert story(PROCESSED, SCHEDULED, rescheduling).reason == "appointment_unclear"
    assert story(PROCESSED, SCHEDULED, {**SCHEDULED, **rescheduling}).reason == "status_unclear"
    assert story(PROCESSED, SCHEDULED, rescheduling, SCHEDULED).reason == "appointment_confirmed"
    assert story(PROCESSED, SCHEDULED, {"event": "order.canceled"}).reason == "already_canceled"
    assert story(PROCESSED, {"event": "order.delivered"}, SCHEDULED).reason == "completed"


def test_a_status_that_went_stale_decides_nothing() -> None:
    assert story({"order_status": "hold"}, {"event": "order.processed"}).reason == "status_unclear"
    assert story({"order_status": "hold"}, {"event": "order.processed"}).cancelable is UNKNOWN
    assert story({"order_status": "scheduling"}, {"event": "appointment.scheduled"}).reason == "in_progress"


def test_what_webhooks_and_probes_say_in_the_status_decides() -> None:
    for status in ("hold", "committed", "pending_appointment", "post_processing", "delivered"):
        named = story(PROCESSED, {"event": "appointment.unable_to_complete", "status": status})
        assert named.cancelable is NO, status
        assert named.evidence
        assert story(PROCESSED, {"status": status}).cancelable is NO, "V2 has another key for it"
    for status in ("hold", "pending_appointment", "ready_to_schedule", "committed", "submitted_cancel_onsite"):
        assert story(PROCESSED, {"order_status": status}).cancelable is UNKNOWN
        assert after_probe({"order_status": status}, status="ordered").cancelable is YES
        found = after_probe({"order_status": status}, status=status)
        assert (found.cancelable, found.reason) == (NO, "status_not_cancelable"), "a probe is V3's"
        assert after_probe({"order_status": status}, order_status=status).cancelable is NO
    assert story({"event": "order.processed", "status": "hold"}, {"order_status": "hold"}).cancelable is UNKNOWN


def after_probe(webhook: dict[str, Any], **answered: str) -> Verdict:
    """The verdict after a webhook, and a probe that is answered with an order of these fields."""
    seen = observe({"order_id": 1, **webhook}, CONFIG)
    events = [to_event(seen, "a", NOW, Source.WEBHOOK, None)]
    raw = json.dumps({"code": 200, "status": "success", "order": {"order_id": 1, "appointments": [], **answered}})
    [facts], _ = drive(probe([Order("a", "1")], CONFIG, Context(NOW)), [HttpResponse(200, {}, raw.encode())])
    assert isinstance(facts, Facts)
    later = NOW + timedelta(minutes=1)
    events.append(to_event(ParsedEvent("1", "order.probed", b"p", facts, later), "a", later, Source.PROVIDER, None))
    found = judge(HANDLER, RULES, fold("a", "1", events)[0], later)
    assert found.cancelable is not NO or found.evidence == (events[-1].id,)
    return found


def test_a_message_s_own_status_is_not_the_order_s() -> None:
    wrapped = {"event": "order.processed", "status": "success", "order": {"order_id": 1}}
    body = {"code": 200, "status": "sent", "data": {"order_id": 1, "status": "ordered"}}
    for given, status in ((wrapped, None), (body, "ordered"), ({"status": "hold", "order": {"order_id": 1}}, "hold")):
        assert observe(given, CONFIG).facts.provider_status == status


# -- The arguments of a cancel ---------------------------------------------------------------


@pytest.mark.parametrize("note", ["x", "x" * 255, "ü" * 255, " x ", "two\nlines", "😀"])
def test_good_notes(note: str) -> None:
    check("duplicate_order", note, RULES)
    check("client_requested_cancelation", note, RULES)


@pytest.mark.parametrize(
    ("reason", "note", "field", "says"),
    [
        ("", "x", "reason", "duplicate_order, client_requested_cancelation"),
        ("client_requested_cancellation", "x", "reason", "client_requested_cancelation"),
        ("Duplicate_Order", "x", "reason", "accepts only"),
        ("duplicate_order", None, "note", "1 to 255"),
        ("duplicate_order", "", "note", "requires"),
        ("duplicate_order", " \n", "note", "requires"),
        ("duplicate_order", "x" * 256, "note", "256"),
        ("duplicate_order", "a\0b", "note", "NUL"),
        ("duplicate_order", "a\ud800", "note", "surrogate"),
    ],
)
def test_bad_arguments_say_how_to_mend_them(reason: str, note: str | None, field: str, says: str) -> None:
    with pytest.raises(InvalidCancel, match=says) as caught:
        check(reason, note, RULES)
    assert caught.value.field == field


def test_the_reasons_are_the_account_s() -> None:
    check("weather", "x", Rules(cancelation_reasons=("weather",)))
    with pytest.raises(InvalidCancel):
        check("duplicate_order", "x", Rules(cancelation_reasons=("weather",)))
