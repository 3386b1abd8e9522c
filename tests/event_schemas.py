"""Whether an event in the log is what the registry of event types says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import ValidationError, convert, to_builtins

from app.contract import RESERVED_EVENT_PREFIXES
from app.core.event import Event
from app.core.event_types import EVENT_TYPES


def fault(event: Event) -> str:
    """What is wrong with an event's type or data; empty if nothing is."""
    schema = EVENT_TYPES.get(event.type)
    if schema is None:
        is_own = event.type.startswith(RESERVED_EVENT_PREFIXES)
        return f"{event.type} is not in the registry" if is_own or event.data else ""
    try:
        read = convert(event.data, schema)
    except ValidationError as error:
        return f"{event.type}: {error}: {event.data}"
    unknown = set(_paths(event.data)) - set(_paths(to_builtins(read)))
    return f"{event.type} has fields that its schema does not: {sorted(unknown)}" if unknown else ""


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Every field of a value that is not null or empty, with those around it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}" if inner else path
            yield from _paths(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths(inner, f"{path}[]")
