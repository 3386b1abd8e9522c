"""What came to an endpoint, and why it was refused: counted in memory, kept by the store, shown without content."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import structlog
from conftest import Start
from integration.test_endpoints import create, send
from providers import until
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, stored_in, webhook
from yarl import URL

from app.store import StoreUnavailable
from app.store.traffic import REFUSALS_KEPT, EndpointRefusal
from app.workers import traffic
from app.workers.traffic import Traffic

STRIPE = "whsec_a-secret-of-stripe"
PROXIES = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))


async def begin(start: Start, **settings: Any) -> Rescind:
    rescind = await start(**settings)
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    return rescind


async def shown(rescind: Rescind, id: str = ENDPOINT) -> Any:
    return (await rescind.get(f"/v1/endpoints/{id}"))["traffic"]


async def refusals(rescind: Rescind, id: str = ENDPOINT) -> list[Any]:
    return list((await rescind.get(f"/v1/endpoints/{id}/refusals"))["data"])


async def test_every_request_is_counted_by_what_became_of_it(start: Start) -> None:
    rescind = await begin(start, body_max=2048)
    assert (await shown(rescind))["last_received_at"] is None
    body = webhook("order.processed", "1")
    await rescind.hook(body)
    await rescind.hook(body)
    await rescind.hook(b"{")
    await rescind.hook(webhook("order.never_heard_of", "1"))
    await rescind.ask("POST", f"/webhooks/{ENDPOINT}", body, key=None)
    await rescind.hook(body, token="wrong-token")
    await rescind.hook(b"x" * 4096)
    traffic = await shown(rescind)
    wanted = {"accepted": 1, "duplicate": 1, "ignored": 0, "quarantined": 2, "refused": 3}
    assert traffic["counts"] == wanted
    causes = {cause: failure["count"] for cause, failure in traffic["failures"].items()}
    assert causes == {
        "malformed": 1,
        "unknown_event": 1,
        "missing_signature": 1,
        "bad_signature": 1,
        "too_large": 1,
    }
    assert traffic["refused_since_last_received"] == 3
    [listed] = (await rescind.get("/v1/endpoints"))["data"]
    assert listed["traffic"] == traffic
    again = await rescind.hook(webhook("order.processed", "2"))
    assert again.status == 200
    assert (await shown(rescind))["refused_since_last_received"] == 0


async def test_a_wrong_signature_header_is_found_by_the_names_of_the_headers(start: Start) -> None:
    rescind = await begin(start)
    await create(rescind, account=ACCOUNT, id="hook", verify={"scheme": "stripe", "secrets": [STRIPE]})
    now = int(datetime.now(UTC).timestamp())
    for headers in (
        {"X-Stripe-Signature": f"t={now},v1=5e4d"},
        {"Stripe-Signature": f"t={now},v1=5e4d"},
        {"Stripe-Signature": f"t={now - 3600},v1=5e4d"},
    ):
        data = b'{"order_id": "the-content-of-it"}'
        reply = await rescind.ask("POST", "/webhooks/hook", data=data, key=None, headers=headers)
        assert reply.json["cause"] in reply.raw.decode()
    old, wrong, missing = await refusals(rescind, "hook")
    assert [each["cause"] for each in (missing, wrong, old)] == ["missing_signature", "bad_signature", "too_old"]
    assert "X-Stripe-Signature" in missing["headers"]
    assert missing["detail"] == "Not accepted: the header Stripe-Signature is missing."
    assert missing["address"] == "127.0.0.1"
    assert "5e4d" not in str((old, wrong, missing))
    assert "the-content-of-it" not in str((old, wrong, missing))


async def test_no_secret_is_kept_that_was_entered_as_the_name_of_a_header(start: Start, tmp_path: Path) -> None:
    rescind = await begin(start)
    names = {TOKEN: "1", f"X-{TOKEN}": "2", "a" * 50 + TOKEN: "3"}
    assert (await rescind.hook({}, token="wrong", headers=names)).status == 401
    [kept] = await refusals(rescind)
    assert "X-**********" in kept["headers"]
    assert TOKEN[:14] not in str(kept)
    assert TOKEN.encode() not in stored_in(tmp_path)


async def test_only_the_last_refusals_are_kept_whoever_floods(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FLUSH_S", 3600.0)  # what is in memory stays there until it is asked for
    rescind = await begin(start)
    for number in range(REFUSALS_KEPT + 5):
        await rescind.hook({}, token=f"wrong-{number}", headers={f"X-{number}": "1"})
    assert len(rescind.node.traffic._pending[ENDPOINT].refusals) == REFUSALS_KEPT
    kept = await refusals(rescind)
    assert [next(name for name in row["headers"] if name.startswith("X-")) for row in kept] == [
        f"X-{number}" for number in range(REFUSALS_KEPT + 4, 4, -1)
    ]
    more = {f"X-{number}-{'a' * 200}": "1" for number in range(traffic.HEADERS_MAX + 10)}
    await rescind.hook({}, token="wrong", headers=more)
    newest, *_ = kept = await refusals(rescind)
    assert len(kept) == REFUSALS_KEPT
    assert len(newest["headers"]) == traffic.HEADERS_MAX
    assert max(map(len, newest["headers"])) <= traffic.HEADER_CHARS_MAX
    assert (await shown(rescind))["counts"]["refused"] == REFUSALS_KEPT + 6, "what is not kept is counted"


async def test_what_was_counted_outlives_a_restart_and_a_database_that_refused_it(start: Start) -> None:
    rescind = await begin(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rescind.node.store, "add_traffic", _unavailable)
        for _ in range(2):
            await rescind.hook({}, token="wrong")
            await rescind.node.traffic.flush()
        # One more while the store is being asked.
        patch.setattr(rescind.node.store, "add_traffic", partial(_unavailable, lambda: rescind.hook({}, token="wrong")))
        await rescind.node.traffic.flush()
    await rescind.hook(webhook("order.processed", "1"))
    await rescind.hook({}, token="wrong")
    await rescind.stop()
    again = await start()
    traffic = await shown(again)
    assert (traffic["counts"]["accepted"], traffic["counts"]["refused"]) == (1, 4)
    assert traffic["refused_since_last_received"] == 1
    assert len(await refusals(again)) == 4


async def _unavailable(meanwhile: Callable[[], Awaitable[Any]] | None = None, *_: object) -> None:
    if callable(meanwhile):
        await meanwhile()
    raise StoreUnavailable("the disk is full")


async def test_an_endpoint_that_is_made_anew_begins_at_none(start: Start) -> None:
    rescind = await begin(start)
    await rescind.hook({}, token="wrong")
    assert len(await refusals(rescind)) == 1
    await rescind.hook({}, token="wrong")
    await rescind.ask("DELETE", f"/v1/endpoints/{ENDPOINT}")
    await rescind.node.traffic.flush()
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    assert await refusals(rescind) == []
    assert (await shown(rescind))["counts"]["refused"] == 0
    (await rescind.ask("GET", "/v1/endpoints/nix/refusals")).problem(404, "not-found")


async def test_the_last_use_of_a_former_secret_is_shown(start: Start) -> None:
    rescind = await begin(start)
    await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/rotate", {"secret": "the-new-secret"})
    await send(rescind, ENDPOINT, "the-new-secret", "1")
    [former] = (await shown(rescind))["retired_secrets"]
    assert (former["uses"], former["last_used_at"]) == (0, None)
    before = datetime.now(UTC)
    assert (await send(rescind, ENDPOINT, TOKEN, "2")).status == 200
    [former] = (await shown(rescind))["retired_secrets"]
    assert former["uses"] == 1
    assert before <= datetime.fromisoformat(former["last_used_at"]) <= datetime.now(UTC)
    assert (await shown(rescind))["counts"]["refused"] == 0


async def test_requests_are_taken_only_from_the_networks_that_are_allowed(start: Start) -> None:
    rescind = await begin(start, trusted_proxies=PROXIES)
    verify = {"scheme": "github", "secrets": [TOKEN]}
    for bad in ("203.0.113.0/40", "everywhere"):
        body = {"account": ACCOUNT, "verify": verify, "allow_from": [bad]}
        reply = await rescind.ask("PUT", "/v1/endpoints/hook", body)
        assert "203.0.113.0/24" in reply.problem(422, "invalid-request")["detail"]
    networks = ["203.0.113.0/24", "2001:db8::/32"]
    await rescind.put("endpoints", "hook", {"account": ACCOUNT, "verify": verify, "allow_from": networks})
    allowed = [
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "9.9.9.9, 203.0.113.7"},
        {"X-Forwarded-For": "203.0.113.7, 10.1.1.1"},
        {"X-Forwarded-For": "203.0.113.7:4711"},
        {"X-Forwarded-For": "::ffff:203.0.113.7"},
        {"X-Forwarded-For": "2001:db8::1"},
        {"Forwarded": 'for="[2001:db8::1]:4711";proto=https'},
        {"Forwarded": "for=9.9.9.9, for=203.0.113.7;by=10.0.0.1"},
        {"Forwarded": "for=203.0.113.7", "X-Forwarded-For": "203.0.113.8"},
    ]
    refused = [
        {},
        {"X-Forwarded-For": "203.0.113.7, 9.9.9.9"},
        {"X-Forwarded-For": "203.0.113.7, 9.9.9.9, 10.1.1.1"},
        {"X-Forwarded-For": "203.0.113.7, nonsense"},
        {"X-Forwarded-For": "203.0.113.7, "},
        {"X-Forwarded-For": ""},
        {"X-Forwarded-For": "10.1.1.1"},
        {"Forwarded": "for=203.0.113.7, for=_hidden"},
        {"Forwarded": "for=203.0.113.7, proto=https"},
        {"Forwarded": "for=203.0.113.7", "X-Forwarded-For": "9.9.9.9"},
        {"Forwarded": "for=9.9.9.9", "X-Forwarded-For": "203.0.113.7"},
    ]
    for headers, status in [*((each, 401) for each in allowed), *((each, 403) for each in refused)]:
        reply = await rescind.ask("POST", "/webhooks/hook", data=b"{}", key=None, headers=headers)
        assert reply.status == status, headers
    reply.problem(403, "address-not-allowed")
    newest, *_ = await refusals(rescind, "hook")
    assert (newest["cause"], newest["address"]) == ("wrong_address", "203.0.113.7, 9.9.9.9")


async def test_a_client_that_is_no_proxy_cannot_invent_its_address(start: Start) -> None:
    rescind = await begin(start, trusted_proxies=())
    body = {**endpoint_of(ACCOUNT), "allow_from": ["203.0.113.7"]}
    await rescind.put("endpoints", "hook", body)
    for headers in ({"X-Forwarded-For": "203.0.113.7"}, {"Forwarded": "for=203.0.113.7"}):
        assert (await rescind.hook({}, "hook", headers=headers)).status == 403
    # The body of a request from elsewhere is not waited for.
    status, _ = await rescind.raw(b"POST /webhooks/hook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    assert status == 403


async def test_a_sender_that_breaks_off_is_a_refusal_and_no_fault_of_the_server(rescind: Rescind) -> None:
    head = f"POST /webhooks/{ENDPOINT}?token={TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    url = URL(rescind.url)
    with structlog.testing.capture_logs() as lines:
        _reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(head.encode() + b"{")

        async def held() -> bool:
            return rescind.bodies.held == 1

        await until(held, "half of the body")
        writer.close()

        async def refused() -> list[Any]:
            return await refusals(rescind, ENDPOINT)

        [refusal] = await until(refused, "the refusal")
    assert refusal["cause"] == "incomplete"
    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_a_flush_writes_a_limited_number_of_refusals(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FLUSHED_REFUSALS_MAX", 7)
    monkeypatch.setattr(traffic, "FLUSHED_ENDPOINTS_MAX", 2)
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    written: list[EndpointRefusal] = []
    counter = Traffic(rescind.node.store, rescind.node.config, rescind.node.ids)
    now = datetime.now(UTC)
    for number in range(5):
        await rescind.put("endpoints", f"in-{number}", endpoint_of(ACCOUNT))
        for _ in range(3):
            endpoint = rescind.node.config.endpoints[f"in-{number}"]
            counter.refused(endpoint, "too_old", "It is too old.", ("A",), "::1", now)
    await counter.flush()
    for number in range(5):
        written += await rescind.node.store.endpoint_refusals(ACCOUNT, f"in-{number}")
        assert (await shown(rescind, f"in-{number}"))["counts"]["refused"] == 3
    assert len(written) == 7
