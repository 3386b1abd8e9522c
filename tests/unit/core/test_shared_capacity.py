"""What nodes on PostgreSQL need for a load, and the page that says so."""

from __future__ import annotations

import re
from pathlib import Path

from app.config.settings import Settings
from app.core import shared_capacity
from app.core.shared_capacity import NODE_CONNECTIONS, SharedNeeds, shared_needs

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations" / "capacity.md"
RATES = (1_000, 10_000, 100_000)


def shown(needs: SharedNeeds) -> list[str]:
    return [
        f"{needs.nodes:,}",
        f"{needs.connections:,}{', pooled' if needs.needs_pooler else ''}",
        f"{needs.backend_cores:.1f}",
        f"{needs.wal_mb_per_s:.1f} MB/s",
        f"{needs.tb_per_day:.2f} TB",
        f"{needs.primaries}{', distributed' if needs.primaries > 1 else ''}",
    ]


def rows(section: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]


def test_the_page_has_the_model_and_its_constants() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## PostgreSQL\n")[2]
    head, _, *table = rows(section)
    assert [int(re.sub(r"\D", "", cell)) for cell in head[1:]] == list(RATES)
    columns = [shown(shared_needs(rate)) for rate in RATES]
    assert [row[1:] for row in table[: len(columns[0])]] == [list(row) for row in zip(*columns, strict=True)]
    constants = {row[0].strip("`"): float(row[2].replace(",", "")) for row in table if row[0].startswith("`")}
    assert constants == {name: getattr(shared_capacity, name) for name in constants}
    assert len(constants) == 8


def test_connections_are_those_of_the_setting() -> None:
    assert Settings.model_fields["database_connections"].default == NODE_CONNECTIONS


def test_twice_the_load_takes_twice_the_bytes_and_never_fewer_nodes() -> None:
    few, many = shared_needs(5_000), shared_needs(10_000)
    assert many.wal_mb_per_s == 2 * few.wal_mb_per_s
    assert many.tb_per_day == 2 * few.tb_per_day
    assert many.nodes > few.nodes
    assert shared_needs(0).nodes == 1
