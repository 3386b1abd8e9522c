"""Tables of settings, metrics, problem types and providers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge, Histogram
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.config.registry import handlers
from app.config.settings import ClientSettings, Settings, written_default
from app.contract import Limits
from app.runtime import metrics
from app.web.problems import Kind
from generator.markdown import table

ROOT = Path(__file__).resolve().parents[2]
_ENDS: dict[type[Any], str] = {CounterMetric: "_total", Histogram: "", Gauge: ""}


def server_settings() -> str:
    """The settings of a server."""
    return _settings(Settings)


def client_settings() -> str:
    """The settings of the command line as a client."""
    return _settings(ClientSettings)


def _settings(model: type[BaseModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = f"`{written}`" if (written := written_default(default)) else ""
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        chosen = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        rows.append((f"`RESCIND_{name.upper()}`", shown, f"{field.description}{chosen}"))
    return table(("variable", "default", "meaning"), rows)


def metric_names() -> str:
    """All metrics, by the names under which they are exported."""
    found: list[Any] = [value for value in vars(metrics).values() if isinstance(value, tuple(_ENDS))]
    rows = []
    for metric in found:
        kind = type(metric)
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - not public, and stable
        rows.append((f"`{metric._name}{_ENDS[kind]}`", kind.__name__.lower(), labels, metric._documentation))  # noqa: SLF001
    return table(("name", "type", "labels", "meaning"), rows)


def problem_types() -> str:
    """The closed list of problem types."""
    rows = [(f"`{kind.slug}`", kind.status, kind.title) for kind in Kind]
    return table(("`urn:rescind:problem:…`", "status", "title"), rows)


def providers(link: str) -> str:
    """What each provider supports; `link` is the address of a provider's page, with `{name}`."""
    rows = []
    for name, handler in handlers().items():
        closing = [word for word, phase in handler.words.items() if phase in ("in_progress", "completed", "canceled")]
        events = ", ".join(f"`{word}`" for word in closing if "." in word or "/" in word)
        batch = handler.probe_batch_max
        probed = f"yes, {batch} in one call" if batch > 1 else "yes" if handler.probe else "no"
        registers = "yes" if handler.register else "no"
        closes = events or ("its rules" if not handler.words else "status")
        title = f"[{handler.title}]({link.format(name=name)})"
        limit = _limit(handler.limits)
        rows.append((title, f"`{name}`", limit, handler.cancel_batch_max, probed, registers, closes))
    head = ("provider", "`provider:`", "limit", "cancels per call", "probe", "registers webhooks", "window closes by")
    return table(head, rows)


def provenance(link: str) -> str:
    """What each handler rests on: documents, assumptions that are configuration, and fixtures."""
    rows = []
    for name, handler in handlers().items():
        documents = ", ".join(f"[{number}]({url})" for number, url in enumerate(handler.docs, 1))
        models = (handler.config, handler.rules)
        assumed = [field for model in models for field, info in model.model_fields.items() if _is_undocumented(info)]
        fields = ", ".join(f"`{field}`" for field in assumed) or "nothing"
        rows.append((f"[{handler.title}]({link.format(name=name)})", documents, fields, _fixtures(name)))
    return table(("provider", "documents", "configurable, because no document states it", "fixtures"), rows)


def _limit(limits: Limits) -> str:
    if limits.burst is not None:
        return f"{limits.burst} at once, {limits.rate_per_s:g} a second"
    return f"{limits.requests} in {limits.per_s:g} s"


def _is_undocumented(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("undocumented"))


def _fixtures(name: str) -> str:
    """How many webhooks and responses are recorded, documented or synthetic."""
    folder = ROOT / "handlers" / name / "fixtures"
    given = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("[!_]*.json"))]
    given += json.loads((folder / "_answers.json").read_text(encoding="utf-8"))
    counted = Counter(fixture["provenance"] for fixture in given)
    return ", ".join(f"{counted[kind]} {kind}" for kind in ("recorded", "documented", "synthetic") if counted[kind])
