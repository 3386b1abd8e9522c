from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.planomatic.support import CONFIG
from unit.planomatic.support import observe as one

from app.contract import InboundRequest, MalformedPayload, Parsed, Phase, Unrecognized, VerificationError, VerifyOptions
from handlers.planomatic.webhook import ORDER_UPDATED, parse, verify
from handlers.planomatic.words import EVENT_TRIGGERS, ORDER_STATUSES, WORDS

NOW = datetime(2026, 3, 2, tzinfo=UTC)
FAR = [Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


def read(body: Any) -> Parsed:
    return parse(InboundRequest({}, {}, json.dumps(body).encode()), CONFIG)


def test_the_documented_words() -> None:
    closed = {word for word, phase in WORDS.items() if phase in (Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED)}
    assert {word for word, phase in WORDS.items() if phase is Phase.OPEN} == {
        *("order.processed", "appointment.awaiting_availability"),
        *("new_request", "ordered", "scheduling"),
    }
    assert closed == {
        *("appointment.scheduled", "order.post_processing", "order.delivered", "order.canceled"),
        *("scheduled", "assembly", "notified", "completed", "cancelled", "canceled", "post_processing", "delivered"),
    }
    assert not set(EVENT_TRIGGERS) & set(ORDER_STATUSES)


@pytest.mark.parametrize(("event", "phase"), list(EVENT_TRIGGERS.items()))
def test_an_event_has_its_own_name_as_type(event: str, phase: Phase) -> None:
    seen = one({"event": event, "order_id": 1})
    assert (seen.type, seen.facts.phase, seen.facts.provider_status) == (event, phase, None)


def test_of_event_and_status_the_one_further_along_counts() -> None:
    for event, status in itertools.product(EVENT_TRIGGERS, ORDER_STATUSES):
        seen = one({"event": event, "order_id": 1, "status": status})
        said = {EVENT_TRIGGERS[event], ORDER_STATUSES[status]}
        assert seen.facts.phase is max(said, key=FAR.index), (event, status)
        assert seen.facts.provider_status == status


@pytest.mark.parametrize(("status", "phase"), [*ORDER_STATUSES.items(), ("awaiting_weather", Phase.UNKNOWN)])
def test_a_status_alone_is_an_update(status: str, phase: Phase) -> None:
    seen = one({"order_id": 1, "order_status": status})
    assert (seen.type, seen.facts.phase, seen.facts.provider_status) == (ORDER_UPDATED, phase, status)


def test_a_known_event_is_found_behind_an_unknown_word() -> None:
    assert one({"event": "webhook", "event_type": "order.canceled", "order_id": 1}).type == "order.canceled"


@pytest.mark.parametrize("word", ["order.cancelled", "ORDER.CANCELED", "x" * 5000])
def test_an_unknown_event_goes_to_quarantine(word: str) -> None:
    parsed = read({"event": word, "order_id": 1, "status": "ordered"})
    assert isinstance(parsed, Unrecognized)
    assert word[:60] in parsed.reason
    assert len(parsed.reason) < 300


@pytest.mark.parametrize(
    "body", [{"order_id": 1}, {"order_id": 1, "event": None, "status": ""}, {"order_id": 1, "type": 7}]
)
def test_neither_event_nor_status_goes_to_quarantine_and_says_what_to_set(body: dict[str, Any]) -> None:
    parsed = read(body)
    assert isinstance(parsed, Unrecognized)
    assert "event_keys" in parsed.reason
    assert "order_status" in parsed.reason


def test_an_event_s_name_inside_of_an_object_says_what_to_set() -> None:
    with pytest.raises(MalformedPayload, match=r"event\.name"):
        read({"event": {"name": "order.processed"}, "order_id": 1})


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"\xff", b'{"order_id": 1', "{}".encode("utf-16")])
def test_a_body_that_is_no_object_says_so(raw: bytes) -> None:
    with pytest.raises(MalformedPayload, match="body"):
        parse(InboundRequest({}, {}, raw), CONFIG)


def test_different_events_with_the_same_order_have_different_keys() -> None:
    bodies = [{"event": "order.processed", "order_id": 1, "occurred_at": at} for at in (1, 2)]
    assert one(bodies[0]).key != one(bodies[1]).key
    assert one(bodies[0]).key == one(bodies[0]).key


# -- Who sent it -----------------------------------------------------------------------------


def proves(headers: dict[str, str], query: dict[str, str], *secrets: str, header: str | None = None) -> None:
    options = VerifyOptions(secrets=tuple(SecretStr(each) for each in secrets), header=header)
    verify(InboundRequest(CIMultiDict(headers), query, b"{}"), options, NOW)


def test_a_token_in_the_url_or_a_header_proves_the_sender() -> None:
    proves({}, {"token": "s3cret"}, "s3cret")
    proves({"authorization": "bearer s3cret"}, {}, "old", "s3cret")
    proves({"x-hook-token": "s3cret"}, {}, "s3cret", header="X-Hook-Token")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        ({"Authorization": "Bearer wrong"}, {}),
        ({"Authorization": "s3cret"}, {}),
        ({"Authorization": "Basic s3cret"}, {"token": "other"}),
        ({"Authorization": "Bearer other"}, {"token": "s3cret"}),
        ({"X-Hook-Token": "s3cret"}, {}),
        ({}, {"token": "s3cre"}),
        ({}, {"secret": "s3cret"}),
        ({"Authorization": "Bearer \udcff"}, {}),
    ],
)
def test_nothing_else_does(headers: dict[str, str], query: dict[str, str]) -> None:
    with pytest.raises(VerificationError) as caught:
        proves(headers, query, "s3cret")
    assert "s3cret" not in str(caught.value)
