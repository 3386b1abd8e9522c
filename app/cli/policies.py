"""`rescind policies`: policies, their decisions, tests and backtests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import client, completion, output
from app.cli.backtests import backtest
from app.cli.client import Api, connect, segment, write_list
from app.cli.confirm import Yes
from app.cli.decisions import WOULD_ACT, clauses_table, decision_in_words, outcome_in_words
from app.cli.evidence import verdict_of
from app.cli.failure import FAILED
from app.cli.options import Cursor, Everything, Json, Limit
from app.cli.output import Column
from app.cli.paging import LIMIT, Paging
from app.cli.pauses import scope_in_words
from app.cli.policy_files import File, OfSeveral, choose, read_fixture
from app.cli.times import ahead, rfc3339, shown

app = typer.Typer(help="Show policies, and test them; `rescind apply` creates them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The policy's id.", autocompletion=completion.policies)]

SHADOW = "shadow"
"""The mode of a policy that names none."""


@app.command("list")
def list_policies(json: Json = False) -> None:
    """List policies, and which of them are paused or fail on every order."""
    client.get_rows("/v1/policies", lambda _, result: output.show_rows(POLICIES, result["data"]), as_json=json)


@app.command("show")
def show_policy(id: Id, json: Json = False) -> None:
    """Show a policy: its condition, its moment, its limits, and whether it is paused."""
    client.get(f"/v1/policies/{segment(id)}", _show, as_json=json)


@app.command("delete")
def delete_policy(id: Id, yes: Yes = False) -> None:
    """Delete a policy; its decisions stay in the log, and its cancellations continue."""
    consequence = f"Policy {id} is deleted: its decisions stay in the log, and its cancellations continue."
    client.delete(f"/v1/policies/{segment(id)}", f"Policy {id} is deleted.", consequence, yes=yes)


@app.command("decisions")
def list_decisions(
    id: Id,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List the decisions of a policy, the newest first."""
    paging = Paging(limit, everything, cursor)
    with connect(json) as api:
        write_list(api, f"/v1/policies/{segment(id)}/decisions", {}, paging, DECISIONS, as_json=json)


@app.command("test")
def evaluate_policy(
    file: File,
    account: Annotated[
        str | None,
        typer.Argument(
            metavar="ACCOUNT", help="The account that the order belongs to.", autocompletion=completion.accounts
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Argument(metavar="ORDER", help="The provider's id of the order, or any alias.")
    ] = None,
    fixture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A made-up order instead (JSON or YAML): account, order; optional: tags, duplicates, event.",
        ),
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(parser=ahead, metavar="TIME", help="As of this time; a duration counts from now.")
    ] = None,
    policy: OfSeveral = None,
    json: Json = False,
) -> None:
    """Evaluate a policy on one order; the exit code is 0 if the policy would cancel it, else 1."""
    if (fixture is None) == (account is None) or (account is None) != (order is None):
        raise typer.BadParameter("give an account and an order of it, or --fixture")
    chosen = choose(file, policy)
    body: dict[str, Any] = {"policy": chosen.body, "account": account, "order": order, "at": at and rfc3339(at)}
    if fixture is not None:
        body["fixture"] = read_fixture(fixture)
    with connect(json) as api:
        chosen.check(api)
        with chosen.placed():
            test = api.post(f"{chosen.path}/test", body)
    if json:
        output.print_json(test)
    else:
        _show_test(test)
    if test["outcome"] != WOULD_ACT:
        raise typer.Exit(FAILED)


app.command("backtest")(backtest)


def _show(_: Api, policy: Mapping[str, Any]) -> None:
    output.show(output.fields(_fields(policy)))
    output.show(output.heading("Condition"), *(f"  {output.clean(line)}" for line in policy["when"].splitlines()))
    limits = {name: value for name, value in policy.get("limits", {}).items() if value is not None}
    if limits:
        output.show(output.heading("Limits"))
        output.show(output.fields((f"  {name.replace('_', ' ')}", f"{value}") for name, value in limits.items()))
    if failing := policy.get("failing"):
        latest = f"{failing['account']} {failing['order']}, {shown(failing['at'])}"
        output.show(
            output.heading("FAILING: its last decisions all failed"),
            output.fields([("  latest", latest), ("  why", failing["detail"])]),
        )
    if pause := policy.get("paused"):
        pairs = (("what", scope_in_words(pause["scope"])), ("since", shown(pause["since"])))
        more = (("by", pause["by"]), ("why", pause["reason"]))
        output.show(output.heading("Paused"), output.fields((f"  {name}", value) for name, value in (*pairs, *more)))


def _show_test(test: Mapping[str, Any]) -> None:
    outcome = Text.assemble(output.word(test["outcome"]), f": {outcome_in_words(test)}")
    pairs: list[tuple[str, output.Cell]] = [
        ("policy", test["policy"]),
        ("account", test["account"]),
        ("order", test["order"]),
        ("as of", shown(test["at"])),
        ("outcome", outcome),
        ("verdict", verdict_of(test["verdict"])),
    ]
    output.show(output.fields(pairs))
    output.show(output.heading("Clauses"), clauses_table(test["clauses"]))


def _fields(policy: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    named = ("wait", "before_close", "duplicates_within", "approve_within")
    return [
        ("id", policy["id"]),
        ("description", policy.get("description")),
        ("mode", output.word(policy.get("mode", SHADOW))),
        ("accounts", ", ".join(policy["accounts"])),
        ("on", ", ".join(policy.get("on", ()))),
        *((name.replace("_", " "), policy.get(name)) for name in named),
        ("reason", policy["cancel"]["reason"]),
        ("note", policy["cancel"].get("note")),
        ("version", str(policy["version"])),
    ]


def _state_of(policy: Mapping[str, Any]) -> str:
    """Its state; `FAILING` first: a policy that fails on every order does nothing, paused or not."""
    paused = policy.get("paused")
    states = (policy.get("failing") and "FAILING", paused and f"paused by {paused['by']}")
    return ", ".join(state for state in states if state)


POLICIES = (
    Column("ID", lambda row: row["id"]),
    Column("MODE", lambda row: output.word(row.get("mode", SHADOW))),
    Column("ACCOUNTS", lambda row: ", ".join(row["accounts"]), wraps=True),
    Column("WHEN", lambda row: " ".join(row["when"].split()), wraps=True),
    Column("STATE", _state_of),
)
DECISIONS = (
    Column("TIME", lambda row: shown(row["received_at"])),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("OUTCOME", lambda row: output.word(row["data"]["outcome"])),
    Column("DETAIL", lambda row: decision_in_words(row["data"]), wraps=True),
)
