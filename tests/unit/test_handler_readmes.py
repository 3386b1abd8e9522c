"""Handlers' READMEs say in one way what is a setting because a provider's documents leave it open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import handlers as packages
from app.config.registry import handlers
from app.contract import UNDOCUMENTED, Handler

FOOTNOTE = "\n\\* The provider's documents leave this open, so it is a setting.\n"
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*)( \*)? \|", re.MULTILINE)


@pytest.mark.parametrize("handler", handlers().values(), ids=handlers())
def test_undocumented_settings_are_marked(handler: Handler) -> None:
    text = (Path(packages.__path__[0]) / handler.name / "README.md").read_text(encoding="utf-8")
    fields = {**handler.config.model_fields, **handler.rules.model_fields}
    guessed = {name for name, info in fields.items() if info.json_schema_extra == UNDOCUMENTED}
    rows = [(set(re.findall(r"\w+", row[1])), bool(row[2])) for row in ROW.finditer(text)]
    marked = {name for names, is_marked in rows if is_marked for name in names}
    assert marked == guessed
    # One that stands in several tables is marked in all of them.
    assert (
        not {name for names, is_marked in rows if not is_marked and names <= fields.keys() for name in names} & guessed
    )
    assert (FOOTNOTE in text) == bool(guessed)
