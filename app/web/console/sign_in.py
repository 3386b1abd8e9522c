"""Signing in with an API key, and out."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from app.web.client_address import client_addresses, shown
from app.web.console import headers
from app.web.console.hosts import is_secure
from app.web.console.rendering import compile_templates, is_compiled
from app.web.console.serving import (
    bare_page,
    form_members,
    read_form,
    require_same_origin,
    session_cookie,
    signed_in,
    with_pages,
)
from app.web.rate_limits import RATE_LIMITS
from app.web.requests import NODE

_HOME = "/"
EVERYWHERE = "everywhere"
"""Member of the form by which one signs out: all sessions of the key end."""

log = structlog.get_logger()


def add_routes(app: web.Application) -> None:
    """Serve the page and its forms."""
    app.router.add_get("/sign-in", with_pages(show))
    app.router.add_post("/sign-in", with_pages(sign_in))
    app.router.add_post("/sign-out", with_pages(sign_out))


async def show(request: web.Request) -> web.Response:
    """The page."""
    if not is_compiled():
        asyncio.get_running_loop().run_in_executor(None, compile_templates)  # for the page after it
    return bare_page("sign_in.html", next=_local(request.query.get("next", "")), problem="")


async def sign_in(request: web.Request) -> web.Response:
    """Start a session for a valid key. Raises `Problem` if another site sent the form, or one tries too often."""
    require_same_origin(request)
    node, form = request.app[NODE], dict(await form_members(request))
    token, location = form.get("key", "").strip(), _local(form.get("next", ""))
    key = await node.keys.look_up(token)
    if key is None:
        request.app[RATE_LIMITS].note_failure(request)
        problem = node.keys.why_refused(token) if token else "Enter an API key."
        return bare_page("sign_in.html", status=401, next=location, problem=problem)
    request.app[RATE_LIMITS].admit_request(key.holder)
    former = await signed_in(request)
    if former is not None:
        await node.sessions.end(former.session)
    started = await node.sessions.start(key)
    log.info("signed_in", key=key.id, address=shown(client_addresses(request, node.settings.trusted_proxies)))
    response = web.Response(status=303, headers={**headers.PAGE, "Location": location})
    # Lax: a link from a chat or a mail to an order opens while signed in; forms of other sites come without it.
    response.set_cookie(
        session_cookie(request),
        started,
        max_age=node.sessions.lifetime_s,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="Lax",
    )
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End the session, or all of its key. Raises `Problem` if another site sent the form."""
    require_same_origin(request)  # Also without a session: the response removes cookies.
    page = await signed_in(request)
    if page is not None:
        await read_form(page)
        if EVERYWHERE in page.form:
            await page.node.sessions.end_all(page.key.id)
        else:
            await page.node.sessions.end(page.session)
    response = web.Response(
        status=303, headers={**headers.PAGE, "Location": "/sign-in", "Clear-Site-Data": '"cookies", "storage"'}
    )
    response.del_cookie(session_cookie(request), path="/", secure=is_secure(request), httponly=True, samesite="Lax")
    return response


def _local(location: str) -> str:
    """`location` if it is a path of this console; else the start page: no link may lead elsewhere by it."""
    is_path = location.startswith("/") and not location.startswith(("//", "/\\"))
    return location if is_path and location.isprintable() and "\\" not in location else _HOME
