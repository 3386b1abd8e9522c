"""Storage: the protocol that a database implements, and the records that it reads and writes."""

from __future__ import annotations

from app.store.log import CursorFault, LogCursorError, LogEntry, LogPage
from app.store.protocol import (
    Reader,
    SearchIndexDamaged,
    Store,
    StoreConflict,
    StoreError,
    StoreInterrupted,
    StoreUnavailable,
    Transaction,
)
from app.store.records import (
    ApiKey,
    Backtest,
    Changes,
    ErasedEvent,
    Expunged,
    LoggedRow,
    Lookup,
    Name,
    OrderWrite,
    Position,
    Receipt,
    RecheckOrders,
    Resource,
    ResourceChange,
    SearchResult,
    StoredOrder,
    StoredResponse,
    Window,
)
from app.store.sealed import SEALED, SealedColumn
from app.store.sessions import ConsoleSession

__all__ = [
    "SEALED",
    "ApiKey",
    "Backtest",
    "Changes",
    "ConsoleSession",
    "CursorFault",
    "ErasedEvent",
    "Expunged",
    "LogCursorError",
    "LogEntry",
    "LogPage",
    "LoggedRow",
    "Lookup",
    "Name",
    "OrderWrite",
    "Position",
    "Reader",
    "Receipt",
    "RecheckOrders",
    "Resource",
    "ResourceChange",
    "SealedColumn",
    "SearchIndexDamaged",
    "SearchResult",
    "Store",
    "StoreConflict",
    "StoreError",
    "StoreInterrupted",
    "StoreUnavailable",
    "StoredOrder",
    "StoredResponse",
    "Transaction",
    "Window",
]
