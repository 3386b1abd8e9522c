"""The commands that the documentation names for its figures exist, and take the options that it gives them."""

from __future__ import annotations

import re

import pytest
from generator.figures import IMAGES, PLOTS
from pages import NAMES, ROOT, read

MODULE = re.compile(r"\bpython -m (tests\.[\w.]+)([^`\n|]*)")
TARGET = re.compile(r"`make ([a-z][a-z-]*)|^make ([a-z][a-z-]*)", re.MULTILINE)
OPTION = re.compile(r"--[a-z][a-z-]*")
HISTORY = {"CHANGELOG.md"}
"""It names what was there."""


def fault(module: str, given: str) -> str:
    """What is wrong with a command that starts a module; empty if nothing is."""
    place = ROOT / module.replace(".", "/")
    file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.exists():
        return f"there is no {module}"
    source = file.read_text(encoding="utf-8")
    if "add_options" in source:
        source += (ROOT / "tests/bench/ingest.py").read_text(encoding="utf-8")
    if 'if __name__ == "__main__":' not in source:
        return f"{module} cannot be started"
    return next((f"{module} has no {option}" for option in OPTION.findall(given) if f'"{option}"' not in source), "")


def test_modules_that_measure_exist_and_take_what_they_are_given() -> None:
    named = [(name, *command) for name in NAMES for command in MODULE.findall(read(name))]
    assert len(named) > 8
    assert [(name, fault(*command)) for name, *command in named if fault(*command)] == []


@pytest.mark.parametrize("module", ["tests.bench.ingest", "tests.bench.peers", "tests.bench.growth"])
def test_an_option_that_is_not_there_is_noticed(module: str) -> None:
    assert fault(module, "--json FILE") == ""
    assert fault(module, "--jsno FILE") == f"{module} has no --jsno"
    assert fault(f"{module}s", "") == f"there is no {module}s"


def test_make_has_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = {(name, one or other) for name in {*NAMES} - HISTORY for one, other in TARGET.findall(read(name))}
    assert {"bench", "bench-peers", "bench-growth"} <= {target for _, target in named}
    assert {(name, target) for name, target in named if target not in targets} == set()


def test_each_plot_is_there_as_svg_and_as_png() -> None:
    page = read("docs/reference/figures.md")
    for name in PLOTS:
        assert f"../images/{name}.svg" in page
        assert (IMAGES / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert (IMAGES / f"{name}.png").read_bytes().startswith(b"\x89PNG")
