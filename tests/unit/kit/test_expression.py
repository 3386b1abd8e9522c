from __future__ import annotations

import copy
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.contract import Appointment, Order, Phase
from app.kit.cel import order_view
from app.kit.cel.expression import (
    CHARS_MAX,
    Expression,
    ExpressionFailed,
    InvalidExpression,
    Kind,
    Scope,
    compile,  # noqa: A004 - under its own name, as everyone else sees it
)
from app.kit.cel.order_view import ORDER, order_values
from app.kit.cel.syntax import parse, selections

NOW = datetime(2026, 3, 2, 16, 4, 6, 123456, tzinfo=UTC)
GIVEN = Order(
    "shop",
    "o-1",
    aliases=("a-1", "a-2"),
    phase=Phase.OPEN,
    opened_at=NOW - timedelta(hours=50),
    last_event_at=NOW,
    changed_at=NOW - timedelta(hours=1),
    appointments=(
        Appointment("1", "booked", NOW + timedelta(hours=3), NOW + timedelta(hours=4)),
        Appointment("2", "requested"),
    ),
    attributes={
        "n": 3,
        "f": 1.5,
        "text": "t",
        "yes": True,
        "none": None,
        "inner": {"at": "2026-03-02T16:00:00Z", "tags": ["a", "b"]},
        "total": "49.90",
    },
    version=7,
)


def value(text: str, wanted: Kind = Kind.BOOL, order: Order = GIVEN) -> Any:
    return compile(text, ORDER, wanted).evaluate(order_values(order, NOW))


def failure(text: str, wanted: Kind = Kind.BOOL, order: Order = GIVEN) -> str:
    with pytest.raises(ExpressionFailed) as caught:
        value(text, wanted, order)
    return str(caught.value)


def invalid(text: str, wanted: Kind = Kind.BOOL, scope: Scope = ORDER) -> InvalidExpression:
    with pytest.raises(InvalidExpression) as caught:
        compile(text, scope, wanted)
    return caught.value


# -- The view of an order ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'order.account == "shop" && account == "shop"',
        'order.id == "o-1"',
        'order.aliases == ["a-1", "a-2"] && "a-2" in order.aliases',
        'order.phase == "open"',
        'order.provider_status == ""',
        'order.opened_at + duration("50h") == now',
        "order.last_event_at == now",
        "size(order.appointments) == 2 && order.version == 7",
        'order.appointments[0].id == "1" && order.appointments[0].status == "booked"',
        'timestamp(order.appointments[0].starts_at) == now + duration("3h")',
        'timestamp(order.appointments[0].ends_at) == now + duration("4h")',
        "!has(order.appointments[1].starts_at) && !has(order.appointments[1].ends_at)",
        'order.appointments.exists(a, a.status == "booked" && timestamp(a.starts_at) - now < duration("26h"))',
        "order.attributes.n == 3 && order.attributes.f > 1.0 && order.attributes.yes",
        'timestamp(order.attributes.inner.at) < now && "b" in order.attributes.inner.tags',
        "double(order.attributes.total) > 49.0",
        "has(order.attributes.n) && !has(order.attributes.m)",
        "order.attributes.none == null",
        'order.attributes.?m.orValue("x") == "x" && order.attributes.?inner.?at.hasValue()',
        'cel.bind(open, order.phase == "open", open && open)',
        'order.attributes.text.upperAscii() == "T" && math.greatest(1, 2) == 2',
        'now.getHours("America/Denver") == 9',
        "now - order.opened_at > duration('48h')",
    ],
)
def test_what_an_expression_sees(text: str) -> None:
    assert value(text) is True


def test_every_name_of_the_scope_has_a_value_of_its_kind() -> None:
    values = order_values(GIVEN, NOW)
    assert set(values) == {name for name, _ in ORDER.names}
    for name, kind in ORDER.names:
        assert compile(name, ORDER, kind).evaluate(values) == values[name]


@pytest.mark.parametrize("phase", list(Phase))
def test_phases_are_the_words_of_the_contract(phase: Phase) -> None:
    order = Order("shop", "o", phase=phase, provider_status="theirs")
    assert value("order.phase", Kind.STRING, order) == phase.value
    assert value("order.provider_status", Kind.STRING, order) == "theirs"


