"""Blocks of the hash chain by number and by time, as both stores find them; each store adds the queries."""

from __future__ import annotations

from abc import ABC, abstractmethod

from app.core.log_chain import Block
from app.store.log_cursors import LATE
from app.store.records import Window


class BlockSearch(ABC):
    """The part of `Reader` that finds blocks by other queries for blocks."""

    async def last_block(self) -> Block | None:
        """See `Reader.last_block`."""
        return next(iter(await self.blocks(Window(1))), None)

    async def block(self, number: int) -> Block | None:
        """See `Reader.block`."""
        return next(iter(await self.blocks_between(number, number, 1)), None)

    async def first_block_since(self, received: int) -> int:
        """See `Reader.first_block_since`."""
        low, high = await self.block_numbers()
        # Times of receipt grow along the log, but for what waited for its commit.
        wanted = received - LATE
        while low < high:
            middle = (low + high) // 2
            until = await self._received_until(middle)
            low, high = (middle + 1, high) if until < wanted else (low, middle)
        return low

    @abstractmethod
    async def blocks(self, window: Window) -> list[Block]:
        """See `Reader.blocks`."""

    @abstractmethod
    async def blocks_between(self, first: int, last: int, limit: int) -> list[Block]:
        """See `Reader.blocks_between`."""

    @abstractmethod
    async def block_numbers(self) -> tuple[int, int]:
        """See `Reader.block_numbers`."""

    @abstractmethod
    async def _received_until(self, number: int) -> int:
        """The latest time of receipt, in microseconds, in the first block with this number or a later one."""
