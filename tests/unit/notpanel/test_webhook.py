from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from unit.notpanel.support import CONFIG, NOW, observe

from app.contract import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    Phase,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from handlers.notpanel.config import Config
from handlers.notpanel.webhook import parse, verify
from handlers.notpanel.words import FINAL, ORDER_STATUSES, WEBHOOK_EVENTS

SECRET = "s3cret"
BODY = b'{"event":"order.completed","order":1}'
TS = str(int(NOW.timestamp()))


def read(body: Any, **config: Any) -> Parsed:
    made = Config.model_validate({"key": "k", **config})
    return parse(InboundRequest({}, {}, json.dumps(body).encode()), made)


def key(**body: Any) -> bytes:
    return observe(body).key


# -- Who sent it -----------------------------------------------------------------------------


def signed(message: bytes, secret: str = SECRET) -> bytes:
    return hmac.digest(secret.encode(), message, hashlib.sha256)


def check(headers: dict[str, str], after_s: float = 0.0, **options: Any) -> None:
    made = VerifyOptions.model_validate({"secrets": [SECRET], **options})
    verify(InboundRequest(CIMultiDict(headers), {}, BODY), made, NOW + timedelta(seconds=after_s))


DEFAULT = signed(f"{TS}.".encode() + BODY).hex()


def test_the_default_is_hex_over_time_and_body() -> None:
    check({"X-NotPanel-Signature": DEFAULT, "X-NotPanel-Timestamp": TS})
    check({"x-notpanel-signature": DEFAULT.upper(), "x-notpanel-timestamp": TS}, 300)


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ({"X-Sig": DEFAULT, "X-NotPanel-Timestamp": TS}, {"header": "X-Sig"}),
        ({"X-NotPanel-Signature": DEFAULT, "X-Time": TS}, {"timestamp_header": "X-Time"}),
        ({"X-NotPanel-Signature": f"sha256={DEFAULT}", "X-NotPanel-Timestamp": TS}, {"prefix": "sha256="}),
        ({"X-NotPanel-Signature": signed(BODY).hex()}, {"signed": "{body}"}),
        (
            {"X-NotPanel-Signature": signed(BODY).hex(), "X-Time": TS},
            {"signed": "{body}", "timestamp_header": "X-Time"},
        ),
        (
            {"X-NotPanel-Signature": signed(TS.encode() + BODY).hex(), "X-NotPanel-Timestamp": TS},
            {"signed": "{timestamp}{body}"},
        ),
    ],
)
def test_every_undocumented_part_can_be_overridden(headers: dict[str, str], options: dict[str, Any]) -> None:
    check(headers, **options)
    with pytest.raises(VerificationError):
        check(headers, secrets=["another"], **options)
    if options != {"signed": "{body}"}:
        with pytest.raises(VerificationError):
            check(headers)


def test_base64_and_a_shorter_tolerance() -> None:
    from base64 import b64encode  # noqa: PLC0415 - of this test only

    given = b64encode(signed(f"{TS}.".encode() + BODY)).decode()
    headers = {"X-NotPanel-Signature": given, "X-NotPanel-Timestamp": TS}
    check(headers, 10, encoding="base64", tolerance_s=10)
    with pytest.raises(VerificationError, match="tolerance_s"):
        check(headers, 11, encoding="base64", tolerance_s=10)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "X-NotPanel-Timestamp|X-NotPanel-Signature"),
        ({"X-NotPanel-Signature": DEFAULT}, "X-NotPanel-Timestamp"),
        ({"X-NotPanel-Timestamp": TS}, "X-NotPanel-Signature"),
        ({"X-NotPanel-Signature": DEFAULT, "X-NotPanel-Timestamp": str(int(TS) + 1)}, "wrong"),
        ({"X-NotPanel-Signature": DEFAULT, "X-NotPanel-Timestamp": f"{TS}000"}, "unix time in seconds"),
        ({"X-NotPanel-Signature": signed(BODY).hex(), "X-NotPanel-Timestamp": TS}, "wrong"),
        ({"X-NotPanel-Signature": "", "X-NotPanel-Timestamp": TS}, "missing"),
    ],
)
def test_nothing_else_is_accepted(headers: dict[str, str], says: str) -> None:
    with pytest.raises(VerificationError, match=says) as caught:
        check(headers)
    assert SECRET not in str(caught.value)


