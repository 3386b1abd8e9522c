"""Where everything is kept: the protocol of a database, and the records that go in and come out."""

from __future__ import annotations

from app.store.protocol import Reader, Store, StoreConflict, StoreError, StoreUnavailable, Transaction
from app.store.records import (
    ApiKey,
    Backtest,
    Changes,
    Found,
    Name,
    OrderWrite,
    PolicyUsage,
    Receipt,
    RecheckOrders,
    Resource,
    ResourceChange,
    Searched,
    StoredAnswer,
    StoredOrder,
)

__all__ = [
    "ApiKey",
    "Backtest",
    "Changes",
    "Found",
    "Name",
    "OrderWrite",
    "PolicyUsage",
    "Reader",
    "Receipt",
    "RecheckOrders",
    "Resource",
    "ResourceChange",
    "Searched",
    "Store",
    "StoreConflict",
    "StoreError",
    "StoreUnavailable",
    "StoredAnswer",
    "StoredOrder",
    "Transaction",
]
