"""Commands on this machine: the server, the demo, and a rebuild of the orders."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.database import DOCS, open_reader, require_existing
from app.cli.environment import read_settings
from app.cli.failure import FAILED, WAYS_OUT, Failure, untested
from app.cli.healthcheck import TIMEOUT_S, check
from app.cli.options import Json

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.engine.rebuild import Mismatch, Progress

MISMATCHES_MAX = 1000
"""How many mismatches `--json` lists; all are counted."""


def serve(
    apply: Annotated[Path | None, typer.Option(metavar="FILE", help="A resource file to apply at the start.")] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", metavar="", help="Also enforce policies that were never backtested or shadowed."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, metavar="N", help="PostgreSQL: so many processes behind one port, each a node."),
    ] = 1,
) -> None:
    """Run the server until SIGTERM or Ctrl-C; its settings are in the environment (RESCIND_…)."""
    if yes and apply is None:
        raise typer.BadParameter("--yes needs --apply: it is about the policies of that file")
    settings = local_settings()
    if workers > 1:
        _serve_by_workers(settings, workers, apply, confirm=yes)
        return
    from app.serve import run

    with expected_errors(settings):
        run(settings, apply, confirm=yes)


def _serve_by_workers(settings: Settings, workers: int, apply: Path | None, *, confirm: bool) -> None:
    if not settings.is_shared:
        raise Failure(
            f"--workers {workers} needs PostgreSQL (RESCIND_DATABASE_URL): a SQLite file has one writer, and what only "
            f"one process may do at a time would be done {workers} times. See {DOCS}."
        )
    from app.serve import run
    from app.supervisor import supervise

    with expected_errors(settings):
        place = supervise(settings, workers)
        if place is not None:
            run(settings, apply if place.is_first else None, confirm=confirm, place=place)


def healthcheck(
    ready: Annotated[
        bool,
        typer.Option("--ready", metavar="", help="Ask /readyz: also fail while the database takes no write."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How long the response may take in all.")
    ] = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Ask the server on this machine (RESCIND_HOST, RESCIND_PORT) whether it answers; the exit code is 1 if not."""
    raise typer.Exit(check(ready=ready, timeout_s=timeout, as_json=json))


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", metavar="", help="Keep the database and the logs, and print where they are.")
    ] = False,
) -> None:
    """Run Rescind against simulated providers, with real processes; ends in a table of checked claims."""
    try:
        module = import_module("app.dev.demo")
    except ModuleNotFoundError as error:
        if error.name != "app.dev.demo":
            raise
        raise Failure("This installation has no demo.") from error
    raise typer.Exit(module.run(keep=keep))


def rebuild(
    check: Annotated[
        bool,
        typer.Option(
            "--check", metavar="", help="Only compare, also while a server runs; the exit code is 1 on a mismatch."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Recompute all orders from the log and repair differences."""
    settings = local_settings()
    require_existing(settings)
    log_to_stderr(settings, settings.log_level)
    with expected_errors(settings):
        summary = asyncio.run(_rebuild(settings, check_only=check, show=not json))
    if json:
        output.print_json(summary)
    else:
        found = f"{summary['found']} mismatches, {summary['repaired']} repaired" if summary["found"] else "no mismatch"
        output.say(f"{summary['orders']} orders, {summary['events']} events: {found}.")
    if summary["found"] > summary["repaired"]:
        raise typer.Exit(FAILED)


def local_settings() -> Settings:
    """The server's settings. Raises `Failure` with a sentence for each invalid variable."""
    from app.config.settings import Settings

    return read_settings(Settings)


@contextmanager
def expected_errors(settings: Settings) -> Iterator[None]:
    """Turn the expected errors of files, sockets and the database into `Failure`."""
    import sqlite3

    from app.config.faults import InvalidResourceError
    from app.config.secrets import WrongSecretKeyError
    from app.config.store import UnprovenPolicyError
    from app.runtime.service_manager import InheritedSocketError
    from app.runtime.tracing import TracingUnavailableError
    from app.store import StoreError
    from app.store.migrations import SchemaTooNewError
    from app.store.sqlite.files import DatabaseDamagedError, DatabaseInUseError

    try:
        yield
    except (
        DatabaseDamagedError,
        DatabaseInUseError,
        InheritedSocketError,
        SchemaTooNewError,
        TracingUnavailableError,
        WrongSecretKeyError,
        InvalidResourceError,
        StoreError,
    ) as error:
        raise Failure(_sentence(error)) from error
    except UnprovenPolicyError as error:
        raise Failure(f"{untested(error.policies)} {WAYS_OUT}") from error
    except sqlite3.Error as error:
        raise Failure(f"{settings.database_path} (RESCIND_DATABASE_URL): {_sentence(error)}") from error
    except OSError as error:
        raise Failure(_of_system(error, settings)) from error


def log_to_stderr(settings: Settings, level: str) -> None:
    """Log as the server does, on standard error."""
    from app.runtime import log
    from app.runtime.redaction import Redactor

    log.set_up(settings.log_format, level, Redactor())


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    first = text.partition(" ")[0]
    # A path, an id or a variable at the start keeps its spelling.
    sentence = f"{text[:1].upper()}{text[1:]}" if first.isalpha() else text
    return f"{sentence}{'' if text.endswith('.') else '.'}"


def _of_system(error: OSError, settings: Settings) -> str:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {settings.port} of {settings.host} is in use: stop what listens there, or set RESCIND_PORT."
    if error.errno in (errno.EADDRNOTAVAIL, errno.EACCES) and error.filename is None:
        return f"Cannot listen at {where} ({error.strerror}): set RESCIND_HOST and RESCIND_PORT."
    return _sentence(error)


async def _rebuild(settings: Settings, *, check_only: bool, show: bool) -> dict[str, Any]:
    from app.config.secrets import open_vault
    from app.config.store import ConfigStore
    from app.engine.rebuild import check, rebuild
    from app.runtime.redaction import Redactor
    from app.store.opening import open_store

    if check_only:
        async with open_reader(settings) as reader:
            return await watch(check(reader), show=show)
    store = await open_store(settings.database)
    try:
        vault = open_vault(settings.secret_key.get_secret_value(), Path(f"{settings.database_path}.key"))
        config = ConfigStore(store, vault, Redactor())
        await config.load()
        pages = rebuild(store, config.view, router=config.router, now=datetime.now(UTC))
        return await watch(pages, show=show)
    finally:
        await store.close()


async def watch(pages: AsyncIterator[Progress], *, show: bool) -> dict[str, Any]:
    """Run a rebuild to its end, and print the mismatches as they are found; returns the counts."""
    counts = {"orders": 0, "events": 0, "found": 0, "repaired": 0}
    listed: list[dict[str, Any]] = []
    with output.notes().status(Text("Recomputing orders from the log")) as status:
        async for page in pages:
            counts["orders"] += page.orders
            counts["events"] += page.events
            counts["found"] += len(page.mismatches)
            counts["repaired"] += page.repaired
            status.update(Text(f"{counts['orders']} orders, {counts['events']} events, {counts['found']} mismatches"))
            for mismatch in page.mismatches:
                if show:
                    output.show(_line(mismatch))
                elif len(listed) < MISMATCHES_MAX:
                    listed.append({name: getattr(mismatch, name) for name in ("account", "order", "what", "problem")})
    return counts if show else {**counts, "mismatches": listed}


def _line(mismatch: Mismatch) -> Text:
    named = output.clean(f"{mismatch.account} {mismatch.order or f'number {mismatch.order_pk}'}".strip())
    return Text.assemble(f"order {named}: {mismatch.what} ", output.word(mismatch.problem))
