"""`rescind cancel` and `rescind cancellations`: request cancels, and see their results."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from app.cli import client, output
from app.cli.bulk_cancel import cancel_many
from app.cli.client import Api, connect, segment, write_list
from app.cli.confirm import Yes
from app.cli.evidence import show_evidence, verdict_fields
from app.cli.failure import FAILED, Failure, ProblemError
from app.cli.options import Cursor, Everything, Json, Limit, OfAccount, OfOrder, check_order
from app.cli.orders import Account, cancellation_fields, path_of, waits_for
from app.cli.output import Column
from app.cli.paging import LIMIT, Paging
from app.cli.times import ahead, rfc3339, shown
from app.cli.wait import Report, Waiting, interruptible, wait_for

app = typer.Typer(help="Show cancellations; approve, revoke or resolve them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The cancellation's id (can_…).")]
WaitTimeout = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="Wait no longer than this, such as 2m; implies --wait."),
]
OrderFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Many orders: one id on a line, CSV with a column `order`, or JSON Lines, each also with reason, note "
        "and deadline; - is standard input.",
    ),
]


# `rescind --help` must not load the models, so these are repeated here; tests compare them.
StateChoice = Literal[
    "rejected",
    "scheduled",
    "sending",
    "accepted",
    "succeeded",
    "refused",
    "indeterminate",
    "revoked",
    "expired",
    "failed",
]
WaitingChoice = Literal["approval", "send_slot", "probe", "retry", "throttled", "credentials", "result", "webhook"]
OutcomeChoice = Literal["succeeded", "refused"]


def cancel(
    account: Account,
    order: Annotated[
        str | None,
        typer.Argument(metavar="ORDER", help="The provider's id of the order, or any alias; or give --file."),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            help="Why: one of the provider's reasons, or free text if it has no list. Some providers require it."
        ),
    ] = "",
    note: Annotated[
        str | None,
        typer.Option(help="Free text; required if the provider requires it, rejected if it takes none."),
    ] = None,
    deadline: Annotated[
        datetime | None,
        typer.Option(
            parser=ahead, metavar="TIME", help="Do not send it after this time, such as 2h or 2030-01-31T16:00:00Z."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only show what would happen.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", metavar="", help="Send it even if the verdict is no; new evidence still stops it."),
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Repeated with the same key, the cancel is requested once.")
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", metavar="", help="Wait for its final state; the exit code is 0 only if it succeeded."),
    ] = False,
    wait_timeout: WaitTimeout = None,
    file: OrderFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Cancel an order, or all orders of a file; a cancel that cannot succeed is rejected at once, with the reason."""
    if (order is None) == (file is None):
        raise typer.BadParameter("give an order, or --file")
    waiting = Waiting(wait or wait_timeout is not None, wait_timeout)
    words = {"reason": reason, "note": note, "deadline": deadline and rfc3339(deadline)}
    with connect(json) as api:
        if order is not None:
            body = {**words, "dry_run": dry_run, "force": force}
            _cancel_one(api, path_of(account, order), body, idempotency_key, waiting, as_json=json)
            return
        if dry_run or force:
            raise typer.BadParameter("--dry-run and --force do not work with --file")
        shared = {name: value for name, value in words.items() if value}
        cancel_many(api, account, file or Path(), shared, idempotency_key, waiting, as_json=json, yes=yes)


def _cancel_one(
    api: Api, path: str, body: Mapping[str, Any], key: str | None, waiting: Waiting, *, as_json: bool
) -> None:
    try:
        result = api.post(f"{path}/cancellations", body, idempotency_key=key or str(uuid.uuid4()))
    except ProblemError as problem:
        if as_json:
            raise
        raise _rejected(api, problem) from problem
    if body["dry_run"]:
        _show_dry_run(api, result, as_json=as_json)
        return
    if waiting.wanted:
        own_path = f"/v1/cancellations/{segment(result['id'])}"
        with _progress(result["id"]) as report:
            result = wait_for(result, lambda: api.get(own_path), lambda row: bool(row["final"]), report, waiting.until)
    if as_json:
        output.print_json(result)
    else:
        _show_fields(api, result)
    if waiting.until is not None and not result["final"]:
        raise Failure(f"Not final yet; {_see(result['id'])}")
    if waiting.wanted and result["state"] != "succeeded":
        raise typer.Exit(FAILED)


