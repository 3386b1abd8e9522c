"""The files in deploy/policies: each is good as it stands, and listed."""

from __future__ import annotations

import re

import pytest
from unit.policies.support import FOLDER, PROVIDERS, spec

from app.config.registry import handlers
from app.core.policy.model import Mode

NAMES = sorted(each.stem for each in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_good_as_it_stands(name: str) -> None:
    found = spec(name)
    assert (found.id, found.mode) == (name, Mode.SHADOW)
    assert found.description
    assert found.limits.per_hour is not None
    assert found.limits.per_day is not None
    [account] = found.accounts
    handler = handlers()[PROVIDERS[account]]
    found.policy()
    handler.check(found.cancel.reason, found.cancel.note, handler.rules())


def test_the_readme_has_a_row_for_each() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`([\w-]+)\.yaml`\]\(\1\.yaml\) \| (\w+) \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == NAMES
    for name, provider in rows:
        [account] = spec(name).accounts
        assert handlers()[PROVIDERS[account]].title == provider
