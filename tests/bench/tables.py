"""Tables as JSON, for whoever shows them again."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def cells(table: Table) -> dict[str, Any]:
    """The title, the names of the columns, and the rows of a table."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    names = [str(column.header) for column in table.columns]
    return {"title": str(table.title), "columns": names, "rows": [list(row) for row in zip(*columns, strict=True)]}
