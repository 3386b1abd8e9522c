"""How a page is served: the session, the form's proof of where it is from, and every error shown as a page."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import structlog
from aiohttp import web
from yarl import URL

from app.store import StoreError
from app.web.bodies import BODIES
from app.web.console import headers
from app.web.console.hosts import is_secure, require_host
from app.web.console.page import FORM_TOKEN, NOTICE_COOKIE, Page, PageRoute
from app.web.console.rendering import compile_templates, is_compiled, render
from app.web.problems import Kind, Problem, busy, of_http_error
from app.web.rate_limits import RATE_LIMITS
from app.web.requests import NODE, WebHandler

SESSION_COOKIE, SECURE_SESSION_COOKIE = "rescind_session", "__Host-rescind_session"
MEMBERS_MAX = 5000
_NOT_OURS = "The form was not sent from this console, or is from another session: load the page again, and repeat."

log = structlog.get_logger()


def serve_page(route: PageRoute) -> WebHandler:
    """The aiohttp handler of a page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        page = await signed_in(request)
        if page is None:
            return to_sign_in(request)
        if not is_compiled():
            await asyncio.to_thread(compile_templates)
        request.app[RATE_LIMITS].admit_request(page.key.holder)
        if route.method == "POST":
            await read_form(page)
        try:
            return await route.handler(page)
        except Problem as problem:
            came_from = _came_from(request)
            return page.render("problem.html", status=problem.kind.status, problem=problem, came_from=came_from)

    return with_pages(handle)


def _came_from(request: web.Request) -> str | None:
    """The path of the console's page that led here, with its filters; None if there is none."""
    try:
        url = URL(request.headers.get("Referer", ""))
        place = url.raw_path_qs
        return place if url.raw_authority == request.host and not place.startswith("//") else None
    except ValueError:
        return None


def with_pages(handler: WebHandler) -> WebHandler:
    """`handler`, with every error returned as a page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            require_host(request)
            return await handler(request)
        except Problem as error:
            problem = error
        except StoreError as error:
            problem = busy(f"{error}.")
        except web.HTTPException as error:
            problem = of_http_error(error)
            if problem.kind is Kind.NOT_FOUND:
                problem = Problem(Kind.NOT_FOUND, "There is no such page.")
        except Exception:
            log.exception("unexpected", method=request.method, path=request.path)
            problem = Problem(Kind.INTERNAL, "The server failed; its log has the details.")
        return bare_page("bare_problem.html", status=problem.kind.status, problem=problem)

    return handle


def bare_page(template: str, *, status: int = 200, **context: Any) -> web.Response:
    """A page for someone who is not signed in."""
    body = render(template, **context)
    return web.Response(status=status, text=body, content_type="text/html", headers=headers.PAGE)


async def signed_in(request: web.Request) -> Page | None:
    """The page of a request with a session; None without one."""
    node = request.app[NODE]
    token = request.cookies.get(session_cookie(request), "")
    session = await node.sessions.find(token, node.keys) if token else None
    if session is None:
        return None
    sealed = request.cookies.get(NOTICE_COOKIE, "")
    return Page(request, session, notice=node.sessions.open_notice(session, sealed) if sealed else "")


def to_sign_in(request: web.Request) -> web.Response:
    """A redirect to the page where one signs in, and from there back to the page that was asked for."""
    location = "/sign-in"
    if request.method == "GET" and request.path != "/":
        # Not by `request.url`: the Host header may be no host.
        location = str(URL.build(path=location, query={"next": request.path_qs}))
    return web.Response(status=303, headers={**headers.PAGE, "Location": location})


def session_cookie(request: web.Request) -> str:
    """The name of the session's cookie."""
    return SECURE_SESSION_COOKIE if is_secure(request) else SESSION_COOKIE


async def read_form(page: Page) -> None:
    """Read the form that was sent. Raises `Problem` if it is not the console's own."""
    require_same_origin(page.request)
    page.members = await form_members(page.request)
    page.form = dict(page.members)
    if not page.node.sessions.is_form_token(page.session, page.form.get(FORM_TOKEN, "")):
        raise Problem(Kind.FORBIDDEN, _NOT_OURS)


async def form_members(request: web.Request) -> list[tuple[str, str]]:
    """The members of a form. Raises `Problem` if there are too many."""
    bodies = request.app[BODIES]
    raw = await bodies.read(request)
    try:
        return parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MEMBERS_MAX)
    except ValueError as error:
        raise Problem(Kind.INVALID, f"The form has more than {MEMBERS_MAX} members.") from error
    finally:
        bodies.release(len(raw))


def require_same_origin(request: web.Request) -> None:
    """Raise `Problem` if the browser says that another site sent the form."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Problem(Kind.FORBIDDEN, _NOT_OURS)
    elif origin is not None and origin not in (f"http://{request.host}", f"https://{request.host}"):
        raise Problem(Kind.FORBIDDEN, _NOT_OURS)
