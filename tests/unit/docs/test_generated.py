"""Pages and parts that are generated are those that the code gives today."""

from __future__ import annotations

import re

import pytest
from generator import lifecycle
from generator.pages import ROOT, generated

from app.config.settings import ClientSettings, Settings
from app.core.cancellation import TRANSITIONS, State
from app.core.event_types import EVENT_TYPES
from app.runtime import metrics
from app.web.problems import Kind
from app.web.server import ROUTES

GENERATED = generated()


@pytest.mark.parametrize("path", GENERATED)
def test_it_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == GENERATED[path], "run `make docs`"


def test_the_diagram_shows_every_state_and_every_arrow() -> None:
    drawn = lifecycle.diagram()
    assert all(f">{state}</text>" in drawn for state in State)
    assert drawn.count('<path class="arrow') == len({(a, b) for (a, _), b in TRANSITIONS.items() if a is not b})


def test_references_name_everything() -> None:
    api, problems = GENERATED["docs/reference/api.md"], GENERATED["docs/reference/problems.md"]
    assert all(f"### `{route.method} {route.path}`" in api for route in ROUTES)
    assert all(f"| `{kind.slug}` | {kind.status} |" in problems for kind in Kind)
    events = GENERATED["docs/reference/events.md"]
    assert all(f"`{name}`" in events for name in EVENT_TYPES)
    assert all(f"### {schema.__name__}\n" in events for schema in EVENT_TYPES.values())
    assert not re.findall(r"\|\s*\|$", events, re.MULTILINE), "a field or a value is not explained"
    counted = GENERATED["docs/reference/metrics.md"]
    assert all(f"`{metric._name}" in counted for metric in vars(metrics).values() if hasattr(metric, "_labelnames"))


@pytest.mark.parametrize("kind", [Settings, ClientSettings])
def test_every_setting_is_documented(kind: type[Settings | ClientSettings]) -> None:
    page = GENERATED["docs/reference/settings.md"]
    for name, field in kind.model_fields.items():
        assert f"| `RESCIND_{name.upper()}` |" in page
        assert field.description, f"{name} needs a description"


def test_every_guarantee_is_stated() -> None:
    for path in ("README.md", "docs/concepts/guarantees.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert all(f"**I{number}**" in text for number in range(1, 12))


def test_every_file_of_a_new_handler_is_explained() -> None:
    page = GENERATED["docs/how-to/add-a-provider.md"]
    named = set(re.findall(r"`(?:fixtures/)?(\w+\.\w+)`", page.partition("| file |")[2].partition("## The kit")[0]))
    laid_out = {file.name for file in (ROOT / "app" / "dev" / "skeleton").iterdir() if file.is_file()}
    assert named == laid_out | {file.name for file in (ROOT / "app/dev/skeleton/fixtures").glob("_*.json")}


def test_the_readme_is_short() -> None:
    assert len(GENERATED["README.md"].splitlines()) <= 200