# -- What it says; tests/contract has one of each kind ---------------------------------------


@pytest.mark.parametrize("event", WEBHOOK_EVENTS)
@pytest.mark.parametrize("status", [None, *ORDER_STATUSES, "never heard of"])
def test_a_final_status_decides_and_else_the_event_does(event: str, status: str | None) -> None:
    seen = observe({"event": event, "order": 1, **({"status": status} if status else {})})
    by_status = ORDER_STATUSES.get(status or "")
    assert seen.facts.phase is (by_status if by_status in FINAL else WEBHOOK_EVENTS[event])
    assert (seen.type, seen.facts.provider_status, seen.facts.snapshot) == (event, status, False)


def test_a_cancel_is_told_in_either_spelling_and_with_or_without_a_status() -> None:
    for event in ("order.cancelled", "order.canceled"):
        for more in ({}, {"status": "cancelled"}, {"status": "in_progress"}, {"status": "never heard of"}):
            seen = observe({"event": event, "order": 1, **more})
            assert (seen.type, seen.facts.phase) == ("order.canceled", Phase.CANCELED), (event, more)
    own = Config.model_validate({"key": "k", "event_phases": {"order.cancelled": "unknown"}})
    assert observe({"event": "order.cancelled", "order": 1}, own).facts.phase is Phase.UNKNOWN


def test_the_order_s_own_data_tell_the_flag_of_its_service() -> None:
    said = [
        ({"service_cancel": False}, {"service_cancel": False}),
        ({"service": {"id": 8, "cancel": "true"}}, {"service": "8", "service_cancel": True}),
        ({"service": 8, "service_cancel": 0}, {"service": "8", "service_cancel": False}),
        # Whether a cancel was asked for, not whether it can be.
        ({"service": 8, "cancel": False}, {"service": "8"}),
        ({"service": {"cancel": "perhaps"}}, {}),
    ]
    for stated, kept in said:
        seen = observe({"event": "order.progressed", "order": 1, "status": "processing", **stated})
        assert seen.facts.attributes == kept, stated


def test_an_event_of_the_account_is_ignored_unless_it_is_given_a_meaning() -> None:
    assert isinstance(read({"event": "balance.low", "status": "completed", "order": 1}), Ignored)
    explained = read({"event": "balance.low", "order": 1}, event_phases={"balance.low": "unknown"})
    assert not isinstance(explained, (Ignored, Unrecognized))


@pytest.mark.parametrize(
    ("body", "fate"),
    [
        ({"event": "order.boosted", "order": 1}, Unrecognized),
        ({"event": "order.boosted\n", "order": 1, "status": "pending"}, Unrecognized),
        ({"event": "cancellation.succeeded", "order": 1, "status": "completed"}, Unrecognized),
        ({"event": "order.boosted", "order": 1, "status": 5}, Unrecognized),
        ({"event": "order." + "x" * 500, "order": 1, "status": "pending"}, Unrecognized),
        ({"event": "", "order": 1}, Unrecognized),
        ({}, Unrecognized),
    ],
)
def test_what_is_not_understood_goes_to_quarantine(body: Any, fate: type) -> None:
    found = read(body)
    assert isinstance(found, fate)
    assert isinstance(found, Unrecognized)
    assert len(found.reason) < 300


