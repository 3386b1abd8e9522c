"""NUL characters in what expressions read: refused, as the library would cut texts off there."""

from __future__ import annotations

import pytest
from msgspec import structs

from app.contract import Appointment, Order
from app.core.policy.readers import has_unfit_value
from app.kit.cel.expression import ExpressionFailed, Kind, Scope, compile  # noqa: A004 - as everyone else sees it


def test_a_text_is_never_cut_off_at_a_nul() -> None:
    """The library does so: two different ids would be one."""
    kinds = {"text": Kind.STRING, "texts": Kind.STRINGS, "records": Kind.RECORDS, "fields": Kind.MAP, "any": Kind.ANY}
    scope = Scope.of(kinds, ["id"])
    for text, values in (
        ("text == 'a'", {"text": "a\0b"}),
        ("'a' in texts", {"texts": ["x", "a\0b"]}),
        ("records[0].id == 'a'", {"records": [{"id": "a\0b"}]}),
        ("records.exists(r, 'id' in r)", {"records": [{"id\0": "a"}]}),
        ("fields.k == 'a'", {"fields": {"k": "a\0b"}}),
        ("fields.k.l[0] == 'a'", {"fields": {"k": {"l": ["a\0b"]}}}),
        ("has(fields.k.l)", {"fields": {"k": {"l\0b": 1}}}),
        ("fields.exists(k, k == 'a')", {"fields": {"a\0b": 1}}),
        ("any == 'a'", {"any": "a\0b"}),
        ("any[0] == 'a'", {"any": ["a\0b"]}),
    ):
        found = compile(text, scope)
        with pytest.raises(ExpressionFailed, match=r"^[^\0]* has a NUL character, which expressions do not take$"):
            found.evaluate(values)
    # What it does not read of a map is not looked at.
    assert compile("fields.k == 'a'", scope).evaluate({"fields": {"k": "a", "other": "\0", "k\0": "b"}}) is True


def test_no_remembered_result_stands_in_for_an_order_with_a_nul() -> None:
    """Results are remembered by what a condition reads, which may be a part only."""
    order = Order("shop", "o-1", provider_status="s", appointments=(Appointment("1", "s"),), attributes={"a": "s"})
    assert not has_unfit_value(order, ())
    for unfit in (
        {"provider_status": "s\0"},
        {"appointments": (Appointment("1", "s"), Appointment("2", "s\0"))},
        {"appointments": (Appointment("2\0", "s"),)},
        {"attributes": {"a": "s\0"}},
    ):
        assert has_unfit_value(structs.replace(order, **unfit), ()), unfit