@app.command("list")
def list_cancellations(
    account: OfAccount = None,
    order: OfOrder = None,
    state: Annotated[StateChoice | None, typer.Option(help="Only cancellations in this state.")] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="ID", help="Only cancellations that this policy requested.")
    ] = None,
    waiting: Annotated[
        WaitingChoice | None, typer.Option(help="Only cancellations that wait for this; approval is a person's.")
    ] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List cancellations, the newest first."""
    check_order(order, account)
    query = {"account": account, "order": order, "state": state, "policy": policy, "waiting": waiting}
    with connect(json) as api:
        write_list(api, "/v1/cancellations", query, Paging(limit, everything, cursor), COLUMNS, as_json=json)


@app.command("show")
def show_cancellation(id: Id, json: Json = False) -> None:
    """Show a cancellation, what it waits for, and its verdict with the evidence."""
    client.get(f"/v1/cancellations/{segment(id)}", _show, as_json=json)


@app.command("revoke")
def revoke_cancellation(id: Id, json: Json = False) -> None:
    """Revoke a cancellation that has not been sent."""
    client.post(f"/v1/cancellations/{segment(id)}/revoke", {}, _show_fields, as_json=json)


@app.command("approve")
def approve_cancellation(id: Id, json: Json = False) -> None:
    """Approve a policy's cancellation; `revoke` declines it."""
    client.post(f"/v1/cancellations/{segment(id)}/approve", {}, _show_fields, as_json=json)


@app.command("resolve")
def resolve_cancellation(
    id: Id,
    outcome: Annotated[OutcomeChoice, typer.Option(help="Its outcome at the provider.")],
    note: Annotated[str, typer.Option(help="How the outcome is known; recorded in the log.")],
    json: Json = False,
) -> None:
    """Record the outcome of a cancellation whose outcome is unknown."""
    body = {"outcome": outcome, "note": note}
    client.post(f"/v1/cancellations/{segment(id)}/resolve", body, _show_fields, as_json=json)


def _show_fields(_: Api, cancellation: Mapping[str, Any]) -> None:
    output.show(output.fields(cancellation_fields(cancellation)))


def _show(api: Api, cancellation: Mapping[str, Any]) -> None:
    _show_fields(api, cancellation)
    verdict = cancellation["verdict"]
    if verdict:
        output.show(output.heading("Verdict"), output.fields(verdict_fields(verdict)))
    show_evidence(api, list(dict.fromkeys([*(verdict or {"evidence": []})["evidence"], *cancellation["evidence"]])))


def _rejected(api: Api, problem: ProblemError) -> Failure:
    """Print the verdict with its evidence, or the live cancellation, if the problem names one; returns the error."""
    verdict, cancellation = problem.document.get("verdict"), problem.document.get("cancellation")
    if not verdict:
        if cancellation:
            _show_fields(api, cancellation)
        return problem
    output.show(output.fields([("rejected", cancellation and cancellation["id"]), *verdict_fields(verdict)]))
    show_evidence(api, verdict["evidence"])
    return Failure("The order cannot be canceled; nothing was sent.")


def _show_dry_run(api: Api, result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(result)
    else:
        meaning = {
            "send": "would be sent",
            "probe": "the provider would be probed first",
            "reject": "would be rejected",
        }[result["would"]]
        would = Text.assemble(output.word(result["would"]), f" ({meaning})")
        output.show(output.fields([("dry run", would), *verdict_fields(result["verdict"])]))
        show_evidence(api, result["verdict"]["evidence"])
    if result["would"] == "reject":
        raise typer.Exit(FAILED)


def _see(id: str) -> str:
    return f"`rescind cancellations show {id}` shows its state."


@contextmanager
def _progress(id: str) -> Iterator[Report]:
    """Report the state of a cancellation: as a spinner, or in a file as a line for each change."""
    last = ""

    def line(row: Mapping[str, Any]) -> str:
        why = f": {row['detail']}" if row["detail"] else ""
        return output.clean(f"{id} is {row['state']}, waiting for {waits_for(row['waiting'])}{why}")

    def print_change(row: Mapping[str, Any]) -> None:
        nonlocal last
        if line(row) != last:
            last = line(row)
            output.say(last)

    with interruptible(lambda: _see(id)):
        if not output.notes().is_terminal:
            yield print_change
            return
        with output.notes().status(Text(id)) as status:
            yield lambda row: status.update(Text(line(row)))


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("POLICY", lambda row: row["policy"]),
    Column("REQUESTED", lambda row: shown(row["requested_at"])),
    Column("DETAIL", lambda row: row["detail"] or waits_for(row["waiting"]), wraps=True),
)
