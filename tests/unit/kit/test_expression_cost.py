"""What users write can take the time of one order only for so long: told when it is saved, held to when it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.contract import Appointment, Order, Phase
from app.core.policy.scope import POLICY
from app.kit.cel.cost import (
    ANYTHING,
    ELEMENTS_MAX,
    RECORDS_MAX,
    TEXT,
    TEXT_CHARS_MAX,
    Size,
    _Estimate,
    cost_us,
    list_of,
)
from app.kit.cel.expression import ExpressionFailed, InvalidExpression, Kind, Scope, compile  # noqa: A004
from app.kit.cel.order_view import order_values
from app.kit.cel.syntax import parse

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SCOPE = Scope.of({"s": Kind.STRING, "t": Kind.STRING, "l": Kind.STRINGS, "m": Kind.MAP})
SIZES = {"s": TEXT, "t": TEXT, "l": list_of(Size(200, 200)), "m": list_of(ANYTHING)}


def _bound(text: str, levels: int) -> str:
    """A text that is as long again with each of `levels` names."""
    inner = text
    for level in range(levels):
        inner = f"cel.bind(a{level}, {inner}, a{level} + a{level})"
    return f"{inner} == t"


SLOW = (
    # Texts that double with every step.
    _bound("s", 25),
    "s" + '.replace("", s)' * 2 + " == t",
    "s" + '.replace("a", "aaaaaaaaaaaaaaaa")' * 6 + " == t",
    "s.split('').map(x, s).join('') == t",
    # Loops within loops, and lists that grow within them.
    "m.a.map(x, m.b.map(y, y)).size() > 0",
    "m.a.filter(x, m.b.filter(y, y == x).size() > 0).size() > 0",
    "l.map(x, l.map(y, x + y)).size() > 0",
    "m.a.exists(a, a.exists(b, b.exists(c, c.exists(d, d.exists(e, e == 1)))))",
    "l.exists(x, l.exists(y, (s + x + y).replace('a', 'b') == t))",
    # Lists of unknown elements, longer than any that goes in.
    "(m.a + s.split('')).map(x, x).size() > 0",
    "m.?a.orValue(s.split('')).map(x, x).size() > 0",
    "([s.split('')] + m.a)[0].map(x, x).size() > 0",
    "m.a.map(x, x).size() + (" + "m.a + " * 15 + "m.b).map(x, x).size() > 0",
)
USUAL = (
    'order.phase == "open" && size(order.appointments) == 0',
    'order.appointments.exists(a, timestamp(a.starts_at) - now < duration("26h"))',
    "order.appointments.exists(a, order.duplicates.exists(d, d.id == a.id))",
    'order.attributes.items.exists(i, i.name.lowerAscii().contains("gift"))',
    'order.attributes.items.filter(i, i.sku == "x").size() > 1',
    'order.attributes.items.map(i, i.sku).join(",").contains("x")',
    'order.attributes.orders.exists(x, x.items.exists(i, i.sku == "x"))',
    'order.attributes.phone.replace("-", "").replace(" ", "").startsWith("+1")',
    'order.attributes.code.matches("^[a-z]+-[0-9]{4}$")',
    'order.attributes.exists(k, k.startsWith("x"))',
    'order.tags.exists(t, t in ["a", "b"]) && double(order.attributes.total) > 100.0',
    '"%s-%s".format([order.id, order.account]) == "x"',
    "cel.bind(total, double(order.attributes.total), total > 10.0 && total < 20.0)",
)


def test_an_expression_that_may_take_long_is_refused_when_it_is_saved() -> None:
    for text in SLOW:
        with pytest.raises(InvalidExpression, match=r"it may take .*, and the maximum is 40 ms|nested too deeply"):
            compile(text, SCOPE)


def test_usual_conditions_are_taken() -> None:
    for text in USUAL:
        compile(text, POLICY)


def test_no_result_is_larger_than_was_estimated() -> None:
    values: dict[str, Any] = {
        "s": "a" * TEXT_CHARS_MAX,
        "t": "b" * 40,
        "l": ["c" * 200] * ELEMENTS_MAX,
        "m": {"a": list(range(ELEMENTS_MAX)), "text": "d" * TEXT_CHARS_MAX},
    }
    texts = (
        *(
            "s + t",
            "s + s + l[0]",
            "s.replace('a', 'xyz')",
            "s.replace('', 'xy')",
            "s.replace('aa', 'bcd')",
            "l.join(',')",
        ),
        *("l.join()", "s.lowerAscii()", "strings.quote(s)", "base64.encode(bytes(s))", "'%s-%s %d'.format([s, t, 7])"),
        *("s.split('')", "s.split('', 3)", "l.map(x, x + t)[0]", "l.filter(x, x != s)", "m.a.map(x, [x, x])"),
        *("cel.bind(x, s + s, x + x)", "[s, t][0]", "{'k': s}.k", "m.text + m.text", "s == t ? s : s + t"),
        *("'%.9f'.format([1.0])", "m.?text.orValue(t)", "string(bytes(s))", "l.map(x, l.size())", "s.substring(3)"),
    )
    for text in texts:
        expression = compile(text, SCOPE, Kind.ANY)
        found = expression.evaluate(values)
        size = _Estimate().size_of(parse(expression._program.serialize()).expr, SIZES)
        assert len(found) <= size.count, text


def test_more_of_the_same_never_costs_less() -> None:
    def cost(text: str) -> float:
        return cost_us(parse(compile(text, SCOPE, Kind.ANY)._program.serialize()).expr, SIZES)

    grown = (
        (
            "s.size()",
            "s.lowerAscii().size()",
            "s.replace('a', 'b').size()",
            "s.replace('a', 'bb').replace('b', 'c').size()",
        ),
        ("l.exists(x, x == t)", "l.filter(x, x == t).size()", "l.filter(x, x == t).map(x, x + t).size()"),
        ("m.a.exists(x, x == 1)", "m.a.exists(x, x.b.exists(y, y == 1))"),
    )
    for texts in grown:
        costs = [cost(text) for text in texts]
        assert costs == sorted(costs), texts
        assert len(set(costs)) == len(costs), texts


def test_values_larger_than_reckoned_with_fail_with_their_size() -> None:
    def failure(**more: Any) -> str:
        order = Order(account="a", id="o", phase=Phase.OPEN, **more)
        condition = compile("size(order.appointments) == 0 && order.attributes.exists(k, k == 'x')", POLICY)
        with pytest.raises(ExpressionFailed) as failed:
            condition.evaluate(order_values(order, NOW))
        return str(failed.value)

    appointments = tuple(Appointment(str(n), "requested") for n in range(RECORDS_MAX + 1))
    assert "order.appointments has 101 elements, and expressions take 100" in failure(appointments=appointments)
    for value in ([1] * 401, {"deep": [{"list": [1] * 401}]}):
        assert "order.attributes.a has 401 elements, and expressions take 400" in failure(attributes={"a": value})
    text = {"a": {"b": "x" * (TEXT_CHARS_MAX + 1)}}
    assert "order.attributes.a has 8193 characters" in failure(attributes=text)


def test_the_library_s_bound_on_turns_is_there() -> None:
    values = {"s": "", "t": "", "l": ["c"] * ELEMENTS_MAX, "m": {}}
    nested = compile("l.exists(x, l.exists(y, x + y == s))", SCOPE)
    with pytest.raises(ExpressionFailed, match="Iteration budget"):
        nested.evaluate(values)
