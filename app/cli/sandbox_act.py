"""`rescind sandbox act`: let something happen at a simulated provider."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from typing import Annotated, Any

import msgspec
import typer

from app.cli import output
from app.cli.evidence import block
from app.cli.failure import FAILED, MISUSED, Failure
from app.cli.options import Json
from app.cli.sandbox import HOST, PORT

START_S, RETRY_S = 10.0, 0.2
"""So long a sandbox that does not listen yet is waited for: it may have been started a moment ago."""
TIMEOUT_S = 30.0


def act(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The simulated provider.")],
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="What happens there, such as create_order; an unknown one lists all."),
    ],
    params: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE", help="Its parameters; a value is JSON where it can be read so, else text."
        ),
    ] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Where the sandbox listens.")] = f"http://{HOST}:{PORT}",
    json: Json = False,
) -> None:
    """Let something happen at a simulated provider: an order is made, an appointment is fixed."""
    answer = asyncio.run(_act(url.rstrip("/"), provider, {"do": action, **_parameters(params or [])}))
    if json:
        output.print_json(answer)
    elif answer:
        output.show(block(answer))
    else:
        output.say("Done.")


def _parameters(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not (name and equals) or name == "do":
            raise Failure(f"{each!r} is not NAME=VALUE, such as order_id=4711.", MISUSED)
        try:
            found[name] = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            found[name] = text
    return found


async def _act(url: str, provider: str, body: dict[str, Any]) -> Any:
    import aiohttp
    import yarl

    waited_s = 0.0
    target = yarl.URL(url) / "_sandbox" / provider / "act"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        while True:
            try:
                async with session.post(target, data=msgspec.json.encode(body)) as answer:
                    return _read(url, answer.status, await answer.read())
            except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
                if isinstance(error, aiohttp.InvalidURL) or waited_s >= START_S:
                    said = f"No sandbox answers at {url}: start it with `rescind sandbox`, or give its --url."
                    raise Failure(said) from error
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failure(f"The sandbox at {url} gave no answer ({error!r}).") from error
            await asyncio.sleep(RETRY_S)
            waited_s += RETRY_S


def _read(url: str, status: int, raw: bytes) -> Any:
    try:
        answer = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Failure(f"What answers at {url} is not the sandbox ({status}): give its --url.") from error
    if status == 200:  # noqa: PLR2004
        return answer
    said = str(answer.get("error") or answer) if isinstance(answer, dict) else str(answer)
    raise Failure(f"{said[:1].upper()}{said[1:]}.", FAILED)
