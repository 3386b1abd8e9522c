"""Run the bench: `make bench`. Every figure is a ratio between two things measured in turn in this run.

python -m tests.bench [--rounds 5] [--orders 1000] [--json FILE] [--flame FILE.svg]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import (
    backtest,
    bursts,
    coalescing,
    conditions,
    deliveries,
    failing,
    flame,
    ingest,
    lag,
    machine,
    pauses,
    policies,
    profiled,
    providers,
    reads,
    sealing,
    stages,
    stores,
    subscribed,
    tails,
)
from tests.bench.tables import cells

TABLES = (
    reads,
    profiled,
    stages,
    stores,
    providers,
    conditions,
    coalescing,
    bursts,
    failing,
    backtest,
    policies,
    pauses,
    lag,
    subscribed,
    tails,
    sealing,
    deliveries,
)


def tables(given: argparse.Namespace, rounds: dict[str, Any]) -> Iterator[Table]:
    """Measure, one table after the other; the rounds of the first ones are put into `rounds`."""
    for mix in ingest.MIXES:
        measured, sizes = ingest.compare(mix, given.rounds, given.orders, None)
        rounds[mix] = ingest.written(measured, sizes)
        yield ingest.table(mix, measured, sizes)
    for module in TABLES:
        yield module.table()


def main() -> None:
    """Measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ingest.add_options(options)
    given = options.parse_args()
    if given.flame:
        flame.tool()  # not after minutes
    console, rounds, shown = Console(), dict[str, Any](), []
    described = machine.describe("make bench")
    console.print(machine.line(described))
    for table in tables(given, rounds):
        console.print(table)
        shown.append(cells(table))
    if given.json:
        written = {"machine": described, "ingest": rounds, "tables": shown}
        given.json.write_text(json.dumps(written, indent=1, ensure_ascii=False))
    if given.flame:
        ingest.flame_graph("five", given.orders, given.flame)


if __name__ == "__main__":
    main()
