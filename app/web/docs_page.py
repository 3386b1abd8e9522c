"""`/docs`: the OpenAPI document as a page, with requests to try. It loads nothing from another host.

The page is Scalar's, from the package `offapi`, which ships it as a file.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

_STATIC = Path(__file__).with_name("static")
_CACHED = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'unsafe-inline'",  # Scalar adds styles as it runs.
    "img-src 'self' data:",
    "font-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_PAGE = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def add_docs(app: web.Application) -> None:
    """Serve the page and its scripts."""
    app.router.add_get("/docs", show_page)
    app.router.add_get("/docs/scalar.js", show_scalar)
    app.router.add_get("/docs/start.js", show_start)


async def show_page(_request: web.Request) -> web.FileResponse:
    """The page."""
    return web.FileResponse(_STATIC / "docs.html", headers=_PAGE)


async def show_scalar(_request: web.Request) -> web.FileResponse:
    """Scalar, some megabytes."""
    return web.FileResponse(scalar_file(), headers=_CACHED)


async def show_start(_request: web.Request) -> web.FileResponse:
    """The script that starts Scalar."""
    return web.FileResponse(_STATIC / "docs.js", headers=_CACHED)


@cache
def scalar_file() -> Path:
    """Scalar's script. The package is not imported: that would read all that it ships into memory."""
    package = find_spec("offapi")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package offapi is not installed")
    return Path(package.origin).with_name("scalar.js")
