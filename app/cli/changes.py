"""`rescind changes`: the audit trail of resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from app.cli import output
from app.cli.client import connect, write_list
from app.cli.options import Cursor, Everything, Json, Limit
from app.cli.output import Column
from app.cli.paging import LIMIT, Paging
from app.cli.times import shown

KindChoice = Literal["accounts", "endpoints", "policies", "subscriptions"]

COLUMNS = (
    Column("AT", lambda row: shown(row["at"])),
    Column("BY", lambda row: row["by"], wraps=True),
    Column("CHANGE", lambda row: row["action"]),
    Column("KIND", lambda row: row["kind"]),
    Column("ID", lambda row: row["id"], wraps=True),
    Column("VERSION", lambda row: str(row["version"])),
)


def changes(
    kind: Annotated[KindChoice | None, typer.Option(help="Only changes of resources of this kind.")] = None,
    id: Annotated[str | None, typer.Option(metavar="ID", help="Only of this resource; needs --kind.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Only with the API key of this name.")] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List who changed which resource, the newest first; with --id also what changed."""
    if id is not None and kind is None:
        raise typer.BadParameter("--id needs --kind")
    query = {"kind": kind, "id": id, "by": by}
    columns = COLUMNS if id is None else (*COLUMNS[:3], COLUMNS[-1], Column("BODY", _body, wraps=True))
    with connect(json) as api:
        write_list(api, "/v1/changes", query, Paging(limit, everything, cursor), columns, as_json=json)


def _body(row: Mapping[str, Any]) -> str:
    """The resource as it was changed to, without its id."""
    return output.json_text({name: value for name, value in row["body"].items() if name != "id"}, indent=0)
