"""Examples in the API's documentation. Each is declared below its class: `example(Key(…))`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from pydantic import BaseModel

T = TypeVar("T")

# All examples tell of one order.
ACCOUNT = "acme-photos"
ENDPOINT = "acme-photos-in"
SUBSCRIPTION = "crm"
POLICY = "unscheduled-48h"
ORDER = "654321"
CANCELLATION = "can_06544770b18cb000"
BATCH = "bat_06544770b92cb000"
BACKTEST = "bkt_06544770baacb000"
KEY = "key_06544770b6ccb000"
RECEIPT = "rcp_06544770afecb000"
EVENT = "evt_fe186c4d2bc4cc348c61f9cf6607a92f"
RECEIVED_AT = datetime(2026, 3, 2, 9, 30, 0, 590982, tzinfo=UTC)
REQUESTED_AT = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)

_DECLARED: dict[Any, Any] = {}


def example(value: T) -> T:
    """Declare `value` as the example of its class, and return it."""
    _DECLARED[type(value)] = value
    return value


def example_of(kind: Any) -> Any:
    """The example of a class; of `Page[Order]` a page with that of `Order`. None if there is none."""
    if kind in _DECLARED:
        return _DECLARED[kind]
    page, row = get_origin(kind), _DECLARED.get(next(iter(get_args(kind)), None))
    return None if page is None or row is None else page.example_with(row)


def json_of(value: Any) -> Any:
    """An example as it is sent: of a request only the fields that were given."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    return msgspec.json.decode(msgspec.json.encode(value))
