"""Writes of retention, traces and the log as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.core.log_chain import Block
from app.runtime import ids
from app.store import codec
from app.store.index_protocol import IndexProgress
from app.store.log_chain import BLOCK_COLUMNS, block_row
from app.store.postgres.connection import Session
from app.store.postgres.writes import Writes
from app.store.protocol import StoreConflict

_COMPRESSED = ("events", "orders")
"""Tables of which other stores compress the rows of earlier releases."""
_BLOCK_TYPES = "bigint bigint bigint bigint bigint bytea bigint bytea bytea"
_BLOCKS = f"""INSERT INTO @log_blocks ({BLOCK_COLUMNS}) SELECT * FROM
    unnest({", ".join(f"${number}::{type}[]" for number, type in enumerate(_BLOCK_TYPES.split(), 1))})"""


class RetentionWrites(Writes):
    """The part of `Store` that writes retention, traces and the log as a whole."""

    async def begin_log_generation(self, at: datetime) -> None:
        sql = """INSERT INTO @log_generations (id, began_at, began_after, pruned_through)
                 SELECT left(replace(gen_random_uuid()::text, '-', ''), 16), $1,
                 coalesce((SELECT seq FROM @events ORDER BY seq DESC LIMIT 1), 0), pruned_through
                 FROM @log_generations ORDER BY number DESC LIMIT 1"""
        await self._write(lambda session: session.run(sql, codec.micros(at)))

    async def save_blocks(self, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        rows, is_repeated = [block_row(block) for block in blocks], False

        async def work(session: Session) -> None:
            nonlocal is_repeated
            # Every append waits for this, so that two never append to the same block.
            await session.script("LOCK TABLE @log_blocks IN SHARE ROW EXCLUSIVE MODE")
            last = await session.row(f"SELECT {BLOCK_COLUMNS} FROM @log_blocks ORDER BY number DESC LIMIT 1")
            number = 0 if last is None else last[0]
            if is_repeated and last is not None and tuple(last) == rows[-1]:
                return  # The answer to the commit was lost.
            is_repeated = True
            if rows[0][0] != number + 1:
                raise StoreConflict(f"block {rows[0][0]} of the log does not follow block {number}")
            await session.run(_BLOCKS, *zip(*rows, strict=True))

        await self._write(work)

    async def delete_trace_contexts(self, prefix: str, until: datetime, limit: int) -> bool:
        last = ids.show(prefix, ids.at(codec.micros(until) // 1000))
        sql = """DELETE FROM @trace_contexts WHERE id IN
                 (SELECT id FROM @trace_contexts WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3)"""
        return await self._write(lambda session: session.run(sql, prefix, last, limit)) == limit

    async def delete_refusals(self, before: int) -> None:
        await self._write(lambda session: session.run("DELETE FROM @endpoint_refusals WHERE id < $1", before))

    async def delete_responses(self, before: datetime, limit: int) -> int:
        sql = """DELETE FROM @answers WHERE key IN
                 (SELECT key FROM @answers WHERE created_at < $1 ORDER BY created_at LIMIT $2)"""
        return await self._write(lambda session: session.run(sql, codec.micros(before), limit))

    async def retire_dictionaries(self, before: int) -> None:
        """Nothing to do: no receipt is packed with others."""

    async def repack(self) -> bool:
        return False

    async def compress_rows(self) -> int | None:
        return None

    async def compressed_rows(self) -> dict[str, float]:
        return dict.fromkeys(_COMPRESSED, 1.0)

    async def checkpoint(self) -> None:
        """Nothing to do: PostgreSQL brings its write-ahead log into the files by itself."""

    async def truncate_log(self) -> bool:
        return True

    async def vacuum(self) -> None:
        """Nothing to do: autovacuum lets the space of deleted rows be used again, and partitions are dropped."""

    async def open_search_index(self) -> None:
        """Nothing to do: lists are served by the indexes of the tables."""

    async def fill_search_index(self, rows: int) -> IndexProgress:
        del rows
        return IndexProgress(events=0, took_s=0.0, behind=0, idle=True, erasing=False)

    async def discard_search_index(self) -> None:
        """Nothing to do: see `open_search_index`."""
