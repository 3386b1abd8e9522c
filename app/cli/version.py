"""`rescind version`: what is installed here, and what the server runs."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from typing import Any

from app import __version__
from app.cli import output
from app.cli.client import connect
from app.cli.failure import Failure
from app.cli.options import Json

PATIENCE_S = 2.0
"""How long the server may take to respond."""


def version(json: Json = False) -> None:
    """Show the version of this program, what it runs on, and the version of the server, if there is one."""
    here, there = _here(), _there()
    if json:
        output.print_json({**here, **there})
        return
    output.show(
        output.fields(
            [
                ("rescind", here["client"]),
                ("server", f"{there['server']} at {there['url']}" if there["server"] else f"none: {there['fault']}"),
                ("schema", str(here["schema"])),
                ("python", f"{here['implementation']} {here['python']}, SQLite {here['sqlite']}"),
                ("platform", here["platform"]),
                ("installed", here["installed"]),
            ]
        )
    )


def _here() -> dict[str, Any]:
    import platform
    import sqlite3
    from pathlib import Path

    from app.store.migrations import migrations

    return {
        "client": __version__,
        "schema": migrations("sqlite")[-1].version,
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "installed": str(Path(__file__).parents[2]),
    }


def _there() -> dict[str, str | None]:
    """The server's version, or why it is not known."""
    url: str | None = None
    try:
        with connect() as api:
            url = api.url
            document = api.run(asyncio.wait_for(api.fetch("/openapi.json"), PATIENCE_S))
        return {"server": str(document["info"]["version"]), "url": url, "fault": None}
    except TimeoutError:
        fault = f"The server at {url} sent no response within {PATIENCE_S:g} s."
    except (LookupError, TypeError):
        fault = f"What responds at {url} is not Rescind."
    except Failure as failure:
        fault = str(failure)
    return {"server": None, "url": url, "fault": fault}
