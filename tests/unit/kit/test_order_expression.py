"""An expression that remembers its results gives the same as one that does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.contract import Appointment, Order, Phase
from app.kit.cel import expression, order_expression
from app.kit.cel.expression import Expression, ExpressionFailed, Kind
from app.kit.cel.order_expression import KEY_BYTES_MAX, OrderExpression
from app.kit.cel.order_view import ORDER, order_values

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONDITIONS = (
    "order.phase == 'open'",
    "order.provider_status in ['placed', '1', '']",
    "account == 'b'",
    "order.attributes.a == 1",
    "string(order.attributes.a) == '1'",
    "type(order.attributes.a) == int",
    "1.0 / double(order.attributes.a) < 0.0",
    "has(order.attributes.b)",
    "order.attributes.?b.orValue('none') == 'none'",
    "order.attributes[?'b'].hasValue()",
    "'b' in order.attributes",
    "order.attributes == {'a': 1}",
    "size(order.attributes) > 1",
    "order.attributes.all(key, key != 'b')",
    "order.attributes.b.c == 1",
    "order.appointments.exists(a, a.status == 'booked' && timestamp(a.starts_at) <= now)",
    "order.appointments.size() > 1",
    "order.opened_at < now",
    "order.opened_at <= timestamp('2026-03-02T16:04:06Z')",
    "now > timestamp('2026-03-02T16:04:06Z')",
    "order.version > 1",
    "order.id == 'o-1'",
)
MOMENTS = (
    "order.opened_at + duration('1h')",
    "timestamp(order.appointments[0].starts_at)",
    "order.phase == 'open' ? now : null",
    "order.phase == 'open' ? null : order.last_event_at",
)
VALUES = st.sampled_from(
    [1, 1.0, True, "1", 0, 0.0, -0.0, False, "", None, 2**63, 2**70, "\ud800", [1], {"c": 1}, {"c": True}, "x" * 300]
)
ORDERS = st.builds(
    Order,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["o-1", "o-2"]),
    phase=st.sampled_from(Phase),
    provider_status=st.sampled_from([None, "placed", "1", "gone", "x" * 300]),
    opened_at=st.sampled_from([None, NOW, NOW + HOUR]),
    last_event_at=st.sampled_from([NOW, NOW + HOUR]),
    appointments=st.lists(
        st.builds(
            Appointment, st.just("1"), st.sampled_from(["booked", "done"]), st.sampled_from([None, NOW, NOW + HOUR])
        ),
        max_size=6,
    ).map(tuple),
    attributes=st.dictionaries(st.sampled_from(["a", "b", "unread"]), VALUES),
    version=st.integers(1, 2),
)
TEXTS = st.recursive(
    st.sampled_from(CONDITIONS),
    lambda part: st.one_of(
        st.builds("({}) && ({})".format, part, part),
        st.builds("({}) || ({})".format, part, part),
        st.builds("!({})".format, part),
        st.builds("({}) ? ({}) : ({})".format, part, part, part),
    ),
    max_leaves=4,
)


def without_memo(text: str, wanted: Kind, order: Order, now: datetime) -> Any:
    plain = expression.compile(text, ORDER, wanted)
    return _result(lambda: plain.evaluate(order_values(order, now, plain.names)))


def with_memo(text: str, wanted: Kind, order: Order, now: datetime) -> Any:
    return _result(lambda: order_expression.compile(text, wanted).evaluate(order, now))


def _result(evaluate: Any) -> Any:
    """The value with its type, or what the failure says."""
    try:
        value = evaluate()
    except ExpressionFailed as error:
        return str(error)
    return type(value), value


@examples(600)
@given(
    st.one_of(st.tuples(TEXTS, st.just(Kind.BOOL)), st.tuples(st.sampled_from(MOMENTS), st.just(Kind.TIMESTAMP))),
    st.lists(st.tuples(ORDERS, st.sampled_from([NOW, NOW + HOUR, NOW + 2 * HOUR])), min_size=1, max_size=12),
)
def test_a_remembered_result_is_the_result(program: tuple[str, Kind], asked: list[tuple[Order, datetime]]) -> None:
    for order, now in asked:
        assert with_memo(*program, order, now) == without_memo(*program, order, now), (program, order, now)


def test_values_that_python_takes_for_equal_are_not_one() -> None:
    given: list[dict[str, Any]] = [{"a": value} for value in (1, 1.0, True, "1", 0, 0.0, -0.0, False, None, "")] + [{}]
    for text in (text for text in CONDITIONS if "attributes" in text):
        for attributes in [*given, *reversed(given)]:
            order = Order("a", "1", attributes=attributes)
            assert with_memo(text, Kind.BOOL, order, NOW) == without_memo(text, Kind.BOOL, order, NOW), (text, order)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the expressions that were evaluated, beginning with nothing remembered."""
    evaluated: list[str] = []
    evaluate = Expression.evaluate

    def counted(self: Expression, values: dict[str, Any]) -> Any:
        evaluated.append(self.text)
        return evaluate(self, values)

    monkeypatch.setattr(Expression, "evaluate", counted)
    monkeypatch.setattr(order_expression, "_results", {})
    return evaluated


