"""Sample webhooks: what a provider would send about an order that does not exist, unsigned or signed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.contract import Handler, HttpRequest, Simulator, VerifyOptions
from app.kit.sign import CannotSign, sign_scheme, sign_token


class NoSample(Exception):
    """There is no sample for this account; the message says why."""


def sample_of(handler: Handler, config: Any, now: datetime) -> HttpRequest:
    """An unsigned webhook for an account of the handler. Raises `NoSample`."""
    if handler.sample is not None:
        return handler.sample(config, now)
    if handler.simulator is None:
        raise NoSample(f"the handler {handler.name} has neither a sample nor a simulator: give a body")
    return simulated(handler.simulator(), now)


def simulated(simulator: Simulator, now: datetime, *actions: Mapping[str, Any]) -> HttpRequest:
    """The last webhook that a simulator sends when it does `create_order`, or all of `actions` instead.

    Raises `NoSample` if it sends none.
    """
    for action in actions or ({"do": "create_order"},):
        simulator.act(action, now.timestamp())
    webhooks = simulator.emitted()
    if not webhooks:
        raise NoSample("the simulator sends no webhook about an order that is created: give a body")
    return webhooks[-1]


def signed(handler: Handler, webhook: HttpRequest, options: VerifyOptions, now: datetime, url: str = "") -> HttpRequest:
    """The webhook with the proof that the endpoint asks for. Raises `CannotSign`.

    `url` is the one that the server will take for the URL that was called.
    """
    if options.scheme != "handler":
        return sign_scheme(webhook, options, now, url)
    if handler.sign is not None:
        return handler.sign(webhook, options, now)
    if handler.proof_in_headers:
        return sign_token(webhook, options)
    raise CannotSign(f"the handler {handler.name} cannot sign: it has no `sign`")
