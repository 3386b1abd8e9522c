"""What the tests of this handler share: reading one webhook, and flows with given answers or with the simulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

from contract.handler_cases import NOW, context, converse, drive

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
    ParsedEvent,
    ProbeUnavailable,
    Unrecognized,
)
from handlers.notpanel.cancel import cancel
from handlers.notpanel.config import Config
from handlers.notpanel.probe import probe
from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel
from handlers.notpanel.webhook import parse

KEY = DEFAULT_KEY
CONFIG = Config.model_validate({"key": KEY})
AT = NOW.timestamp()

__all__ = ["AT", "CONFIG", "KEY", "NOW", "context", "converse", "drive"]


def observe(body: bytes | dict[str, Any], config: Config = CONFIG) -> ParsedEvent:
    """The one event in a webhook."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parsed = parse(InboundRequest({}, {}, raw), config)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen


def order(id: str, **attributes: Any) -> Order:
    return Order("account", id, attributes=attributes)


def response(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def form(request: HttpRequest) -> dict[str, str]:
    """The fields of a call."""
    return {name: "|".join(values) for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}


def ask(
    ids: Sequence[str], *answers: HttpResponse, config: Config = CONFIG, flow_context: Context | None = None
) -> tuple[list[CancelResult], list[HttpRequest]]:
    """Cancel these orders, with the answers given beforehand."""
    requests = [CancelRequest(order(id), "because") for id in ids]
    return drive(cancel(requests, config, flow_context or context()), list(answers))


def look(
    orders: Sequence[str | Order], *answers: HttpResponse, config: Config = CONFIG, flow_context: Context | None = None
) -> tuple[list[Facts | ProbeUnavailable], list[HttpRequest]]:
    """Probe these orders, with the answers given beforehand."""
    known = [order(each) if isinstance(each, str) else each for each in orders]
    return drive(probe(known, config, flow_context or context()), list(answers))


def provider(*statuses: str, **options: Any) -> NotPanel:
    """A simulated NotPanel with orders `1`, `2` … in these statuses."""
    made = NotPanel(**options)
    for number, status in enumerate(statuses, 1):
        made.act({"do": "create_order", "order_id": number, "status": status}, AT)
    made.emitted()
    return made


def summary(made: NotPanel, id: object = 1) -> dict[str, Any]:
    [found] = made.act({"do": "list", "order_id": id}, AT)["orders"]
    assert isinstance(found, dict)
    return found


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ORDERED = {"action": "add", "service": 1, "request_id": "r-1", "link": "https://social.example.com/x", "quantity": 1000}


def raw(made: NotPanel, now: float = AT, *, key: str = KEY, **fields: Any) -> HttpResponse:
    """What the simulator answers to a form."""
    body = urlencode({"key": key, **fields}).encode()
    return made.handle(HttpRequest("POST", "https://notpanel.com/api/v2", FORM, body), now)


def call(made: NotPanel, now: float = AT, **fields: Any) -> tuple[int, Any]:
    """The same, read."""
    answer = raw(made, now, **fields)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body)


def webhooks(made: NotPanel) -> list[dict[str, Any]]:
    """The bodies of what it has sent."""
    return [json.loads(each.body) for each in made.emitted()]
