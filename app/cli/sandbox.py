"""`rescind sandbox`: the simulated providers as a server, and actions at them."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import inspect
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from app.cli import output
from app.cli.evidence import block
from app.cli.failure import MISUSED, Failure
from app.cli.options import Json

if TYPE_CHECKING:
    from app.config.models import EndpointSpec
    from app.contract import Simulator
    from app.dev.sandbox import Runner

START_S, RETRY_S = 10.0, 0.2
"""`act` waits so long for a sandbox that was started a moment ago."""
TIMEOUT_S = 30.0
HOST, PORT, RESEND_S = "127.0.0.1", 8701, 360.0

_HELP = "Run the simulated providers, which follow their documents and inject faults on demand; see `act`."

app = typer.Typer(
    invoke_without_command=True,
    help=_HELP,
)

Targets = dict[str, tuple[str, Mapping[str, str]]]
"""Provider → where its webhooks go, and the headers that they carry."""


@app.callback()
def sandbox(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 is any free port.")] = PORT,
    webhooks_to: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where webhooks go; PROVIDER=URL is for one provider; may be repeated."),
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
        float, typer.Option(min=0.001, help="Seconds until a webhook that got no 2xx is sent again.")
    ] = RESEND_S,
) -> None:
    """Run the simulated providers."""
    if context.invoked_subcommand is not None:
        return
    simulators = _simulators(window_s)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    targets = dict(_in_file(file, list(simulators))) if file is not None else {}
    targets |= {name: (url, headers) for name, url in _targets(webhooks_to or [], list(simulators)).items()}
    from app.dev.sandbox import run

    tasks: list[asyncio.Task[None]] = []

    def ready(runner: Runner) -> None:
        for name in simulators:
            output.show(Text(f"{name}: base_url {runner.url}/{name}, control {runner.url}/_sandbox/{name}"))
        tasks.append(asyncio.get_running_loop().create_task(_set_targets(runner.url, targets)))

    try:
        run(host, port, simulators, resend_s, on_ready=ready, on_failure=_report)
    except OSError as error:
        raise Failure(f"Cannot listen at {host}:{port} ({error.strerror or error}): give another --port.") from error


def _report(provider: str, failure: str) -> None:
    output.complain(f"{provider}: {failure}")


@app.command("act")
def act(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The simulated provider.")],
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="What happens there, such as create_order; an unknown action lists all."),
    ],
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Its parameters; a value is JSON if it is valid JSON, else text."),
    ] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Where the sandbox listens.")] = f"http://{HOST}:{PORT}",
    json: Json = False,
) -> None:
    """Perform an action at a simulated provider, such as placing an order or booking an appointment."""
    result = asyncio.run(_act(url.rstrip("/"), provider, {"do": action, **_parameters(params or [])}))
    if json:
        output.print_json(result)
    elif result:
        output.show(block(result))
    else:
        output.say("Done.")


def _simulators(window_s: float | None) -> dict[str, Simulator]:
    from app.config.registry import handlers

    simulators = {}
    for name, handler in handlers().items():
        if handler.simulator is None:
            continue
        parameters = inspect.signature(handler.simulator).parameters
        options: dict[str, Any] = {"per_s": window_s} if window_s is not None and "per_s" in parameters else {}
        simulators[name] = handler.simulator(**options)
    return simulators


def _targets(given: list[str], providers: list[str]) -> dict[str, str]:
    """Provider → URL."""
    targets = {}
    for option in given:
        name, equals, url = option.partition("=")
        named = bool(equals) and "/" not in name and ":" not in name
        if named and name not in providers:
            raise Failure(f"There is no provider {name!r} here; there are: {', '.join(providers)}.", MISUSED)
        target = url if named else option
        if not target.startswith(("http://", "https://")):
            raise Failure(f"--webhooks-to {option}: give a URL such as http://127.0.0.1:8700/webhooks/in.", MISUSED)
        targets.update(dict.fromkeys([name] if named else providers, target))
    return targets


def _in_file(file: Path, providers: list[str]) -> Iterator[tuple[str, tuple[str, Mapping[str, str]]]]:
    """The target of each provider's webhooks by the endpoints of a resource file. Raises `Failure`."""
    from app.cli.environment import read_settings
    from app.config.faults import InvalidResourceError, validate
    from app.config.file import read_resource_file
    from app.config.models import EndpointSpec
    from app.config.settings import ClientSettings

    server = read_settings(ClientSettings).url.strip().rstrip("/")
    endpoints: dict[str, str] = {}
    try:
        resources = read_resource_file(file)
        accounts = {account["id"]: account["provider"] for account in resources.get("accounts") or ()}
        for body in resources.get("endpoints") or ():
            endpoint = validate(("endpoints", str(body.get("id"))), EndpointSpec, body)
            provider = accounts.get(endpoint.account)
            if provider not in providers:
                continue
            if provider in endpoints:
                raise Failure(
                    f"{file}: endpoints {endpoints[provider]} and {endpoint.id} are both of {provider}: "
                    f"choose one with --webhooks-to {provider}=URL, without --file.",
                    MISUSED,
                )
            endpoints[provider] = endpoint.id
            yield provider, (f"{server}/webhooks/{endpoint.id}", _credentials(endpoint))
    except (InvalidResourceError, TypeError, KeyError) as error:
        raise Failure(f"{error}." if isinstance(error, InvalidResourceError) else f"{file}: {error!r}.") from error


