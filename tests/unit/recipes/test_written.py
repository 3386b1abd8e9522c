"""A recipe as a resource file: YAML reads the values that were given, or they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.file import parse, substitute
from app.dev.recipes.comparison import comparisons
from app.dev.recipes.folder import RecipeError, read
from app.dev.recipes.shipped import names, shipped
from app.dev.recipes.written import NOTE, written


def test_every_recipe_is_written_as_it_stands_and_known_again(tmp_path: Path) -> None:
    for name in names():
        recipe = read(shipped() / name)
        values = {name: f"${{{name}}}" if ask.secret else ask.example for name, ask in recipe.spec.asks.items()}
        text = written(recipe, values)
        _, content = parse(text, name)
        assert content == substitute(recipe.resources, values)
        assert [match["account"] for match in NOTE.finditer(text)] == [name]
        file = tmp_path / f"{name}.yaml"
        # The note goes with the account, wherever that is moved.
        file.write_text(f"policies: []\n{text}", encoding="utf-8")
        [found] = comparisons(file)
        assert (found.recipe, found.changed, found.differences) == (name, False, ())


@pytest.mark.parametrize("value", ["a: b #c", "a\nb: c", "\x07", "a\0"])
def test_a_value_that_yaml_reads_otherwise_is_refused_and_not_shown(value: str) -> None:
    recipe = read(shipped() / "shopify")
    with pytest.raises(RecipeError, match="SHOPIFY_SHOP: this value cannot be written") as caught:
        written(recipe, {**recipe.examples, "SHOPIFY_SHOP": value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("value", ['a"b', "*a", "a\\"])
def test_any_other_value_is_read_as_it_was_given(value: str) -> None:
    recipe = read(shipped() / "shopify")
    _, content = parse(written(recipe, {**recipe.examples, "SHOPIFY_SHOP": value}), "shopify")
    assert content["accounts"][0]["config"]["base_url"] == f"https://{value}.myshopify.com"


def test_an_account_id_that_yaml_takes_for_something_else_is_written_as_text() -> None:
    recipe = read(shipped() / "printify")
    values = {name: f"${{{name}}}" if ask.secret else ask.example for name, ask in recipe.spec.asks.items()}
    for id in ("123", "07", "1.5", "1e3", "0x1f", "null", "true", "2026-01-01", "2026-13-45", "a.b"):
        text = written(recipe, values, id)
        _, content = parse(text, id)
        assert (content["accounts"][0]["id"], content["endpoints"][0]["account"]) == (id, id)
        found = NOTE.search(text)
        assert found is not None
        assert found["account"] == id
