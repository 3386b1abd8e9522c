"""Where everything is kept: the protocol of a database, and the records that go in and come out."""

from __future__ import annotations

from app.store.protocol import Reader, Store, StoreConflict, StoreError, StoreUnavailable, Transaction
from app.store.records import (
    ApiKey,
    Backtest,
    Changes,
    Lookup,
    Name,
    OrderWrite,
    Receipt,
    RecheckOrders,
    Resource,
    ResourceChange,
    SearchResult,
    StoredOrder,
    StoredResponse,
)

__all__ = [
    "ApiKey",
    "Backtest",
    "Changes",
    "Lookup",
    "Name",
    "OrderWrite",
    "Reader",
    "Receipt",
    "RecheckOrders",
    "Resource",
    "ResourceChange",
    "SearchResult",
    "Store",
    "StoreConflict",
    "StoreError",
    "StoreUnavailable",
    "StoredOrder",
    "StoredResponse",
    "Transaction",
]
