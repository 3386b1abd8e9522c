"""`rescind apply`, `diff`, `accounts` and `endpoints`: what the operator configures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.evidence import block
from app.cli.failure import FAILED, MISUSED, WAYS_OUT, Failure, ProblemError, unproven
from app.cli.faulty_files import read_resources, with_places
from app.cli.options import Json
from app.cli.output import Column, Row
from app.cli.times import shown_with_distance

accounts = typer.Typer(help="Show and remove accounts; `rescind apply` makes them.", no_args_is_help=True)
endpoints = typer.Typer(help="Show and remove endpoints; `rescind apply` makes them.", no_args_is_help=True)

File = Annotated[
    Path, typer.Option("--file", "-f", metavar="FILE", help="The resource file (YAML or JSON); - is standard input.")
]
AccountId = Annotated[str, typer.Argument(metavar="ID", help="The account's id.")]
EndpointId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]

_SINGULAR = {"accounts": "account", "endpoints": "endpoint", "policies": "policy"}
_SIGNS = {"create": "+", "update": "~", "delete": "-", "unchanged": " "}
_ABSENT = object()


def apply(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only show what would change.")] = False,
    prune: Annotated[bool, typer.Option("--prune", metavar="", help="Remove what the file does not name.")] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", metavar="", help="Enforce also policies of which nobody has seen what they do; ask nothing."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring accounts, endpoints and policies to what a file says, and show what that changed."""
    _apply(file, dry_run=dry_run, prune=prune, confirm=yes, as_json=json)


def diff(
    file: File,
    prune: Annotated[
        bool, typer.Option("--prune", metavar="", help="Show also what `apply --prune` would remove.")
    ] = False,
    json: Json = False,
) -> None:
    """Show how a file differs from what is in force; the exit code is 0 if it does not, 1 if it does, 2 on an error."""
    try:
        plan = _apply(file, dry_run=True, prune=prune, as_json=json)
    except Failure as failure:
        failure.code = MISUSED
        raise
    if any(change["action"] != "unchanged" for change in plan["changes"]):
        raise typer.Exit(FAILED)


@accounts.command("list")
def list_accounts(json: Json = False) -> None:
    """List accounts, and how sending stands for each."""
    with connect(json) as api:
        _show_all(api.get("/v1/accounts"), ACCOUNTS, as_json=json)


@accounts.command("show")
def show_account(id: AccountId, json: Json = False) -> None:
    """Show an account without its secrets, and how sending stands for it."""
    with connect(json) as api:
        account = api.get(f"/v1/accounts/{segment(id)}")
    if json:
        output.print_json(account)
        return
    lane = account.pop("lane", None)
    output.show(output.fields(_resource_fields(account)))
    if lane is not None:
        output.show(output.heading("Lane"), output.fields(_lane_fields(lane)))
    show_warnings(account.get("warnings", ()))
    for title in ("config", "rules", "limits"):
        if account.get(title):
            output.show(output.heading(title.capitalize()), block(account[title]))


@accounts.command("delete")
def delete_account(id: AccountId) -> None:
    """Remove an account; its orders and events stay."""
    with connect() as api:
        api.delete(f"/v1/accounts/{segment(id)}")
    output.say(f"Account {id} is removed.")


@endpoints.command("list")
def list_endpoints(json: Json = False) -> None:
    """List endpoints with their webhook URLs."""
    with connect(json) as api:
        answer = api.get("/v1/endpoints")
        base = answer["data"] and not json and public_url(api)
    url = Column("URL", lambda row: f"{base}/webhooks/{row['id']}")
    _show_all(answer, (*ENDPOINTS, url), as_json=json)


@endpoints.command("show")
def show_endpoint(id: EndpointId, json: Json = False) -> None:
    """Show an endpoint and the URL that its provider must call."""
    with connect(json) as api:
        endpoint = api.get(f"/v1/endpoints/{segment(id)}")
        if json:
            output.print_json(endpoint)
            return
        url = f"{public_url(api)}/webhooks/{segment(id)}"
    output.show(output.fields([("url", url), *_resource_fields(endpoint)]))
    if endpoint.get("verify"):
        output.show(output.heading("Verify"), block(endpoint["verify"]))


@endpoints.command("delete")
def delete_endpoint(id: EndpointId) -> None:
    """Remove an endpoint; its URL answers 404 from then on."""
    with connect() as api:
        api.delete(f"/v1/endpoints/{segment(id)}")
    output.say(f"Endpoint {id} is removed.")


def public_url(api: Api) -> str:
    """Where providers reach the server, as far as it knows; else where we do."""
    servers: Sequence[Mapping[str, Any]] = api.get("/openapi.json").get("servers") or ({"url": api.url},)
    return str(servers[0]["url"]).rstrip("/")


