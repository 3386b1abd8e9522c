"""A shop that is tried: one account of `generic`, and requests to its endpoint."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.contract import HttpResponse
from app.dev.trial.calls import GivenAnswer
from app.dev.trial.report import Trial
from app.dev.trial.run import Wanted, run
from app.dev.trial.signing import sign
from app.dev.trial.source import TrialSource, read_source
from app.dev.trial.webhooks import Given

NOW = datetime(2030, 1, 1, 10, tzinfo=UTC)
SECRET, KEY = "secret-of-the-hooks", "key-of-the-api"
URL = "https://rescind.example.com/webhooks/shop-in"
CONFIG: dict[str, Any] = {
    "base_url": "https://api.shop.example",
    "api_key": KEY,
    "fields": {
        "order": "id",
        "status": "status",
        "aliases": {"unique": "number"},
        "attributes": {"version": "version"},
    },
    "phases": {"placed": "open", "canceled": "canceled"},
    "cancel": {
        "url": "/orders/{{ order.id }}/cancel",
        "headers": {
            "Idempotency-Key": "{{ cancellation.id }}",
            "Authorization": "Basic {{ base64.encode(bytes('shop:' + secrets.api_key)) }}",
        },
        "body": {"version": "{{ order.attributes.version }}", "key": "{{ secrets.api_key }}"},
    },
    "probe": {"url": "/orders/{{ order.id }}"},
}
VERIFY = {"scheme": "hmac", "header": "X-Sign", "encoding": "base64", "secrets": ["${HOOK}"]}


def source(folder: Path, config: Any = None, verify: Any = None, **more: Any) -> TrialSource:
    """The shop, with changes to the account's config, the endpoint's `verify`, or the file's other keys."""
    account = {"id": "shop", "provider": "generic", "config": {**CONFIG, **(config or {})}}
    endpoint = {"id": "shop-in", "account": "shop", "verify": verify or VERIFY}
    file = folder / "shop.yaml"
    file.write_text(json.dumps({**more, "accounts": [account], "endpoints": [endpoint]}), encoding="utf-8")
    return read_source(file, {} if more else {"HOOK": SECRET}, NOW)


def placed(id: str = "o-1", **more: Any) -> bytes:
    """A webhook's body."""
    return json.dumps({"id": id, "status": "placed", "version": 3, **more}).encode()


def given(body: bytes, *headers: tuple[str, str], **more: Any) -> Given:
    """A request."""
    return Given("body.json", [("Content-Type", "application/json"), *headers], body, url=URL, **more)


def trial(shop: TrialSource, *bodies: bytes, **wanted: Any) -> Trial:
    """Signed webhooks, tried."""
    endpoint = shop.endpoint(None)
    webhooks = [sign(endpoint, given(body), NOW) for body in bodies]
    return run(shop, endpoint, webhooks, Wanted(**{"now": NOW, **wanted}))


def answer(status: int, body: Any = None, **headers: str) -> GivenAnswer:
    """A response of the shop."""
    content = b"" if body is None else json.dumps(body).encode()
    return GivenAnswer("answer.json", HttpResponse(status, {"content-type": "application/json", **headers}, content))
