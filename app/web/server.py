"""The HTTP server: its routes, its start and its end."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from app.config.scope import Scope
from app.node import Node
from app.runtime.http_server import EndingRunner, stop_listening
from app.web import (
    approvals,
    attempts,
    backtests,
    batches,
    bulk_reprocess,
    cancellations,
    deliveries,
    endpoint_tests,
    endpoints,
    events,
    explanation,
    keys,
    log,
    messages,
    nodes,
    openapi,
    orders,
    overview,
    pauses,
    policies,
    probes,
    providers,
    pulls,
    receipts,
    registrations,
    resources,
    retention,
    status,
    stream,
    subscriptions,
    timeline,
)
from app.web.auth import require
from app.web.bodies import BODIES, Bodies
from app.web.connections import LimitedServer, connections_possible
from app.web.console.pages import add_console
from app.web.console.serving import with_pages
from app.web.docs_page import add_docs
from app.web.handshakes import Handshakes
from app.web.idempotency import TURNS, Turns
from app.web.ingest import INGEST, WEBHOOKS, Ingest
from app.web.liveness import LIVENESS, Liveness, show_health
from app.web.rate_limits import RATE_LIMITS, RateLimits
from app.web.readiness import READINESS, Readiness, show_readiness
from app.web.requests import NODE, WebHandler, serve, with_problems
from app.web.restriction import refuse_restricted
from app.web.routes import Route
from app.web.scrape import SCRAPES, Scrapes

ROUTES: list[Route] = [
    *orders.ROUTES,
    *timeline.ROUTES,
    *explanation.ROUTES,
    *cancellations.ROUTES,
    *batches.ROUTES,
    *probes.ROUTES,
    *stream.ROUTES,
    *events.ROUTES,
    *log.ROUTES,
    *attempts.ROUTES,
    *receipts.ROUTES,
    *bulk_reprocess.ROUTES,
    *resources.ROUTES,
    *providers.ROUTES,
    *endpoints.ROUTES,
    *endpoint_tests.ROUTES,
    *keys.ROUTES,
    *pauses.ROUTES,
    *nodes.ROUTES,
    *retention.ROUTES,
    *policies.ROUTES,
    *backtests.ROUTES,
    *registrations.ROUTES,
    *subscriptions.ROUTES,
    *deliveries.ROUTES,
    *pulls.ROUTES,
    *messages.ROUTES,
    *status.ROUTES,
    *overview.ROUTES,
]


def make_app(node: Node) -> web.Application:
    """The web application of a node."""
    settings = node.settings
    app = web.Application(client_max_size=settings.body_max)
    app[NODE], app[READINESS], app[TURNS], app[SCRAPES] = node, Readiness(node), Turns(), Scrapes(node)
    app[LIVENESS] = Liveness(node, app[READINESS], settings.public_url)
    pulls.end_at_shutdown(app)
    stream.end_at_shutdown(app)
    limits = app[RATE_LIMITS] = RateLimits(settings)
    bodies = app[BODIES] = Bodies(settings.bodies_max, settings.body_max, settings.body_timeout_s)
    handshakes = Handshakes(node.confirmations, limits)
    ingest = Ingest(
        node.config,
        node.store,
        node.ledger,
        node.vault,
        node.traffic,
        node.ids,
        bodies,
        limits,
        handshakes,
        settings,
        node.key_ring,
    )
    app[INGEST] = ingest
    app.router.add_post(WEBHOOKS + "{endpoint}", with_problems(ingest.receive_at))
    app.router.add_options(WEBHOOKS + "{endpoint}", with_problems(ingest.handshake))
    app.router.add_get(WEBHOOKS + "{endpoint}", with_problems(ingest.handshake))  # and HEAD
    for route in ROUTES:
        app.router.add_route(route.method, _with_any_text(route.path), serve(route))
    for path, methods in _literal_paths(ROUTES).items():
        # Else the name would be taken for the variable of another route, and GET for a method of this path.
        app.router.add_route("*", path, with_problems(_not_allowed(methods)))
    approvals.add_routes(app)
    add_console(app, ROUTES)
    app.router.add_get("/healthz", show_health)
    app.router.add_get("/readyz", with_problems(show_readiness))
    app.router.add_get("/metrics", with_problems(show_metrics))

    @cache
    def openapi_json() -> bytes:
        """Made on the first request: making it takes longer than the rest of the start."""
        return msgspec.json.encode(openapi.document(ROUTES, settings.public_url))

    async def show_openapi(_request: web.Request) -> web.Response:
        return web.Response(body=openapi_json(), content_type="application/json")

    app.router.add_get("/openapi.json", show_openapi)
    add_docs(app)
    app.router.add_route("*", "/{path:.*}", _no_route(app))
    return app


def _with_any_text(path: str) -> str:
    """The path with variables that match any segment: by default aiohttp's match no braces, which an id may have."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


