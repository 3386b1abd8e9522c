"""`rescind apply` and `diff`: accounts, endpoints, policies and subscriptions as a file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.accounts import show_warnings
from app.cli.client import connect
from app.cli.failure import FAILED, MISUSED, WAYS_OUT, Failure, ProblemError, untested
from app.cli.options import Json
from app.cli.resource_files import read_resources, with_places

File = Annotated[
    Path, typer.Option("--file", "-f", metavar="FILE", help="The resource file (YAML or JSON); - is standard input.")
]

_SINGULAR = {
    "accounts": "account",
    "endpoints": "endpoint",
    "policies": "policy",
    "subscriptions": "subscription",
}
_SIGNS = {"create": "+", "update": "~", "delete": "-", "unchanged": " "}
_ABSENT = object()


def apply(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only show what would change.")] = False,
    prune: Annotated[bool, typer.Option("--prune", metavar="", help="Delete what the file does not name.")] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", metavar="", help="Also enforce policies that were never backtested or shadowed; do not ask."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Create, update or delete the resources that a file declares, and show the changes."""
    _apply(file, dry_run=dry_run, prune=prune, confirm=yes, as_json=json)


def diff(
    file: File,
    prune: Annotated[
        bool, typer.Option("--prune", metavar="", help="Also show what `apply --prune` would delete.")
    ] = False,
    json: Json = False,
) -> None:
    """Show how a file differs from the server; the exit code is 0 without differences, 1 with, 2 on an error."""
    try:
        plan = _apply(file, dry_run=True, prune=prune, as_json=json)
    except Failure as failure:
        failure.code = MISUSED
        raise
    if any(change["action"] != "unchanged" for change in plan["changes"]):
        raise typer.Exit(FAILED)


def changed_fields(before: object, after: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """(path, before, after) of every value that differs; an absent value is the empty string."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            yield from changed_fields(before.get(key, _ABSENT), after.get(key, _ABSENT), inner)
    elif before != after:
        yield path, "" if before is _ABSENT else before, "" if after is _ABSENT else after


def _apply(file: Path, *, dry_run: bool, prune: bool, as_json: bool, confirm: bool = False) -> dict[str, Any]:
    resources = read_resources(Path("/dev/stdin") if str(file) == "-" else file)
    body = {"resources": resources.resources, "dry_run": dry_run, "prune": prune, "confirm": confirm}
    with connect(as_json) as api:
        try:
            plan: dict[str, Any] = api.post("/v1/apply", body)
        except ProblemError as problem:
            if problem.slug != "confirmation-needed":
                raise with_places(problem, resources) from problem
            _ask(problem)
            plan = api.post("/v1/apply", {**body, "confirm": True})
    if as_json:
        output.print_json(plan)
    else:
        _show_plan(plan)
    return plan


def _ask(problem: ProblemError) -> None:
    """Ask a person whether to enforce untested policies. Raises `Failure` if not, or if nobody can be asked."""
    policies = [output.clean(policy) for policy in problem.document["policies"]]
    warning = untested(policies)
    if not (sys.stdin.isatty() and output.notes().is_terminal):
        raise ProblemError(f"{warning} {WAYS_OUT}", problem.document) from problem
    if not typer.confirm(f"{warning} Save {'it' if len(policies) == 1 else 'them'} anyway?", err=True):
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
        if change["secret"] is not None:
            output.show(Text(f"    secret: {change['secret']} (generated; not shown again)"))
        show_warnings(change["warnings"])
    counts = Counter(change["action"] for change in plan["changes"])
    names = {"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged"}
    summary = ", ".join(f"{counts[action]} {name}" for action, name in names.items())
    output.say(f"{'Would be: ' if plan['dry_run'] else ''}{summary}.")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], *, new: bool) -> Iterator[Text]:
    fields = ((path, _value(old), _value(value)) for path, old, value in changed_fields(before, after))
    # A default that is written out, such as an empty description, is shown as what is left out.
    changes = [(path, old, value) for path, old, value in fields if old != value]
    for path, old, value in changes:
        yield Text(f"    {path}: {value}" if new else f"    {path}: {old} -> {value}")
    if not changes:
        yield Text("    (only a secret, which is not shown, or the spelling of a value)")


def _value(value: object) -> str:
    return "(not set)" if value == "" else output.clean(output.json_text(value, indent=0))
