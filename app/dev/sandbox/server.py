"""The sandbox's HTTP server: the providers' APIs, and their controls."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from app.contract import HttpRequest, HttpResponse, SignsTime, Simulator
from app.dev.sandbox.calls import Call, CallLog, order_of
from app.dev.sandbox.faults import Fault, FaultQueue
from app.dev.sandbox.webhook_sender import WebhookSender
from app.runtime.http_server import EndingRunner

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8701
RESEND_S = 360.0
"""PlanOmatic sends a webhook again every six minutes until it gets a 2xx ("Events", V2)."""
BODY_MAX = 16 * 1024 * 1024
SHUTDOWN_S = 1.0

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]
_M = TypeVar("_M", bound=BaseModel)


class Problem(Exception):
    """A request to the sandbox's controls cannot be served; the message says how to fix it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Target(BaseModel):
    """The target of a provider's webhooks."""

    model_config = ConfigDict(extra="forbid")

    url: str | None
    headers: dict[str, str] = {}

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("give an http or https URL, or null to hold the webhooks")
        return value


@dataclass(slots=True)
class SimulatedProvider:
    """One simulated provider with its webhooks, faults and calls."""

    simulator: Simulator
    webhooks: WebhookSender
    clock: Clock
    sleep: Sleep
    faults: FaultQueue = field(default_factory=FaultQueue)
    calls: CallLog = field(default_factory=CallLog)

    def process(self, request: HttpRequest) -> HttpResponse:
        """Let the provider process a call; its webhooks are queued when this returns."""
        response = self.simulator.handle(request, self.clock())
        self.webhooks.send(self.simulator.emitted())
        return response

    def act(self, action: dict[str, Any]) -> dict[str, Any]:
        """Perform an action on the provider's side. Raises ValueError."""
        try:
            return self.simulator.act(action, self.clock())
        finally:
            self.webhooks.send(self.simulator.emitted())


class Runner:
    """A running sandbox, and an async context manager that closes it."""

    def __init__(
        self, runner: web.AppRunner, session: aiohttp.ClientSession, senders: list[asyncio.Task[None]]
    ) -> None:
        self._runner, self._session, self._senders = runner, session, senders
        self.host, self.port = runner.addresses[0][:2]

    @property
    def url(self) -> str:
        """Its URL; a provider's `base_url` is this, `/` and its name."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def close(self) -> None:
        """Stop listening and sending."""
        await self._runner.cleanup()
        for task in self._senders:
            task.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Server:
    """Serves the simulated providers."""

    def __init__(self, providers: Mapping[str, SimulatedProvider]) -> None:
        self._providers = providers

    def application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_MAX, middlewares=[_problems_as_json])
        application.add_routes(
            [
                web.get("/_sandbox", self._list),
                web.post("/_sandbox/{provider}/act", self._act),
                web.post("/_sandbox/{provider}/faults", self._add_fault),
                web.delete("/_sandbox/{provider}/faults", self._clear_faults),
                web.put("/_sandbox/{provider}/webhooks", self._set_target),
                web.get("/_sandbox/{provider}/webhooks", self._drain),
                web.get("/_sandbox/{provider}/calls", self._calls),
                web.route("*", "/{provider}/{path:.*}", self._call),
            ]
        )
        return application

    async def _list(self, _: web.Request) -> web.Response:
        return _json({"providers": sorted(self._providers)})

    async def _act(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        try:
            return _json(provider.act(await _object(request)))
        except ValueError as error:
            raise Problem(400, str(error)) from error

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = await _model(request, Fault)
        self._provider(request).faults.add(fault)
        return _json(fault.model_dump(mode="json"), 201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._provider(request).faults.clear()
        return _json({})

    async def _set_target(self, request: web.Request) -> web.Response:
        target = await _model(request, Target)
        self._provider(request).webhooks.set_target(target.url, target.headers)
        return _json({"url": target.url})

    async def _drain(self, request: web.Request) -> web.Response:
        sender = self._provider(request).webhooks
        if sender.has_target:
            raise Problem(409, 'the webhooks are sent to their target; to take them out here, PUT {"url": null} first')
        webhooks = sender.drain()
        rows = [{"method": row.method, "headers": row.headers, "body": row.body.decode()} for row in webhooks]
        return _json({"data": rows})

    async def _calls(self, request: web.Request) -> web.Response:
        calls = self._provider(request).calls
        skipped = request.query.get("after", "0")
        if not skipped.isdecimal():
            raise Problem(400, "after must be the number of calls to skip")
        return _json({"data": calls.since(int(skipped)), "total": calls.total})

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """Serve a call to a provider's API."""
        provider = self._provider(request)
        arrived = provider.clock()
        raw = await request.read()
        path = f"/{request.match_info['path']}"
        url = f"{path}?{request.query_string}" if request.query_string else path
        call = Call(arrived, request.method, path, order_of(path, raw))
        provider.calls.add(call)
        call_request = HttpRequest(request.method, url, dict(request.headers), raw)
        fault = provider.faults.take(path, call.order)
        if fault is None:
            response = provider.process(call_request)
            call.status = response.status
            return _response(response)
        call.fault = fault.fault
        return await _inject_fault(request, call, fault, lambda: provider.process(call_request), provider)

    def _provider(self, request: web.Request) -> SimulatedProvider:
        name = request.match_info["provider"]
        provider = self._providers.get(name)
        if provider is None:
            raise Problem(404, f"there is no provider {name!r} here; there are: {', '.join(sorted(self._providers))}")
        return provider


