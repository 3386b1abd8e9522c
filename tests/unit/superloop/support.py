"""What the tests of this handler share: a client's keys, webhooks, and conversations with the simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from multidict import CIMultiDict

from app.contract import Context, Flow, HttpRequest, HttpResponse, Ignored, InboundRequest, ParsedEvent, Unrecognized
from handlers.superloop.config import Config
from handlers.superloop.simulator import Superloop
from handlers.superloop.webhook import parse

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
FIXED = "a-fixed-access-token"
CONFIG = Config.model_validate({"access_token": FIXED})
T = TypeVar("T")


def keys(number: int = 0) -> tuple[str, str]:
    """A private key and its public one, as PEM; another pair for another number."""
    return _made(number)


@cache
def _made(number: int) -> tuple[str, str]:
    assert number >= 0
    key = generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def oauth(**more: Any) -> Config:
    """An account with an OAuth client. Its key is checked once: that takes longer than the rest of most tests."""
    return _oauth() if not more else _oauth_with(more)


@cache
def _oauth() -> Config:
    return _oauth_with({})


def _oauth_with(more: dict[str, Any]) -> Config:
    client = {"client_id": "acme-client", "private_key": keys()[0], "key_id": "acme-kid"}
    return Config.model_validate({**client, **more})


def observe(event: str, body: Mapping[str, Any], config: Config = CONFIG) -> ParsedEvent:
    """The one event in a webhook named `event`."""
    headers = CIMultiDict({"z-event-type": f"{event}.event"})
    parsed = parse(InboundRequest(headers, {}, json.dumps(body).encode()), config)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen


def at(now: datetime, nonce: str = "nonce", memory: dict[str, tuple[datetime, Any]] | None = None) -> Context:
    """What a flow may use, with a memory that outlives it."""
    return Context(now, nonce, {} if memory is None else memory)


def talk(flow: Flow[T], provider: Superloop, now: datetime) -> tuple[T, list[tuple[HttpRequest, HttpResponse]]]:
    """Run a flow against the simulator; what was said comes along."""
    said = []
    try:
        request = next(flow)
        while True:
            response = provider.handle(request, now.timestamp())
            said.append((request, response))
            request = flow.send(response)
    except StopIteration as end:
        return end.value, said
