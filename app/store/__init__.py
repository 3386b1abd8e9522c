"""Storage: the protocol that a database implements, and the records that it reads and writes."""

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