def _resigning(simulator: Simulator, clock: Clock) -> Callable[[HttpRequest], HttpRequest]:
    if not isinstance(simulator, SignsTime):
        return lambda webhook: webhook
    return lambda webhook: simulator.resigned(webhook, clock())


async def start_sandbox(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    simulators: Mapping[str, Simulator] | None = None,
    resend_s: float = RESEND_S,
    *,
    clock: Clock = time.time,
    sleep: Sleep = asyncio.sleep,
    on_failure: Callable[[str, str], None] = lambda *_: None,
) -> Runner:
    """Serve the simulators; with port 0 on any free port.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        simulators: by provider.
        resend_s: seconds until a webhook that got no 2xx is sent again.
        clock: the simulators' time, in unix seconds.
        sleep: waits for the seconds of a fault (`delay`, `slow_body`).
        on_failure: called with the provider and a sentence when a webhook did not arrive.
    """
    session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
    providers = {
        name: SimulatedProvider(
            simulator,
            WebhookSender(session, resend_s, _resigning(simulator, clock), partial(on_failure, name)),
            clock,
            sleep,
        )
        for name, simulator in (simulators or {}).items()
    }
    runner = EndingRunner(_Server(providers).application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        await session.close()
        raise
    senders = [
        asyncio.create_task(provider.webhooks.run(), name=f"webhooks of {name}") for name, provider in providers.items()
    ]
    return Runner(runner, session, senders)


def run(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    simulators: Mapping[str, Simulator] | None = None,
    resend_s: float = RESEND_S,
    *,
    on_ready: Callable[[Runner], None] = lambda _: None,
    on_failure: Callable[[str, str], None] = lambda *_: None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_ready` is called when it listens, `on_failure` as in `start_sandbox`."""

    async def serve() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends it
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with await start_sandbox(host, port, simulators, resend_s, on_failure=on_failure) as runner:
            on_ready(runner)
            await stopped.wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


async def _inject_fault(
    request: web.Request, call: Call, fault: Fault, process: Callable[[], HttpResponse], provider: SimulatedProvider
) -> web.StreamResponse:
    """Respond to a call with a fault."""
    response = process() if fault.timing == "before" else None
    if fault.fault in ("reset_before", "reset_after"):
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    if fault.fault == "status":
        call.status = fault.status
        return web.Response(status=fault.status, headers=fault.headers, body=fault.raw_body)
    if fault.fault == "delay":
        await provider.faults.delay(provider.sleep(fault.seconds))
        response = process() if response is None else response
    response = response or HttpResponse(200)
    call.status = response.status
    if fault.fault == "wrong_json":
        return _response(msgspec.structs.replace(response, body=response.body[: len(response.body) // 2] or b"{"))
    if fault.fault == "slow_body":
        return await _send_slowly(request, response, partial(provider.sleep, fault.seconds))
    return _response(response)


async def _send_slowly(
    request: web.Request, response: HttpResponse, pause: Callable[[], Awaitable[object]]
) -> web.StreamResponse:
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(response.body)
    half = len(response.body) // 2
    await stream.prepare(request)
    # The caller may have stopped waiting, which is the purpose of this fault.
    with suppress(ConnectionError):
        await stream.write(response.body[:half])
        await pause()
        await stream.write(response.body[half:])
        await stream.write_eof()
    return stream


def _response(response: HttpResponse) -> web.Response:
    return web.Response(status=response.status, headers=response.headers, body=response.body)


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object")
    return body


async def _model(request: web.Request, kind: type[_M]) -> _M:
    try:
        return kind.model_validate(await _object(request))
    except ValidationError as error:
        faults = ((".".join(map(str, row["loc"])) or "the body", row["msg"]) for row in error.errors())
        raise Problem(400, "; ".join(f"{where}: {message}" for where, message in faults)) from error


@web.middleware
async def _problems_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return _json({"error": str(problem)}, problem.status)