def _literal_paths(routes: Sequence[Route]) -> dict[str, set[str]]:
    """Path without variables → its methods, where the path of another route matches it too."""
    patterns = [re.compile(re.sub(r"{\w+}", "[^/]+", route.path)) for route in routes if "{" in route.path]
    methods: dict[str, set[str]] = {}
    for route in routes:
        if "{" not in route.path and any(pattern.fullmatch(route.path) for pattern in patterns):
            methods.setdefault(route.path, set()).add(route.method)
    return methods


def _not_allowed(methods: set[str]) -> WebHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, methods)

    return handle


def _no_route(app: web.Application) -> WebHandler:
    """The handler of what no route serves: 405 if the path has other methods, else 404."""
    resources = list(app.router.resources())

    async def handle(request: web.Request) -> web.StreamResponse:
        allowed: set[str] = set()
        for resource in resources:
            allowed |= (await resource.resolve(request))[1]
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound

    as_problem, as_page = with_problems(handle), with_pages(handle)

    async def show(request: web.Request) -> web.StreamResponse:
        is_browser = "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/v1/")
        return await (as_page if is_browser else as_problem)(request)

    return show


async def show_metrics(request: web.Request) -> web.Response:
    """The metrics for Prometheus. They name accounts, so a key of scope `read` is required."""
    refuse_restricted(await require(request.app[NODE].keys, request, Scope.READ))
    return web.Response(body=await request.app[SCRAPES].page(), headers={"Content-Type": CONTENT_TYPE_LATEST})


REQUESTS_S = 10.0
"""How long requests under way have to end when the server has stopped listening."""
HAND_OVER_S = 1.0
"""How long open connections are served at most before an inherited socket is left to the next process."""
BACKLOG = 4096
"""How many connections may wait on an inherited socket: they wait while the process restarts."""


class Runner(EndingRunner):
    """Serves a node's application on a `LimitedServer`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._watch: asyncio.Task[None] | None = None
        self._limited: LimitedServer | None = None
        app = make_app(node)
        self.readiness, self._ingest = app[READINESS], app[INGEST]
        super().__init__(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=REQUESTS_S,
            auto_decompress=False,
            keepalive_timeout=node.settings.idle_timeout_s,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        settings = self._node.settings
        self._limited = server = LimitedServer(
            self._ingest.before(made.request_handler),
            request_factory=made.request_factory,
            connections_max=connections_possible(settings.connections_max),
            per_address_max=settings.connections_per_address,
            trusted=settings.trusted_proxies,
            **self._kwargs,
        )
        self._watch = asyncio.create_task(server.watch())
        return server

    def drain(self) -> None:
        """Tell clients and load balancers to leave: `/readyz` responds 503, every response closes its connection.

        What comes is still served.
        """
        self._node.stop_claiming()
        if self._limited is not None:
            self._limited.draining = True

    async def hand_over(self) -> None:
        """Accept no more connections, and serve what comes on those that are open, for a moment: who waits is next.

        For sockets that outlive the process. Else a request that is on its way would meet a closed connection.
        """
        await stop_listening(self)
        if self._limited is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(HAND_OVER_S):
                    await self._limited.finish()

    async def cleanup(self) -> None:
        """Stop listening, let requests under way end, and close all connections."""
        if self._watch is not None:
            self._watch.cancel()
        await super().cleanup()


async def start_server(node: Node, sockets: Sequence[socket.socket] = ()) -> tuple[Runner, str]:
    """Listen on these sockets, or by the settings. Returns the runner, whose `cleanup` ends it, and the URL.

    Raises OSError if the address is in use, or is not this machine's.
    """
    runner = Runner(node)
    await runner.setup()
    sites: list[web.BaseSite] = [web.SockSite(runner, listening, backlog=BACKLOG) for listening in sockets]
    if not sites:
        host, port = node.settings.host, node.settings.port
        sites = [web.TCPSite(runner, host, port, reuse_address=True)]
    try:
        for site in sites:
            await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in str(host) else host}:{port}"
