"""`rescind pause` and `rescind resume`: stop and start sending, or the actions of policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import client, output
from app.cli.client import Api
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import shown

OneAccount = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only this account.")]
OnePolicy = Annotated[str | None, typer.Option(metavar="ID", help="Only the actions of this policy.")]
AllPolicies = Annotated[
    bool,
    typer.Option("--policies", metavar="", help="Only the actions of policies. Default without the three: everything."),
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
    reason: Annotated[str | None, typer.Option(help="Why; recorded in the log.")] = None,
    json: Json = False,
) -> None:
    """Stop sending to the providers; webhooks are still received."""
    body = {**_scope(account, policy, policies=policies), **({"reason": reason} if reason is not None else {})}
    client.post("/v1/pause", body, _show, as_json=json)


def resume(
    account: OneAccount = None, policy: OnePolicy = None, policies: AllPolicies = False, json: Json = False
) -> None:
    """End a pause that was started with the same options."""

    def show(api: Api, result: Mapping[str, Any]) -> None:
        for row in result["resumed"]:
            output.say(f"Resumed: {scope_in_words(row['scope'])}, paused by {row['by']} ({row['reason']}).")
        if not result["resumed"]:
            what = f"account {account}" if account else f"policy {policy}" if policy else "everything"
            output.say(f"There was no pause of {'all policies' if policies else what}; nothing was resumed.")
        _show(api, result)

    client.post("/v1/resume", _scope(account, policy, policies=policies), show, as_json=json)


def scope_in_words(scope: str) -> str:
    """`policy unscheduled-48h`."""
    return {"all": "everything", "policies": "all policies"}.get(scope, scope.replace(":", " ", 1))


def _scope(account: str | None, policy: str | None, *, policies: bool) -> dict[str, Any]:
    if (account is not None) + (policy is not None) + policies > 1:
        raise typer.BadParameter("give only one of --account, --policy and --policies")
    if account is None and policy is None and not policies:
        return {"scope": "all"}
    return {"account": account, "policy": policy, "policies": policies}


def _show(_: Api, result: Mapping[str, Any]) -> None:
    if result["paused"]:
        output.show(output.table(COLUMNS, result["paused"]))
    else:
        output.say("Nothing is paused now.")
