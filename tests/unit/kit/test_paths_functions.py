from __future__ import annotations

from typing import Any

import jmespath
import pytest

from app.contract import MalformedPayload
from app.kit.paths.budget import STEPS_MAX
from app.kit.paths.cost import cost
from app.kit.paths.functions import CHARS_PER_STEP, JSON_CHARS_PER_STEP
from app.kit.paths.path import check, find
from app.kit.payload import NUMBERS, decode_any

DOCUMENT = decode_any(
    rb"""{"text": " One, two ", "json": "{\"id\": 7, \"price\": 12.50, \"big\": 1e400, \"nul\": \"\\u0000\"}",
    "price": 12.50, "order": "gid://shop/Order/1234", "list": ["a-1", "b-2"], "bad": "{", "n": 7,
    "list_json": "[1, 2]"}""",
    "a test",
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("from_json(json).id", 7),
        ("from_json(list_json)[1]", 2),
        ("from_json(json).price", "12.50"),
        ("from_json(json).nul", "\0"),
        ("from_json(bad)", None),
        ("from_json(order)", None),
        ("from_json(bad) || order", "gid://shop/Order/1234"),
        ("from_json(none)", None),
        ("merge(@, {json: from_json(json)}).json.id", 7),
        ("split(order, '/')[-1]", "1234"),
        ("split(text, 'x')", [" One, two "]),
        ("split(none, '/')", None),
        ("split(order, none)", None),
        ("replace(order, 'gid://shop/Order/', '')", "1234"),
        ("replace(price, '.', ',')", "12,50"),
        ("replace(none, 'a', 'b')", None),
        ("lower(text)", " one, two "),
        ("upper(text)", " ONE, TWO "),
        ("trim(text)", "One, two"),
        ("trim(price)", "12.50"),
        ("trim(none)", None),
        ("substring(order, `0`, `3`)", "gid"),
        ("substring(order, `-4`, `null`)", "1234"),
        ("substring(order, `50`, `60`)", ""),
        ("substring(order, none, `3`)", "gid"),
        ("map(&split(@, '-')[1], list)", ["1", "2"]),
        ("list[*].upper(@)", ["A-1", "B-2"]),
        ("list[?starts_with(upper(@), 'B')] | [0]", "b-2"),
    ],
)
def test_what_functions_give(path: str, value: Any) -> None:
    found = find(check(path), DOCUMENT)
    assert found == value
    assert not isinstance(found, str) or type(found) in (str, *NUMBERS)


def test_what_is_no_text_is_none_for_them() -> None:
    for path in (
        "from_json(n)",
        "from_json(list)",
        "split(n, '-')",
        "split(order, n)",
        "split(order, text.none || '')",
        "lower(list)",
        "substring(order, price, `2`)",
        "substring(order, `true`, `2`)",
    ):
        with pytest.raises(MalformedPayload, match="cannot be applied") as caught:
            find(check(path), DOCUMENT)
        assert "1234" not in str(caught.value), path


def test_a_text_to_find_is_not_empty() -> None:
    for path in ("split(a, '')", "replace(a, '', 'x')", 'replace(a, `""`, b)'):
        with pytest.raises(ValueError, match="empty text"):
            check(path)


def test_what_may_grow_without_bound_is_refused() -> None:
    for path in (
        "replace(a, b, c)",
        "replace(text, 'a', text)",
        f"replace(text, 'a', '{'a' * 100}')",
        "replace(replace(text, 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa')",
        "upper(upper(upper(upper(upper(text)))))",
        "split(to_string(split(to_string(split(text, 'a')), 'a')), 'a')",
        "|".join(["[from_json(@), from_json(@)]"] * 6),
    ):
        with pytest.raises(ValueError, match="again and again"):
            check(path)


def test_no_result_is_larger_than_was_estimated() -> None:
    document = {"text": "aßΐ," * 20, "json": "[[],[],[1,1],{}]" * 1}
    for path in (
        "replace(text, 'a', 'aaaaaaaaaa')",
        "replace(text, 'a', '')",
        "split(text, ',')",
        "split(text, 'a')",
        "upper(text)",
        "lower(text)",
        "trim(text)",
        "from_json(json)",
        "substring(text, `0`, `9`)",
        "split(upper(replace(text, ',', ',,')), ',')",
    ):
        assert _weight(find(path, document)) <= _weight(document) * cost(jmespath.compile(path).parsed).size, path


def test_text_is_counted_in_the_budget() -> None:
    """What is written counts as what is read, and before it is written."""
    half = "a" * (CHARS_PER_STEP * STEPS_MAX // 2)
    for path, text in (
        ("lower(text)", half * 3),
        ("trim(text)", half * 3),
        ("substring(text, `0`, `1`)", half * 3),
        ("[lower(text), upper(text), trim(text)]", half),
        ("replace(text, 'a', 'aaa')", half),
        ("split(text, 'a')", "a" * STEPS_MAX),
        ("from_json(text)", "[" + "0," * (JSON_CHARS_PER_STEP * STEPS_MAX // 2) + "0]"),
        ("map(&lower(@), [text, text, text])", half),
    ):
        with pytest.raises(MalformedPayload, match="too much text"):
            find(check(path), {"text": text})
    assert find("length(upper(text))", {"text": half}) == len(half)
    items = {"items": [{"tag": f"a-{number}"} for number in range(500)]}
    assert len(find(check("items[*].split(tag, '-')[1]"), items)) == 500


def test_json_may_not_be_too_deep() -> None:
    for depth in (5000, 100_000):
        assert find("from_json(text)", {"text": "[" * depth + "]" * (depth if depth < 10_000 else 0)}) is None


def _weight(value: object) -> int:
    """Parts, and characters of texts."""
    if isinstance(value, dict):
        return 1 + sum(_weight(each) for each in value.values())
    if isinstance(value, list):
        return 1 + sum(_weight(each) for each in value)
    return len(value) if isinstance(value, str) else 1
