"""Distinctive secrets, the ways in which they may be spelled, and a provider that repeats whatever it is sent."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.runtime.http_server import EndingRunner

HARD = '"/+&%=?\\~'
"""Characters that each spelling writes in another way."""
PLAIN = "/+=~"
"""The same for secrets in headers and URLs."""
FETCHED = "Cnry-fetched-token-0123456789"


def canary(name: str, tail: str = HARD) -> str:
    return f"Cnry-{name}-{tail}-x9"


PRIVATE_KEY = (
    generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
CONFIGS: dict[str, dict[str, Any]] = {
    "planomatic": {"api_key": canary("planomatic")},
    "notpanel": {"key": canary("notpanel"), "webhook_secret": canary("notpanel-hook")},
    "kibo": {"tenant": "t1", "shared_secret": canary("kibo"), "credential": f"Bearer {canary('kibo-cred', PLAIN)}"},
    "shoplazza": {
        "shop_domain": "acme",
        "access_token": canary("plazza", PLAIN),
        "client_secret": canary("app", PLAIN),
    },
    "superloop": {"access_token": canary("superloop", PLAIN)},
    "superloop-oauth": {"client_id": "c", "key_id": "k", "private_key": PRIVATE_KEY},
    "generic": {
        "api_key": canary("generic"),
        "secrets": {"password": canary("generic-password")},
        "fields": {"order": "id", "status": "status"},
        "phases": {"placed": "open"},
        "cancel": {
            "url": "/orders/{{ order.id }}/cancel",
            "headers": {"X-Basic": "{{ base64.encode(bytes('user:' + secrets.password)) }}"},
            "body": {"key": "{{ secrets.api_key }}"},
        },
        "probe": {"url": "/orders/{{ order.id }}"},
    },
}
SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "signed": {"url": "/in", "headers": {"Authorization": f"Bearer {canary('sub', PLAIN)}"}, "payload": "full"},
    "slack": {"format": "slack", "url": "/services/T0/B0/Cnry0slack0path0x9"},
    "pager": {"format": "pagerduty", "url": "/v2", "routing_key": "Cnry0routing0key0x9"},
    "mail": {"format": "email", "url": "mailto:ops@example.com"},
    "own": {
        "format": "template",
        "url": "/any/Cnry0template0path0x9",
        "headers": {"X-Key": canary("template", PLAIN)},
        "template": {"body": '{"text": {{ notice.title | json }}}'},
    },
}


def spellings(secret: str) -> Iterator[bytes]:
    """How a secret may stand in what was written; independent of how the server removes it."""
    raw = secret.encode()
    texts = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), quote(quote(secret, safe=""), safe="")}
    texts |= {re.sub("%..", lambda escape: escape[0].lower(), text) for text in texts}
    texts |= {json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]}
    texts |= {text.replace("/", "\\/") for text in texts}
    texts |= {raw.hex(), raw.hex().upper(), secret[:-4] + "\\u" + f"{ord(secret[-4]):04x}" + secret[-3:]}
    for shift in range(3):
        encoded = b64encode(bytes(shift) + raw).decode()
        # Without the characters that depend on what stands before and after it.
        part = encoded[4 if shift else 0 : -4]
        texts |= {part, part.replace("+", "-").replace("/", "_")}
    return (text.encode() for text in texts)


def leaks(said: dict[str, bytes], secrets: dict[str, str]) -> list[tuple[str, str, bytes]]:
    """(secret, where it stands, its spelling)."""
    return [
        (name, where, spelling)
        for name, secret in secrets.items()
        for spelling in spellings(secret)
        for where, content in said.items()
        if spelling in content
    ]


class Echo:
    """A provider that repeats all that it is sent, in several spellings, with one status after the other."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.links: set[str] = set()
        """Tokens of the links by which a person approves a cancel."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = EndingRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.calls.append(request.path)
        if request.path.endswith("/token"):
            return web.json_response({"access_token": FETCHED, "token_type": "Bearer", "expires_in": 3600})
        sent = (await request.read()).decode() + "\n" + "\n".join(f"{k}: {v}" for k, v in request.headers.items())
        sent += f"\n{request.raw_path if hasattr(request, 'raw_path') else request.path_qs}"
        links = re.findall(r"https:..[^\s\"]*/approvals/[\w-]+", sent)
        self.links |= {link.rpartition("/")[2] for link in links}
        echoes = [sent, quote(sent), b64encode(sent.encode()).decode(), json.dumps(sent)]
        status = (200, 400, 401, 404, 422, 500)[len(self.calls) % 6]
        # First, as not all of a response is kept.
        first = [each for link in links[:1] for each in (link, quote(link, safe=""), json.dumps(link))]
        body = {"links": first, "error": echoes, "errors": [{"message": sent}], "message": sent, "status": echoes[1]}
        return web.json_response(body, status=status, headers={"X-Echo": quote(sent)[:4000]})
