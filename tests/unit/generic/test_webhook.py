"""Webhooks: the tables, what is kept, what tells one from another, and who sent it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.generic.support import EVENT, JSON, NOW, STRUCTURED, make, observe, read, received

from app.contract import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Phase,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from app.kit.signing.coverage import proven_part
from handlers.generic import webhook
from handlers.generic.webhook import parse, verify

# -- Tables -----------------------------------------------------------------------------------

EVENTS = {
    "created": {"type": "order.created", "phase": "open"},
    "touched": {"type": "order.updated"},
    "closed": {"phase": "completed"},
    "odd": {"phase": "unknown"},
    "ping": "ignore",
}
NAMED = {"fields": {"order": "id", "status": "status", "event": "event"}, "events": EVENTS}


@pytest.mark.parametrize(
    ("event", "status", "type", "phase"),
    [
        ("created", None, "order.created", Phase.OPEN),
        ("created", "sent", "order.created", Phase.IN_PROGRESS),
        ("created", "on_hold", "order.created", Phase.UNKNOWN),
        ("touched", None, "order.updated", None),
        ("touched", "sent", "order.updated", Phase.IN_PROGRESS),
        ("closed", "placed", "closed", Phase.COMPLETED),
        ("closed", "gone", "closed", Phase.CANCELED),
        ("odd", "placed", "odd", Phase.UNKNOWN),
        ("odd", "sent", "odd", Phase.IN_PROGRESS),
        (None, "placed", "order.updated", Phase.OPEN),
        (None, "on_hold", "order.updated", Phase.UNKNOWN),
    ],
)
def test_of_event_and_status_the_one_further_along_counts(
    event: str | None, status: str | None, type: str, phase: Phase | None
) -> None:
    seen = observe({"id": "o", "event": event, "status": status}, **NAMED)
    assert (seen.type, seen.facts.phase, seen.facts.provider_status) == (type, phase, status)


def test_a_status_without_a_table_is_only_a_word() -> None:
    seen = observe({"id": "o", "event": "created", "status": "x"}, **{**NAMED, "phases": {}})
    assert (seen.facts.phase, seen.facts.provider_status) == (Phase.OPEN, "x")


def test_what_is_ignored_says_nothing() -> None:
    assert isinstance(read({"id": "o", "event": "ping", "status": "gone"}, **NAMED), Ignored)


@pytest.mark.parametrize("name", ["never", "Created", "x" * 5000])
def test_an_unknown_event_is_as_configured(name: str) -> None:
    body = {"id": "o", "event": name, "status": "placed"}
    parsed = read(body, **NAMED)
    assert isinstance(parsed, Unrecognized)
    assert "`events` does not list" in parsed.reason
    assert len(parsed.reason) < 300
    assert isinstance(read(body, **NAMED, unknown_events="ignore"), Ignored)
    assert observe(body, **NAMED, unknown_events="uncertain").facts.phase is Phase.UNKNOWN


def test_without_a_table_any_event_counts_by_its_status() -> None:
    free = {**NAMED, "events": {}}
    seen = observe({"id": "o", "event": "anything", "status": "sent"}, **free)
    assert (seen.type, seen.facts.phase) == ("anything", Phase.IN_PROGRESS)
    assert isinstance(read({"id": "o", "event": "anything"}, **free), Unrecognized)


@pytest.mark.parametrize("name", ["cancellation.requested", "probe.done", "sending.paused"])
def test_a_source_s_name_does_not_pass_for_our_own(name: str) -> None:
    seen = observe({"id": "o", "event": name, "status": "sent"}, **{**NAMED, "events": {}})
    assert seen.type == f"source.{name}"


def test_an_event_s_name_can_be_printed() -> None:
    headers = {**JSON, "X-Topic": "a\udcff"}
    with pytest.raises(MalformedPayload, match="printed"):
        read({"id": "o", "status": "sent"}, headers, event_header="X-Topic")


def test_numbers_are_words_and_names_too() -> None:
    seen = observe({"id": 7, "status": 3}, phases={"3": "open"})
    assert (seen.order, seen.facts.provider_status, seen.facts.phase) == ("7", "3", Phase.OPEN)


@pytest.mark.parametrize("id", [None, "", " ", "null", 1.5, True, {}, ["a"], "x" * 201, "a\nb"])
def test_what_can_be_no_name_is_said_with_its_path(id: Any) -> None:
    with pytest.raises(MalformedPayload, match=r"id \(fields\.order\)"):
        read({"id": id, "status": "placed"})


# -- What is kept -----------------------------------------------------------------------------

WIDE = {
    "fields": {
        "order": "id",
        "status": "status",
        "opened_at": "opened",
        "aliases": "[number, ref, to_string(missing), id]",
        "attributes": {"total": "sum.total", "fee_cents": "sum.fee", "lines": "lines", "deep": "deep"},
        "appointments": {"list": "slots", "id": "no", "status": "state", "starts_at": "from", "ends_at": "to"},
    }
}


def test_facts_are_read_by_the_paths() -> None:
    body = {
        "id": "o",
        "status": "placed",
        "opened": "2026-03-02T10:00:00",
        "number": 1001,
        "ref": "r-1",
        "slots": [
            {"no": 1, "state": "booked", "from": 1772467446, "to": "2026-03-02T18:00:00Z"},
            {"from": "2026-03-03T10:00:00Z"},
            {"from": "2026-03-03T10:00:00Z"},
            {},
            7,
        ],
    }
    facts = observe(body, **WIDE, timezone="Europe/Berlin").facts
    assert facts.opened_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert (facts.aliases, facts.shared_aliases) == ((), ("1001", "r-1"))
    assert facts.appointments_complete
    assert [(each.id, each.status) for each in facts.appointments] == [
        ("1", "booked"),
        ("2026-03-03T10:00:00+00:00", "unknown"),
        ("2026-03-03T10:00:00+00:00#2", "unknown"),
        ("appointment", "unknown"),
        ("appointment#4", "unknown"),
    ]
    assert facts.appointments[0].starts_at == NOW
    assert facts.attributes == {}


def test_aliases_are_unique_where_the_account_says_so() -> None:
    body = {"id": "o", "status": "placed", "number": 1001, "ref": "r-1", "po": "p"}
    for aliases, unique, shared in (
        ({"unique": "[number, id]", "shared": "[ref, number, po]"}, ("1001",), ("r-1", "p")),
        ({"unique": "ref"}, ("r-1",), ()),
        ({"shared": "ref"}, (), ("r-1",)),
        ({}, (), ()),
    ):
        facts = observe(body, fields={"order": "id", "status": "status", "aliases": aliases}).facts
        assert (facts.aliases, facts.shared_aliases) == (unique, shared)


def test_money_is_kept_as_spelled() -> None:
    raw = b'{"id": "o", "status": "placed", "sum": {"total": 49.90, "fee": 250}, "lines": [{"price": 1.10, "n": 2.50}]}'
    facts = observe(raw, **WIDE).facts
    assert facts.attributes == {"total": "49.90", "fee_cents": 250, "lines": [{"price": "1.10", "n": 2.5}]}
    assert observe(raw, **WIDE, money=["fee_cents", "n"]).facts.attributes["fee_cents"] == "250"
    assert observe(raw, **WIDE, money=["n"]).facts.attributes["lines"] == [{"price": "1.10", "n": "2.50"}]


def test_what_is_too_deep_or_too_large_is_left_out() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    body = {"id": "o", "status": "placed", "deep": deep, "lines": "x" * 9000, "sum": {"total": "1"}}
    for headers, sent in ((JSON, body), (STRUCTURED, {**EVENT, **body})):
        assert observe(sent, headers, **WIDE).facts.attributes == {"total": "1"}


def test_a_list_may_tell_of_some_appointments_only() -> None:
    fields = {**WIDE["fields"], "appointments": {"list": "slots", "complete": False}}
    facts = observe({"id": "o", "status": "placed", "slots": {"x": 1}}, fields=fields).facts
    assert (len(facts.appointments), facts.appointments_complete) == (1, False)
    assert observe({"id": "o", "status": "placed", "slots": []}, **WIDE).facts.appointments_complete
    assert not observe({"id": "o", "status": "placed"}, **WIDE).facts.appointments_complete
    with pytest.raises(MalformedPayload, match="is no list"):
        read({"id": "o", "status": "placed", "slots": "x"}, **WIDE)


# -- One event, once --------------------------------------------------------------------------


def test_what_tells_an_event_from_any_other() -> None:
    """What is configured outranks what standards say, and both a digest of the body."""
    headers = {**JSON, "Webhook-Id": "msg_1", "X-Delivery": "d-1"}
    body = {"id": "o", "status": "placed", "no": 5}
    fields = {"order": "id", "status": "status", "event_id": "no"}
    keys = [
        observe(body, headers, fields=fields, key_header="X-Delivery").key,
        observe(body, headers, key_header="X-Delivery").key,
        observe(body, headers).key,
        observe(body).key,
    ]
    assert len(set(keys)) == 4
    changed = {**body, "more": 1}
    again = [
        observe(changed, headers, fields=fields, key_header="X-Delivery").key,
        observe(changed, headers, key_header="X-Delivery").key,
        observe(changed, headers).key,
        observe(changed).key,
    ]
    assert [one == other for one, other in zip(keys, again, strict=True)] == [True, True, True, False]


def test_the_events_of_one_body_are_told_apart() -> None:
    body = {"list": [{"id": "o", "status": "placed"}] * 3}
    for headers in (JSON, {**JSON, "webhook-id": "m"}, {**JSON, "X-Delivery": "d"}):
        parsed = read(body, headers, events_path="list", key_header="X-Delivery")
        assert not isinstance(parsed, (Ignored, Unrecognized))
        assert len({each.key for each in parsed}) == 3


class _Body(bytes):
    """A body that counts how often it is looked through."""

    searches = 0

    def __contains__(self, part: Any) -> bool:
        self.searches += 1
        return super().__contains__(part)


def test_reading_many_events_does_not_go_through_the_body_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [{"id": str(number), "status": "placed", "total": "5\0"} for number in range(100)]
    body = _Body(json.dumps({"list": events}).encode())
    request = replace(received(body), body=body)
    digested: list[InboundRequest] = []

    def counted(request: InboundRequest) -> bytes:
        digested.append(request)
        return proven_part(request)

    monkeypatch.setattr(webhook, "proven_part", counted)
    fields = {"order": "id", "status": "status", "attributes": {"total": "total"}}
    parsed = parse(request, make(events_path="list", fields=fields))
    assert not isinstance(parsed, (Ignored, Unrecognized))
    assert len({event.key for event in parsed}) == len(events)
    assert {event.facts.attributes["total"] for event in parsed} == {"5"}
    assert body.searches <= 1
    assert len(digested) == 1


# -- Who sent it ------------------------------------------------------------------------------


def test_a_token_proves_the_sender_where_no_scheme_is_named() -> None:
    options = VerifyOptions(secrets=(SecretStr("t0ken"),))
    verify(InboundRequest(CIMultiDict(), {"token": "t0ken"}, b"{}"), options, NOW)
    with pytest.raises(VerificationError):
        verify(InboundRequest(CIMultiDict(), {"token": "other"}, b"{}"), options, NOW)


def test_a_status_may_be_a_truth_value_or_a_number() -> None:
    phases = {"true": "completed", "false": "open", "2": "in_progress", "2.5": "canceled", "-1": "canceled"}
    for status, phase in (
        (True, "completed"),
        (False, "open"),
        (2, "in_progress"),
        (2.5, "canceled"),
        (-1, "canceled"),
    ):
        seen = observe({"id": "o-1", "status": status}, phases=phases)
        assert (seen.facts.phase, seen.facts.provider_status) == (phase, json.dumps(status))
    for nothing in (None, [], {}, ""):
        found = read({"id": "o-1", "status": nothing}, phases=phases)
        assert isinstance(found, Unrecognized), nothing
    fields = {"order": "id", "status": "status", "appointments": {"list": "visits", "status": "confirmed"}}
    seen = observe({"id": "o-1", "status": 2, "visits": [{"confirmed": True}]}, phases=phases, fields=fields)
    assert [each.status for each in seen.facts.appointments] == ["true"]


def test_an_opening_that_cannot_be_read_is_said_and_nothing_stands_in_for_it() -> None:
    fields = {"order": "id", "status": "status", "opened_at": "placed"}
    for stated, unreadable in (("03/02/2026", True), ({"at": 1}, True), (True, True), (None, False), ("", False)):
        seen = observe({"id": "o-1", "status": "placed", "placed": stated}, fields=fields)
        assert (seen.facts.phase, seen.facts.opened_at) == ("open", None), stated
        assert seen.facts.unreadable == (("opened_at",) if unreadable else ()), stated
    seen = observe({"id": "o-1", "status": "placed", "placed": "2026-03-02T16:00:00Z"}, fields=fields)
    assert (seen.facts.opened_at, seen.facts.unreadable) == (datetime(2026, 3, 2, 16, tzinfo=UTC), ())


def test_a_list_of_times_is_a_list_of_appointments() -> None:
    """Elements of the list need not be objects."""
    appointments = {"list": "visits", "starts_at": "@"}
    fields = {"order": "id", "status": "status", "appointments": appointments}
    time = "2026-03-02T16:04:06+00:00"
    facts = observe({"id": "o-1", "status": "placed", "visits": [time, time, "soon"]}, fields=fields).facts
    assert [(visit.id, visit.starts_at) for visit in facts.appointments] == [
        (time, NOW),
        (f"{time}#1", NOW),
        ("appointment", None),
    ]
