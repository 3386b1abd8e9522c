"""Checks of the types that subscriptions name: by a pattern that no type matches nothing would ever be received."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from app.config.faults import Fault
from app.config.resolve import Body, Key
from app.core.outbound.patterns import matches_any
from app.core.outbound.types import OUTBOUND_TYPES

_FAMILIES = sorted({f"{type.partition('.')[0]}.*" for type in OUTBOUND_TYPES})


def faults_in_types(bodies: Mapping[Key, Body], numbers: Mapping[Key, int]) -> Iterator[Fault]:
    """The patterns that match no type, in resources that are saved; `numbers` are their positions in the request."""
    for (kind, id), body in bodies.items():
        if kind != "subscriptions":
            continue
        for name in ("events", "urgent"):
            patterns = body.get(name)
            for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
                if isinstance(pattern, str) and not any(matches_any((pattern,), type) for type in OUTBOUND_TYPES):
                    text = f"no type of message matches {pattern!r}{_hint(pattern)}"
                    yield Fault(kind, id, (name, index), text, numbers.get((kind, id)))


def _hint(pattern: str) -> str:
    near = get_close_matches(pattern, _FAMILIES if pattern.endswith("*") else [*OUTBOUND_TYPES], 1)
    return f"; did you mean {near[0]!r}?" if near else "; `rescind trigger --list` shows all types"
