"""The `rescind` command."""

from __future__ import annotations

import sys
from contextlib import suppress

import typer

from app.cli import (
    accounts,
    apply,
    backups,
    cancellations,
    changes,
    completion,
    doctor,
    drain,
    endpoints,
    events,
    explain,
    export,
    handlers,
    init,
    keys,
    listen,
    local,
    log,
    master_key,
    migrate,
    order_probes,
    orders,
    output,
    pauses,
    policies,
    prune,
    receipts,
    recipe_files,
    recipes,
    reprocess,
    sandbox,
    subscriptions,
    tail,
    top,
    trigger,
    try_,
    upgrade,
    version,
)
from app.cli.environment import load_env_file, load_secret_files
from app.cli.failure import FAILED, MISUSED, Failure
from app.cli.usage import usage_message

HERE, THERE = "On this machine", "At a server (RESCIND_URL, RESCIND_API_KEY)"

app = typer.Typer(
    name="rescind",
    help="Know for every order whether it can still be canceled, until when, and why; and cancel it in time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

here, there = app.command(rich_help_panel=HERE), app.command(rich_help_panel=THERE)
here(init.init)
here(local.serve)
app.add_typer(sandbox.app, name="sandbox", rich_help_panel=HERE)
here(handlers.new_handler)
app.add_typer(handlers.app, name="handlers", rich_help_panel=HERE)
app.command("try", rich_help_panel=HERE)(try_.try_source)
recipes.app.command("add")(recipe_files.add_recipe)
recipes.app.command("diff")(recipe_files.diff_recipe)
app.add_typer(recipes.app, name="recipe", rich_help_panel=HERE)
here(local.demo)
here(migrate.migrate)
here(upgrade.upgrade)
here(doctor.doctor)
here(local.healthcheck)
here(local.rebuild)
app.add_typer(log.app, name="log", rich_help_panel=HERE)
here(backups.backup)
here(backups.verify)
here(backups.restore)
here(prune.prune)
there(apply.apply)
there(apply.diff)
app.add_typer(accounts.app, name="accounts", rich_help_panel=THERE)
app.add_typer(endpoints.app, name="endpoints", rich_help_panel=THERE)
subscriptions.app.command("test")(trigger.send_test)
app.add_typer(subscriptions.app, name="subscriptions", rich_help_panel=THERE)
there(listen.listen)
there(trigger.trigger)
app.add_typer(policies.app, name="policies", rich_help_panel=THERE)
keys.app.command("rotate-master")(master_key.rotate_master)
app.add_typer(keys.app, name="keys", rich_help_panel=THERE)
orders.app.command("refresh")(order_probes.refresh_orders)
orders.app.command("import")(order_probes.import_orders)
orders.app.command("explain")(explain.explain_order)
orders.app.command("erase")(prune.erase_order)
app.add_typer(orders.app, name="orders", rich_help_panel=THERE)
there(cancellations.cancel)
app.add_typer(cancellations.app, name="cancellations", rich_help_panel=THERE)
events.app.command("tail")(tail.tail)
events.app.command("export")(export.export_events)
app.add_typer(events.app, name="events", rich_help_panel=THERE)
receipts.app.command("reprocess")(reprocess.reprocess_receipts)
app.add_typer(receipts.app, name="receipts", rich_help_panel=THERE)
there(top.top)
there(changes.changes)
there(pauses.pause)
there(pauses.resume)
there(drain.drain)
there(version.version)
here(completion.completion)


def complete() -> None:
    """Complete a word for a shell; whatever goes wrong, nothing is written between what a person types."""
    completion.prepare()
    with suppress(Exception):
        load_env_file()
        app(standalone_mode=False, prog_name="rescind")
    sys.exit(FAILED)


def main() -> None:
    """Run a command; every error ends it with a sentence and an exit code."""
    if completion.is_asked():
        complete()
    try:
        load_secret_files()
        load_env_file()
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        output.complain("Aborted.")
        sys.exit(FAILED)
    except typer.TyperException as error:
        if message := usage_message(error):
            output.complain(message)
        sys.exit(error.exit_code)
    except Failure as failure:
        output.complain(str(failure))
        sys.exit(failure.code)
    except UnicodeEncodeError as error:
        output.complain(f"An argument contains {error.object[error.start : error.end]!a}, which is not UTF-8.")
        sys.exit(MISUSED)
