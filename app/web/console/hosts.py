"""The host names under which the console is served, and whether the browser reaches it by HTTPS.

A page that a browser got from elsewhere can have its name lead to this machine (DNS rebinding), and is then of one
origin with what listens here: so a server on loopback serves the console by an address and by names it knows only.
"""

from __future__ import annotations

from ipaddress import ip_address

from aiohttp import web
from yarl import URL

from app.config.settings import Settings
from app.web.client_address import is_from_proxy
from app.web.problems import Kind, Problem
from app.web.requests import NODE

_ANY = "*"


def require_host(request: web.Request) -> None:
    """Raise `Problem` if the console is not served under the host name of a request."""
    settings = request.app[NODE].settings
    host = _host_of(request)
    if not is_served_under(settings, host):
        detail = (
            f"The console is not served under the host name {host!r}. If this is the server's own name, set "
            "RESCIND_PUBLIC_URL to its URL, or name it in RESCIND_CONSOLE_HOSTS."
        )
        raise Problem(Kind.FORBIDDEN, detail)


def is_served_under(settings: Settings, host: str) -> bool:
    """Whether the console is served under a host name: any, unless the server listens on loopback or hosts are set."""
    if _ANY in settings.console_hosts or (not settings.console_hosts and not _is_loopback(settings.host)):
        return True
    known = {*settings.console_hosts, _public_host(settings), settings.host.lower()}
    return _is_address(host) or host == "localhost" or host.endswith(".localhost") or (host != "" and host in known)


def is_secure(request: web.Request) -> bool:
    """Whether the browser speaks HTTPS with this server, or with the proxy before it."""
    settings = request.app[NODE].settings
    if request.secure:
        return True
    if is_from_proxy(request, settings.trusted_proxies) and "X-Forwarded-Proto" in request.headers:
        return request.headers["X-Forwarded-Proto"].strip().lower() == "https"
    # A proxy that does not say so ends the encryption: the server itself speaks plain HTTP only.
    return settings.public_url.startswith("https:") and _host_of(request) == _public_host(settings)


def _host_of(request: web.Request) -> str:
    """The name in the Host header, in lower case, without the port; "" if it names none."""
    try:
        return (URL(f"http://{request.headers.get('Host', '')}").host or "").rstrip(".").lower()
    except ValueError:
        return ""


def _public_host(settings: Settings) -> str:
    return (URL(settings.public_url).host or "").lower() if settings.public_url else ""


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
