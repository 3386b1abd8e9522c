from __future__ import annotations

from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.generic.support import NOW, order

from app.kit.cel.expression import ExpressionFailed, InvalidExpression
from app.kit.cel.order_view import order_values
from handlers.generic.template import CALL, filled, leaves, template, with_secrets

SCOPE = with_secrets(frozenset({"api_key"}))
VALUES = {
    **order_values(
        order("o-1", attributes={"n": 3, "f": 1.5, "yes": True, "none": None, "list": [1], "text": "t"}), NOW
    ),
    "reason": "late",
    "note": "",
    "secrets.api_key": "k3y",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("a }} b", "a }} b"),
        ("{{ order.id }}", "o-1"),
        ("{{order.id}}", "o-1"),
        ("<{{ order.id }}|{{ reason }}>", "<o-1|late>"),
        ("Bearer {{ secrets.api_key }}", "Bearer k3y"),
        ("{{ order.attributes.n }}", 3),
        ("{{ order.attributes.yes }}", True),
        ("{{ order.attributes.none }}", None),
        ("{{ order.attributes.list }}", [1]),
        ("{{ now }}", "2026-03-02T16:04:06Z"),
        ("n={{ order.attributes.n }}", "n=3"),
        ("f={{ order.attributes.f }}", "f=1.5"),
        ("b={{ order.attributes.yes }}", "b=true"),
        ("b={{ !order.attributes.yes }}", "b=false"),
        ("none={{ order.attributes.none }}.", "none=."),
        ("at {{ now }}", "at 2026-03-02T16:04:06Z"),
        ("{{ {'a': {'b': '}}'}}.a.b }}", "}}"),
        ('{{ "\\"}}" }}', '"}}'),
        ("{{ '{{' }}", "{{"),
        ("{{ {'a': 1} }}", {"a": 1}),
        ("{{ base64.encode(bytes('user:' + secrets.api_key)) }}", "dXNlcjprM3k="),
    ],
)
def test_what_a_template_comes_to(text: str, value: Any) -> None:
    found = template(text, SCOPE).value(VALUES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("{{ order.fase }}", 1, 10, "do you mean order.phase"),
        ("/orders/{{ order.id }}/{{ order.fase }}", 1, 33, "order.fase"),
        ("one\n two {{ order.fase }}", 2, 15, "order.fase"),
        ("{{\n order.fase }}", 2, 8, "order.fase"),
        ("ab{{ order.id", 1, 3, "not closed"),
        ("{{ 'a }}", 1, 1, "not closed"),
        ("{{}}", 1, 3, "empty"),
        ("{{ secrets.other }}", 1, 12, "secrets.other"),
        ("{{ 1 + }}", 1, 8, "too early"),
    ],
)
def test_an_error_has_its_place_in_the_whole_text(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(InvalidExpression, match=says) as caught:
        template(text, SCOPE)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_url_knows_no_secrets() -> None:
    with pytest.raises(InvalidExpression, match=r"secrets\.api_key"):
        template("/x?key={{ secrets.api_key }}", CALL)


@pytest.mark.parametrize(
    "text", ["x{{ order.attributes.list }}", "x{{ {'a': 1} }}", "x{{ b'a' }}", "x{{ duration('1h') }}"]
)
def test_what_is_no_text_does_not_stand_inside_of_text(text: str) -> None:
    with pytest.raises(ExpressionFailed, match="cannot stand inside of text"):
        template(text, SCOPE).value(VALUES)


def test_a_tree_is_filled_leaf_by_leaf() -> None:
    tree = {"id": "{{ order.id }}", "n": ["{{ order.attributes.n }}", 1, None], "fixed": {"{{ key }}": "as it is"}}
    assert filled(tree, SCOPE, VALUES) == {"id": "o-1", "n": [3, 1, None], "fixed": {"{{ key }}": "as it is"}}
    assert [where for where, _ in leaves(tree, "body")] == ["body.id", "body.n.0", "body.fixed.{{ key }}"]


@examples(200)
@given(st.text(st.sampled_from("{}'\"\\ ab1.\n"), max_size=20))
def test_any_text_is_a_template_or_an_error_with_a_place(text: str) -> None:
    place = (1, 1)
    try:
        template(text, SCOPE)
    except InvalidExpression as error:
        place = (error.line, error.column)
    assert min(place) >= 1


@examples(100)
@given(st.text(max_size=30).filter(lambda text: "{{" not in text))
def test_text_without_expressions_is_kept(text: str) -> None:
    assert template(text, SCOPE).value(VALUES) == text
