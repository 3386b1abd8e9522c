from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.superloop.support import CONFIG, NOW, observe

from app.contract import (
    Appointment,
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    Phase,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from handlers.superloop.config import Config
from handlers.superloop.webhook import parse, verify
from handlers.superloop.words import ACTIVE_STATUSES, ORDER_EVENTS, ORDER_STATUSES, plain

ORDER = {"id": 10, "isCancellable": True}
APPOINTMENT = {"orderId": 10, "id": 583, "status": "Booked", "startTime": "2026-03-06T02:00:00Z"}


def read(headers: dict[str, str], body: Any = None, config: Config = CONFIG) -> Parsed:
    raw = json.dumps(ORDER if body is None else body).encode()
    return parse(InboundRequest(CIMultiDict(headers), {}, raw), config)


def phase(event: str, config: Config = CONFIG, **body: Any) -> Phase | None:
    return observe(event, {"id": 10, **body}, config).facts.phase


# -- Which event it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "type"),
    [
        ("order.rejected", "order.rejected"),
        ("order.created", "order.created"),
        ("order.cancelled", "order.canceled"),
        ("order.completed", "order.completed"),
        ("order.some-thing_new.again", "order.some-thing_new.again"),
    ],
)
def test_an_event_has_our_name_where_we_have_one(event: str, type: str) -> None:
    assert observe(event, ORDER).type == type


@pytest.mark.parametrize(
    ("event", "type"),
    [
        ("appointment.booked", "appointment.scheduled"),
        ("appointment.cancelled", "appointment.canceled"),
        ("appointment.reserved", "appointment.reserved"),
        ("appointment.moved", "appointment.moved"),
    ],
)
def test_an_appointment_s_event_is_about_its_order(event: str, type: str) -> None:
    seen = observe(event, APPOINTMENT)
    assert (seen.order, seen.type, seen.facts.phase) == ("10", type, None)
    assert [each.id for each in seen.facts.appointments] == ["583"]
    assert not seen.facts.appointments_complete


@pytest.mark.parametrize("event", ["service.modified", "service.restoration-sla-changed", "service.never-heard-of"])
def test_services_are_no_orders(event: str) -> None:
    assert isinstance(read({"z-event-type": f"{event}.event"}), Ignored)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"z-event-type": ""},
        {"z-event-type": "order"},
        {"z-event-type": "order."},
        {"z-event-type": ".rejected.event"},
        {"z-event-type": "order.rejected!.event"},
        {"z-event-type": "order.x\x1b[31m.event"},
        {"z-event-type": "x" * 5000},
        {"z-event-type": "order." + "x" * 100},
        {"z-event-type": "invoice.issued.event"},
        {"z-event-type": "order.rejected.event", "z-notification-model": "appointment"},
    ],
)
def test_what_names_no_known_model_goes_to_quarantine(headers: dict[str, str]) -> None:
    parsed = read(headers)
    assert isinstance(parsed, Unrecognized)
    assert len(parsed.reason) < 300


@pytest.mark.parametrize(
    "headers",
    [
        {"Z-Event-Type": "order.rejected.event"},
        {"z-event-type": " Order.Rejected.Event "},
        {"z-event-type": "order.rejected"},
        {"z-notification-type": "order.rejected.notification"},
        {"z-event-type": "order.rejected.event", "z-notification-model": "Order"},
    ],
)
def test_headers_are_read_tolerantly(headers: dict[str, str]) -> None:
    parsed = read(headers)
    assert not isinstance(parsed, (Ignored, Unrecognized))
    assert parsed[0].type == "order.rejected"


def test_the_same_body_under_another_name_is_another_event() -> None:
    assert observe("order.created", ORDER).key != observe("order.modified", ORDER).key
    assert observe("order.created", ORDER).key == observe("order.created", ORDER).key
    assert observe("order.created", ORDER).key != observe("order.created", {**ORDER, "more": 1}).key


@pytest.mark.parametrize("bad", [None, "", " ", 1.5, True, [], {}, "a\nb", "x" * 201, 10**201])
def test_what_names_no_order_is_malformed(bad: Any) -> None:
    for event, key in (("order.created", "id"), ("appointment.booked", "orderId")):
        with pytest.raises(MalformedPayload, match=key):
            observe(event, {"id": 583, key: bad})