def _credentials(endpoint: EndpointSpec) -> dict[str, str]:
    """The headers that authenticate a webhook if the simulator does not sign it."""
    verify = endpoint.verify
    secret = verify.secrets[0].get_secret_value() if verify.secrets else ""
    if verify.scheme == "token":
        header = verify.header or "Authorization"
        return {header: f"Bearer {secret}" if header.lower() == "authorization" else secret}
    if verify.scheme == "basic":
        return {"Authorization": "Basic " + b64encode(f"{verify.username}:{secret}".encode()).decode()}
    return {}


async def _set_targets(base: str, targets: Targets) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for name, (url, headers) in targets.items():
            target = {"url": url, "headers": headers}
            async with session.put(f"{base}/_sandbox/{name}/webhooks", json=target) as response:
                if not response.ok:
                    output.complain(f"{name}: {await response.text()}")
                else:
                    output.say(f"{name}: webhooks go to {url}")


def _parameters(given: list[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for option in given:
        name, equals, text = option.partition("=")
        if not (name and equals) or name == "do":
            raise Failure(f"{option!r} is not NAME=VALUE, such as order_id=4711.", MISUSED)
        try:
            parameters[name] = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            parameters[name] = text
    return parameters


async def _act(url: str, provider: str, body: dict[str, Any]) -> Any:
    import aiohttp
    import yarl

    waited_s = 0.0
    target = yarl.URL(url) / "_sandbox" / provider / "act"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        while True:
            try:
                async with session.post(target, data=msgspec.json.encode(body)) as response:
                    return _read(url, response.status, await response.read())
            except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
                if isinstance(error, aiohttp.InvalidURL) or waited_s >= START_S:
                    message = f"No sandbox responds at {url}: start it with `rescind sandbox`, or give its --url."
                    raise Failure(message) from error
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failure(f"The sandbox at {url} sent no response ({error!r}).") from error
            await asyncio.sleep(RETRY_S)
            waited_s += RETRY_S


def _read(url: str, status: int, raw: bytes) -> Any:
    try:
        result = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Failure(f"The server at {url} is not the sandbox ({status}): give its --url.") from error
    if status == 200:  # noqa: PLR2004
        return result
    message = str(result.get("error") or result) if isinstance(result, dict) else str(result)
    raise Failure(f"{message[:1].upper()}{message[1:]}.")
