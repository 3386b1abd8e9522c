"""Handlers with a protocol of their own on top of generic, and one of about a hundred lines that signs every call."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict
from pydantic import ValidationError
from unit.generic.support import CALL, NOW, SMALL

import handlers
from app.contract import (
    CancelOutcome,
    CancelRequest,
    Context,
    Handler,
    HandshakeResponse,
    HttpRequest,
    HttpResponse,
    InboundRequest,
    Order,
    Phase,
    ProbeUnavailable,
    VerificationError,
    VerifyOptions,
)
from handlers import generic

EXAMPLES = Path(__file__).resolve().parents[2] / "source_handlers"
LINES_MAX = 110
DOCS = ["https://shop.example.com/docs"]
CONFIG = {**SMALL, "merchant": "acme", "signing_key": "k3y-that-signs"}
ORDER = Order("a", "o-1", phase=Phase.OPEN, provider_status="placed", opened_at=NOW, last_event_at=NOW)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(handlers, "__path__", [*handlers.__path__, str(EXAMPLES)])
    return import_module("handlers.signed_shop")


def run(handler: Handler, config: Any, *statuses: int, context: Context | None = None) -> tuple[Any, list[HttpRequest]]:
    """Cancel an order; the provider answers with these statuses."""
    flow = handler.cancel([CancelRequest(ORDER, "mistake", None)], config, context or Context(NOW, "n0nce"))
    requests, left = [], list(statuses)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            body = b'{"error": "k3y-that-signs"}'
            request = flow.send(HttpResponse(left.pop(0), {"content-type": "application/json"}, body))
    except StopIteration as end:
        return end.value[0], requests


def test_the_example_passes_the_suite_over_all_handlers() -> None:
    """About a hundred lines, found by RESCIND_HANDLERS_PATH."""
    assert len((EXAMPLES / "signed_shop/__init__.py").read_text(encoding="utf-8").splitlines()) <= LINES_MAX
    done = subprocess.run(
        [Path(sys.executable).with_name("rescind"), "handlers", "test", "signed_shop"],
        env={**os.environ, "RESCIND_HANDLERS_PATH": str(EXAMPLES)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_every_call_is_signed_with_a_nonce_of_its_own(shop: Any) -> None:
    config = shop.HANDLER.config.model_validate(CONFIG)
    context = Context(NOW, "n0nce")
    result, requests = run(shop.HANDLER, config, 401, 200, context=context)
    assert result.outcome is CancelOutcome.SUCCEEDED
    first, second = (request.headers for request in requests)
    assert first["X-Shop-Nonce"] != second["X-Shop-Nonce"]
    assert first["X-Shop-Signature"] != second["X-Shop-Signature"]
    assert second["X-Shop-Merchant"] == "acme"
    again, requests = run(shop.HANDLER, config, 401, 401)
    assert again.outcome is CancelOutcome.UNAUTHORIZED
    assert len(requests) == 2
    assert not any(request.repeatable for request in requests)


def test_its_secrets_are_in_templates_and_in_nothing_that_is_shown(shop: Any) -> None:
    config = shop.HANDLER.config.model_validate(
        {**CONFIG, "cancel": {**CALL, "headers": {"X-Key": "{{ secrets.signing_key }}"}, "detail": "error"}}
    )
    result, [request] = run(shop.HANDLER, config, 409)
    assert request.headers["X-Key"] == "k3y-that-signs"
    assert "k3y-that-signs" not in repr(result)
    assert "k3y-that-signs" not in repr(config)


def test_a_token_beside_the_handler_s_own_credentials_is_refused(shop: Any) -> None:
    token = {"url": "https://api.example.com/token", "body": {"client_secret": "{{ secrets.api_key }}"}}
    generic.Config.model_validate({**SMALL, "token": token})
    with pytest.raises(ValidationError, match="gives its calls their credentials: leave it out"):
        shop.HANDLER.config.model_validate({**CONFIG, "token": token})


def test_a_webhook_is_verified_by_the_handler_s_own_scheme(shop: Any) -> None:
    options = VerifyOptions(secrets=("s3cret-of-the-webhooks",))  # type: ignore[arg-type]
    webhook = shop.HANDLER.sign(HttpRequest("POST", "", {}, b"{}"), options, NOW)
    request = InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body)
    shop.HANDLER.verify(request, options, NOW)
    for wrong in (replace(request, body=b"{ }"), replace(request, headers={**webhook.headers, "X-Shop-Nonce": "n"})):
        with pytest.raises(VerificationError):
            shop.HANDLER.verify(wrong, options, NOW)
    with pytest.raises(VerificationError, match="away from now"):
        shop.HANDLER.verify(request, options, NOW + timedelta(hours=1))


def test_what_is_not_given_is_generic_s() -> None:
    handler = generic.source_handler("other", "Other", docs=DOCS)
    for name in ("config", "rules", "verify", "verify_options", "parse", "verdict", "cancel", "probe", "simulator"):
        assert getattr(handler, name) is getattr(generic.HANDLER, name), name
    assert (handler.name, handler.title, handler.docs) == ("other", "Other", DOCS)
    assert handler.handshake is generic.HANDLER.handshake
    with pytest.raises(ValueError, match="verify and sign together"):
        generic.source_handler("other", "Other", docs=DOCS, verify=lambda _request, _options, _now: None)


def test_the_handler_s_own_handshake_comes_before_the_challenges() -> None:
    def handshake(request: InboundRequest, _config: Any) -> HandshakeResponse | None:
        return HandshakeResponse(body=b"own") if "own" in request.query else None

    handler = generic.source_handler("other", "Other", docs=DOCS, handshake=handshake)
    config = handler.config.model_validate(
        {**SMALL, "challenges": [{"when": "'a' in request.query", "body": "theirs"}]}
    )
    assert handler.handshake is not None

    def ask(query: dict[str, str]) -> HandshakeResponse | None:
        assert handler.handshake is not None
        return handler.handshake(InboundRequest({}, query, b"", "GET"), config)

    assert ask({"own": "1", "a": "b"}) == HandshakeResponse(body=b"own")
    theirs = ask({"a": "b"})
    assert theirs is not None
    assert theirs.body == b"theirs"
    assert ask({}) is None


def test_where_there_are_no_credentials_nothing_is_sent() -> None:
    def authorize(_request: HttpRequest, _config: Any, _context: Context) -> Any:
        yield from ()
        return ProbeUnavailable("The key has run out.", outcome=CancelOutcome.UNAUTHORIZED)

    handler = generic.source_handler("other", "Other", docs=DOCS, authorize=authorize)
    result, requests = run(handler, handler.config.model_validate(SMALL))
    assert (result.outcome, requests) == (CancelOutcome.UNAUTHORIZED, [])
    assert "The key has run out." in result.detail
    assert generic.Config.model_validate(SMALL).authorization() is None, "generic's own accounts are as before"