def test_microseconds_and_zones_are_kept() -> None:
    found = value("order.opened_at", Kind.TIMESTAMP)
    assert found == GIVEN.opened_at
    assert found.utcoffset() == timedelta(0)
    elsewhere = datetime.fromisoformat("2026-03-02T09:04:06.123456-07:00")
    assert compile("now", ORDER, Kind.TIMESTAMP).evaluate(order_values(GIVEN, elsewhere)) == NOW


def test_an_order_never_heard_of_has_no_times() -> None:
    order = Order("shop", "o")
    assert failure("order.opened_at < now", order=order) == "order.opened_at < now: order.opened_at is not known"
    assert "order.last_event_at is not known" in failure("order.last_event_at < now", order=order)
    assert value('order.phase == "unknown" || order.opened_at < now', order=order) is True


def test_the_view_does_not_change_the_order() -> None:
    before = copy.deepcopy(GIVEN)
    value("order.attributes", Kind.ANY)["n"] = 4
    order_values(GIVEN, NOW)["order.aliases"].append("x")
    assert before == GIVEN


# -- What is wrong when it is saved -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ('order.fase == "open"', 1, 7, "there is no order.fase; do you mean order.phase?"),
        ('true &&\n  order.fase == "open"', 2, 9, "there is no order.fase; do you mean order.phase?"),
        ('"é" + order.fase == ""', 1, 13, "order.fase"),
        ("ordr.phase == ''", 1, 6, "there is no ordr.phase; do you mean order.phase?"),
        ("x", 1, 1, "there is no x; there are account, now, order.account"),
        ("order", 1, 1, "order is not a value: use order.account, "),
        ("  shout(order.id)", 1, 3, "there is no function shout"),
        ("order.phase == 3", 1, 13, "== does not take (string, int)"),
        ("order.opened_at > 3", 1, 17, "> does not take (timestamp, int)"),
        ("now - order.opened_at > '48h'", 1, 23, "> does not take (duration, string)"),
        ("order.phase ==", 1, 15, "it ends too early"),
        ('order.phase = "open"', 1, 13, "= is not expected here: CEL writes =="),
        ("true and false", 1, 6, "and is not expected here: CEL writes &&"),
        ("order.phase", 1, 1, "it gives string, and must give a bool"),
        ("size(order.aliases)", 1, 1, "it gives int, and must give a bool"),
        ("order.attributes.?x", 1, 1, "it gives an optional value: end it with .orValue(…)"),
        ("", 1, 1, "the expression is empty"),
        (" \n", 1, 1, "the expression is empty"),
        ("(" * 200 + "true" + ")" * 200, 1, 1, "it is nested too deeply, or too long"),
        ("true" + " && true" * 1000, 1, 1, f"8004 characters, and may have {CHARS_MAX}"),
        ("'\ud800' == ''", 1, 2, "half a surrogate pair"),
    ],
)
def test_a_mistake_is_said_with_its_place(text: str, line: int, column: int, says: str) -> None:
    error = invalid(text)
    assert says in error.problem
    assert (error.line, error.column) == (line, column)
    assert str(error) == f"line {line}, column {column}: {error.problem}"
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ('order.appointments.exists(a, a.strats_at == "x")', 32, "records have no strats_at; do you mean starts_at?"),
        (
            "order.appointments.all(a, has(a.begin))",
            30,  # the parenthesis of has()
            "records have no begin; they have ends_at, id, starts_at, status",
        ),
        ('order.appointments[0].state == ""', 23, "records have no state"),
        ('order.appointments[0]["state"] == ""', 22, "records have no state"),
        ('order.appointments[0].?state.orValue("") == ""', 23, "records have no state"),
        ("order.appointments.map(a, a.status).exists(s, s == '') || order.appointments[0].x == ''", 81, "no x"),
        ("order.appointments.filter(a, a.id == '1').map(a, a.beginn)[0] == ''", 52, "no beginn"),
        ("{'k': [order.appointments[0].kind]} == {}", 30, "no kind"),
        ("order.appointments.exists(a, a.starts_at > now)", 42, "> does not take (string, timestamp)"),
    ],
)
def test_a_wrong_key_of_a_record_is_said_with_its_place(text: str, column: int, says: str) -> None:
    error = invalid(text)
    assert says in error.problem
    assert error.column == column


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 'b'}.a == 'b'",
        "{'a': {'b': 'c'}}.a.b == 'c'",
        "[{'a': 'b'}][0].a == 'b'",
        "order.attributes.inner.at == '2026-03-02T16:00:00Z'",
        "order.appointments[0]['sta' + 'tus'] == 'booked'",
    ],
)
def test_keys_of_anything_else_are_not_looked_at(text: str) -> None:
    assert value(text) is True


