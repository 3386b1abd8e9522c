"""The Signed shop: the Example shop behind signatures. It computes them once more, from the document."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import header, json_response
from handlers.generic.simulator import DEFAULT_API_KEY, ExampleShop

SIGNING_KEY = "signed-shop-key-0123456789"
CLOCK_S = 300


class SignedShop(ExampleShop):
    """The shop. `signing_key` signs calls and webhooks; `merchant` may call."""

    provider = "the Signed shop"

    def __init__(self, *, signing_key: str = SIGNING_KEY, merchant: str = "acme", **more: Any) -> None:
        super().__init__(**more)
        self._key, self._merchant, self._nonces = signing_key, merchant, set[str]()

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call, if it is signed, in time, and with a new nonce."""
        url, time, nonce = urlsplit(request.url), header(request, "x-shop-time"), header(request, "x-shop-nonce")
        target = f"{url.path}?{url.query}" if url.query else url.path
        signed = self._signature(request.method, target, time, nonce, request.body)
        is_ours = header(request, "x-shop-merchant") == self._merchant and header(request, "x-shop-signature") == signed
        if not is_ours or nonce in self._nonces or abs(now - float(time)) > CLOCK_S:
            return json_response(401, {"error": {"code": "not_signed", "message": "The signature does not count."}})
        self._nonces.add(nonce)
        authorized = {**request.headers, "Authorization": f"Bearer {DEFAULT_API_KEY}"}
        return super().handle(replace(request, headers=authorized), now)

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook, signed at `now`."""
        time, nonce = str(int(now)), f"n{self.emissions}-{int(now)}"
        made = self._signature("POST", "", time, nonce, webhook.body)
        proof = {"X-Shop-Time": time, "X-Shop-Nonce": nonce, "X-Shop-Signature": made}
        return replace(webhook, headers={**webhook.headers, **proof})

    resigned = sign

    def _signature(self, method: str, target: str, time: str, nonce: str, body: bytes) -> str:
        text = f"{method}\n{target}\n{time}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
        return hmac.new(self._key.encode(), text.encode(), "sha256").hexdigest()
