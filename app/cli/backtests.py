"""`rescind policies backtest`: what a policy would have done, over the log as it was written."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.failure import Failure, ProblemError
from app.cli.options import LIMIT, Json
from app.cli.output import Column
from app.cli.policy_files import Chosen, File, OfSeveral, choose
from app.cli.times import ago, rfc3339, shown
from app.cli.wait import Known, Say, follow

STARTS_MAX = 3
"""A backtest that was lost when the server was restarted is begun anew, as often as this in all."""
LISTED_MAX = 100_000


def backtest(
    file: File,
    since: Annotated[
        datetime | None,
        typer.Option(parser=ago, metavar="TIME", help="When the policy begins to live; 90 days before the end, else."),
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=ago, metavar="TIME", help="The end; now, else.")] = None,
    limit: Annotated[
        int, typer.Option(min=0, max=LISTED_MAX, help="How many decisions are listed, the earliest; all count.")
    ] = LIMIT,
    policy: OfSeveral = None,
    json: Json = False,
) -> None:
    """Run a policy over the recorded log as if it had been live, and say what it would have done."""
    chosen = choose(file, policy)
    body = {
        "policy": chosen.body,
        "since": since and rfc3339(since),
        "until": until and rfc3339(until),
        "listed": limit,
    }
    with connect(json) as api:
        chosen.check(api)
        with _progress() as say:
            run = _run(api, chosen, body, say)
    if json:
        output.print_json(run)
    if run["state"] == "failed":
        raise Failure(f"The backtest failed: {run['failure']}")
    if not json:
        _show_report(run)


def _run(api: Api, chosen: Chosen, body: Mapping[str, Any], say: Say) -> Known:
    """Have it run to its end. A restart of the server ends it, and it begins anew."""
    for _ in range(STARTS_MAX):
        with chosen.placed():
            run = api.post(f"{chosen.path}/backtest", body)
        path = f"{chosen.path}/backtests/{segment(run['id'])}"
        try:
            run = follow(run, partial(api.get, path), lambda known: known["state"] in ("done", "failed"), say)
        except ProblemError as problem:
            if problem.slug != "not-found":
                raise
            continue
        say(run)
        return run
    raise Failure("The server was restarted again and again, and each time the backtest with it: run it once more.")


@contextmanager
def _progress() -> Iterator[Say]:
    """A bar of the orders that were looked at, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    what = TextColumn("{task.description}", markup=False)
    notes, named = output.notes(), "it"
    bar = Progress(
        what, BarColumn(), MofNCompleteColumn(), console=notes, transient=True, disable=not notes.is_terminal
    )

    def say(run: Mapping[str, Any]) -> None:
        nonlocal named
        named = f"backtest {run['id']}"
        bar.update(task, description=f"Backtest {run['state']}", completed=run["done"], total=run["orders"] or None)

    try:
        with bar:
            task = bar.add_task("Backtest", total=None)
            yield say
    except KeyboardInterrupt as error:
        raise Failure(f"Not waited for any longer, but {named} goes on.", 130) from error


def _show_report(run: Mapping[str, Any]) -> None:
    report = run["report"]
    output.show(output.fields(_summary(run, report)))
    rows = report["decisions"]
    if not rows:
        return
    output.show(output.heading("Decisions"))
    # Why it would have canceled is the same for all; why it would not have differs.
    has_reasons = any(row["outcome"] != "shadowed" for row in rows)
    output.show(output.table((*DECISIONS, DETAIL) if has_reasons else DECISIONS, rows))
    if len(rows) < report["decisions_total"]:
        output.say(f"These are the first {len(rows)} of {report['decisions_total']}: --limit lists more.")


def _summary(run: Mapping[str, Any], report: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    happened = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in report["happened"].items())
    counts = ("would_cancel", "in_time", "unknown", "too_late", "already_being_canceled", "failed")
    pairs: list[tuple[str, output.Cell]] = [
        ("backtest", run["id"]),
        ("policy", run["policy"]),
        ("period", f"{shown(run['since'])} to {shown(run['until'])}" if run["since"] else None),
        ("orders", f"{report['orders']:,}"),
        ("events", f"{report['events']:,}"),
        *((name.replace("_", " "), f"{report[name]:,}") for name in counts),
        ("happened to them", happened),
        ("first at", shown(report["first_at"])),
        ("last at", shown(report["last_at"])),
    ]
    if report["halted_by"]:
        before = f"{report['before_halt']:,} of {report['would_cancel']:,}"
        pairs += [
            ("halted by", report["halted_by"]),
            ("halted at", shown(report["halted_at"])),
            ("before halt", before),
        ]
    return pairs


def _happened(row: Mapping[str, Any]) -> str:
    by = f" by {row['canceled_by']}" if row.get("canceled_by") else ""
    return f"{row['happened'].replace('_', ' ')}{by}"


DECISIONS = (
    Column("TIME", lambda row: shown(row["at"])),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("OUTCOME", lambda row: output.word(row["outcome"])),
    Column("VERDICT", lambda row: output.word(row["cancelable"])),
    Column("STATUS THEN", lambda row: row["status"], wraps=True),
    Column("HAPPENED", _happened, wraps=True),
)
DETAIL = Column("DETAIL", lambda row: row["detail"], wraps=True)
