"""`rescind policies backtest`: what a policy would have done over the recorded log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.failure import Failure, ProblemError
from app.cli.options import Json, check_range
from app.cli.output import Column
from app.cli.paging import LIMIT
from app.cli.policy_files import Chosen, File, OfSeveral, choose
from app.cli.progress import progress
from app.cli.times import ago, rfc3339, shown
from app.cli.wait import Report, Resource, interruptible, wait_for

STARTS_MAX = 3
"""How often a backtest is started that ends with a restart of the server."""
LISTED_MAX = 100_000


def backtest(
    file: File,
    since: Annotated[
        datetime | None,
        typer.Option(parser=ago, metavar="TIME", help="When the policy starts. Default: 90 days before the end."),
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=ago, metavar="TIME", help="The end. Default: now.")] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=0, max=LISTED_MAX, help="How many decisions are listed, the earliest first; the counts cover all."
        ),
    ] = LIMIT,
    policy: OfSeveral = None,
    json: Json = False,
) -> None:
    """Run a policy over the recorded log, and show what it would have done."""
    check_range(since, until)
    chosen = choose(file, policy)
    body = {
        "policy": chosen.body,
        "since": since and rfc3339(since),
        "until": until and rfc3339(until),
        "listed": limit,
    }
    id = ""

    def report(run: Mapping[str, Any]) -> None:
        nonlocal id
        id = run["id"]
        bar.to(run["done"], total=run["orders"] or None, label=f"Backtest {run['state']}")

    with connect(json) as api:
        chosen.check(api)
        with interruptible(lambda: f"Its id is {id}." if id else ""), progress("Backtest", None, quiet=True) as bar:
            run = _run(api, chosen, body, report)
    if json:
        output.print_json(run)
    if run["state"] == "canceled":
        raise Failure("The backtest was canceled.")
    if run["state"] == "failed":
        raise Failure(f"The backtest failed: {run['failure']}")
    if not json:
        _show_report(run)


def _run(api: Api, chosen: Chosen, body: Mapping[str, Any], report: Report) -> Resource:
    """Run it to its end. A restart of the server ends it, and it starts again."""
    for _ in range(STARTS_MAX):
        with chosen.placed():
            run = api.post(f"{chosen.path}/backtest", body)
        path = f"{chosen.path}/backtests/{segment(run['id'])}"
        try:
            run = wait_for(
                run, partial(api.get, path), lambda run: run["state"] in ("done", "failed", "canceled"), report
            )
        except ProblemError as problem:
            if problem.slug != "not-found":
                raise
            continue
        report(run)
        return run
    raise Failure(f"The server was restarted {STARTS_MAX} times while the backtest ran: run it again.")


def _has_ended(run: Mapping[str, Any]) -> bool:
    return run["state"] in ("done", "failed", "canceled")


def _show_report(run: Mapping[str, Any]) -> None:
    report = run["report"]
    output.show(output.fields(_summary(run, report)))
    rows = report["decisions"]
    if not rows:
        return
    output.show(output.heading("Decisions"))
    # The detail differs only for orders that it would not have canceled.
    has_reasons = any(row["outcome"] != "shadowed" for row in rows)
    output.show(output.table((*DECISIONS, DETAIL) if has_reasons else DECISIONS, rows))
    if len(rows) < report["decisions_total"]:
        output.say(f"These are the first {len(rows)} of {report['decisions_total']} decisions: --limit lists more.")


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
