"""What policies cost ingest: webhooks/s, processor time and bytes with 0, 20 and 200 of them, in turn in one run.

    python -m tests.bench.policies [--rounds 3] [--orders 600] [--kind plain|context|due ...] [--checkout DIR]

All policies are in shadow mode and have a wait. `plain` ones read phases, statuses, attributes and appointments, and
their wait ends in days; `context` ones read the time, the verdict, tags and the event, too; of the `due` ones the wait
is over when the first webhook comes, so that each decides once on every order.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import load
from tests.bench.ingest import RESOURCES, TOKEN, Round, measure
from tests.bench.payload import EVENTS, INTERLEAVED, body
from tests.bench.processes import SERVE, free_port, running

ROUNDS = 3
ORDERS = 600
GOALS = {20: 0.8, 200: 0.4}
"""Policies → the rate with them ÷ the rate without any."""
BYTES_GOAL = 1.2
KINDS = {
    "plain": "plain policies that wait",
    "context": "policies that read the time, the verdict, tags and the event",
    "due": "plain policies that decide on every order",
}
_GOALS_OF = ("plain",)
_PLAIN = (
    'order.phase == "open" && size(order.appointments) == 0',
    'order.phase == "open" && order.provider_status == "scheduling"',
    'order.phase == "open" && order.provider_status in ["new_request", "scheduling"] && size(order.appointments) == 0',
    'order.phase == "in_progress" && order.provider_status == "scheduled"',
    'order.phase == "open" && order.attributes.billing_entity_slug == "homes-%d"',
    'order.phase != "completed" && order.attributes.billing_entity_slug == "northern-homes"',
    'order.phase == "open" && has(order.attributes.metadata) && order.attributes.metadata.region == "region-%d"',
)
_CONTEXT = (
    'order.phase == "open" && now - order.opened_at > duration("20h")',
    'order.phase == "open" && order.verdict.cancelable == "yes"',
    'order.phase == "open" && !("keep" in order.tags)',
    'order.phase == "open" && event.type == "appointment.scheduled"',
)


def policies(kind: str, count: int) -> list[dict[str, Any]]:
    """So many policies, which differ in conditions and thresholds."""
    conditions = _CONTEXT if kind == "context" else _PLAIN
    made = []
    for number in range(count):
        condition = conditions[number % len(conditions)]
        wait = f"{number % 48 + 1}s" if kind == "due" else f"{48 + number % 48}h"
        since = "timestamp('2026-01-01T00:00:00Z')" if kind == "due" else "order.opened_at"
        made.append(
            {
                "id": f"p-{number}",
                "accounts": ["bench"],
                "when": condition % (number % 10) if "%d" in condition else condition,
                "wait": f"{wait} since {since}",
                "cancel": {"reason": "client_requested_cancelation", "note": "Nobody went on with it"},
            }
        )
    return made


def webhooks(orders: int, first: int) -> list[bytes]:
    """Five webhooks for each of `orders` orders, in the order in which a provider sends them, all of today."""
    requests = []
    for block in range(first, first + orders, INTERLEAVED):
        ids = range(block, min(block + INTERLEAVED, first + orders))
        for event, status in EVENTS:
            requests += [body(order, event, status, datetime.now(UTC)) for order in ids]
    return [load.post("/webhooks/bench-in", content, TOKEN) for content in requests]


def rounds_of(rounds: int, orders: int) -> Iterator[list[bytes]]:
    """The requests of each round, after those of one that warms up, each made when it is sent."""
    for number in range(rounds + 1):
        yield webhooks(orders, 1 + number * orders)


def compare(kind: str, rounds: int, orders: int, checkout: Path) -> tuple[dict[str, list[Round]], dict[str, float]]:
    """(the rounds with so many policies, the bytes on disk a webhook)."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        folder, servers = Path(name), dict[str, tuple[int, int]]()
        with contextlib.ExitStack() as started:
            for count in (0, *GOALS):
                port, resources = free_port(), folder / f"{count}.yaml"
                made = msgspec.json.encode(policies(kind, count)).decode()  # JSON is YAML
                resources.write_text(f"{RESOURCES % TOKEN}policies: {made}\n")
                environment = {
                    "PYTHONPATH": str(checkout),
                    "RESCIND_DATABASE_URL": f"sqlite:///{folder / str(count)}.db",
                    "RESCIND_PORT": str(port),
                    "RESCIND_ENDPOINT_RATE_PER_S": "1000000",  # the limit counts, and lets all pass
                }
                command = [_python(checkout), "-P", "-c", SERVE, str(resources)]
                servers[str(count)] = (port, started.enter_context(running(command, port, environment)))
            measured, sent = uvloop.run(measure(servers, rounds_of(rounds, orders)))
        # A server that has ended has moved everything from the write-ahead log into the file.
        return measured, {name: (folder / f"{name}.db").stat().st_size / sent for name in servers}


def _python(checkout: Path) -> str:
    return sys.executable if checkout == Path.cwd() else str(checkout / ".venv" / "bin" / "python")


def table(
    kinds: Sequence[str] = tuple(KINDS), rounds: int = ROUNDS, orders: int = ORDERS, checkout: Path | None = None
) -> Table:
    """What was measured, with the median of the rounds' ratios to the rate without policies."""
    title = "Policies in shadow mode, five webhooks an order"
    shown = Table("policies", "webhooks/s", "÷ none", "goal", "µs CPU", "bytes", "÷ none", "goal", title=title)
    for kind in kinds:
        measured, sizes = compare(kind, rounds, orders, checkout or Path.cwd())
        for name, results in measured.items():
            ratios = [mine.rate / none.rate for mine, none in zip(results, measured["0"], strict=True)]
            has_goal = kind in _GOALS_OF and int(name) in GOALS
            shown.add_row(
                f"{name} {KINDS[kind]}" if int(name) else "none",
                f"{statistics.median(result.rate for result in results):,.0f}",
                f"{statistics.median(ratios):.2f}",
                f"≥ {GOALS[int(name)]}" if has_goal else "",
                f"{statistics.median(result.cpu for result in results):.0f}",
                f"{sizes[name]:,.0f}",
                f"{sizes[name] / sizes['0']:.2f}",
                f"≤ {BYTES_GOAL}" if has_goal else "",
            )
    return shown


def main() -> None:
    """Measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--orders", type=int, default=ORDERS, help="five webhooks each; of a round")
    options.add_argument("--kind", choices=KINDS, action="append", help="all, where none is given")
    options.add_argument("--checkout", type=Path, metavar="DIR", help="measure another checkout, with its own .venv")
    given = options.parse_args()
    checkout = given.checkout.resolve() if given.checkout else None
    Console().print(table(given.kind or tuple(KINDS), given.rounds, given.orders, checkout))


if __name__ == "__main__":
    main()
