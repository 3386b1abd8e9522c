"""All pages of the console, and its files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web

from app.web.console import (
    administration,
    headers,
    inspection,
    order,
    order_actions,
    orders,
    overview,
    search,
    sign_in,
)
from app.web.console.page import OPERATIONS, PageRoute
from app.web.console.rendering import STATIC
from app.web.console.serving import serve_page
from app.web.requests import WebHandler
from app.web.routes import Route

PAGES: list[PageRoute] = [
    *overview.PAGES,
    *orders.PAGES,
    *order.PAGES,
    *order_actions.PAGES,
    *search.PAGES,
    *inspection.PAGES,
    *administration.PAGES,
]
FILES: list[PageRoute] = inspection.FILES
"""What pages link to or load, and is no page."""


def add_console(app: web.Application, operations: Sequence[Route]) -> None:
    """Serve the console, whose pages call these operations."""
    app[OPERATIONS] = {name: route for route in operations for name in (route.handler, route.name)}
    sign_in.add_routes(app)
    for page in (*PAGES, *FILES):
        # By default aiohttp's variables match no braces, which an id may have.
        path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", page.path)
        app.router.add_route(page.method, path, serve_page(page))
    for file in STATIC.iterdir():
        app.router.add_get(f"/static/{file.name}", _serve_file(file.name))


def _serve_file(name: str) -> WebHandler:
    async def serve(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / name, headers=headers.FILE)

    return serve
