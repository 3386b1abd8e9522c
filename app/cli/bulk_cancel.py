"""`rescind cancel ACCOUNT --file FILE`: many orders, in batches."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, segment
from app.cli.confirm import confirm
from app.cli.failure import FAILED, MISUSED, Failure, ProblemError
from app.cli.order_files import open_order_file
from app.cli.output import Column
from app.cli.progress import progress
from app.cli.wait import Waiting, wait_for

PAGE = 500
"""The orders in one call: far below the largest body that a server accepts."""
SHOWN_MAX = 20
_FIELDS = ("reason", "note", "deadline")

COLUMNS = (
    Column("ORDER", lambda row: row["order"]),
    Column("OUTCOME", lambda row: output.word(row["outcome"])),
    Column("CANCELLATION", lambda row: row["cancellation"]),
    Column("DETAIL", lambda row: row["detail"], wraps=True),
)


@dataclass(slots=True)
class _Totals:
    """The results of all batches so far."""

    total: int = 0
    in_time: int = 0
    too_late: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    batches: list[str] = field(default_factory=list)
    rest: list[dict[str, Any]] = field(default_factory=list)
    """The first of the orders that were not scheduled."""

    def add(self, batch: Mapping[str, Any]) -> None:
        self.total += batch["total"]
        self.in_time += batch["in_time"]
        self.too_late += batch["too_late"]
        self.outcomes.update(batch["outcomes"])
        self.batches.append(batch["id"])
        others = (row for row in batch["results"] if row["outcome"] != "scheduled")
        self.rest += islice(others, SHOWN_MAX - len(self.rest))


def cancel_many(
    api: Api,
    account: str,
    file: Path,
    shared: Mapping[str, Any],
    idempotency_key: str | None,
    waiting: Waiting,
    *,
    as_json: bool,
    yes: bool,
) -> None:
    """Request the cancel of every order in a file, print the results, and wait for their ends if wanted.

    `shared` are the reason, note and deadline of orders without their own. Raises `typer.Exit` unless all were
    scheduled, or unless all succeeded if it waits.
    """
    totals = _Totals()
    if not yes:
        _confirm(account, file)
    with open_order_file(file, _FIELDS) as orders, progress("Requested", orders.lines) as bar:
        rows = ({"account": account, "reason": "", **shared, **row} for row in orders.rows)
        for batch in _submit(api, rows, idempotency_key or str(uuid.uuid4())):
            totals.add(batch)
            bar.to(totals.total, f"{totals.outcomes['scheduled']} scheduled")
    if not totals.total:
        raise Failure(f"{file} contains no orders.")
    if waiting.wanted:
        _wait_for_all(api, totals, waiting.until)
    if as_json:
        output.print_json(_document(totals))
    else:
        _show(totals, waited=waiting.wanted)
    counts = totals.outcomes["scheduled"], totals.states["succeeded"] if waiting.wanted else totals.total
    if min(counts) < totals.total:
        raise typer.Exit(FAILED)


def _confirm(account: str, file: Path) -> None:
    """Ask for a regular file, as its lines can be counted. Raises `Failure` if not confirmed."""
    with open_order_file(file, _FIELDS) as orders:
        if orders.lines is None:
            raise Failure(f"The orders of {orders.name} cannot be counted before they are read: give --yes.", MISUSED)
        number = sum(1 for _ in orders.rows)
    if number:
        orders_in_words = f"{number} order{'' if number == 1 else 's'}"
        confirm(f"This cancels {orders_in_words} in {file} at the provider of {account}.", "Go on?", yes=False)


def _submit(api: Api, rows: Iterator[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
    """POST the batches; with the same key and the same file, a repetition requests nothing twice."""
    number = 0
    while page := list(islice(rows, PAGE)):
        try:
            yield api.post("/v1/cancellation-batches", {"cancellations": page}, idempotency_key=f"{key}-{number}")
        except ProblemError as problem:
            raise _with_order(problem, page, number * PAGE) from problem
        number += 1


def _with_order(problem: ProblemError, page: Sequence[Mapping[str, Any]], before: int) -> ProblemError:
    """`problem` with the order that it names; `before` is the number of orders requested before."""
    match = re.match(r"cancellations\.(\d+)\b", str(problem.document.get("field")))
    about = f"Order {page[int(match[1])]['order']}: " if match and int(match[1]) < len(page) else ""
    done = f" The cancels of the first {before} orders were requested, and no others." if before else ""
    return ProblemError(f"{about}{problem}{done}", problem.document) if about or done else problem


def _wait_for_all(api: Api, totals: _Totals, until: datetime | None) -> None:
    """Wait for the end of one batch after the other, or until that time."""
    cancellations = totals.outcomes["scheduled"] + totals.outcomes["rejected"]
    with progress("Final", cancellations) as bar:
        over = 0
        for id in totals.batches:
            path = f"/v1/cancellation-batches/{segment(id)}"
            if until is not None and datetime.now(UTC) >= until:
                break
            (batch,) = api.get_all([path])
            if batch is None:
                continue  # no order of it has a cancellation

            def report(batch: Mapping[str, Any], over: int = over) -> None:
                final = batch["total"] - sum(batch["states"].get(state, 0) for state in _OPEN)
                bar.to(over + final, _counted(batch["states"]))

            batch = wait_for(batch, partial(api.get, path), lambda batch: bool(batch["final"]), report, until)
            report(batch)
            totals.states.update(batch["states"])
            over += batch["total"]


_OPEN = ("scheduled", "sending", "indeterminate", "accepted")


def _document(totals: _Totals) -> dict[str, Any]:
    return {
        "total": totals.total,
        "outcomes": dict(totals.outcomes),
        "in_time": totals.in_time,
        "too_late": totals.too_late,
        "batches": totals.batches,
        "states": dict(totals.states),
        "not_taken_on": totals.rest,
    }


def _show(totals: _Totals, *, waited: bool) -> None:
    if totals.rest:
        output.show(output.table(COLUMNS, totals.rest))
        more = totals.total - totals.outcomes["scheduled"] - len(totals.rest)
        if more:
            output.show(Text(f"… and {more} others."))
    late = f"; {totals.too_late} of these will be too late as of now" if totals.too_late else ""
    output.say(f"{totals.total} orders: {_counted(totals.outcomes)}{late}.")
    if waited:
        output.say(f"Now: {_counted(totals.states) or 'nothing'}.")
    else:
        output.say("`rescind cancellations list` shows their states; --wait waits for the ends.")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