@pytest.mark.parametrize("text", ["has(order.phase)", 'has(order.phase) && order.phase == "open"'])
def test_has_is_not_for_what_is_always_there(text: str) -> None:
    assert "order.phase is always there: has() is not for it" in str(invalid(text))


@pytest.mark.parametrize(
    ("text", "wanted", "problem"),
    [
        ("true", Kind.STRING, "it gives bool, and must give a string"),
        ("null", Kind.BOOL, "it gives null, and must give a bool"),
        ("order.opened_at", Kind.STRING, "it gives timestamp, and must give a string"),
        ("order.id", Kind.TIMESTAMP, "it gives string, and must give a timestamp"),
        ("{b'x': 1}", Kind.ANY, "Unsupported map key type: BYTES"),
        ("1.5", Kind.INT, "it gives double, and must give an int"),
    ],
)
def test_what_is_wanted_is_checked_when_it_is_saved(text: str, wanted: Kind, problem: str) -> None:
    error = invalid(text, wanted)
    assert error.problem.replace("google.protobuf.", "") == problem


# -- What fails when it is evaluated ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("order.attributes.m == 1", 'there is no key "m" (test for it with has())'),
        ("timestamp(order.appointments[1].starts_at) > now", 'there is no key "starts_at"'),
        ("order.appointments[9].id == ''", "ndex"),
        ("order.attributes.text > 1", "No matching overloads"),
        ("timestamp(order.attributes.text) > now", "Timestamp conversion failed"),
        ("1 / (order.version - 7) == 1", "divi"),
        ("order.attributes.n", "it gives an int and not a bool"),
        ("order.attributes.none", "it gives NoneType and not a bool"),
        ("order.attributes.inner", "it gives a map and not a bool"),
        ("order.attributes.text.matches('(')", "regular expression"),
    ],
)
def test_what_cannot_be_told_fails(text: str, says: str) -> None:
    failed = failure(text)
    assert says in failed
    assert failed.startswith(f"{text}: ")
    assert "[" not in failed.removeprefix(text) or "INVALID" not in failed


def test_a_budget_ends_what_would_take_too_long() -> None:
    ten = "[1,2,3,4,5,6,7,8,9,10]"
    text = f"size({ten}.map(a, {ten}.map(b, {ten}.map(c, {ten}.map(d, {ten}.map(e, 1)))))) == 10"
    assert "budget" in failure(text)


def test_text_that_is_none_fails() -> None:
    assert "order.id" in failure("order.id == ''", order=Order("shop", "\ud800"))


def test_a_long_expression_is_cut_in_its_failure() -> None:
    text = "order.attributes.m == 1" + " || order.attributes.m == 1" * 20
    assert len(failure(text)) < 250


@pytest.mark.parametrize(
    ("text", "found"),
    [("null", None), ("order.version > 99 ? now : null", None), ("now", NOW), ("dyn(now)", NOW), ("dyn(null)", None)],
)
def test_no_time_is_a_time_that_may_be_wanted(text: str, found: datetime | None) -> None:
    assert value(text, Kind.TIMESTAMP) == found


@pytest.mark.parametrize("text", ["dyn(1)", "dyn('2026-03-02T16:00:00Z')", "order.attributes.inner.at"])
def test_what_is_no_time_fails_where_one_is_wanted(text: str) -> None:
    assert "and not a timestamp" in failure(text, Kind.TIMESTAMP)


