"""What a handler may and may not bring in: words that are Rescind's own, and answers to those who ask for leave."""

from __future__ import annotations

import asyncio
import gzip
import threading
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from providers import WAIT_S
from servers import ACCOUNT, ENDPOINT, Rescind, endpoint_of, webhook

from app.config import resolve
from app.contract import Facts, HandshakeResponse, InboundRequest, ParsedEvent, Phase
from app.web.parsing import LARGE_BODY
from handlers.planomatic import HANDLER

PATH = f"/webhooks/{ENDPOINT}"


async def served(rescind: Rescind, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """The endpoint belongs to a handler that is like PlanOmatic's but for `changes`."""
    monkeypatch.setattr(resolve, "handler", lambda _: replace(HANDLER, **changes))
    shown = rescind.node.config.accounts[ACCOUNT]
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT, verify={"scheme": "token", "secrets": ["another-1"]}))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    assert rescind.node.config.accounts[ACCOUNT].handler is not shown.handler


@pytest.mark.parametrize("type", ["cancellation.succeeded", "probe.wanted", "probe.anything", "sending.paused"])
async def test_no_webhook_speaks_with_rescind_s_own_words(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    def parse(_: InboundRequest, __: Any) -> list[ParsedEvent]:
        fine = ParsedEvent("o-1", "order.created", b"1", Facts(phase=Phase.OPEN))
        return [fine, ParsedEvent("o-1", type, b"2", Facts(phase=Phase.CANCELED))]

    await served(rescind, monkeypatch, parse=parse)
    reply = await rescind.hook(webhook("order.processed", "o-1"))
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    receipt = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    assert type in receipt["reason"]
    assert (await rescind.ask("GET", f"/v1/accounts/{ACCOUNT}/orders/o-1")).status == 404, "all of it, or nothing"


@pytest.mark.parametrize("type", ["order.probe", "probes.done", "sendings", "cancellations.made"])
async def test_words_that_only_look_alike_are_the_provider_s(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    await served(rescind, monkeypatch, parse=lambda _, __: [ParsedEvent("o-1", type, b"2", Facts(phase=Phase.OPEN))])
    reply = await rescind.hook(webhook("order.processed", "o-1"))
    assert (reply.status, reply.json["status"]) == (200, "accepted")


async def test_who_asks_for_leave_is_answered_by_the_handler(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def handshake(request: InboundRequest, config: Any) -> HandshakeResponse:
        assert config == rescind.node.config.accounts[ACCOUNT].config
        asked.append((request.headers["webhook-request-origin"], request.query["try"], request.body))
        return HandshakeResponse(headers={"WebHook-Allowed-Origin": "sender.example.com"})

    await served(rescind, monkeypatch, handshake=handshake)
    origin = {"WebHook-Request-Origin": "sender.example.com"}
    reply = await rescind.ask("OPTIONS", f"{PATH}?try=1", key=None, headers=origin)
    assert reply.status == 200
    assert (reply.headers["WebHook-Allowed-Origin"], reply.headers["Allow"]) == ("sender.example.com", "OPTIONS, POST")
    assert asked == [("sender.example.com", "1", b"")]
    assert (await rescind.get("/v1/receipts"))["data"] == [], "it says nothing of an order"
    (await rescind.ask("OPTIONS", "/webhooks/nobody", key=None, headers=origin)).problem(404, "not-found")


async def test_a_handshake_that_fails_shows_a_stranger_nothing(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handshake(_: InboundRequest, config: Any) -> HandshakeResponse:
        raise KeyError(config.api_key.get_secret_value())

    await served(rescind, monkeypatch, handshake=handshake)
    secret = rescind.node.config.accounts[ACCOUNT].config.model_dump()["api_key"].get_secret_value()
    reply = await rescind.ask("OPTIONS", PATH, key=None)
    assert reply.status == 500
    assert secret.encode() not in reply.raw
    await rescind.tell("order.processed", "o-1")


async def test_reading_a_large_body_holds_up_nobody(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, read_on = threading.Event(), threading.Event()

    def parse(request: InboundRequest, config: Any) -> Any:
        reading.set()
        # On the event loop nobody could let it go on.
        assert read_on.wait(WAIT_S), "nothing else was done while the body was read"
        return HANDLER.parse(request, config)

    await served(rescind, monkeypatch, parse=parse)
    for number, packed in enumerate((False, True)):
        reading.clear()
        read_on.clear()
        body = msgspec.json.encode(webhook("order.processed", f"o-{number}", metadata={"a": "x" * LARGE_BODY}))
        headers = {"Content-Encoding": "gzip"} if packed else {}
        delivery = asyncio.create_task(rescind.hook(gzip.compress(body) if packed else body, headers=headers))
        await asyncio.to_thread(reading.wait, WAIT_S)
        assert (await rescind.ask("GET", "/v1/orders")).status == 200
        read_on.set()
        assert (await delivery).json["status"] == "accepted"
