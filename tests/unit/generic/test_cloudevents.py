"""CloudEvents: three modes, and the handshake."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.generic.support import EVENT, JSON, STRUCTURED, make, observe, read, received

from app.contract import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Phase,
    Unrecognized,
)
from handlers.generic.cloudevents import events_in
from handlers.generic.webhook import EVENTS_MAX, handshake, parse

BATCH = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
CLOUD = {"fields": {"order": "data.id", "status": "data.status"}}


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


def test_a_cloud_event_is_the_same_alone_and_in_a_batch() -> None:
    assert observe(EVENT, STRUCTURED, **CLOUD).key == observe([EVENT], {**BATCH, "webhook-id": "x"}, **CLOUD).key


# -- The handshake ----------------------------------------------------------------------------


def leave(origin: str | None, **allowed: Any) -> dict[str, str]:
    headers = {} if origin is None else {"webhook-request-origin": origin, "WebHook-Request-Rate": "120"}
    asked = msgspec.structs.replace(received(b"", headers), method="OPTIONS")
    given = handshake(asked, make(handshake=allowed))
    assert given is not None
    return dict(given.headers)


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


def test_headers_make_no_event_of_a_body_that_is_none() -> None:
    """A signature of the body holds no header: whoever has one signed body could name any order and status."""
    forged = {"ce-specversion": "1.0", "ce-id": "o-2", "ce-type": "gone", "ce-source": "x", "ce-status": "gone"}
    body = {"id": "o-1", "status": "placed"}
    for order in ("id", "id || order.id"):
        seen = observe(body, {**JSON, **forged}, fields={"order": order, "status": "status"})
        assert (seen.order, seen.facts.phase) == ("o-1", Phase.OPEN)
    seen = observe(body, {**JSON, **forged, "ce-subject": "o-3"}, fields={"order": "subject", "status": "data.status"})
    assert (seen.order, seen.facts.phase) == ("o-3", Phase.OPEN)
