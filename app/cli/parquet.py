"""Events as a Parquet file; requires `rescind[parquet]`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.cli.event_rows import EventRow

ROW_GROUP = 20_000
"""Events in memory at once: some tens of megabytes."""
_TIME = pa.timestamp("us", tz="UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())
"""Text of which many events have the same."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("account", _WORD, nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("type", _WORD, nullable=False),
        pa.field("source", _WORD, nullable=False),
        pa.field("occurred_at", _TIME, nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("receipt", pa.string()),
        pa.field("facts", pa.string(), nullable=False),
        pa.field("data", pa.string(), nullable=False),
    ],
    metadata={"rescind": "events; facts and data are JSON, as in the API"},
)


class ParquetWriter:
    """Writes events in row groups."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._rows: list[EventRow] = []

    def write(self, raw: bytes, row: EventRow) -> None:  # noqa: ARG002 - JSON Lines need the text
        """Add an event."""
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a row group."""
        rows, self._rows = self._rows, []
        columns: dict[str, list[Any]] = {
            name: [getattr(row, name) for row in rows] for name in SCHEMA.names if name not in ("facts", "data")
        }
        columns["facts"] = [bytes(row.facts).decode() for row in rows]
        columns["data"] = [bytes(row.data).decode() for row in rows]
        if rows:
            self._file.write_table(pa.Table.from_pydict(columns, schema=SCHEMA))


@contextmanager
def open_parquet(path: Path) -> Iterator[ParquetWriter]:
    """A writer to `path`; the file is complete at the end."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as file:
        writer = ParquetWriter(file)
        yield writer
        writer.flush()
