"""`rescind cancel ACCOUNT --file FILE`: many orders at once, as batches."""

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
from app.cli.failure import FAILED, Failure, ProblemError
from app.cli.order_files import open_order_file
from app.cli.output import Column
from app.cli.progress import progress
from app.cli.wait import Following, follow

PAGE = 500
"""So many orders are asked for by one call: it is far below the largest body that a server takes."""
SHOWN_MAX = 20
_FIELDS = ("reason", "note", "deadline")

COLUMNS = (
    Column("ORDER", lambda row: row["order"]),
    Column("OUTCOME", lambda row: output.word(row["outcome"])),
    Column("CANCELLATION", lambda row: row["cancellation"]),
    Column("DETAIL", lambda row: row["detail"], wraps=True),
)


@dataclass(slots=True)
class _Sum:
    """What became of all batches so far."""

    total: int = 0
    in_time: int = 0
    too_late: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    batches: list[str] = field(default_factory=list)
    rest: list[dict[str, Any]] = field(default_factory=list)
    """The first of those that were not taken on."""

    def add(self, answer: Mapping[str, Any]) -> None:
        self.total += answer["total"]
        self.in_time += answer["in_time"]
        self.too_late += answer["too_late"]
        self.outcomes.update(answer["outcomes"])
        self.batches.append(answer["id"])
        others = (each for each in answer["results"] if each["outcome"] != "scheduled")
        self.rest += islice(others, SHOWN_MAX - len(self.rest))


def cancel_many(
    api: Api,
    account: str,
    file: Path,
    words: Mapping[str, Any],
    idempotency_key: str | None,
    following: Following,
    *,
    as_json: bool,
) -> None:
    """Ask for every order in a file to be canceled, say what becomes of them, and follow them if that is wanted.

    Raises `typer.Exit` unless all were taken on, or unless all succeeded if they are followed.
    """
    found = _Sum()
    with open_order_file(file, _FIELDS) as orders, progress("Asked for", orders.lines) as bar:
        rows = ({"account": account, "reason": "", **words, **row} for row in orders.rows)
        for answer in _submit(api, rows, idempotency_key or str(uuid.uuid4())):
            found.add(answer)
            bar.to(found.total, f"{found.outcomes['scheduled']} scheduled")
    if not found.total:
        raise Failure(f"{file} names no orders.")
    wait = following.wanted
    if wait:
        _follow_all(api, found, following.until)
    if as_json:
        output.print_json(_document(found))
    else:
        _show(found, wait=wait)
    if found.outcomes["scheduled"] < found.total or (wait and found.states["succeeded"] < found.total):
        raise typer.Exit(FAILED)


def _submit(api: Api, rows: Iterator[dict[str, Any]], key: str) -> Iterator[dict[str, Any]]:
    """Repeated with the same key and the same file, nothing is asked for twice."""
    number = 0
    while page := list(islice(rows, PAGE)):
        try:
            yield api.post("/v1/cancellation-batches", {"cancellations": page}, idempotency_key=f"{key}-{number}")
        except ProblemError as problem:
            raise _with_order(problem, page, number * PAGE) from problem
        number += 1


def _with_order(problem: ProblemError, page: Sequence[Mapping[str, Any]], before: int) -> ProblemError:
    """`problem` with the order that it is about, where it is about one; `before` is how many were asked for."""
    found = re.match(r"cancellations\.(\d+)\b", str(problem.document.get("field")))
    about = f"Order {page[int(found[1])]['order']}: " if found and int(found[1]) < len(page) else ""
    done = f" The {before} orders before these were asked for, and nothing since." if before else ""
    return ProblemError(f"{about}{problem}{done}", problem.document) if about or done else problem


def _follow_all(api: Api, found: _Sum, until: datetime | None) -> None:
    """Follow the batches one after the other to their end, or until that time."""
    taken = found.outcomes["scheduled"] + found.outcomes["rejected"]  # of both there are cancellations
    with progress("Final", taken) as bar:
        over = 0
        for batch in found.batches:
            path = f"/v1/cancellation-batches/{segment(batch)}"
            if until is not None and datetime.now(UTC) >= until:
                break
            known = _first(api, path)
            if known is None:
                continue  # nothing of it was taken on

            def say(known: Mapping[str, Any], over: int = over) -> None:
                final = known["total"] - sum(known["states"].get(each, 0) for each in _OPEN)
                bar.to(over + final, ", ".join(f"{count} {state}" for state, count in known["states"].items()))

            known = follow(known, partial(api.get, path), lambda known: bool(known["final"]), say, until)
            say(known)
            found.states.update(known["states"])
            over += known["total"]


_OPEN = ("scheduled", "sending", "indeterminate", "accepted")


def _first(api: Api, path: str) -> dict[str, Any] | None:
    known: dict[str, Any] | None = api.get_all([path])[0]
    return known


def _document(found: _Sum) -> dict[str, Any]:
    return {
        "total": found.total,
        "outcomes": dict(found.outcomes),
        "in_time": found.in_time,
        "too_late": found.too_late,
        "batches": found.batches,
        "states": dict(found.states),
        "not_taken_on": found.rest,
    }


def _show(found: _Sum, *, wait: bool) -> None:
    if found.rest:
        output.show(output.table(COLUMNS, found.rest))
        more = found.total - found.outcomes["scheduled"] - len(found.rest)
        if more:
            output.show(Text(f"… and {more} others."))
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.outcomes.items()))
    late = f"; {found.too_late} of these will be too late as things stand" if found.too_late else ""
    output.say(f"{found.total} orders: {said}{late}.")
    if wait:
        output.say(
            f"Now: {', '.join(f'{count} {state}' for state, count in sorted(found.states.items())) or 'nothing'}."
        )
    else:
        output.say("`rescind cancellations list` follows them; with --wait this command does.")
