"""Calling the simulated Shoplazza in the tests of it."""

from __future__ import annotations

import json
from typing import Any

from unit.shoplazza.support import ID

from app.contract import HttpRequest
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, Shoplazza

NOW = 1_772_467_445.0
BASE = "https://acme.myshoplaza.com/openapi/2022-01"
CANCEL, DETAILS, WEBHOOKS = f"/orders/{ID}/cancel", f"/orders/{ID}", "/webhooks"


def call(
    provider: Shoplazza,
    path: str = CANCEL,
    body: Any = None,
    *,
    method: str = "POST",
    token: str = DEFAULT_ACCESS_TOKEN,
    now: float = NOW,
) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    answer = provider.handle(HttpRequest(method, BASE + path, {"Access-Token": token}, raw), now)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body)


def look(provider: Shoplazza, **more: Any) -> tuple[int, Any]:
    return call(provider, DETAILS, method="GET", **more)


def provider_with_order(*, paid: bool = True, **options: Any) -> Shoplazza:
    provider = Shoplazza(**options)
    provider.act({"do": "create_order", "paid": paid}, NOW)
    provider.emitted()
    return provider


def act(provider: Shoplazza, do: str, now: float = NOW, **more: Any) -> dict[str, Any]:
    return provider.act({"do": do, "order_id": ID, **more}, now)


def summary(provider: Shoplazza) -> dict[str, Any]:
    [found] = act(provider, "list")["orders"]
    assert isinstance(found, dict)
    return found


def heard(provider: Shoplazza) -> list[str]:
    return [each.headers["X-Shoplazza-Topic"] for each in provider.emitted()]


def errors(*said: str) -> dict[str, Any]:
    return {"errors": list(said)}