def test_no_time_of_the_provider_s_is_used_unless_the_account_says_so() -> None:
    # Were cancelledOn used, a booking that was received between it and its webhook would outrank the cancel.
    canceled = {**APPOINTMENT, "status": "cancelled", "cancelledOn": "2026-03-02T06:06:33Z"}
    assert observe("appointment.cancelled", canceled).occurred_at is None
    assert observe("order.rejected", {**ORDER, "rejectedOn": "2026-03-02T06:06:33Z"}).occurred_at is None
    config = CONFIG.model_copy(update={"time_keys": ("meta.at", "at"), "timezone": "Australia/Sydney"})
    seen = observe("order.created", {**ORDER, "at": "2026-03-02T16:00:00", "meta": {}}, config)
    assert str(seen.occurred_at) == "2026-03-02 05:00:00+00:00", "in the account's zone"
    with pytest.raises(MalformedPayload, match=r"meta\.at"):
        observe("order.created", {**ORDER, "meta": {"at": "soon"}}, config)


# -- What it says of the order ---------------------------------------------------------------------


def test_the_provider_s_word_decides_while_the_order_has_not_ended() -> None:
    assert phase("order.created", isCancellable=True) is Phase.OPEN
    assert phase("order.created", isCancellable=False) is Phase.IN_PROGRESS
    assert phase("order.created") is Phase.UNKNOWN
    for odd in (None, "true", 1, "yes"):
        assert phase("order.created", isCancellable=odd) is Phase.UNKNOWN


@pytest.mark.parametrize(("event", "ended"), ORDER_EVENTS.items())
def test_an_order_that_has_ended_is_not_open_whatever_it_says(event: str, ended: Phase) -> None:
    assert phase(event.removesuffix(".event"), isCancellable=True) is ended


@pytest.mark.parametrize(("status", "ended"), ORDER_STATUSES.items())
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_a_status_that_says_so_ends_an_order(status: str, ended: Phase, spelled: Any) -> None:
    assert phase("order.modified", isCancellable=True, status=spelled(status)) is ended
    assert phase("order.modified", isCancellable=False, orderStatus=spelled(status)) is ended


def test_times_of_an_end_end_an_order() -> None:
    assert phase("order.modified", isCancellable=True, rejectedOn="2026-03-02T06:06:33Z") is Phase.CANCELED
    assert phase("order.modified", isCancellable=False, cancelledOn="2026-03-02") is Phase.CANCELED
    assert phase("order.modified", isCancellable=True, rejectedOn=None, cancelledOn=None) is Phase.OPEN


def test_of_two_ends_a_cancel_counts() -> None:
    assert phase("order.completed", status="Cancelled") is Phase.CANCELED
    assert phase("order.rejected", status="Completed") is Phase.CANCELED


def test_the_account_knows_more_statuses() -> None:
    config = Config.model_validate(
        {"access_token": "t", "phases": {"On_Hold": "unknown", "Field Work": "in_progress", "Ceased": "canceled"}}
    )
    assert phase("order.modified", config, status="field-work") is Phase.IN_PROGRESS
    assert phase("order.modified", config, status="FIELD WORK", isCancellable=True) is Phase.OPEN
    assert phase("order.modified", config, status="ceased", isCancellable=True) is Phase.CANCELED
    assert phase("order.modified", config, status="on hold") is Phase.UNKNOWN
    assert phase("order.modified", config, status="ceased?", isCancellable=True) is Phase.CANCELED
    assert phase("order.modified", config, status="never heard of", isCancellable=True) is Phase.OPEN


def test_the_account_can_overrule_what_looks_like_an_end() -> None:
    config = Config.model_validate({"access_token": "t", "phases": {"Rejected": "open", "Resubmitted": "open"}})
    assert phase("order.modified", config, status="rejected", isCancellable=True) is Phase.OPEN
    assert phase("order.modified", config, status="Resubmitted", rejectedOn="2026-03-02") is Phase.OPEN
    assert phase("order.rejected", config, status="Rejected") is Phase.CANCELED, "the event's name says so"


def test_personal_data_is_not_kept() -> None:
    contact = {"name": "Robin Example", "phone": "555-0100", "notes": "the dog bites"}
    for event, body in (("order.created", ORDER), ("appointment.booked", APPOINTMENT)):
        facts = observe(event, {**body, "contact": contact, "address": {"street": "1 Example St"}, "poi": "x"}).facts
        assert not {"contact", "address", "poi"} & set(facts.attributes)


# -- What it says of an appointment ----------------------------------------------------------------


