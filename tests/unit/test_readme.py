"""The README's generated parts are those that the code gives today."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_generated_parts_are_up_to_date() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate["generated"](text) == text, "run `make docs`"


def test_every_guarantee_is_stated() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"**I{number}**" in text for number in range(1, 12))
