"""Retention and erasure: what a store finds that is to be expunged, and what it keeps of how far it came."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, Protocol

from app.core.attempt import Attempt
from app.store.records import LoggedRow, LogMark


class Slice(NamedTuple):
    """A part of a table, read in the order of its rows."""

    ids: tuple[int, ...]
    """The ids of the rows that have something to expunge."""
    position: int
    """The position of the last row that was read; the next slice begins after it."""
    read: int
    """How many rows were read; 0 at the end."""


class OrderSlice(NamedTuple):
    """A part of the log."""

    orders: tuple[tuple[str, str, int], ...]
    """(account, id, number of events) of the orders that are over, and whose last event is in this part."""
    position: int
    read: int


class RetentionReader(Protocol):
    """The part of the store that finds what is to be expunged."""

    async def retention_positions(self) -> dict[str, int]:
        """What (`events`, `receipts`, `attempts`) → the position up to which it was looked at."""

    async def old_rows(self, what: str, after: int, before: int, limit: int) -> Slice:
        """Receipts, attempts or messages with ids between, oldest first; `ids` are those that have something left."""

    async def attempts_at(self, ids: Collection[int]) -> list[Attempt]:
        """The attempts of these ids, oldest first."""

    async def old_orders(self, after: int, received_before: datetime, limit: int) -> OrderSlice:
        """Events of the log after a position, up to the first that was received later."""

    async def logged(self, order_pk: int) -> tuple[LogMark, list[LoggedRow]]:
        """The events of an order as stored, in the order of the log.

        They are read in pieces, so they are one state of the log only if the log still has that mark afterwards.
        """

    async def receipts_naming(self, account: str, names: Collection[str]) -> list[int]:
        """The account's receipts that brought no events, and whose body has one of these names as a whole word."""

    async def order_receipts(self, order_pk: int) -> list[int]:
        """The receipts that the order's events came with."""

    async def order_messages(self, order_pk: int) -> list[int]:
        """The messages about an order."""


class RetentionStore(Protocol):
    """The part of the store that expunges."""

    async def retire_dictionaries(self, before: int) -> None:
        """Retire the dictionaries that are made of receipts with smaller ids."""

    async def delete_refusals(self, before: int) -> None:
        """Delete the refused requests with smaller ids: they hold addresses."""

    async def repack(self) -> bool:
        """Pack some receipts anew that use a retired dictionary, and delete one that none uses; True if more wait."""

    async def compress_rows(self) -> int | None:
        """Compress some rows of an earlier release; returns how many were looked at, None if none are left."""

    async def compressed_rows(self) -> dict[str, float]:
        """Table → which part of its rows of earlier releases is compressed; 1 where there are none."""

    async def delete_responses(self, before: datetime, limit: int) -> int:
        """Delete at most so many of the oldest stored responses that were made before; returns how many."""

    async def drop_months(self, before: datetime) -> list[str]:
        """Drop what stands in parts for months that ended before, where nothing in them goes on; returns their names.

        Of an order that is over for so long nothing stays. A store without such parts keeps everything.
        """

    async def keep_up(self, now: datetime) -> None:
        """Do what a database that nodes share needs from time to time. Raises `StoreError`: it is tried again soon."""

    async def checkpoint(self) -> None:
        """Bring the write-ahead log into the database file, while others write."""

    async def truncate_log(self) -> bool:
        """Bring everything into the database file, and empty the write-ahead log; False if others still read it."""

    async def vacuum(self) -> None:
        """Write the database anew, without free space. Nobody else may use it meanwhile."""
