from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.generic.support import JSON, NOW, make, observe, read, received

from app.contract import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Phase,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from handlers.generic.cloudevents import events_in
from handlers.generic.webhook import EVENTS_MAX, handshake, parse, verify

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
CLOUD = {"fields": {"order": "data.id", "status": "data.status"}}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "com.example.placed",
    "data": {"id": "o-1", "status": "placed"},
}
FAR = [Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


def binary(event: dict[str, Any], **more: str) -> InboundRequest:
    """The same event in binary mode."""
    headers = {"CE-" + name.title(): quote(str(value)) for name, value in event.items() if name != "data"}
    return received(event.get("data"), {**JSON, **headers, **more})


# -- CloudEvents ------------------------------------------------------------------------------


def test_all_modes_say_the_same() -> None:
    config = make(**CLOUD)
    encoded = {**{key: value for key, value in EVENT.items() if key != "data"}}
    encoded["data_base64"] = b64encode(json.dumps(EVENT["data"]).encode()).decode()
    ways = [
        received(EVENT, STRUCTURED),
        received([EVENT], BATCH),
        binary(EVENT),
        received(encoded, STRUCTURED),
        received(EVENT, {"content-type": "APPLICATION/CloudEvents"}),
        received([EVENT], {"content-type": "application/cloudevents-batch"}),
    ]
    first, *others = [parse(each, config) for each in ways]
    assert not isinstance(first, (Ignored, Unrecognized))
    assert first[0].type == "com.example.placed"
    assert first[0].facts.phase is Phase.OPEN
    assert all(each == first for each in others)


def test_a_batch_is_not_taken_for_an_event() -> None:
    """The one media type begins with the other."""
    events = events_in(received([EVENT, {**EVENT, "id": "2"}], BATCH))
    assert events is not None
    assert [each["id"] for each in events] == ["1", "2"]
    with pytest.raises(MalformedPayload, match="array"):
        events_in(received(EVENT, BATCH))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC", "Euro €"),
        ("%2525", "%25"),
        ('"quoted \\"text\\""', 'quoted "text"'),
        ('"', '"'),
        ("  spaces around  ", "spaces around"),
        ("a+b", "a+b"),
        ("100%", "100%"),
        ("\u00e9", "é"),
    ],
)
def test_headers_are_percent_decoded_once(header: str, text: str) -> None:
    found = events_in(binary(EVENT, **{"ce-subject": header}))
    assert found is not None
    assert found[0]["subject"] == text


@examples(100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_what_is_percent_encoded_comes_back(text: str) -> None:
    found = events_in(binary(EVENT, **{"ce-subject": quote(text)}))
    assert found is not None
    assert found[0]["subject"] == text


@pytest.mark.parametrize("bad", ["%FF", "%C3", "\udcff"])
def test_what_is_no_utf8_is_no_header(bad: str) -> None:
    with pytest.raises(MalformedPayload, match="ce-subject"):
        events_in(binary(EVENT, **{"ce-subject": bad}))


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/vnd.shop+json; charset=utf-8", "text/json", "", "application/octet-stream"],
)
def test_data_in_json_is_read(kind: str) -> None:
    found = events_in(binary(EVENT, **{"Content-Type": kind}))
    assert found is not None
    assert found[0]["data"] == EVENT["data"]


@pytest.mark.parametrize("kind", ["application/xml", "text/plain"])
def test_other_data_goes_to_quarantine(kind: str) -> None:
    with pytest.raises(MalformedPayload, match=kind):
        events_in(binary(EVENT, **{"Content-Type": kind}))


@pytest.mark.parametrize("kind", ["application/cloudevents+avro", "application/cloudevents-batch+protobuf"])
def test_other_formats_go_to_quarantine(kind: str) -> None:
    with pytest.raises(MalformedPayload, match="only JSON"):
        events_in(received(EVENT, {"Content-Type": kind}))


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("value", [None, "", 1, {}])
def test_what_cloudevents_require_must_be_there(name: str, value: Any) -> None:
    with pytest.raises(MalformedPayload, match="CloudEvents"):
        read({**EVENT, name: value}, STRUCTURED, **CLOUD)


def test_an_event_is_known_by_source_and_id() -> None:
    base = observe(EVENT, STRUCTURED, **CLOUD)
    same = observe({**EVENT, "time": "2026-03-02T16:00:00Z"}, STRUCTURED, **CLOUD)
    assert base.key == same.key
    for change in ({"id": "2"}, {"source": "/other"}, {"id": "/shop", "source": "1"}):
        assert observe({**EVENT, **change}, STRUCTURED, **CLOUD).key != base.key


def test_a_cloud_event_tells_its_time() -> None:
    assert observe(EVENT, STRUCTURED, **CLOUD).occurred_at is None
    timed = {**EVENT, "time": "2026-03-02T17:00:00+01:00"}
    assert observe(timed, STRUCTURED, **CLOUD).occurred_at == datetime(2026, 3, 2, 16, tzinfo=UTC)
    elsewhere = {"fields": {**CLOUD["fields"], "time": "data.at", "event": "data.kind"}}
    seen = observe({**timed, "data": {**EVENT["data"], "at": 0, "kind": "x.y"}}, STRUCTURED, **elsewhere)
    assert seen.occurred_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert seen.type == "x.y"


def test_a_body_may_hold_so_many_events() -> None:
    batch = [{**EVENT, "id": str(number)} for number in range(EVENTS_MAX + 1)]
    assert len(list(read(batch[1:], BATCH, **CLOUD))) == EVENTS_MAX  # type: ignore[arg-type]
    with pytest.raises(MalformedPayload, match=str(EVENTS_MAX)):
        read(batch, BATCH, **CLOUD)


# -- The handshake ----------------------------------------------------------------------------


def leave(origin: str | None, **allowed: Any) -> dict[str, str]:
    headers = {} if origin is None else {"webhook-request-origin": origin, "WebHook-Request-Rate": "120"}
    return dict(handshake(received(b"", headers), make(handshake=allowed)))


def test_an_origin_that_is_listed_may_send() -> None:
    given = {"WebHook-Allowed-Origin": "Shop.example.com", "WebHook-Allowed-Rate": "*"}
    assert leave("Shop.example.com", origins=["shop.example.com"]) == given
    assert leave("Shop.example.com", origins=["other", "*"]) == given
    assert leave("x", origins=["x"], per_min=100)["WebHook-Allowed-Rate"] == "100"


def test_nobody_else_may() -> None:
    assert leave("shop.example.com") == {}
    assert leave("evil.example.com", origins=["shop.example.com"]) == {}
    assert leave("shop.example.com.evil.example", origins=["shop.example.com"]) == {}
    assert leave(None, origins=["*"]) == {}
    assert leave("", origins=["*"]) == {}
    assert leave("a\r\nSet-Cookie: x", origins=["*"]) == {}


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


def test_a_cloud_event_is_the_same_alone_and_in_a_batch() -> None:
    assert observe(EVENT, STRUCTURED, **CLOUD).key == observe([EVENT], {**BATCH, "webhook-id": "x"}, **CLOUD).key


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
