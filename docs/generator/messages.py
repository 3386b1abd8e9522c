"""The reference of messages to subscribers, from the registry of their types."""

from __future__ import annotations

import json

from app.core.outbound.examples import example
from app.core.outbound.types import CLOSING_SOON, OUTBOUND_TYPES, Subject
from generator.events import sections
from generator.markdown import anchor, table


def types() -> str:
    """All types, with the schema of `data`."""
    rows = [
        (
            f"`{name}`",
            f"[{type.schema.__name__}](#{anchor(type.schema.__name__)})",
            "yes" if type.urgent else "",
            type.description,
        )
        for name, type in OUTBOUND_TYPES.items()
    ]
    return table(("type", "`data`", "urgent", "sent when"), rows)


def schemas() -> str:
    """A section for each schema of `data`, and for those that its fields are made of."""
    return sections([Subject, *(type.schema for type in OUTBOUND_TYPES.values())])


def sample() -> str:
    """A payload in full."""
    return f"```json\n{json.dumps(example(CLOSING_SOON), indent=2)}\n```"
