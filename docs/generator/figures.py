"""Tables of what the bench measured: from the JSON that each of its commands wrote beside the plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from generator.markdown import table

IMAGES = Path(__file__).resolve().parents[1] / "images"
PLOTS = {
    "peers": "Webhooks a second, processor time, waits and bytes of Rescind and of other receivers, as bars",
    "growth": "Ingest, verdicts, lists, start-up, memory and backtests over the number of events, as curves",
}
NAMES = ("ingest", *PLOTS, "profile")


def parts() -> Mapping[str, Callable[[], str]]:
    """A part of the page for each file."""
    return {name: partial(part, name) for name in NAMES}


def part(name: str) -> str:
    """What it was measured by, the plot, and the tables."""
    result: dict[str, Any] = json.loads((IMAGES / f"{name}.json").read_text(encoding="utf-8"))
    lines = [f"Measured by {result['measured']}."]
    if name in PLOTS:
        lines.append(f"![{PLOTS[name]}](../images/{name}.svg)")
    for shown in result["tables"]:
        head, *columns = shown["columns"]
        lines.append(table([f"{shown['title']}: {head}", *columns], shown["rows"]))
    return "\n\n".join(lines)
