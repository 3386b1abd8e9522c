from __future__ import annotations

import jmespath
import pytest

from app.contract import MalformedPayload
from app.kit.paths.budget import STEPS_MAX
from app.kit.paths.cost import cost
from app.kit.paths.path import check, find

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


def test_a_path_goes_through_no_more_elements_than_there_is_time_for() -> None:
    large: dict[str, object] = {
        "list": [0] * STEPS_MAX,
        "deep": [[0] * 100] * 101,
        "map": dict.fromkeys(map(str, range(STEPS_MAX))),
    }
    for path in (
        "list[*]",
        "list[?@ == `1`]",
        "list[]",
        "map.*",
        "sort(list)",
        "keys(map)",
        "to_string(deep)",
        "deep[][]",
    ):
        with pytest.raises(MalformedPayload, match="10,000 elements"):
            find(check(path), large)
    assert find(check("map.none || deep[0]"), large) == [0] * 100, "what is not looked at costs nothing"
    items = {"items": [{"type": "a" if number % 2 else "b", "id": number} for number in range(1000)]}
    assert len(find(check("items[?type == 'a'].id"), items)) == 500


def _weight(value: object) -> int:
    """Parts, and characters of texts."""
    if isinstance(value, dict):
        return 1 + sum(_weight(each) for each in value.values())
    if isinstance(value, list):
        return 1 + sum(_weight(each) for each in value)
    return len(value) if isinstance(value, str) else 1
