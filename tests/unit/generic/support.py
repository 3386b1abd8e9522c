"""What the tests of this handler share: the example of the README, one webhook, one call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from multidict import CIMultiDict
from pydantic import SecretStr

import handlers.generic
from app.contract import (
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    HttpRequest,
    HttpResponse,
    Ignored,
    InboundRequest,
    Order,
    Parsed,
    ParsedEvent,
    Phase,
    ProbeUnavailable,
    Unrecognized,
)
from handlers.generic.cancel import cancel, probe
from handlers.generic.config import Config
from handlers.generic.simulator import DEFAULT_API_KEY, DEFAULT_SIGNING_SECRET
from handlers.generic.webhook import parse

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
FOLDER = Path(handlers.generic.__file__).parent
CALL = {"url": "/orders/{{ order.id }}/cancel"}
SMALL: dict[str, Any] = {
    "base_url": "https://api.example.com/v2",
    "api_key": "k3y-of-the-api",
    "fields": {"order": "id", "status": "status"},
    "phases": {"placed": "open", "sent": "in_progress", "gone": "canceled"},
    "cancel": CALL,
    "probe": {"url": "/orders/{{ order.id }}"},
}
JSON = {"Content-Type": "application/json"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "com.example.placed",
    "data": {"id": "o-1", "status": "placed"},
}


def example() -> dict[str, Any]:
    """The resource file of the README, with the secrets of the simulated shop."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    secrets = {"SHOP_API_KEY": DEFAULT_API_KEY, "SHOP_SIGNING_SECRET": DEFAULT_SIGNING_SECRET}
    filled = re.sub(r"\$\{(\w+)\}", lambda name: secrets[name[1]], found[1])
    loaded: dict[str, Any] = yaml.safe_load(filled)
    return loaded


def make(**changes: Any) -> Config:
    return Config.model_validate({**SMALL, **changes})


def received(body: Any, headers: Mapping[str, str] = JSON) -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return InboundRequest(CIMultiDict(headers), {}, raw)


def read(body: Any, headers: Mapping[str, str] = JSON, **changes: Any) -> Parsed:
    return parse(received(body, headers), make(**changes))


def observe(body: Any, headers: Mapping[str, str] = JSON, **changes: Any) -> ParsedEvent:
    """The one event in a webhook."""
    parsed = read(body, headers, **changes)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen


def order(id: str = "o-1", **more: Any) -> Order:
    given = {"phase": Phase.OPEN, "version": 1, "opened_at": NOW, "last_event_at": NOW, "sources": {"phase": "evt_1"}}
    return Order("shop", id, **{**given, **more})


def canceled(
    config: Config, order: Order, answer: HttpResponse | None, reason: str = "late", note: str | None = None
) -> tuple[HttpRequest | None, CancelResult]:
    """The request that was made, if any, and what came of the answer."""
    flow = cancel([CancelRequest(order, reason, note)], config, Context(NOW))
    request = None
    try:
        request = next(flow)
        assert answer is not None, "nothing was to be sent"
        flow.send(answer)
    except StopIteration as end:
        return request, end.value[0]
    raise AssertionError("it asks again")


def sent(order: Order, reason: str = "late", note: str | None = None, **call: Any) -> HttpRequest:
    """The request that a cancel call makes."""
    secrets = call.pop("secrets", {})
    request, _ = canceled(make(cancel={**CALL, **call}, secrets=secrets), order, HttpResponse(200), reason, note)
    assert request is not None
    return request


def refused(order: Order, outcome: str = "refused", **call: Any) -> str:
    """Why a call cannot be made; nothing is sent."""
    request, result = canceled(make(cancel={**CALL, **call}), order, None)
    assert request is None
    assert result.outcome == outcome
    return result.detail


def probed(config: Config, order: Order, *answers: HttpResponse) -> Facts | ProbeUnavailable:
    flow = probe([order], config, Context(NOW))
    try:
        next(flow)
        for each in answers:
            flow.send(each)
    except StopIteration as end:
        found: Facts | ProbeUnavailable = end.value[0]
        return found
    raise AssertionError("it asks again")


def secret(text: str) -> SecretStr:
    return SecretStr(text)
