"""Every recipe of this release does what its fixtures say; `app.dev.recipes.checks` has the checks."""

from __future__ import annotations

import pytest

from app.dev.recipes.checks import faults_of
from app.dev.recipes.folder import read
from app.dev.recipes.shipped import names, shipped


def test_there_are_recipes() -> None:
    assert "printify" in names()


@pytest.mark.parametrize("name", names())
def test_a_recipe_does_what_its_fixtures_say(name: str) -> None:
    assert faults_of(read(shipped() / name)) == []
