"""`rescind sandbox`: the simulated providers as a server, and what is let happen there."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import inspect
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.failure import MISUSED, Failure

if TYPE_CHECKING:
    from app.config.models import EndpointSpec
    from app.contract import Simulator
    from app.dev.sandbox import Runner

HOST, PORT, RESEND_S = "127.0.0.1", 8701, 360.0

app = typer.Typer(
    invoke_without_command=True,
    help="Run the simulated providers, which obey their documents and take faults on demand; `act` moves them.",
)

Targets = dict[str, tuple[str, Mapping[str, str]]]
"""Provider → where its webhooks go, and the headers that they carry."""


@app.callback()
def sandbox(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes any free one.")] = PORT,
    webhooks_to: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where webhooks go; PROVIDER=URL is for one provider, and may be repeated."),
    ] = None,
    token: Annotated[str | None, typer.Option(help="Sent with every webhook as `Authorization: Bearer`.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A resource file: webhooks go to its endpoints at the server of RESCIND_URL, with their tokens.",
        ),
    ] = None,
    window_s: Annotated[
        float | None, typer.Option(min=0.001, help="The window of the providers' rate limits, in seconds.")
    ] = None,
    resend_s: Annotated[
        float, typer.Option(min=0.001, help="A webhook that was not taken is sent again after so many seconds.")
    ] = RESEND_S,
) -> None:
    """Run the simulated providers, which obey their documents and take faults on demand; `act` moves them."""
    if context.invoked_subcommand is not None:
        return
    simulators = _simulators(window_s)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    targets = dict(_in_file(file, list(simulators))) if file is not None else {}
    targets |= {name: (url, headers) for name, url in _targets(webhooks_to or [], list(simulators)).items()}
    from app.dev.sandbox import run

    aiming: list[asyncio.Task[None]] = []

    def ready(runner: Runner) -> None:
        for name in simulators:
            output.show(Text(f"{name}: base_url {runner.url}/{name}, control {runner.url}/_sandbox/{name}"))
        aiming.append(asyncio.get_running_loop().create_task(_aim(runner.url, targets)))

    try:
        run(host, port, simulators, resend_s, on_ready=ready)
    except OSError as error:
        raise Failure(
            f"Nothing can listen at {host}:{port} ({error.strerror or error}): give another --port."
        ) from error


def _simulators(window_s: float | None) -> dict[str, Simulator]:
    from app.config.registry import handlers

    made = {}
    for name, handler in handlers().items():
        if handler.simulator is None:
            continue
        takes = inspect.signature(handler.simulator).parameters
        options: dict[str, Any] = {"per_s": window_s} if window_s is not None and "per_s" in takes else {}
        made[name] = handler.simulator(**options)
    return made


def _targets(given: list[str], providers: list[str]) -> dict[str, str]:
    """Provider → URL."""
    targets = {}
    for each in given:
        name, equals, url = each.partition("=")
        named = bool(equals) and "/" not in name and ":" not in name
        if named and name not in providers:
            raise Failure(f"There is no provider {name!r} here; there are: {', '.join(providers)}.", MISUSED)
        target = url if named else each
        if not target.startswith(("http://", "https://")):
            raise Failure(f"--webhooks-to {each}: give a URL such as http://127.0.0.1:8700/webhooks/in.", MISUSED)
        targets.update(dict.fromkeys([name] if named else providers, target))
    return targets


def _in_file(file: Path, providers: list[str]) -> Iterator[tuple[str, tuple[str, Mapping[str, str]]]]:
    """Where the webhooks of each provider go by a resource file, one endpoint each. Raises `Failure`."""
    from app.cli.environment import read_settings
    from app.config.faults import InvalidResourceError, validate
    from app.config.file import read_resource_file
    from app.config.models import EndpointSpec
    from app.config.settings import ClientSettings

    server = read_settings(ClientSettings).url.strip().rstrip("/")
    found: dict[str, str] = {}
    try:
        resources = read_resource_file(file)
        accounts = {each["id"]: each["provider"] for each in resources.get("accounts") or ()}
        for body in resources.get("endpoints") or ():
            endpoint = validate(("endpoints", str(body.get("id"))), EndpointSpec, body)
            provider = accounts.get(endpoint.account)
            if provider not in providers:
                continue
            if provider in found:
                raise Failure(
                    f"{file}: endpoints {found[provider]} and {endpoint.id} are both of {provider}: "
                    f"say which one with --webhooks-to {provider}=URL, without --file.",
                    MISUSED,
                )
            found[provider] = endpoint.id
            yield provider, (f"{server}/webhooks/{endpoint.id}", _credentials(endpoint))
    except (InvalidResourceError, TypeError, KeyError) as error:
        raise Failure(f"{error}." if isinstance(error, InvalidResourceError) else f"{file}: {error!r}.") from error


def _credentials(endpoint: EndpointSpec) -> dict[str, str]:
    """The headers that prove a webhook to be from the provider, where the simulator does not sign it itself."""
    verify = endpoint.verify
    secret = verify.secrets[0].get_secret_value() if verify.secrets else ""
    if verify.scheme == "token":
        header = verify.header or "Authorization"
        return {header: f"Bearer {secret}" if header.lower() == "authorization" else secret}
    if verify.scheme == "basic":
        return {"Authorization": "Basic " + b64encode(f"{verify.username}:{secret}".encode()).decode()}
    return {}


async def _aim(base: str, targets: Targets) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for name, (url, headers) in targets.items():
            target = {"url": url, "headers": headers}
            async with session.put(f"{base}/_sandbox/{name}/webhooks", json=target) as answer:
                if not answer.ok:
                    output.complain(f"{name}: {await answer.text()}")
                else:
                    output.say(f"{name}: webhooks go to {url}")
