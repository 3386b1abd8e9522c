"""What a policy's condition sees: an order as in `app.kit.cel.order_view`, and these names.

| name | type | |
|---|---|---|
| `order.tags` | list of strings | what `rescind orders tag` put on the order |
| `order.verdict.cancelable` | string | `yes`, `no`, `unknown` |
| `order.verdict.reason`, `order.verdict.explanation` | string | the rule's code, and its sentence |
| `order.verdict.evidence` | list of strings | ids of events |
| `order.verdict.changes_at` | timestamp | not known where no time changes it |
| `order.verdict.as_of` | timestamp | |
| `order.duplicates` | list of records | the other orders that are the same to the provider; see below |
| `event.id`, `event.type`, `event.source` | string | the event that triggered the policy |
| `event.occurred_at`, `event.received_at` | timestamp | |

A duplicate has `id`, `phase`, `provider_status`, `opened_at`, `came` (`before` or `after` this order), and `canceling`
(`yes` or `no`: whether a cancellation of it is under way).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from app.contract import Cancelable, Phase, Source, Verdict
from app.kit.cel.expression import Kind
from app.kit.cel.order_view import ORDER

_CONTEXT: Mapping[str, Kind] = {
    "order.tags": Kind.STRINGS,
    "order.verdict.cancelable": Kind.STRING,
    "order.verdict.reason": Kind.STRING,
    "order.verdict.explanation": Kind.STRING,
    "order.verdict.evidence": Kind.STRINGS,
    "order.verdict.changes_at": Kind.TIMESTAMP,
    "order.verdict.as_of": Kind.TIMESTAMP,
    "order.duplicates": Kind.RECORDS,
    "event.id": Kind.STRING,
    "event.type": Kind.STRING,
    "event.source": Kind.STRING,
    "event.occurred_at": Kind.TIMESTAMP,
    "event.received_at": Kind.TIMESTAMP,
}
CONTEXT_NAMES = frozenset(_CONTEXT)
"""The names of `POLICY` that are not part of the order itself."""
POLICY = ORDER.plus(
    _CONTEXT,
    record_keys=("id", "phase", "provider_status", "opened_at", "came", "canceling"),
    words={
        "order.verdict.cancelable": [cancelable.value for cancelable in Cancelable],
        "event.source": [source.value for source in Source],
        ".phase": [phase.value for phase in Phase],
        ".came": ("before", "after"),
        ".canceling": ("yes", "no"),
    },
)


def context_values(
    names: Iterable[str],
    tags: Sequence[str],
    verdict: Verdict,
    as_of: datetime,
    duplicates: list[dict[str, str]],
    trigger: object | None,
) -> dict[str, Any]:
    """The values of `names`, which are from `CONTEXT_NAMES`. What is not known is left out."""
    values: dict[str, Any] = {}
    for name in names:
        if name == "order.tags":
            value: Any = list(tags)
        elif name == "order.duplicates":
            value = duplicates
        elif name == "order.verdict.as_of":
            value = as_of
        else:
            # The last part is the name of an attribute: `order.verdict.reason` is the verdict's, `event.type` the
            # event's.
            owner = trigger if name.startswith("event.") else verdict
            value = None if owner is None else _plain(getattr(owner, name.rpartition(".")[2]))
        if value is not None:
            values[name] = value
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
