"""`rescind cancel` and `rescind cancellations`: ask for orders to be canceled, and follow what becomes of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.bulk_cancel import cancel_many
from app.cli.client import Api, connect, segment, write_list
from app.cli.evidence import events_of, spelled, verdict_fields
from app.cli.failure import FAILED, Failure, ProblemError
from app.cli.options import LIMIT, Cursor, Everything, Json, Limit, OfAccount, OfOrder, Paging, check_order
from app.cli.orders import Account, cancellation_fields, path_of, waits_for
from app.cli.output import Column
from app.cli.times import ahead, rfc3339, shown
from app.cli.wait import Following, Known, Say, follow

app = typer.Typer(help="Follow cancellations, approve or withdraw them, settle them by hand.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The cancellation's id (can_…).")]
WaitTimeout = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="Follow it for no longer than this, such as 2m; implies --wait."),
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


class StateChoice(StrEnum):
    """States to choose from."""

    REJECTED = "rejected"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    INDETERMINATE = "indeterminate"
    REVOKED = "revoked"
    EXPIRED = "expired"
    FAILED = "failed"


class WaitingChoice(StrEnum):
    """What a cancellation can wait for."""

    APPROVAL = "approval"
    SEND_SLOT = "send_slot"
    PROBE = "probe"
    RETRY = "retry"
    THROTTLED = "throttled"
    CREDENTIALS = "credentials"
    RESULT = "result"
    WEBHOOK = "webhook"


class OutcomeChoice(StrEnum):
    """What a person can have found out."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"


def cancel(
    account: Account,
    order: Annotated[
        str | None,
        typer.Argument(metavar="ORDER", help="The provider's id of the order, or any alias; or give --file."),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            help="Why: the provider's own word where it has a list, else free text. Required where the provider does."
        ),
    ] = "",
    note: Annotated[
        str | None,
        typer.Option(help="Free text; required where the provider requires it, and refused where it takes none."),
    ] = None,
    deadline: Annotated[
        datetime | None,
        typer.Option(
            parser=ahead, metavar="TIME", help="Not sent after this time, such as 2h or 2030-01-31T16:00:00Z."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would become of it.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", metavar="", help="Send it although the verdict is no; new evidence still stops it."),
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Repeated with the same key, it is asked for only once.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", metavar="", help="Follow it to its end; the exit code is 0 only if it succeeded.")
    ] = False,
    wait_timeout: WaitTimeout = None,
    file: OrderFile = None,
    json: Json = False,
) -> None:
    """Cancel an order, or all that a file names, or learn at once why that cannot be."""
    if (order is None) == (file is None):
        raise typer.BadParameter("name an order, or give --file")
    following = Following(wait or wait_timeout is not None, wait_timeout)
    words = {"reason": reason, "note": note, "deadline": deadline and rfc3339(deadline)}
    with connect(json) as api:
        if order is not None:
            body = {**words, "dry_run": dry_run, "force": force}
            _cancel_one(api, path_of(account, order), body, idempotency_key, following, as_json=json)
            return
        if dry_run or force:
            raise typer.BadParameter("--dry-run and --force are for a single order, and not for --file")
        given = {name: value for name, value in words.items() if value}
        cancel_many(api, account, file or Path(), given, idempotency_key, following, as_json=json)


def _cancel_one(
    api: Api, path: str, body: Mapping[str, Any], key: str | None, following: Following, *, as_json: bool
) -> None:
    try:
        answer = api.post(f"{path}/cancellations", body, idempotency_key=key or str(uuid.uuid4()))
    except ProblemError as problem:
        if as_json:
            raise
        raise _refused(api, problem) from problem
    if body["dry_run"]:
        _show_dry_run(api, answer, as_json=as_json)
        return
    if following.wanted:
        with _progress() as say:
            answer = _follow(api, answer, say, following.until)
    if as_json:
        output.print_json(answer)
    else:
        output.show(output.fields(cancellation_fields(answer)))
    if following.until is not None and not answer["final"]:
        raise Failure(f"Not final yet, and it goes on: `rescind cancellations show {answer['id']}` says how it stands.")
    if following.wanted and answer["state"] != "succeeded":
        raise typer.Exit(FAILED)


