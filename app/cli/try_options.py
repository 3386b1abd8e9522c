"""Arguments and options of `rescind try`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.times import ahead

PUBLIC_URL = "RESCIND_PUBLIC_URL"
DEFAULT_URL = "http://127.0.0.1:8700"

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A resource file with accounts and endpoints, or a recipe: its file or name."),
]
Webhooks = Annotated[
    list[str] | None,
    typer.Option(metavar="BODY", help="A webhook's body, byte for byte; - is standard input. May be repeated."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="HEADER", help="`Name: value` of the webhooks, or @FILE with lines."),
]
Method = Annotated[str, typer.Option(metavar="METHOD", help="Of the request; GET for a challenge.")]
Query = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the URL. May be repeated.")]
SourceUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="What the source calls, if it signs that. Default: the endpoint's URL."),
]
EndpointId = Annotated[str | None, typer.Option(metavar="ID", help="Which endpoint of the file, if it has several.")]
AccountId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Which account of the file, if it has several; it may have no endpoint."),
]
At = Annotated[datetime | None, typer.Option(parser=ahead, metavar="TIME", help="Try as of this time. Default: now.")]
Unsigned = Annotated[
    bool,
    typer.Option("--unsigned", metavar="", help="The webhooks have no proof: sign them first, as the source does."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="What the source answers at the URL of its public keys. May be repeated."),
]
OrderId = Annotated[
    str | None, typer.Option(metavar="ORDER", help="Only this order; also one that no webhook speaks of.")
]
Reason = Annotated[str | None, typer.Option(help="The reason of the cancel. Default: one that the provider accepts.")]
Note = Annotated[str | None, typer.Option(help="The note of the cancel.")]
Answers = Annotated[
    list[str] | None,
    typer.Option(metavar="BODY", help="The body of the source's response to the call. May be repeated: calls in turn."),
]
Statuses = Annotated[
    list[int] | None,
    typer.Option(min=100, max=599, help="The status of the response, of each in turn. Default: 200."),
]
AnswerHeaders = Annotated[list[str] | None, typer.Option(metavar="HEADER", help="`Name: value` of the responses.")]
FlowName = Annotated[Literal["cancel", "probe", "token"], typer.Option(help="Which call the response is to.")]
Sign = Annotated[
    bool,
    typer.Option("--sign", metavar="", help="Print a valid request for curl: of the body, or of a sample."),
]
Destination = Annotated[
    str | None,
    typer.Option(metavar="URL", help=f"Where curl sends it. Default: {PUBLIC_URL}, or {DEFAULT_URL}."),
]
EnvFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Take variables that are not set from here too, as from .env.")
]
