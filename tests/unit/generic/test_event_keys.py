"""The idempotency key where the proof of a request covers some of its headers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from unit.generic.support import EVENT, JSON, STRUCTURED, make, received

from app.contract import Ignored, Unrecognized
from handlers.generic.webhook import parse

BODY = {"id": "o", "status": "placed", "at": "2026-03-02T16:00:00Z", "local": "2026-03-02T16:00:00", "none": None}
FIELDS = {"order": "id", "status": "status"}
BINARY = {
    **JSON,
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/shop",
    "ce-type": "t",
    "ce-time": "2026-03-02T16:00:00Z",
}
CLOUD = {"fields": {"order": "data.id", "status": "data.status"}}
NONE: frozenset[str] = frozenset()


def key(headers: Mapping[str, str], proven: frozenset[str] | None, body: Any = BODY, **config: Any) -> bytes:
    """The key of the one event of a request whose proof covers these headers."""
    request = replace(received(body, {**JSON, **headers}), proven_headers=proven)
    parsed = parse(request, make(**{"fields": FIELDS, **config}))
    assert not isinstance(parsed, Ignored | Unrecognized), parsed.reason
    return parsed[0].key


def is_read(name: str, proven: frozenset[str] | None, body: Any = BODY, headers: Any = None, **config: Any) -> bool:
    """Whether another value of the header makes another event."""
    one, other = ({**(headers or {}), name: value} for value in ("1", "2"))
    return key(one, proven, body, **config) != key(other, proven, body, **config)


def test_an_id_in_a_header_counts_where_it_is_proven() -> None:
    for name, config in (("webhook-id", {}), ("X-Delivery", {"key_header": "X-Delivery"})):
        assert is_read(name, None, **config)
        assert is_read(name, frozenset({name.lower(), "other"}), **config)
        assert not is_read(name, NONE, **config)
        assert not is_read(name, frozenset({"other"}), **config)
        # What takes its place tells two bodies apart, and nothing else.
        one, other = key({name: "1"}, NONE, **config), key({name: "1"}, NONE, {**BODY, "more": 1}, **config)
        assert one == key({}, NONE, **config) != other


def test_a_body_that_comes_under_two_names_is_two_events() -> None:
    named = {"event_header": "X-Topic", "events": {}}
    assert is_read("X-Topic", NONE, **named)
    assert key({"X-Topic": " paid "}, NONE, **named) == key({"X-Topic": "paid"}, NONE, **named)
    by_body = {"fields": {**FIELDS, "event": "status"}, "event_header": "X-Topic"}
    assert not is_read("X-Topic", NONE, **by_body), "the header is not read"
    assert not is_read("X-Topic", NONE, headers=BINARY, event_header="X-Topic", **CLOUD), "a CloudEvent has its type"


def test_an_id_that_nothing_proves_counts_where_the_event_says_when_it_occurred() -> None:
    def by(path: str, name: str = "X-Delivery", **config: Any) -> bool:
        return is_read(name, NONE, key_header="X-Delivery", fields={**FIELDS, "time": path}, **config)

    assert by("at")
    assert by("local", timezone="Europe/Zurich")
    assert not by("local")  # counts from its receipt
    assert not by("none")
    assert not by("nowhere")
    assert not by("at", "webhook-id")


def test_a_cloud_event_in_headers_is_told_apart_by_what_is_proven() -> None:
    event = {key: value for key, value in BINARY.items() if key != "ce-id"}
    assert is_read("ce-id", None, headers=event, **CLOUD)
    assert is_read("ce-id", frozenset({"ce-id", "ce-source"}), headers=event, **CLOUD)
    for proven in (NONE, frozenset({"ce-id"})):
        assert not is_read("ce-id", proven, headers=event, **CLOUD)
    timed = {"fields": {**CLOUD["fields"], "time": "data.at"}}
    assert is_read("ce-id", NONE, headers=event, **timed)
    # The time of such an event stands in a header too: it proves nothing, alone or before one of the data.
    for path in ("time", "time || data.at", "time || data.none"):
        untimed = {"fields": {**CLOUD["fields"], "time": path}}
        moved = {**event, "ce-time": "2026-03-02T17:00:00Z"}
        assert not is_read("ce-id", NONE, headers=moved, **untimed), path
    # In the other modes the whole event is in the body.
    again = {**EVENT, "id": "2"}
    assert key(STRUCTURED, NONE, EVENT, **CLOUD) != key(STRUCTURED, NONE, again, **CLOUD)


def test_a_header_that_is_never_read_is_named() -> None:
    timed = {**FIELDS, "time": "at"}
    for proven, config, named in (
        (NONE, {"key_header": "X-Delivery"}, "X-Delivery"),
        (frozenset({"x-delivery"}), {"key_header": "X-Delivery"}, None),
        (None, {"key_header": "X-Delivery"}, None),
        (NONE, {"key_header": "X-Delivery", "fields": timed}, None),
        (NONE, {}, None),
    ):
        assert make(**config).unread_header(proven) == named, (proven, config)