def appointment(event: str = "appointment.booked", config: Config = CONFIG, **body: Any) -> Appointment:
    [found] = observe(event, {**APPOINTMENT, **body}, config).facts.appointments
    return found


@pytest.mark.parametrize("status", ACTIVE_STATUSES)
def test_a_status_is_the_provider_s_own(status: str) -> None:
    assert appointment(status=status).status == status


@pytest.mark.parametrize(
    ("event", "body", "status"),
    [
        ("appointment.cancelled", {"status": "cancelled"}, "cancelled"),
        ("appointment.cancelled", {"status": "Booked"}, "cancelled"),
        ("appointment.canceled", {"status": None}, "cancelled"),
        ("appointment.modified", {"cancelledOn": "2026-03-02T06:06:33Z"}, "cancelled"),
        ("appointment.modified", {"cancelledOn": None}, "Booked"),
        ("appointment.booked", {"status": None}, ""),
        ("appointment.booked", {"status": 5}, ""),
        ("appointment.booked", {"status": "x" * 500}, "x" * 100),
    ],
)
def test_an_appointment_is_canceled_by_its_event_or_its_time(event: str, body: dict[str, Any], status: str) -> None:
    assert appointment(event, **body).status == status


@pytest.mark.parametrize(
    ("body", "starts_at", "ends_at"),
    [
        ({"endTime": "2026-03-06T06:00:00Z"}, "2026-03-06 02:00", "2026-03-06 06:00"),
        ({"startTime": "2026-03-06T12:00:00+10:00", "timezoneOffset": "+11:00"}, "2026-03-06 02:00", None),
        ({"startTime": "2026-03-06T12:00:00", "timezoneOffset": "+10:00"}, "2026-03-06 02:00", None),
        ({"startTime": "2026-03-06T12:00:00", "timezoneOffset": 600}, "2026-03-06 02:00", None),
        ({"startTime": "2026-03-06T13:00:00", "timezoneOffset": None}, "2026-03-06 02:00", None),
        ({"startTime": "2026-03-06T13:00:00", "timezoneOffset": ""}, "2026-03-06 02:00", None),
        ({"startTime": "2026-03-06T13:00:00", "timezoneOffset": "AEDT"}, None, None),
        ({"startTime": "2026-03-06T02:00:00Z", "timezoneOffset": "AEDT"}, "2026-03-06 02:00", None),
        ({"startTime": None, "endTime": None}, None, None),
        ({"startTime": "tomorrow"}, None, None),
    ],
)
def test_when_an_appointment_is(body: dict[str, Any], starts_at: str | None, ends_at: str | None) -> None:
    found = appointment(**body)
    assert [each and f"{each:%Y-%m-%d %H:%M}" for each in (found.starts_at, found.ends_at)] == [starts_at, ends_at]


def test_the_account_s_zone_is_for_times_without_an_offset() -> None:
    config = CONFIG.model_copy(update={"timezone": "Australia/Perth"})
    found = appointment(config=config, startTime="2026-03-06T10:00:00", endTime="2026-03-06T06:00:00Z")
    assert f"{found.starts_at} {found.ends_at}" == "2026-03-06 02:00:00+00:00 2026-03-06 06:00:00+00:00"


def test_words_are_compared_by_their_letters() -> None:
    assert {plain(each) for each in ("In Progress", "IN_PROGRESS", "in-progress", "InProgress ")} == {"inprogress"}


# -- Who sent it -----------------------------------------------------------------------------------


def proves(headers: dict[str, str], query: dict[str, str], *secrets: str, header: str | None = None) -> None:
    options = VerifyOptions(secrets=tuple(SecretStr(each) for each in secrets), header=header)
    verify(InboundRequest(CIMultiDict(headers), query, b"{}"), options, NOW)


def test_a_token_in_the_url_or_a_header_proves_the_sender() -> None:
    proves({}, {"token": "s3cret"}, "s3cret")
    proves({"authorization": "bearer s3cret"}, {}, "old", "s3cret")
    proves({"x-hook-token": "s3cret"}, {}, "s3cret", header="X-Hook-Token")


@pytest.mark.parametrize(
    ("headers", "query"),
    [({}, {}), ({"Authorization": "Bearer wrong"}, {}), ({"X-Hook-Token": "s3cret"}, {}), ({}, {"token": "s3cre"})],
)
def test_nothing_else_does(headers: dict[str, str], query: dict[str, str]) -> None:
    with pytest.raises(VerificationError) as caught:
        proves(headers, query, "s3cret")
    assert "s3cret" not in str(caught.value)