def test_the_known_name_counts_wherever_it_stands() -> None:
    assert observe({"event": "webhook", "type": "order.failed", "order": 1}).type == "order.failed"
    config = Config.model_validate({"key": "k", "event_phases": {"order.boosted": "in_progress"}})
    seen = observe({"event": "webhook", "type": "order.boosted", "order": 1}, config)
    assert (seen.type, seen.facts.phase) == ("order.boosted", Phase.IN_PROGRESS)


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ({"order": "ord_1"}, "ord_1"),
        ({"order": 17}, "17"),
        ({"order_id": "ord_1"}, "ord_1"),
        ({"order": {"id": "ord_1"}}, "ord_1"),
        ({"order": {"order": "ord_1"}}, "ord_1"),
        ({"data": {"order": "ord_1"}}, "ord_1"),
        ({"data": {"order_id": "ord_1", "id": "other"}}, "ord_1"),
        ({"data": {"id": "ord_1"}}, "ord_1"),
        ({"data": {"order": {"id": "ord_1"}}}, "ord_1"),
        ({"id": "evt_1", "data": {"order": {"order_id": "ord_1"}}}, "ord_1"),
    ],
)
def test_the_order_is_found(body: dict[str, Any], id: str) -> None:
    assert observe({"event": "order.completed", **body}).order == id


@pytest.mark.parametrize(
    "order", [None, {}, [], "", " ", "a\nb", 1.5, True, "x" * 201, ["ord_1"], {"name": "x"}, {"id": None}]
)
def test_what_can_be_no_id_is_malformed(order: Any) -> None:
    with pytest.raises(MalformedPayload, match=r"set order_keys|no order's id"):
        observe({"event": "order.completed", "order": order})


def test_the_event_s_own_id_is_its_key_and_else_the_body_is() -> None:
    one = {"event": "order.completed", "order": "ord_1"}
    assert key(**one, id="evt_1") == key(**one, id="evt_1", attempt=2) == b"evt_1"
    assert key(**one, event_id=5, id="x") == b"5"
    # An id that is the order's is the same in all of its events: it would drop what is new.
    assert key(**one, id="ord_1", remains=5) != key(**one, id="ord_1", remains=4)
    assert key(**one, remains=5) != key(**one, remains=4)


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ({"created_at": "2026-03-02T16:04:05Z"}, datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ({"timestamp": 1772467445}, datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ({"timestamp": "1772467445000"}, datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ({"occurred_at": "2026-03-02T16:04:05Z", "timestamp": 1}, datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ({"occurred_at": "2026-03-02T16:04:05"}, datetime(2026, 3, 2, 16, 4, 5)),  # noqa: DTZ001 - nobody knows where
        ({"data": {"created_at": "2020-01-01"}}, None),
        ({}, None),
    ],
)
def test_the_time_is_the_event_s(given: dict[str, Any], moment: datetime | None) -> None:
    assert observe({"event": "order.completed", "order": 1, **given}).occurred_at == moment


def test_what_is_kept() -> None:
    seen = observe(
        b'{"event":"order.completed","order":1,"charge":0.10,"remains":12345678901234567890,"start_count":"a\\u0000b",'
        b'"currency":"USD","link":"https://social.example.com/robin","email":"robin@example.com","service":{"name":"Likes"}}'
    )
    assert seen.facts.attributes == {
        "charge": "0.10",
        "remains": "12345678901234567890",
        "start_count": "ab",
        "currency": "USD",
    }


KEYS = st.sampled_from(["event", "type", "order", "data", "id", "status", "service", "charge", "timestamp"])
NAMES = st.sampled_from(["order.completed", "order.failed", "order.new", "balance.low", "pending", "1"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    raw = json.dumps(body).encode()
    try:
        parsed = parse(InboundRequest({}, {}, raw), CONFIG)
    except MalformedPayload:
        return
    if not isinstance(parsed, (Ignored, Unrecognized)):
        [seen] = parsed
        assert seen.type.startswith("order.")
        assert seen.facts.phase is not None
