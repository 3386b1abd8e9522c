from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.planomatic.support import CONFIG
from unit.planomatic.support import observe as read

from app.contract import Ignored, InboundRequest, MalformedPayload, Phase, Unrecognized, zone_of
from app.kit.payload import ATTRIBUTE_BYTES_MAX, ATTRIBUTE_DEPTH_MAX, decode
from app.kit.times import read_time
from handlers.planomatic.config import Config
from handlers.planomatic.webhook import parse

BODY: dict[str, Any] = {"event": "order.processed", "order_id": 1}


@pytest.mark.parametrize(
    ("ids", "order", "aliases"),
    [
        ({"order_id": 654321}, "654321", ()),
        ({"order_id": "654321"}, "654321", ()),
        ({"request_id": 7}, "request:7", ()),
        ({"order_id": None, "request_id": "7"}, "request:7", ()),
        ({"order_id": 1, "request_id": 7}, "1", ("request:7",)),
        ({"order_id": 1, "request_id": "1"}, "1", ("request:1",)),
        ({"order_id": 0}, "0", ()),
        ({"order_id": "x" * 200}, "x" * 200, ()),
        ({"order_id": "заказ 7"}, "заказ 7", ()),
    ],
)
def test_ids(ids: dict[str, Any], order: str, aliases: tuple[str, ...]) -> None:
    seen = read({"event": "order.processed", **ids})
    assert (seen.order, seen.facts.aliases) == (order, aliases)


@pytest.mark.parametrize("key", ["order_id", "request_id"])
@pytest.mark.parametrize(
    "bad", ["", "  ", "x" * 201, "a\0b", "a\nb", "\x1b[31m", "\u202e1", 1.5, 1e300, True, False, [], {}, 10**201]
)
def test_bad_ids_are_malformed(key: str, bad: object) -> None:
    with pytest.raises(MalformedPayload, match=key):
        read({"event": "order.processed", "order_id": 1, key: bad})


def test_an_id_spelled_with_an_exponent_is_malformed() -> None:
    with pytest.raises(MalformedPayload, match="order_id"):
        read(b'{"event":"order.processed","order_id":1e5}')


def test_no_id_is_malformed() -> None:
    with pytest.raises(MalformedPayload, match="names no order"):
        read({"event": "order.processed", "external_order_id": "e"})


@pytest.mark.parametrize(
    ("ids", "aliases"),
    [
        ({"external_order_id": "e", "external_id": "f"}, ("e", "f")),
        ({"request_id": 7, "external_order_id": 7, "external_id": 7}, ("7",)),
        ({"external_order_id": ""}, ()),
        ({"external_order_id": "a\nb", "external_id": 1.5}, ()),
    ],
)
def test_external_ids_name_an_order_where_the_account_says_so(ids: dict[str, Any], aliases: tuple[str, ...]) -> None:
    config = CONFIG.model_copy(update={"external_ids_are_aliases": True})
    facts = read({**BODY, **ids}, config).facts
    assert (facts.shared_aliases, set(facts.aliases)) == (aliases, {"request:7"} if "request_id" in ids else set())


def test_external_ids_do_not_make_one_order_of_two() -> None:
    facts = read({**BODY, "request_id": 7, "external_order_id": "e", "external_id": "f"}).facts
    assert (facts.aliases, facts.shared_aliases) == (("request:7",), ())
    assert facts.attributes == {"request_id": 7, "external_order_id": "e", "external_id": "f"}


