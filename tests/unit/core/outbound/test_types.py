"""The registry of types of messages to subscribers."""

from __future__ import annotations

import msgspec
import pytest

from app.core.cancellation import EVENT_PREFIX, State
from app.core.event_types import EVENT_TYPES
from app.core.outbound import examples
from app.core.outbound.examples import NOW, example, message
from app.core.outbound.types import OUTBOUND_TYPES, Subject, data_of, payload


def test_every_state_of_a_cancellation_has_a_type() -> None:
    assert {EVENT_PREFIX + state for state in State} == {
        name for name in OUTBOUND_TYPES if name.startswith(EVENT_PREFIX)
    }


@pytest.mark.parametrize("name", OUTBOUND_TYPES)
def test_every_type_has_an_example_of_its_schema(name: str) -> None:
    type = OUTBOUND_TYPES[name]
    data = example(name)["data"]
    snapshot = data.pop("snapshot")
    about, body = msgspec.convert(data, Subject), msgspec.convert(data, type.schema)
    assert msgspec.json.decode(data_of(about, body)) == data
    assert (snapshot is None) == (about.order is None)
    assert snapshot is None or snapshot["id"] == about.order
    assert type.description.endswith(".")


@pytest.mark.parametrize("schema", dict.fromkeys(type.schema for type in OUTBOUND_TYPES.values()))
def test_no_schema_has_a_member_of_the_subject_too(schema: type[msgspec.Struct]) -> None:
    assert not {*schema.__struct_fields__} & {*Subject.__struct_fields__, "snapshot"}, "JSON would have it twice"


def test_what_the_log_tells_under_the_same_name_has_the_same_schema() -> None:
    # Steps and decisions of the log are richer; messages about them have schemas of their own.
    notices = [
        name for name in OUTBOUND_TYPES if name in EVENT_TYPES and not name.startswith((EVENT_PREFIX, "policy."))
    ]
    assert len(notices) >= 7
    assert all(OUTBOUND_TYPES[name].schema is EVENT_TYPES[name] for name in notices)


def test_a_payload_is_what_standard_webhooks_asks_for() -> None:
    sent = message(1, "order.closing_soon", NOW, "shop")
    thin, full = msgspec.json.decode(payload(sent)), msgspec.json.decode(payload(sent, full=True))
    assert list(thin) == list(full) == ["type", "timestamp", "data"]
    assert (thin["type"], thin["timestamp"]) == ("order.closing_soon", "2026-03-02T15:00:00Z")
    assert thin["data"] | {"snapshot": full["data"]["snapshot"]} == full["data"]
    assert full["data"]["snapshot"]["verdict"] == full["data"]["verdict"]


def test_a_test_says_that_it_is_one_and_names_the_account() -> None:
    data = msgspec.json.decode(payload(message(1, "breaker.opened", NOW, "shop", test=True)))["data"]
    assert (data["test"], data["account"], data["order"]) == (True, "shop", None)
    assert examples.subject("order.closing_soon", None).account is None