@pytest.mark.parametrize(
    ("text", "found"),
    [("1", 1), ("order.id", "o-1"), ("order.attributes.inner.tags", ["a", "b"]), ("{'a': 1.5}", {"a": 1.5})],
)
def test_anything_may_be_wanted(text: str, found: Any) -> None:
    assert value(text, Kind.ANY) == found


# -- Scopes and expressions as values ---------------------------------------------------------


def test_a_scope_may_have_more_names() -> None:
    scope = ORDER.plus({"event.type": Kind.STRING, "order.tags": Kind.STRINGS, "amount": Kind.DOUBLE})
    text = "event.type.startsWith('order.') && 'vip' in order.tags && amount > 1.0"
    values = {**order_values(GIVEN, NOW), "event.type": "order.created", "order.tags": ["vip"], "amount": 2.0}
    assert compile(text, scope).evaluate(values) is True
    assert "event.type" in invalid("event.typ == ''", scope=scope).problem
    assert "records have no x" in invalid("order.appointments[0].x == ''", scope=scope).problem
    assert "event.type" in invalid("event.type == ''").problem


def test_a_scope_is_the_same_in_any_order() -> None:
    one = Scope.of({"a": Kind.INT, "b": Kind.STRING}, ("x", "y"))
    assert one == Scope.of({"b": Kind.STRING, "a": Kind.INT}, ("y", "x"))
    assert Scope.of({"a": Kind.INT}).plus({"b": Kind.STRING}).names == one.names


@pytest.mark.parametrize("text", ["now > now", "order.version > 1 && .now > .now", "[. now].size() > 1", "(now) > now"])
def test_the_names_that_it_needs(text: str) -> None:
    assert "now" in compile(text, ORDER).names
    assert "order.phase" not in compile(text, ORDER).names


def test_a_name_is_read_however_it_is_spelled() -> None:
    for text in ("order . phase == 'open'", "order // said\n .phase == 'open'", "order.`phase` == 'open'"):
        expression = compile(text, ORDER)
        assert expression.names == {"order.phase"}, text
        assert expression.evaluate({"order.phase": "open"}) is True, text
    assert compile("'a' in.order.aliases", ORDER).names == {"order.aliases"}
    assert compile("account != 'order.phase'", ORDER).names == {"account"}, "it only stands in a string"


def test_an_expression_is_a_value() -> None:
    text = 'order.phase == "open"'
    one = compile(text, ORDER)
    assert one is compile(text, ORDER)
    assert repr(one) == f"Expression(text={text!r})"
    assert {one: 1}[Expression(text, ORDER, Kind.BOOL, frozenset(), {}, frozenset(), 0.0, None)] == 1
    assert one != compile(text, ORDER, Kind.ANY)
    with pytest.raises(AttributeError):
        one.text = "x"  # type: ignore[misc]


def test_a_tree_is_read_or_refused() -> None:
    raw = compile("order.appointments[0].id == ''", ORDER)._program.serialize()
    assert [each.key for each in selections(parse(raw))] == ["id"]
    for size in range(len(raw)):
        with suppress(ValueError):
            selections(parse(raw[:size]))
    for broken in (b"\xff" * 40, b"\x07"):
        with pytest.raises(ValueError, match="cannot be read"):
            parse(broken)


@examples(300)
@given(st.text(st.sampled_from("order.phase()[]{}\"'=&|!+-<>? 019,:\n\0é"), max_size=30))
def test_any_text_is_an_expression_or_an_error_with_a_place(text: str) -> None:
    place = (1, 1)
    try:
        found = compile(text, ORDER, Kind.ANY)
    except InvalidExpression as error:
        place = (error.line, error.column)
        said = str(error)
        assert_one_line(said)
    else:
        with suppress(ExpressionFailed):
            found.evaluate(order_values(GIVEN, NOW))
    assert min(place) >= 1


def assert_one_line(text: str) -> None:
    assert text
    assert "\n" not in text


def test_the_module_says_what_is_in_scope() -> None:
    described = order_view.__doc__ or ""
    for name, _ in ORDER.names:
        assert f"`{name}`" in described
    for key in ORDER.record_keys:
        assert f"`{key}`" in described
