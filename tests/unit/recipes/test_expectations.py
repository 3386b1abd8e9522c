"""`--write`: the results of fixtures and answers that have none are written, and those that hold stay as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.dev.recipes.checks import faults_of
from app.dev.recipes.expectations import write_expected
from app.dev.recipes.folder import RecipeError, read
from app.dev.recipes.model import OUTCOMES
from app.dev.recipes.shipped import shipped

RESULTS = ("outcome", "facts", "detail", "after_s", "hold_s", "may_have_applied")


def _copy(name: str, folder: Path) -> Path:
    shutil.copytree(shipped() / name, folder / name)
    return folder / name


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _without_results(folder: Path) -> None:
    """Take every result out, as in a recipe whose author has collected requests and responses."""
    for file in (folder / "fixtures").glob("*.json"):
        content = _json(file)
        for key in (*OUTCOMES, "orders"):
            content.pop(key, None)
        file.write_text(json.dumps(content), encoding="utf-8")
    answers = _json(folder / "answers.json")
    for answer in answers:
        own = ("registrations",) if answer["flow"] != "unregister" else ()
        for key in (*RESULTS, *own):
            answer.pop(key, None)
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


def test_results_that_are_missing_are_written_as_the_recipe_had_them(tmp_path: Path) -> None:
    # A challenge, registrations, a cancel made of what the probe before it says, and no webhooks at all.
    for name in ("ebay", "shopify", "square", "shipstation"):
        folder = _copy(name, tmp_path)
        before = read(folder)
        _without_results(folder)
        with pytest.raises(RecipeError):
            read(folder)
        written = {one.file for one in write_expected(folder)}
        assert written == {"answers.json", *(f"fixtures/{fixture}.json" for fixture in before.fixtures)}, name
        after = read(folder)
        assert faults_of(after) == [], name
        for fixture, spec in before.fixtures.items():
            own = after.fixtures[fixture]
            assert (own.outcome, own.events, own.orders) == (spec.outcome, spec.events, spec.orders), (name, fixture)
        for one, other in zip(before.answers, after.answers, strict=True):
            assert (one.outcome, one.facts, one.after_s) == (other.outcome, other.facts, other.after_s), (name, one)
        # No secret is written in full, and a second time there is nothing to write.
        assert write_expected(folder) == [], name


def test_what_holds_is_not_touched_and_a_change_is_shown(tmp_path: Path) -> None:
    folder = _copy("printify", tmp_path)
    texts = {file: file.read_text(encoding="utf-8") for file in folder.rglob("*.json")}
    assert write_expected(folder) == []
    assert {file: file.read_text(encoding="utf-8") for file in folder.rglob("*.json")} == texts
    file = folder / "fixtures" / "canceled.json"
    content = _json(file)
    [order] = content["orders"]
    content["orders"][order]["cancelable"] = "yes"
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
    [written] = write_expected(folder)
    assert written.file == "fixtures/canceled.json"
    assert '-      "cancelable": "yes",' in written.diff.splitlines()
    assert '+      "cancelable": "no",' in written.diff.splitlines()
    assert faults_of(read(folder)) == []


def test_what_cannot_be_run_is_left_to_the_test(tmp_path: Path) -> None:
    folder = _copy("printify", tmp_path)
    answers = _json(folder / "answers.json")
    answers[0]["responses"] = []
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    assert write_expected(folder) == []
    assert any("makes more than 0 calls" in fault for fault in faults_of(read(folder)))


def test_a_secret_in_what_is_written_is_its_variable(tmp_path: Path) -> None:
    folder = _copy("printify", tmp_path)
    answers = _json(folder / "answers.json")
    number = next(number for number, answer in enumerate(answers) if answer.get("requests"))
    headers = answers[number]["requests"][0]["headers"]
    before = dict(headers)
    assert "${PRINTIFY_TOKEN}" in before["Authorization"]
    headers["Authorization"] = "Bearer another"
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    assert [one.file for one in write_expected(folder)] == ["answers.json"]
    assert _json(folder / "answers.json")[number]["requests"][0]["headers"] == before
