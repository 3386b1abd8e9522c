"""The calls about an order, cancel it and ask how it stands, and what their responses mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpRequest,
    HttpResponse,
    Order,
    ProbeUnavailable,
)
from app.kit import flows, ids
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row, object_or_none
from app.dev.skeleton.config import Config
from app.dev.skeleton.webhook import read_order
from app.dev.skeleton.words import TITLE

# Replace: what the documents say of responses, where it is not what HTTP says (app.kit.responses.STANDARD).
RESPONSES = ResponseTable(
    TITLE,
    kinds={404: ResponseKind.NOT_FOUND},
    rows={ResponseKind.MISDIRECTED: Row(cancel=CancelOutcome.INDETERMINATE)},
)


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own; one that is lost is followed by a probe, as it is not repeatable."""

    def build(request: CancelRequest) -> HttpRequest | CancelResult:
        body = {"reason": request.reason, "note": request.note or ""}
        return _call(config, "POST", request.order, "/cancel", body) or flows.cancel_unsendable(TITLE, request.order)

    def result(_: CancelRequest, response: HttpResponse) -> CancelResult:
        answer = _read(response, config)
        if answer.kind is ResponseKind.DONE and answer.body["status"] != "canceled":
            answer = replace(answer, kind=ResponseKind.UNREADABLE)
        return RESPONSES.cancel_result(answer)

    return flows.per_order(requests, build, result)


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""

    def build(order: Order) -> HttpRequest | ProbeUnavailable:
        return _call(config, "GET", order) or flows.probe_unsendable(TITLE, order)

    def snapshot(order: Order, response: HttpResponse) -> Facts | ProbeUnavailable:
        answer = _read(response, config)
        return flows.read_snapshot(order, answer, RESPONSES, lambda body: read_order(body, config, response.body))

    return flows.per_order(orders, build, snapshot)


def _call(config: Config, method: str, order: Order, action: str = "", body: Any = None) -> HttpRequest | None:
    # Replace: the paths, and the headers that hold the credentials.
    segment = ids.path_segment(order.id)
    url = f"{config.base_url}/orders/{segment}{action}"
    headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"}
    return flows.json_call(method, url, body, headers=headers, timeout_s=config.timeout_s) if segment else None


def _read(response: HttpResponse, config: Config) -> ProviderResponse:
    # Replace: how to tell the provider's own success and refusal from a proxy's page or a wrong base_url.
    body = object_or_none(response, TITLE) or {}
    error = str(body.get("error") or "")
    kind = RESPONSES.kind_of(response.status, [error], readable="status" in body, genuine=bool(error))
    return RESPONSES.read(response, kind, body, error, secrets=[config.api_key.get_secret_value()])
