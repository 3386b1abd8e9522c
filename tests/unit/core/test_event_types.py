"""The registry of event types: names in it stay in logs for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from event_schemas import fault
from msgspec import Struct
from unit.core.support import ACCOUNT, ORDER, at

from app.contract import RESERVED_EVENT_PREFIXES, Facts, Source
from app.core.cancellation import Cancellation, Cause, advance
from app.core.event import Event, internal_event
from app.core.event_types import EVENT_TYPES, FACT_TYPES, TAGS_CHANGED, TagsChanged
from app.store.upcast import VERSION

PINNED = Path(__file__).resolve().parents[2] / "fixtures" / f"event_fields_{VERSION}.json"
"""The names that version has; what is added since need not be in there until the next one."""
SCHEMAS = {schema.__name__: schema for schema in (*EVENT_TYPES.values(), Facts)}


def test_no_handler_may_use_the_types_of_the_registry() -> None:
    assert all(type.startswith(RESERVED_EVENT_PREFIXES) for type in EVENT_TYPES)
    assert not any(type.startswith(RESERVED_EVENT_PREFIXES) for type in FACT_TYPES), "these tell of the order"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_name_is_taken_away_within_a_version(schema: str) -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    assert pinned["types"].keys() <= {*EVENT_TYPES, *FACT_TYPES}
    assert schema in pinned["fields"], f"add the fields of {schema} to {PINNED.name}"
    gone = set(pinned["fields"][schema]) - set(fields(SCHEMAS[schema]))
    assert not gone, f"{schema} lost {sorted(gone)}: raise VERSION and rename in app/store/upcast.py"


def fields(schema: type[Struct], path: str = "") -> list[str]:
    """Every field of a schema, and of what it is made of."""
    schemas, components = msgspec.json.schema_components([schema])
    found: list[str] = []

    def walk(part: dict[str, Any], path: str) -> None:
        for name, inner in part.get("properties", {}).items():
            found.append(f"{path}{name}")
            walk(inner, f"{path}{name}.")
        for inner in [*part.get("anyOf", ()), *([part["items"]] if isinstance(part.get("items"), dict) else [])]:
            walk(inner, path)
        if "$ref" in part:
            walk(components[part["$ref"].rpartition("/")[2]], path)

    walk(schemas[0], path)
    return found


def test_a_step_cannot_be_written_with_a_field_that_its_schema_has_not() -> None:
    known = Cancellation("can-1", ACCOUNT, ORDER, "so", at(0), at(0), step=1)
    assert "due_at" in advance(known, Cause.CLAIMED, at(1)).data["changes"]
    with pytest.raises(TypeError, match="lost"):
        advance(known, Cause.CLAIMED, at(1), lost=1)


def test_data_is_written_by_the_schema_and_read_as_it_was_written() -> None:
    change = TagsChanged(("a",), (), ("a", "b"), "ann")
    event = internal_event(ACCOUNT, ORDER, TAGS_CHANGED, "k", at(0), Source.OPERATOR, change)
    assert event.data == {"add": ("a",), "remove": (), "tags": ("a", "b"), "by": "ann"}
    assert fault(event) == ""


@pytest.mark.parametrize(
    ("type", "data", "says"),
    [
        ("probe.sent", {}, "not in the registry"),
        ("order.processed", {"a": 1}, "not in the registry"),
        ("tags.changed", {"add": [], "remove": [], "tags": []}, "by"),
        ("tags.changed", {"add": [], "remove": [], "tags": [], "by": "ann", "why": "so"}, "why"),
        ("cancellation.sending", {"cancellation": "c", "step": 1, "cause": "claimed", "changes": {"lost": 1}}, "lost"),
    ],
)
def test_a_payload_that_is_not_of_its_schema_is_noticed(type: str, data: dict[str, Any], says: str) -> None:
    event = Event("evt_", ACCOUNT, ORDER, type, at(0), at(0), Source.CLOCK, data=data)
    assert says in fault(event)