def test_what_is_not_read_needs_no_evaluation(evaluations: list[str]) -> None:
    texts = (
        "order.phase == 'open' && order.attributes.?kind.orValue('') == 'gift'",
        "order.phase == 'canceled' && now > order.last_event_at",  # reads what changes with each event
        "order.appointments.exists(a, timestamp(a.starts_at) < now)",
        "order.attributes.missing == 1",
    )
    for number in range(20):
        given = {"kind": "gift", "number": str(number), "total": number}
        order = Order("a", str(number), phase=Phase.OPEN, last_event_at=NOW, attributes=given, version=number)
        for text in texts:
            with_memo(text, Kind.BOOL, order, NOW + number * HOUR)
    assert [evaluations.count(text) for text in texts] == [1, 20, 1, 1]


def test_what_depends_on_time_is_evaluated_each_time(evaluations: list[str]) -> None:
    text = "order.phase == 'open' && now >= timestamp('2026-03-02T17:04:06Z')"
    opened, closed = Order("a", "1", phase=Phase.OPEN), Order("a", "1", phase=Phase.COMPLETED)
    at = order_expression.compile(text)
    assert [at.evaluate(opened, NOW + number * HOUR) for number in range(3)] == [False, True, True]
    assert evaluations.count(text) == 4  # once to learn that the time matters
    assert [at.evaluate(closed, NOW + number * HOUR) for number in range(3)] == [False, False, False]
    assert evaluations.count(text) == 5


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    results: dict[bytes, Any] = {}
    monkeypatch.setattr(order_expression, "_results", results)
    monkeypatch.setattr(order_expression, "RESULTS_MAX", 50)
    texts = ("order.attributes.a == 'x'", "order.provider_status == 'x'", "order.appointments.size() == 1")
    sizes = set()
    for number in range(200):
        long = f"{number}" * 10 ** (number % 7)
        appointments = tuple(Appointment(str(id), long) for id in range(number % 9))
        order = Order("a", "1", provider_status=long, attributes={"a": long, "b": long}, appointments=appointments)
        for text in texts:
            assert with_memo(text, Kind.BOOL, order, NOW) == without_memo(text, Kind.BOOL, order, NOW)
        sizes.add(len(results))
    assert 10 < max(sizes) <= 50
    assert max(map(len, results)) <= KEY_BYTES_MAX
    # A failure tells of the values that were read, or made of them.
    for number in range(1, 40):
        order = Order("a", "1", attributes={"a": "y" * number * 5})
        with_memo(f"timestamp({' + '.join(['order.attributes.a'] * 8)}) == now", Kind.BOOL, order, NOW)
        with_memo(f"timestamp({' + '.join(['order.attributes.a'] * 8)}) != order.opened_at", Kind.BOOL, order, NOW)
    assert max(len(getattr(result, "text", "")) for result in results.values()) <= 500


def test_no_result_is_that_of_another_version_of_the_rule() -> None:
    order = Order("a", "1", phase=Phase.OPEN)
    for text, holds in (("order.phase == 'open'", True), ("order.phase != 'open'", False)) * 2:
        # Also where the expression is compiled anew, as after its text has been out of use for long.
        assert OrderExpression(text, Kind.BOOL).evaluate(order, NOW) is holds


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (
            "order.attributes.a == 1 && has(order.attributes.b) && order.attributes['c'] == order.attributes[?'d']",
            "abcd",
        ),
        ("order.attributes.?a.b.orValue(1) == .order.attributes.c.d", "ac"),
        ("'order.attributes' == ''", ""),
        ("order.attributes[order.phase] == 1", None),
        ("order.attributes.a == 1 && 'b' in order.attributes", None),
        ("cel.bind(x, order.attributes, x.a == 1)", None),
        ("order.attributes.exists(key, key == 'a')", None),
    ],
)
def test_which_attributes_an_expression_reads(text: str, keys: str | None) -> None:
    read = expression.compile(text, ORDER).map_keys.get("order.attributes")
    assert read == (None if keys is None else frozenset(keys))
