from __future__ import annotations

import jmespath
import pytest

from handlers.generic.path import check
from handlers.generic.path_cost import cost

MULTIPLYING = (
    "|".join(["[@, @]"] * 6),
    "|".join(["{a: @, b: @}"] * 6),
    "[*].[@, @, @][]" + ".[@, @, @][]" * 4,
    "map(&map(&map(&[@, @, @], @), @), [@, @]) | " * 3 + "@",
    "to_string(to_string(to_string(@)))",
    "join(text, items)",
    "|".join(["[@, @][]"] * 8) + " | length(@)",
    "sort_by(sort_by(sort_by(sort_by(sort_by(sort_by(a, &b), &b), &b), &b), &b), &b)",
)
USUAL = (
    "data.order.id",
    "data.order.items[?status == 'open' && price > `10`].id | [0]",
    "items[*].{id: id, name: name, starts: start.at}",
    "join('-', [region, to_string(number)])",
    "aliases || [external_id]",
    "max_by(events, &at).status",
    "values(appointments)[].slots[]",
    "not_null(a, b, c)",
)


def test_a_path_that_multiplies_the_document_is_refused() -> None:
    for path in MULTIPLYING:
        with pytest.raises(ValueError, match="again and again"):
            check(path)


def test_usual_paths_are_taken() -> None:
    for path in USUAL:
        assert check(path) == path


def test_no_result_is_larger_than_was_estimated() -> None:
    document = {"items": [{"a": "x", "b": [1, 2]}, {"a": "y", "b": [3]}], "text": "t" * 20}
    more = ("[@, @]", "items[*].[@, @]", "to_string(@)", "map(&[a, b], items)", "join(text, items[].a)", "*")
    for path in (*more, "items[?a == 'x'].b[]", "join('-', items[].a)"):
        found = jmespath.search(path, document)
        assert _weight(found) <= _weight(document) * cost(jmespath.compile(path).parsed).size, path


def _weight(value: object) -> int:
    """Parts, and characters of texts."""
    if isinstance(value, dict):
        return 1 + sum(_weight(each) for each in value.values())
    if isinstance(value, list):
        return 1 + sum(_weight(each) for each in value)
    return len(value) if isinstance(value, str) else 1
