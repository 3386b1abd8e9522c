"""What each provider costs: parse, fold and verdict of its own fixtures; and how many calls its cancels need."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multidict import CIMultiDict
from rich.table import Table

import handlers as packages
from app.config.registry import handlers
from app.contract import Handler, Ignored, InboundRequest, Source, Unrecognized
from app.core.event import Event, to_event
from app.core.order import fold
from app.core.verdict import judge

ROUNDS = 200


def table() -> Table:
    """Microseconds for each provider's webhooks, as its fixtures have them."""
    shown = Table(
        "provider", "parse", "JSON only", "fold", "verdict", "(fold + verdict) ÷ JSON", title="µs an event, by provider"
    )
    for handler in handlers().values():
        shown.add_row(handler.name, *_measured(handler))
    return shown


def _measured(handler: Handler) -> list[str]:
    folder = Path(packages.__path__[0], handler.name, "fixtures")
    scenario = json.loads((folder / "_scenario.json").read_text(encoding="utf-8"))
    rules, now = handler.rules.model_validate(scenario.get("rules", {})), datetime.now(UTC)
    given, events = [], []
    for file in sorted(folder.glob("[!_]*.json")):
        fixture = json.loads(file.read_text(encoding="utf-8"))
        if "events" not in fixture:
            continue
        config = handler.config.model_validate({**scenario["config"], **fixture.get("config", {})})
        request = _request(fixture["request"])
        parsed = handler.parse(request, config)
        assert not isinstance(parsed, (Ignored, Unrecognized))
        given.append((request, config))
        events += [to_event(each, "bench", now, Source.WEBHOOK, None) for each in parsed]
    orders = [fold("bench", event.order, [event])[0] for event in events]

    def folds(event: Event) -> object:
        return fold("bench", event.order, [event])

    parse = _timed(lambda each: handler.parse(*each), given)
    plain = _timed(lambda each: _plain(each[0].body), given)
    folded = _timed(folds, events)
    judged = _timed(lambda order: judge(handler, rules, order, now), orders)
    ratio = (folded + judged) / plain
    return [f"{parse:.1f}", f"{plain:.1f}", f"{folded:.1f}", f"{judged:.1f}", f"{ratio:.1f}"]


def _request(given: dict[str, Any]) -> InboundRequest:
    body = given["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return InboundRequest(CIMultiDict(given["headers"]), given["query"], raw)


def _plain(raw: bytes) -> object:
    """The comparator: the standard library's reading of the same body."""
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _timed(work: Callable[[Any], object], values: list[Any]) -> float:
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(ROUNDS):
            for value in values:
                work(value)
        best = min(best, time.perf_counter() - started)
    return best / ROUNDS / max(1, len(values)) * 1e6
