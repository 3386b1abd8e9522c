"""Requests by which a sender finds out whether its webhooks are wanted, and the responses to them."""

from __future__ import annotations

from msgspec.structs import replace

from app.config.resolve import Endpoint
from app.contract import InboundRequest
from app.dev.trial.mask import Mask
from app.dev.trial.report import Proof, TrialHandshake, TrialWebhook
from app.web.handshakes import allowed_methods, response_of
from app.web.problems import Problem


def handshake_of(
    endpoint: Endpoint, name: str, inbound: InboundRequest, proof: Proof | None = None
) -> TrialWebhook | None:
    """The response, where the handler takes the request for a handshake; `proof` if it has proved its sender."""
    handshake, mask = endpoint.account.handler.handshake, Mask(endpoint)
    if handshake is None:
        return None
    result = TrialWebhook(name=name, status="refused", http_status=400, proof=proof)
    try:
        given = handshake(replace(inbound, proven=proof is not None), endpoint.account.config)
        if given is None:
            return None
        response = response_of(given, inbound.method, allowed_methods(endpoint))
    except Problem as problem:
        result.http_status, result.reason = problem.kind.status, mask.text(problem.detail)
        return result
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        result.http_status, result.reason = 500, mask.text(f"the handler failed: {type(error).__name__}: {error}")
        return result
    if given.confirm and proof is None:
        result.http_status, result.reason = 401, "only a request that proves its sender confirms a subscription"
        return result
    result.status, result.http_status = "handshake", response.status
    result.handshake = TrialHandshake(
        headers=mask.headers(dict(response.headers)), body=mask.body(given.body), confirm=mask.text(given.confirm)
    )
    return result
