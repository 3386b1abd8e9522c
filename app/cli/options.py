"""Options that several commands share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import typer

from app.cli import completion
from app.cli.times import ago, ahead, rfc3339

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON instead of text for people.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of rows.")]
Everything = Annotated[bool, typer.Option("--all", metavar="", help="List all rows.")]
Cursor = Annotated[str | None, typer.Option(metavar="CURSOR", help="Continue where an earlier list ended.")]
OfAccount = Annotated[
    str | None, typer.Option(metavar="ACCOUNT", help="Only of this account.", autocompletion=completion.accounts)
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=ago, metavar="TIME", help="Received at this time or later; 2h is two hours ago."),
]
Until = Annotated[datetime | None, typer.Option(parser=ago, metavar="TIME", help="Received before this time.")]
OfOrder = Annotated[str | None, typer.Option(metavar="ORDER", help="Only of this order; needs --account.")]

At = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="The verdict as of this time; a duration counts from now."),
]
KnownAt = Annotated[
    datetime | None,
    typer.Option(parser=ago, metavar="TIME", help="Use only events received by this time; 2h is two hours ago."),
]
OfTypes = Annotated[
    str | None,
    typer.Option(
        metavar="TYPES",
        help="Only of these types, comma-separated; a star stands for any characters: cancellation.*",
    ),
]
# `rescind --help` must not load the models, so these are repeated here; tests compare them.
OfSource = Annotated[
    Literal["webhook", "provider", "clock", "operator"] | None, typer.Option(help="Only those that came this way.")
]
OfPolicy = Annotated[
    str | None,
    typer.Option(metavar="POLICY", help="Only decisions of this policy.", autocompletion=completion.policies),
]
OfReceipt = Annotated[str | None, typer.Option(metavar="RECEIPT", help="Only those parsed from this receipt (rcp_…).")]
EventText = Annotated[str | None, typer.Option(help="Only events whose facts or data contain this text.")]


def check_order(order: str | None, account: str | None) -> None:
    """Raise a usage error for --order without --account: an order's id is unique in its account only."""
    if order is not None and account is None:
        raise typer.BadParameter("--order needs --account")


def check_range(since: datetime | None, until: datetime | None, names: str = "--since and --until") -> None:
    """Raise a usage error for a range of time that ends before it begins."""
    if since is not None and until is not None and until <= since:
        first, end = (rfc3339(moment.replace(microsecond=0)) for moment in (since, until))
        raise typer.BadParameter(f"{names}: {end} is not after {first}, so nothing is in between")


def moments(at: datetime | None, known_at: datetime | None) -> dict[str, str | None]:
    """The query of the API for an order as of a time, and as known at a time."""
    return {
        "at": None if at is None else rfc3339(at),
        "known_at": None if known_at is None else rfc3339(known_at),
    }
