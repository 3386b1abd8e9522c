"""The hash chain over the log (`app.core.log_chain`): what a store keeps of it, and what verification reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from app.core.log_chain import Block
from app.store.records import Window

BLOCK_COLUMNS = (
    "number, first_position, last_position, received_from, received_until, root, sealed_at, signature, marks"
)


@dataclass(frozen=True, slots=True)
class Leaves:
    """Consecutive events of the log, hashed."""

    first: int
    """The position of the first; 0 if there is none."""
    leaves: list[bytes]
    """Their leaves; of an erased event, that from before the erasure."""
    received: list[int]
    """When each was received, in microseconds since 1970."""


class LeafRow(NamedTuple):
    """An event as verification reads it."""

    position: int
    present: bytes
    """Its leaf as it stands."""
    original: bytes
    """The same, or the leaf from before its first erasure."""


class LoggedEvent(NamedTuple):
    """An event as its row says, to be shown to people."""

    id: str
    columns: tuple[Any, ...]
    """Its `EVENT_COLUMNS`: after the position, the arguments of `leaf_hash`."""


class ErasureRow(NamedTuple):
    """An event that an erasure changed."""

    event: str
    """Id of the event that records the erasure."""
    position: int
    before: bytes
    after: bytes | None
    """None if the erased event is missing."""


class LogChainReader(Protocol):
    """The part of the store that reads the chain."""

    async def last_block(self) -> Block | None: ...

    async def block(self, number: int) -> Block | None: ...

    async def block_at(self, position: int) -> Block | None:
        """The block of the event at this position, if it is sealed."""

    async def block_with_root(self, root: bytes) -> Block | None: ...

    async def first_block_since(self, received: int) -> int:
        """The number of a block before which all events were received earlier, in microseconds; 0 if there is none."""

    async def restored_at(self) -> datetime | None:
        """When the database was last restored from a backup, as it says itself."""

    async def blocks(self, window: Window) -> list[Block]:
        """Blocks, newest first."""

    async def unsealed(self, after: int, limit: int) -> Leaves:
        """The first events after a position, hashed: as many as follow one another without a gap, at most `limit`."""

    async def block_numbers(self) -> tuple[int, int]:
        """The numbers of the first and the last block; (0, 0) without any."""

    async def blocks_between(self, first: int, last: int, limit: int) -> list[Block]:
        """The first blocks of these numbers that there are, oldest first."""

    async def leaf_rows(self, after: int, until: int) -> list[LeafRow]:
        """The events at positions above `after` up to `until`, hashed, by position."""

    async def events_at(self, positions: Sequence[int]) -> dict[int, LoggedEvent]:
        """Position → the event there, if there is one."""

    async def event_position(self, id: str) -> int | None:
        """The position of an event. Raises ValueError if `id` is not an event's."""

    async def pruned_through(self) -> int:
        """Events at positions up to this one may be missing: months were dropped. 0: none is."""

    async def log_bounds(self) -> tuple[int, int]:
        """(position of the last event, the highest position that was ever given out)."""

    def erasures(self) -> AsyncIterator[list[ErasureRow]]:
        """All that was erased, by the event that records it and by position, in one snapshot."""


class LogChainStore(Protocol):
    """The part of the store that writes the chain."""

    async def save_blocks(self, blocks: Sequence[Block]) -> None:
        """Append consecutive blocks. Raises `StoreConflict` if the first does not follow the last one stored."""


def block_row(block: Block) -> tuple[Any, ...]:
    """The `BLOCK_COLUMNS` of a block."""
    return (
        block.number,
        block.first,
        block.last,
        block.received_from,
        block.received_until,
        block.root,
        block.at,
        block.signature,
        block.marks,
    )


def read_block(row: Sequence[Any]) -> Block:
    """A block from its `BLOCK_COLUMNS`."""
    number, first, last, received_from, received_until, root, sealed_at, signature, marks = row
    return Block(
        number, first, last, received_from, received_until, bytes(marks), bytes(root), sealed_at, bytes(signature)
    )
