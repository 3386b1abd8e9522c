"""The HTTP server: routes on aiohttp, start and end."""

from __future__ import annotations

import asyncio
import re
from functools import cache

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.config.keys import Scope
from app.node import Node
from app.runtime import metrics
from app.web import (
    backtests,
    batches,
    cancellations,
    events,
    keys,
    openapi,
    orders,
    pauses,
    policies,
    probes,
    readiness,
    receipts,
    registrations,
    resources,
    status,
)
from app.web.auth import require
from app.web.bodies import BODIES, Bodies
from app.web.connections import Door, connections_possible
from app.web.ingest import Ingest
from app.web.routes import NODE, Handler, Route, guarded, serve

ROUTES: list[Route] = [
    *orders.ROUTES,
    *cancellations.ROUTES,
    *batches.ROUTES,
    *probes.ROUTES,
    *events.ROUTES,
    *receipts.ROUTES,
    *resources.ROUTES,
    *keys.ROUTES,
    *pauses.ROUTES,
    *policies.ROUTES,
    *backtests.ROUTES,
    *registrations.ROUTES,
    *status.ROUTES,
]


def make_app(node: Node) -> web.Application:
    """The web application of a node."""
    app = web.Application(client_max_size=node.settings.body_max)
    app[NODE] = node
    readiness.add_readiness(app)
    settings = node.settings
    bodies = app[BODIES] = Bodies(settings.bodies_max, settings.body_max, settings.body_timeout_s)
    ingest = Ingest(node.directory, node.store, node.ledger, node.ids, bodies, settings.body_max)
    app.router.add_post("/webhooks/{endpoint}", guarded(ingest.receive))
    app.router.add_options("/webhooks/{endpoint}", guarded(ingest.greet))
    for route in ROUTES:
        app.router.add_route(route.method, with_any_text(route.path), serve(route))
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", guarded(readiness.show))
    app.router.add_get("/metrics", guarded(show_metrics))

    @cache
    def description() -> bytes:
        """Made when it is asked for: it takes longer than the rest of the start."""
        return msgspec.json.encode(openapi.document(ROUTES, node.settings.public_url))

    async def show_openapi(_request: web.Request) -> web.Response:
        return web.Response(body=description(), content_type="application/json")

    app.router.add_get("/openapi.json", show_openapi)
    app.router.add_route("*", "/{path:.*}", guarded(_no_route(app)))
    return app


def with_any_text(path: str) -> str:
    """The path, each variable of which takes any segment of a URL: an id may hold braces, which are not taken else."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


def _no_route(app: web.Application) -> Handler:
    """What no route serves: 405 where another method would be, else 404."""
    resources = list(app.router.resources())

    async def handle(request: web.Request) -> web.StreamResponse:
        allowed: set[str] = set()
        for resource in resources:
            allowed |= (await resource.resolve(request))[1]
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound

    return handle


async def healthz(_request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def show_metrics(request: web.Request) -> web.Response:
    """What is counted, for Prometheus; needs a key of scope `read`, since it names accounts."""
    node = request.app[NODE]
    require(node.keys, request, Scope.READ)
    for account in node.directory.accounts:
        lane = node.lane_status(account)
        metrics.LANES.labels(account).set(lane is not None and lane.state in ("idle", "sending", "rate_limited"))
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Runner(web.AppRunner):
    """Serves a node's application, behind a `Door`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._watch: asyncio.Task[None] | None = None
        super().__init__(
            make_app(node),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=10.0,
            auto_decompress=False,
            keepalive_timeout=node.settings.idle_timeout_s,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        settings = self._node.settings
        door = Door(
            made.request_handler,
            request_factory=made.request_factory,
            most=connections_possible(settings.connections_max),
            most_of_one=settings.connections_per_address,
            trusted=settings.trusted_proxies,
            **self._kwargs,
        )
        self._watch = asyncio.create_task(door.watch())
        return door

    async def cleanup(self) -> None:
        """Stop listening, and end what is open."""
        if self._watch is not None:
            self._watch.cancel()
        await super().cleanup()


async def start_server(node: Node) -> tuple[Runner, str]:
    """Listen; returns what stops it, and the URL."""
    runner = Runner(node)
    await runner.setup()
    site = web.TCPSite(runner, node.settings.host, node.settings.port, reuse_address=True)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in str(host) else host}:{port}"
