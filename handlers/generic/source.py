"""Handlers for sources with a protocol of their own: that is code, and the rest is a configuration of generic's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.contract import (
    Authorize,
    Handler,
    HandshakeResponse,
    HttpRequest,
    InboundRequest,
    Limits,
    Simulator,
    VerifyOptions,
)
from handlers.generic import webhook
from handlers.generic.config import Config
from handlers.generic.handler import HANDLER


def source_handler(
    name: str,
    title: str,
    *,
    docs: Sequence[str],
    config: type[Config] = Config,
    verify: Callable[[InboundRequest, VerifyOptions, datetime], None] | None = None,
    verify_options: frozenset[str] = frozenset(),
    proof_in_headers: bool = False,
    signed_headers: Collection[str] = (),
    sign: Callable[[HttpRequest, VerifyOptions, datetime], HttpRequest] | None = None,
    handshake: Callable[[InboundRequest, Any], HandshakeResponse | None] | None = None,
    authorize: Authorize | None = None,
    limits: Limits | None = None,
    simulator: Callable[..., Simulator] | None = None,
) -> Handler:
    """The handler `generic`, but for what is given here. Accounts are configured as those of `generic` are.

    Args:
        name: of the provider, as accounts name it.
        title: of the provider, for people.
        docs: where the provider documents what is given here.
        config: adds fields to generic's; those that are a `Secret` are in templates as `secrets.<field>` too.
        verify: proves who sent a webhook, for endpoints with the scheme `handler`; needs `sign`.
        verify_options: see `Handler`; of `verify`.
        proof_in_headers: see `Handler`; of `verify`.
        signed_headers: those that the proof covers which `verify` checks; with `proof_in_headers` all are proven. An
            event's id in another one (`key_header`, `webhook-id`) is not read, unless `fields.time` is configured.
        sign: the counterpart of `verify`, for samples and tests.
        handshake: asked before the `challenges` of the configuration. For POST requests `config` must override
            `post_handshakes`, and for GET `handshake_methods`, which `Allow` states.
        authorize: gives each call its credentials (cancel, probe, registration), in place of `token`.
        limits: generic's by default.
        simulator: of the provider; generic's by default.
    """
    if (verify is None) != (sign is None):
        raise ValueError("give verify and sign together: samples are signed as webhooks are")
    changes: dict[str, Any] = {"name": name, "title": title, "docs": docs, "config": _bound(config, authorize)}
    if verify is not None:
        changes |= {
            "verify": verify,
            "verify_options": verify_options,
            "proof_in_headers": proof_in_headers,
            "signed_headers": None if proof_in_headers else frozenset(name.lower() for name in signed_headers),
            "sign": sign,
        }
    if handshake is not None:
        changes["handshake"] = _first(handshake)
    if limits is not None:
        changes["limits"] = limits
    if simulator is not None:
        changes["simulator"] = simulator
    return replace(HANDLER, **changes)


def _bound(config: type[Config], authorize: Authorize | None) -> type[Config]:
    """The config whose accounts' calls `authorize` gives their credentials."""
    if authorize is None:
        return config
    body = {"authorization": lambda _: authorize, "__module__": config.__module__, "__doc__": config.__doc__}
    return type(config.__name__, (config,), body)


def _first(
    own: Callable[[InboundRequest, Any], HandshakeResponse | None],
) -> Callable[[InboundRequest, Config], HandshakeResponse | None]:
    def handshake(request: InboundRequest, config: Config) -> HandshakeResponse | None:
        response = own(request, config)
        return webhook.handshake(request, config) if response is None else response

    return handshake
