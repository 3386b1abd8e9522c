"""Resource files: what YAML makes of the words in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.faults import InvalidResourceError
from app.config.file import read_resource_file


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("policies: [{on: ['a.*']}]", {"policies": [{"on": ["a.*"]}]}),
        ("a: {off: no, yes: n}", {"a": {"off": "no", "yes": "n"}}),
        ("a: [true, False, TRUE]", {"a": [True, False, True]}),
        ("a: [1, 1.5, null, ~, text]", {"a": [1, 1.5, None, None, "text"]}),
        # Keys are those of JSON, and text: they stand in tables of a source's words.
        ("a: {true: x, 2: y, 2.5: z, on: w}", {"a": {"true": "x", "2": "y", "2.5": "z", "on": "w"}}),
    ],
)
def test_words_are_as_in_yaml_1_2(tmp_path: Path, text: str, read: object) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    assert read_resource_file(file) == read


def test_a_control_character_is_a_fault_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("accounts: []\nname: \x07\n", encoding="utf-8")
    with pytest.raises(InvalidResourceError, match=r"a\.yaml is not YAML"):
        read_resource_file(file)
