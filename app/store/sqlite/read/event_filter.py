"""What the events of a list have in common, as conditions of the log."""

from __future__ import annotations

from app.core.event_types import POLICY_DECIDED, POLICY_PREFIX
from app.store import codec
from app.store.filters import EventFilter
from app.store.where import Where

_OF_TYPE = f"""(type GLOB ? OR type = '{POLICY_DECIDED}' AND EXISTS (
    SELECT 1 FROM json_each({codec.EVENT_BODY}, '$.data.decisions') AS decided
    WHERE '{POLICY_PREFIX}' || json_extract(decided.value, '$.outcome') GLOB ?
    AND coalesce(json_extract(decided.value, '$.policy') = ?, TRUE)))"""
"""The type of an event, or the type that a decision in it would have as an event of its own."""
_HAS_TEXT = f"has_text({codec.EVENT_BODY}, name, ?)"


def event_conditions(wanted: EventFilter) -> Where:
    """The conditions of the log, but for what `EventFilter.of_whole_log` is about."""
    where = wanted.where()
    if wanted.looks_into_decisions:
        values = [value for glob in wanted.types for value in (glob, glob, wanted.policy)]
        where.all_of(f"({' OR '.join([_OF_TYPE] * len(wanted.types))})", values)
    else:
        where.any_of("type GLOB ?", wanted.types)
    if wanted.text is not None:
        where.all_of(_HAS_TEXT, [wanted.text])
    return where