@pytest.mark.parametrize(
    ("given_time", "moment"),
    [
        ("2026-03-02T16:04:05Z", datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ("2026-03-02T09:04:05.250-07:00", datetime(2026, 3, 2, 16, 4, 5, 250000, tzinfo=UTC)),
        ("2026-03-02T16:04:05", datetime(2026, 3, 2, 16, 4, 5)),  # noqa: DTZ001 - nobody knows where
        ("2026-03-02", datetime(2026, 3, 2)),  # noqa: DTZ001 - as above
        (1772467445, datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        ("1772467445", datetime(2026, 3, 2, 16, 4, 5, tzinfo=UTC)),
        (1772467445250, datetime(2026, 3, 2, 16, 4, 5, 250000, tzinfo=UTC)),
        (1772467445.25, datetime(2026, 3, 2, 16, 4, 5, 250000, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_times(given_time: object, moment: datetime | None) -> None:
    assert read({**BODY, "occurred_at": given_time}).occurred_at == moment


@pytest.mark.parametrize(
    "bad",
    [
        *("", "soon", "2026-13-01", "nan", "inf", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"),
        *(True, [], {}),
        *(10**15, -(10**15), 10**30, 10**400, 1e18, "1e400", "9" * 400),
    ],
)
def test_unreadable_times_are_malformed(bad: object) -> None:
    with pytest.raises(MalformedPayload, match="occurred_at"):
        read({**BODY, "occurred_at": bad})


def test_a_time_beyond_every_float_is_malformed() -> None:
    with pytest.raises(MalformedPayload, match="timestamp"):
        read(b'{"event":"order.processed","order_id":1,"timestamp":1e999}')


def test_the_first_time_that_is_there_counts() -> None:
    assert read({**BODY, "occurred_at": None, "updated_at": 5, "timestamp": 3}).occurred_at == datetime.fromtimestamp(
        3, UTC
    )


def test_times_without_an_offset_are_read_in_the_configured_zone() -> None:
    zone = zone_of("America/Denver")
    assert read_time("2026-01-02T09:00:00", zone) == datetime(2026, 1, 2, 16, tzinfo=UTC)
    assert read_time("2026-07-02T09:00:00", zone) == datetime(2026, 7, 2, 15, tzinfo=UTC)
    assert read_time("2026-07-02T09:00:00Z", zone) == datetime(2026, 7, 2, 9, tzinfo=UTC)


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.datetimes().map(str))
)
def test_no_time_makes_parse_fail_otherwise(value: object) -> None:
    raw = msgspec.json.encode({**BODY, "occurred_at": value})
    try:
        seen = read(raw)
    except MalformedPayload:
        return
    assert seen.occurred_at is None or seen.occurred_at.tzinfo in (UTC, None)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        *("event", "type", "order_id", "request_id", "order", "data", "status", "order_status", "appointments"),
        *("appointment", "metadata", "property", "price", "external_order_id", "occurred_at", "request_datetime"),
    ]
)


@given(st.dictionaries(keys, st.one_of(json_values, st.sampled_from(["order.processed", "ordered", 1]))))
def test_whatever_comes_is_an_event_or_a_named_problem(body: dict[str, Any]) -> None:
    try:
        parsed = parse(InboundRequest({}, {}, msgspec.json.encode(body)), CONFIG)
    except MalformedPayload as error:
        assert str(error)  # noqa: PT017 - not every body raises
        return
    if isinstance(parsed, (Ignored, Unrecognized)):
        assert parsed.reason
        return
    for each in parsed:
        raw = msgspec.json.encode(each.facts)
        assert b"\\u0000" not in raw
        assert each.order
        assert each.facts.phase is not None


def attributes(body: dict[str, Any] | bytes) -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps({**BODY, **body}).encode()
    return read(raw).facts.attributes


def test_money_is_kept_as_it_is_spelled() -> None:
    kept = attributes(
        b'{"event":"order.processed","order_id":1,"services":[{"slug":"a","price":12.50},{"price":3},{"price":"7"}],'
        b'"property":{"price":220000,"beds":4,"lat":39.73920}}'
    )
    assert kept["services"] == [{"slug": "a", "price": "12.50"}, {"price": "3"}, {"price": "7"}]
    assert kept["property"] == {"price": "220000", "beds": 4, "lat": 39.7392}


def test_numbers_that_others_cannot_read_become_strings() -> None:
    kept = attributes(
        b'{"event":"order.processed","order_id":1,"metadata":{"a":9223372036854775807,"b":9223372036854775808,'
        b'"c":-9223372036854775808,"d":-9223372036854775809,"e":1e999,"f":[1e999,[2]]},"external_id":18446744073709551616}'
    )
    assert kept["metadata"] == {
        "a": 2**63 - 1,
        "b": str(2**63),
        "c": -(2**63),
        "d": str(-(2**63) - 1),
        "e": "1e999",
        "f": ["1e999", [2]],
    }
    assert kept["external_id"] == str(2**64)


def test_nul_is_taken_out_everywhere() -> None:
    kept = attributes({"metadata": {"a\0": ["b\0", {"c": "\0"}], "d": None}, "billing_entity_slug": "\0x"})
    assert kept == {"metadata": {"a": ["b", {"c": ""}], "d": None}, "billing_entity_slug": "x"}


def test_a_status_holds_no_nul_and_is_not_endless() -> None:
    assert read({**BODY, "status": "odd\0"}).facts.provider_status == "odd"
    assert len(read({**BODY, "status": "x" * 5000}).facts.provider_status or "") == 100


def test_large_attributes_are_left_out() -> None:
    fits = "x" * (ATTRIBUTE_BYTES_MAX - 2)
    kept = attributes({"metadata": {"a": fits}, "property": fits, "services": ["y"]})
    assert kept == {"property": fits, "services": ["y"]}


def test_deep_attributes_are_left_out() -> None:
    deep: Any = 1
    for _ in range(ATTRIBUTE_DEPTH_MAX):
        deep = [deep]
    assert attributes({"metadata": deep, "services": [deep], "property": {"a": deep}}) == {"metadata": deep}


def test_personal_data_is_not_kept() -> None:
    body = {
        "client": {"email": "robin@example.com"},
        "property_access": {"access_code": "1"},
        "notes": "n",
        "links": {},
    }
    assert attributes(body) == {}


def test_what_is_null_is_not_spoken_of() -> None:
    assert attributes({"metadata": None, "external_id": None}) == {}


def test_an_order_opens_when_it_was_requested() -> None:
    assert read({**BODY, "request_datetime": "2026-03-02T15:08:37Z", "order_datetime": 1}).facts.opened_at == datetime(
        2026, 3, 2, 15, 8, 37, tzinfo=UTC
    )
    assert read({**BODY, "order_datetime": 60}).facts.opened_at == datetime.fromtimestamp(60, UTC)
    assert read({**BODY, "order_datetime": "once"}).facts.opened_at is None


# -- Appointments ----------------------------------------------------------------------------


START = "2026-03-04T16:00:00Z"


@pytest.mark.parametrize(
    ("appointment", "status"),
    [
        ({"start_datetime": START}, "scheduled"),
        ({"start_datetime": START, "cancellation_reason": None}, "scheduled"),
        ({"start_datetime": START, "cancellation_reason": "weather"}, "canceled"),
        ({"start_datetime": START, "status": "scheduled", "cancellation_reason": "weather"}, "canceled"),
        ({"start_datetime": START, "cancelled": True, "confirmed": True}, "canceled"),
        ({"start_datetime": START, "canceled": True}, "canceled"),
        ({"start_datetime": START, "cancelled": False}, "scheduled"),
        ({"start_datetime": START, "status": "tentative"}, "tentative"),
        ({"start_datetime": START, "confirmed": True}, "confirmed"),
        ({"start_datetime": START, "confirmed": False}, "requested"),
        ({"start_datetime": "in the morning"}, "scheduled"),
        ({"starts_at": START}, "scheduled"),
        ({"start_datetime": None}, "requested"),
        ({}, "requested"),
    ],
)
def test_the_status_of_an_appointment(appointment: dict[str, Any], status: str) -> None:
    [found] = read({**BODY, "appointments": [appointment]}).facts.appointments
    assert found.status == status


@pytest.mark.parametrize("event", ["appointment.awaiting_reschedule", "appointment.unable_to_complete"])
def test_an_event_that_calls_an_appointment_off_leaves_none_confirmed(event: str) -> None:
    listed = [{"id": 1, "start_datetime": START}, {"id": 2, "start_datetime": START, "status": "confirmed"}]
    first, second = read({**BODY, "event": event, "appointments": listed}).facts.appointments
    assert (first.status, second.status) == ("in_doubt", "confirmed")


def test_the_list_is_complete_and_a_single_one_is_not() -> None:
    assert read({**BODY, "appointments": []}).facts.appointments_complete
    single = read({**BODY, "appointment": {"id": "a", "start_datetime": START}}).facts
    assert not single.appointments_complete
    assert [each.id for each in single.appointments] == ["a"]
    assert not read({**BODY, "appointments": None}).facts.appointments_complete


def test_two_appointments_at_one_time_are_two() -> None:
    listed = [{"start_datetime": START}, {"start_datetime": START, "cancellation_reason": "weather"}]
    found = read({**BODY, "appointments": listed}).facts.appointments
    assert [each.status for each in found] == ["scheduled", "canceled"]
    assert len({each.id for each in found}) == 2


def test_what_is_no_appointment_is_passed_over() -> None:
    assert read({**BODY, "appointments": [1, None, "x", []]}).facts.appointments == ()


def test_there_is_an_end_to_appointments() -> None:
    listed = [{"id": number} for number in range(1000)]
    assert len(read({**BODY, "appointments": listed}).facts.appointments) == 100


# -- Where things stand ----------------------------------------------------------------------


def test_keys_can_reach_into_objects() -> None:
    config = Config.model_validate(
        {"api_key": "k", "event_keys": ["event.name"], "time_keys": ["event.at"], "status_keys": ["state.word"]}
    )
    body = {"event": {"name": "order.processed", "at": 60}, "order_id": 1, "state": {"word": "ordered"}}
    seen = read(body, config)
    assert (seen.type, seen.occurred_at) == ("order.processed", datetime.fromtimestamp(60, UTC))
    assert (seen.facts.phase, seen.facts.provider_status) == (Phase.OPEN, "ordered")
    with pytest.raises(AssertionError, match="names neither an event"):
        read({"event": "order.processed", "order_id": 1, "state": "ordered"}, config)


@pytest.mark.parametrize("wrapper", ["order", "data"])
def test_a_wrapped_order_is_found(wrapper: str) -> None:
    seen = read(
        {"event": "order.processed", "status": "sent", wrapper: {"order_id": 5, "status": "ordered", "type": "x"}}
    )
    assert (seen.order, seen.type, seen.facts.provider_status) == ("5", "order.processed", "ordered")


def test_the_order_of_the_wrapper_does_not_hide_the_body_s_own() -> None:
    assert read({"event": "order.processed", "order_id": 1, "order": {"order_id": 2}}).order == "1"


def test_deep_nesting_is_malformed_and_nothing_worse() -> None:
    with pytest.raises(MalformedPayload, match="too deeply"):
        decode(b'{"order":' * 50_000 + b"1" + b"}" * 50_000, "PlanOmatic")
    with pytest.raises(MalformedPayload, match="names no order"):
        read(b'{"event":"order.processed","order":' + b'{"order":' * 700 + b"1" + b"}" * 700 + b"}")
