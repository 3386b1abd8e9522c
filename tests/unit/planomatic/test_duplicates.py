"""Which orders are the same to PlanOmatic, as far as Rescind can tell."""

from __future__ import annotations

from typing import Any

import pytest
from webhooks import mark, order_of

TWICE = {"order_id": 654322, "request_id": 133705, "external_order_id": "external-2"}
V2_KEYS = ("property_info.address", "primary_service.group_slug")
ELSEWHERE = {"address": {"street": "9 Other Ave", "address2": None, "city": "Denver", "postal_code": "80204"}}


def same(one: str, other: str, /, *keys: str, **changes: Any) -> bool:
    """Is the order of the second fixture, sent anew with `changes`, the same as that of the first?"""
    rules = {"duplicate_keys": keys} if keys else {}
    orders = order_of("planomatic", one), order_of("planomatic", other, **{**TWICE, **changes})
    assert orders[0].id != orders[1].id
    marks = [mark("planomatic", each, **rules) for each in orders]
    assert None not in marks
    return marks[0] == marks[1]


@pytest.mark.parametrize("later", ["v3_order_processed", "v3_new_request", "v3_awaiting_availability", "v3_canceled"])
def test_an_order_sent_twice_is_the_same_however_far_it_has_come(later: str) -> None:
    assert same("v3_order_processed", later)


def test_ids_metadata_and_spelling_make_no_difference() -> None:
    assert same("v3_order_processed", "v3_order_processed", metadata={}, external_property_id=" Property-1 ")


@pytest.mark.parametrize(
    "changes",
    [
        {"external_property_id": "property-2"},
        {"services": [{"slug": "floorplan", "quantity": 1}]},
        {"services": [{"slug": "photoplan", "quantity": 2}]},
        {"services": [{"slug": "photoplan", "quantity": 1}, {"slug": "floorplan", "quantity": 1}]},
    ],
)
def test_another_property_or_other_services_are_another_order(changes: dict[str, Any]) -> None:
    assert not same("v3_order_processed", "v3_order_processed", **changes)


@pytest.mark.parametrize("changes", [{"external_property_id": None}, {"services": None}])
def test_what_names_no_property_or_no_service_is_nobody_s_duplicate(changes: dict[str, Any]) -> None:
    assert mark("planomatic", order_of("planomatic", "v3_order_processed", **changes)) is None


def test_v2_needs_keys_of_its_own() -> None:
    assert mark("planomatic", order_of("planomatic", "v2_ordered")) is None
    assert same("v2_ordered", "v2_scheduled", *V2_KEYS)
    assert not same("v2_ordered", "v2_ordered", *V2_KEYS, property_info=ELSEWHERE)
    assert not same("v2_ordered", "v2_ordered", *V2_KEYS, primary_service={"group_slug": "floorplan"})