def changed_fields(before: object, after: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """(path, before, after) of every value that is not the same; what is absent is the empty string."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            yield from changed_fields(before.get(key, _ABSENT), after.get(key, _ABSENT), inner)
    elif before != after:
        yield path, "" if before is _ABSENT else before, "" if after is _ABSENT else after


def show_warnings(warnings: Sequence[str]) -> None:
    """Show what an operator should change although it works."""
    for text in warnings:
        output.show(Text(f"Warning: {output.clean(text)}", style="yellow"))


def _apply(file: Path, *, dry_run: bool, prune: bool, as_json: bool, confirm: bool = False) -> dict[str, Any]:
    given = read_resources(Path("/dev/stdin") if str(file) == "-" else file)
    body = {"resources": given.resources, "dry_run": dry_run, "prune": prune, "confirm": confirm}
    with connect(as_json) as api:
        try:
            plan: dict[str, Any] = api.post("/v1/apply", body)
        except ProblemError as problem:
            if problem.slug != "confirmation-needed":
                raise with_places(problem, given) from problem
            _ask(problem)
            plan = api.post("/v1/apply", {**body, "confirm": True})
    if as_json:
        output.print_json(plan)
    else:
        _show_plan(plan)
    return plan


def _ask(problem: ProblemError) -> None:
    """Ask a person whether policies shall be enforced of which nobody has seen what they do. Raises `Failure`."""
    policies = [output.clean(each) for each in problem.document["policies"]]
    said = unproven(policies)
    if not (sys.stdin.isatty() and output.notes().is_terminal):
        raise ProblemError(f"{said} {WAYS_OUT}", problem.document) from problem
    if not typer.confirm(f"{said} Save {'it' if len(policies) == 1 else 'them'} all the same?", err=True):
        raise Failure("Nothing was changed.") from problem


def _show_plan(plan: Mapping[str, Any]) -> None:
    for change in plan["changes"]:
        action = change["action"]
        style = output.word(action).style
        named = f"{_SINGULAR.get(change['kind'], change['kind'])} {output.clean(change['id'])}"
        output.show(Text(f"{_SIGNS[action]} {action:<9}  {named}", style=style))
        if action == "update" or (action == "create" and plan["dry_run"]):
            for line in _differences(change["before"] or {"id": change["id"]}, change["after"], new=action == "create"):
                output.show(line)
        show_warnings(change["warnings"])
    counts = {action: sum(each["action"] == action for each in plan["changes"]) for action in _SIGNS}
    done = "Would be: " if plan["dry_run"] else ""
    names = {"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged"}
    output.say(done + ", ".join(f"{counts[action]} {names[action]}" for action in _SIGNS) + ".")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], *, new: bool) -> Iterator[Text]:
    found = list(changed_fields(before, after))
    for path, old, value in found:
        yield Text(f"    {path}: {_value(value)}" if new else f"    {path}: {_value(old)} -> {_value(value)}")
    if not found:
        yield Text("    (only a secret, which is not shown, or how a value is written)")


def _value(value: object) -> str:
    return "(not set)" if value == "" else output.clean(output.json_text(value, indent=0))


def _show_all(answer: Mapping[str, Any], columns: Sequence[Column], *, as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    else:
        output.show_rows(columns, answer["data"])


def _resource_fields(resource: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    return [(name, str(value)) for name, value in resource.items() if not isinstance(value, dict | list)]


def _lane_fields(lane: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    return [
        ("state", output.word(lane["state"])),
        ("why", lane["reason"]),
        ("until", shown_with_distance(lane["until"])),
        ("calls out", str(lane["running"])),
        ("window", f"{lane['used']} of {lane['limit']} calls used"),
    ]


def _lane(row: Row, name: str) -> Any:
    return (row.get("lane") or {}).get(name, "")


ACCOUNTS = (
    Column("ID", lambda row: row["id"]),
    Column("PROVIDER", lambda row: row["provider"]),
    Column("SENDING", lambda row: output.word(_lane(row, "state"))),
    Column("CALLS USED", lambda row: f"{_lane(row, 'used')} of {_lane(row, 'limit')}"),
    Column("VERSION", lambda row: str(row["version"])),
    Column("WHY", lambda row: _lane(row, "reason"), wraps=True),
)
ENDPOINTS = (
    Column("ID", lambda row: row["id"]),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("VERIFY", lambda row: (row.get("verify") or {}).get("scheme", "handler")),
    Column("VERSION", lambda row: str(row["version"])),
)
