"""`rescind top`: what happens at the server, refreshed every second or two."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Api, connect
from app.cli.failure import AwayError
from app.cli.options import Json, OfAccount
from app.cli.top_view import picture

_PATH = "/v1/overview"
_QUIT = frozenset("qQ\x03\x04")
_HEIGHT = 60
"""Rows of a picture that is printed once."""


def top(
    account: OfAccount = None,
    interval: Annotated[
        float, typer.Option(min=1.0, max=3600.0, metavar="SECONDS", help="How often to refresh; at least 1.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", metavar="", help="Print the picture once.")] = False,
    json: Json = False,
) -> None:
    """Watch lanes, windows that close soon, cancellations, ingest and what needs a person; q ends it."""
    query = {"account": account}
    with connect(json) as api:
        overview = api.get(_PATH, query)
        if json:
            output.print_json(overview)
        elif once or not sys.stdout.isatty():
            output.show(picture(overview, api.url, _HEIGHT))
        else:
            _watch(api, query, overview, interval)


def _watch(api: Api, query: Mapping[str, Any], overview: Mapping[str, Any], interval_s: float) -> None:
    """Refresh the picture until a key ends it."""
    from rich.live import Live  # noqa: PLC0415 - only here

    console, fault = output.console(), ""
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(overview, api.url, console.size.height, fault), refresh=True)
            if pressed(interval_s):
                return
            try:
                overview, fault = api.get(_PATH, query), ""
            except AwayError as error:
                fault = str(error)


class _Keys:
    """The keys that were pressed, if there is a keyboard."""

    def __init__(self, *, present: bool) -> None:
        self._present = present

    def __call__(self, wait_s: float) -> bool:
        """Whether a key that ends the picture is pressed within so many seconds."""
        if not self._present:
            time.sleep(wait_s)
            return False
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], left)[0]:
                key = sys.stdin.read(1)
                if not key or key in _QUIT:
                    return True
        return False


@contextmanager
def _keys() -> Iterator[_Keys]:
    """Read keys without Enter, and restore the terminal at the end. Ctrl-C ends it as well."""
    try:
        if not sys.stdin.isatty():
            yield _Keys(present=False)
            return
        import termios  # noqa: PLC0415 - not on every platform
        import tty  # noqa: PLC0415

        former = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        try:
            yield _Keys(present=True)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, former)
    except KeyboardInterrupt:
        return
