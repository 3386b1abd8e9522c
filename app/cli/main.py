"""The `rescind` command."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import sys

import typer

from app.cli import (
    backups,
    cancellations,
    doctor,
    events,
    handlers,
    init,
    keys,
    local,
    new_handler,
    order_probes,
    orders,
    output,
    pauses,
    policies,
    receipts,
    registrations,
    resources,
    sandbox,
    sandbox_act,
)
from app.cli.client import connect
from app.cli.env_file import load_env_file
from app.cli.failure import MISUSED, Failure
from app.cli.options import Json

HERE, THERE = "On this machine", "At a server (RESCIND_URL, RESCIND_API_KEY)"

app = typer.Typer(
    name="rescind",
    help="Know for every order whether it can still be canceled, until when, and why; and cancel it in time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

here, there = app.command(rich_help_panel=HERE), app.command(rich_help_panel=THERE)
here(init.init)
here(local.serve)
sandbox.app.command("act")(sandbox_act.act)
app.add_typer(sandbox.app, name="sandbox", rich_help_panel=HERE)
here(new_handler.new_handler)
app.add_typer(handlers.app, name="handlers", rich_help_panel=HERE)
here(local.demo)
here(local.migrate)
here(doctor.doctor)
here(local.rebuild)
here(backups.backup)
here(backups.restore)
there(resources.apply)
there(resources.diff)
app.add_typer(resources.accounts, name="accounts", rich_help_panel=THERE)
for _name, _command in registrations.COMMANDS.items():
    resources.endpoints.command(_name)(_command)
app.add_typer(resources.endpoints, name="endpoints", rich_help_panel=THERE)
app.add_typer(policies.app, name="policies", rich_help_panel=THERE)
app.add_typer(keys.app, name="keys", rich_help_panel=THERE)
orders.app.command("refresh")(order_probes.refresh_orders)
orders.app.command("import")(order_probes.import_orders)
app.add_typer(orders.app, name="orders", rich_help_panel=THERE)
there(cancellations.cancel)
app.add_typer(cancellations.app, name="cancellations", rich_help_panel=THERE)
app.add_typer(events.app, name="events", rich_help_panel=THERE)
app.add_typer(receipts.app, name="receipts", rich_help_panel=THERE)
there(pauses.pause)
there(pauses.resume)


@there
def version(json: Json = False) -> None:
    """Show the release of this program, and the server's."""
    from app import __version__

    known: dict[str, str | None] = {"client": __version__, "server": None}
    try:
        with connect() as api:
            known |= {"server": api.get("/openapi.json")["info"]["version"], "url": api.url}
    except Failure as failure:
        known["fault"] = str(failure)
    if json:
        output.print_json(known)
        return
    output.show(f"rescind {known['client']}")
    output.show(f"server  {known['server'] or 'none: ' + output.clean(known['fault'])}")


def main() -> None:
    """Run a command; what goes wrong as foreseen ends in a sentence and an exit code."""
    try:
        load_env_file()
        app()
    except Failure as failure:
        output.complain(str(failure))
        sys.exit(failure.code)
    except UnicodeEncodeError as error:
        output.complain(f"An argument holds {error.object[error.start : error.end]!a}, which is no character of UTF-8.")
        sys.exit(MISUSED)