@app.command("list")
def list_cancellations(
    account: OfAccount = None,
    order: OfOrder = None,
    state: Annotated[StateChoice | None, typer.Option(help="Only cancellations in this state.")] = None,
    policy: Annotated[str | None, typer.Option(metavar="ID", help="Only those that this policy asked for.")] = None,
    waiting: Annotated[
        WaitingChoice | None, typer.Option(help="Only those that wait for this; approval is a person's.")
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
    """Show a cancellation, what it waits for, and what it was judged by."""
    with connect(json) as api:
        known = api.get(f"/v1/cancellations/{segment(id)}")
        if json:
            output.print_json(known)
            return
        output.show(output.fields(cancellation_fields(known)))
        if known["verdict"]:
            output.show(output.heading("Judged by"), output.fields(verdict_fields(known["verdict"])))
        ids = list(dict.fromkeys([*(known["verdict"] or {"evidence": []})["evidence"], *known["evidence"]]))
        if ids:
            output.show(output.heading("Evidence"), *spelled(events_of(api, ids)))


@app.command("revoke")
def revoke_cancellation(id: Id, json: Json = False) -> None:
    """Withdraw a cancellation that has not been sent."""
    _settle(id, "revoke", {}, as_json=json)


@app.command("approve")
def approve_cancellation(id: Id, json: Json = False) -> None:
    """Let a policy have an order canceled; `revoke` says no."""
    _settle(id, "approve", {}, as_json=json)


@app.command("resolve")
def resolve_cancellation(
    id: Id,
    outcome: Annotated[OutcomeChoice, typer.Option(help="What became of it at the provider.")],
    note: Annotated[str, typer.Option(help="How that is known; it goes into the log.")],
    json: Json = False,
) -> None:
    """Settle by hand a cancellation whose outcome is unknown."""
    _settle(id, "resolve", {"outcome": outcome, "note": note}, as_json=json)


def _follow(api: Api, known: Known, say: Say, until: datetime | None) -> Known:
    path = f"/v1/cancellations/{segment(known['id'])}"
    return follow(known, lambda: api.get(path), lambda known: known["final"], say, until)


def _settle(id: str, how: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    with connect(as_json) as api:
        known = api.post(f"/v1/cancellations/{segment(id)}/{how}", body)
    if as_json:
        output.print_json(known)
    else:
        output.show(output.fields(cancellation_fields(known)))


def _refused(api: Api, problem: ProblemError) -> Failure:
    """Shows what the server says besides: the verdict with its evidence, or the cancellation that is in the way."""
    verdict, known = problem.document.get("verdict"), problem.document.get("cancellation")
    if not verdict:
        if known:
            output.show(output.fields(cancellation_fields(known)))
        return problem
    output.show(output.fields([("rejected", known and known["id"]), *verdict_fields(verdict)]))
    _show_evidence(api, verdict)
    return Failure("The order cannot be canceled; nothing was sent.")


def _show_evidence(api: Api, verdict: Mapping[str, Any]) -> None:
    if verdict["evidence"]:
        output.show(output.heading("Evidence"), *spelled(events_of(api, verdict["evidence"])))


def _show_dry_run(api: Api, answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    else:
        meaning = {
            "send": "it would be sent",
            "probe": "the provider would be asked first how the order stands",
            "reject": "it would be rejected",
        }[answer["would"]]
        would = Text.assemble(output.word(answer["would"]), f" ({meaning})")
        output.show(output.fields([("dry run", would), *verdict_fields(answer["verdict"])]))
        _show_evidence(api, answer["verdict"])
    if answer["would"] == "reject":
        raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[Say]:
    """Says how the cancellation stands: as a spinner, or in a file as a line for each change."""
    last: list[str] = []
    id: list[str] = []

    def line(known: Mapping[str, Any]) -> str:
        id[:] = [known["id"]]
        why = f": {known['detail']}" if known["detail"] else ""
        return output.clean(f"{known['id']} is {known['state']}, waiting for {waits_for(known['waiting'])}{why}")

    def say(known: Mapping[str, Any]) -> None:
        text = line(known)
        if [text] != last:
            last[:] = [text]
            output.say(text)

    try:
        if not output.notes().is_terminal:
            yield say
            return
        with output.notes().status(Text("asking")) as status:
            yield lambda known: status.update(Text(line(known)))
    except KeyboardInterrupt as error:
        what = f"`rescind cancellations show {id[0]}` says how it stands." if id else ""
        raise Failure(f"Not waited for any longer, but it goes on. {what}", 130) from error


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("POLICY", lambda row: row["policy"]),
    Column("REQUESTED", lambda row: shown(row["requested_at"])),
    Column("DETAIL", lambda row: row["detail"] or waits_for(row["waiting"]), wraps=True),
)
