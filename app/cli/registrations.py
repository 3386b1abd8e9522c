"""`rescind endpoints registrations`, `register`, `unregister`: what the provider sends to an endpoint."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from app.cli import output
from app.cli.client import connect, segment
from app.cli.failure import FAILED, Failure
from app.cli.options import Json
from app.cli.output import Column
from app.cli.resources import EndpointId

REGISTRATIONS = (
    Column("Topic", lambda row: row["topic"]),
    Column("Id at the provider", lambda row: row["id"]),
    Column("URL", lambda row: row["url"]),
)


def show_registrations(id: EndpointId, json: Json = False) -> None:
    """Ask the provider which webhooks it sends to an endpoint."""
    with connect(json) as api:
        found = api.get(f"/v1/endpoints/{segment(id)}/registrations")
    if json:
        output.print_json(found)
    elif not found["error"]:
        _show(found)
    if found["error"]:
        raise Failure(f"The provider could not be asked: {found['error']}.", FAILED)
    if found["missing"]:
        raise Failure(
            f"Not registered: {', '.join(found['missing'])}. `rescind endpoints register {id}` does it.", FAILED
        )


def register(id: EndpointId, json: Json = False) -> None:
    """Register an endpoint at its provider: the topics that are missing there."""
    with connect(json) as api:
        found = api.post(f"/v1/endpoints/{segment(id)}/register")
    if json:
        output.print_json(found)
        return
    _show(found)
    output.say(f"Registered now: {', '.join(found['restored'])}." if found["restored"] else "Nothing was missing.")


def unregister(id: EndpointId, json: Json = False) -> None:
    """Have the provider send nothing more to an endpoint."""
    with connect(json) as api:
        found = api.post(f"/v1/endpoints/{segment(id)}/unregister")
    if json:
        output.print_json(found)
        return
    output.say(f"The provider sends {len(found['removed'])} topics no more to endpoint {id}.")


def _show(found: dict[str, Any]) -> None:
    if found["registered"]:
        output.show_rows(REGISTRATIONS, found["registered"])
    else:
        output.show(Text(f"The provider sends nothing to {found['url']}."))


COMMANDS = {"registrations": show_registrations, "register": register, "unregister": unregister}
"""Of `rescind endpoints`."""
