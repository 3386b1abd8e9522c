"""`rescind pause` and `rescind resume`: stop and start sending, or what policies do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import shown

OneAccount = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only this account.")]
OnePolicy = Annotated[str | None, typer.Option(metavar="ID", help="Only what this policy does.")]
AllPolicies = Annotated[
    bool, typer.Option("--policies", metavar="", help="Only what policies do; with none of the three, everything.")
]

COLUMNS = (
    Column("PAUSED", lambda row: scope_in_words(row["scope"])),
    Column("SINCE", lambda row: shown(row["since"])),
    Column("BY", lambda row: row["by"]),
    Column("WHY", lambda row: row["reason"], wraps=True),
)


def pause(
    account: OneAccount = None,
    policy: OnePolicy = None,
    policies: AllPolicies = False,
    reason: Annotated[str | None, typer.Option(help="Why; it goes into the log.")] = None,
    json: Json = False,
) -> None:
    """Stop sending to the providers; webhooks are still taken in."""
    body = {**_scope(account, policy, policies=policies), **({"reason": reason} if reason is not None else {})}
    with connect(json) as api:
        _show(api.post("/v1/pause", body), as_json=json)


def resume(
    account: OneAccount = None, policy: OnePolicy = None, policies: AllPolicies = False, json: Json = False
) -> None:
    """Start again what was paused by the same name."""
    body = _scope(account, policy, policies=policies)
    with connect(json) as api:
        answer = api.post("/v1/resume", body)
    if not json:
        for each in answer["resumed"]:
            output.say(f"Resumed: {scope_in_words(each['scope'])}, paused by {each['by']} ({each['reason']}).")
        if not answer["resumed"]:
            named = f"account {account}" if account else f"policy {policy}" if policy else "everything"
            output.say(f"There was no pause of {'all policies' if policies else named}; nothing was resumed.")
    _show(answer, as_json=json)


def scope_in_words(scope: str) -> str:
    """`policy unscheduled-48h`."""
    return {"all": "everything", "policies": "all policies"}.get(scope, scope.replace(":", " ", 1))


def _scope(account: str | None, policy: str | None, *, policies: bool) -> dict[str, Any]:
    if (account is not None) + (policy is not None) + policies > 1:
        raise typer.BadParameter("give one of --account, --policy and --policies")
    if account is None and policy is None and not policies:
        return {"scope": "all"}
    return {"account": account, "policy": policy, "policies": policies}


def _show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    elif answer["paused"]:
        output.show(output.table(COLUMNS, answer["paused"]))
    else:
        output.say("Nothing is paused now.")
