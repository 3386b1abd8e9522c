"""Limits against abuse: per API key, per endpoint, and of failed authentications per client address."""

from __future__ import annotations

import itertools

import pytest
from conftest import Start
from servers import ACCOUNT, ENDPOINT, Reply, Rescind, account_of, endpoint_of, webhook

from app.web import rate_limits

PROXIES = "127.0.0.0/8,10.0.0.0/8"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of all limits."""
    now = [1000.0]
    monkeypatch.setattr(rate_limits, "monotonic", lambda: now[0])
    return now


async def with_endpoint(rescind: Rescind) -> Rescind:
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    return rescind


def check_limited(reply: Reply, retry_after: int) -> None:
    reply.problem(429, "too-many-requests")
    assert reply.headers["Retry-After"] == str(retry_after)


async def test_a_key_has_a_rate(start: Start, clock: list[float]) -> None:
    rescind = await start(key_rate_per_s=5)
    key, other = [(await rescind.ask("POST", "/v1/keys", {"name": name})).json for name in ("one", "two")]
    for _ in range(10):
        assert (await rescind.ask("GET", "/v1/orders", key=key["key"])).status == 200
    check_limited(await rescind.ask("GET", "/v1/orders", key=key["key"]), 1)
    check_limited(await rescind.ask("GET", "/metrics", key=key["key"]), 1)
    assert (await rescind.ask("GET", "/v1/orders", key=other["key"])).status == 200
    clock[0] += 60
    rotated = (await rescind.ask("POST", f"/v1/keys/{key['id']}/rotate", {})).json["key"]
    for number in range(10):
        assert (await rescind.ask("GET", "/v1/orders", key=rotated if number % 2 else key["key"])).status == 200
    check_limited(await rescind.ask("GET", "/v1/orders", key=rotated), 1)
    assert b'rescind_rate_limited_total{limit="key"}' in (await rescind.ask("GET", "/metrics", key=other["key"])).raw


async def test_an_endpoint_has_a_rate_and_strangers_do_not_use_it_up(start: Start, clock: list[float]) -> None:
    rescind = await with_endpoint(await start(endpoint_rate_per_s=2))
    await rescind.put("endpoints", "other", endpoint_of(ACCOUNT))
    for _ in range(50):
        assert (await rescind.hook(webhook("order.processed", "o-1"), token="wrong")).status == 401
    numbers = itertools.count()

    async def hook(endpoint: str = ENDPOINT) -> Reply:
        return await rescind.hook(webhook("order.processed", f"o-{next(numbers)}"), endpoint)

    assert [(await hook()).status for _ in range(4)] == [200] * 4
    check_limited(await hook(), 1)
    assert (await hook("other")).status == 200
    clock[0] += 0.5
    assert [(await hook()).status for _ in range(2)] == [200, 429]


async def test_failed_authentications_have_a_rate_per_client_address(start: Start, clock: list[float]) -> None:
    rescind = await start(auth_failures_per_min=3, trusted_proxies=PROXIES)

    async def ask(client: str, key: str | None = "rk_wrong") -> Reply:
        return await rescind.ask("GET", "/v1/orders", key=key, headers={"X-Forwarded-For": client})

    assert [(await ask("9.9.9.9", key)).status for key in ("rk_wrong", None, "x")] == [401] * 3
    limited = await ask("9.9.9.9", "rk_wrong")
    check_limited(limited, 20)
    assert "mistyped" not in limited.json["detail"], "it says no more what is wrong with a key"
    # An address that the client invents, before the one that the proxy saw, is not believed.
    assert (await ask("8.8.8.8, 9.9.9.9, 10.1.1.1")).status == 429
    assert (await ask("9.9.9.9, 8.8.8.8")).status == 401
    assert (await ask("9.9.9.9", key="")).status == 429
    # Nobody is locked out: neither who has a key, nor who calls from a proxy's machine.
    key = (await rescind.ask("POST", "/v1/keys", {"name": "x"})).json["key"]
    assert (await ask("9.9.9.9", key)).status == 200
    for _ in range(10):
        assert (await rescind.ask("GET", "/v1/orders", key="rk_wrong")).status == 401
    clock[0] += 20
    assert [(await ask("9.9.9.9")).status for _ in range(2)] == [401, 429]


async def test_nobody_gets_a_limit_of_its_own_by_inventing_addresses(start: Start, clock: list[float]) -> None:
    rescind = await start(auth_failures_per_min=2, trusted_proxies=PROXIES)

    async def statuses(invented: list[dict[str, str]]) -> list[int]:
        return [(await rescind.ask("GET", "/v1/orders", key="wrong", headers=given)).status for given in invented]

    forwarded = [{"X-Forwarded-For": "9.9.9.9", "Forwarded": f"for=8.8.8.{number}"} for number in range(4)]
    assert await statuses(forwarded) == [401, 401, 429, 429]
    forwarded = [{"X-Forwarded-For": f"8.8.7.{number}", "Forwarded": "for=9.9.9.8"} for number in range(3)]
    assert await statuses(forwarded) == [401, 401, 429]
    # An IPv6 client has all addresses of its network.
    assert await statuses([{"X-Forwarded-For": f"2a00:1:2:3:{number}::1"} for number in range(3)]) == [401, 401, 429]
    assert await statuses([{"X-Forwarded-For": "2a00:1:2:4::1"}, {"X-Forwarded-For": "9.9.9.7"}]) == [401, 401]
    assert clock == [1000.0]


async def test_without_trusted_proxies_nothing_that_is_forwarded_is_believed(start: Start, clock: list[float]) -> None:
    rescind = await start(auth_failures_per_min=2, trusted_proxies="")
    headers = [{"X-Forwarded-For": f"9.9.9.{number}"} for number in range(3)]
    replies = [await rescind.ask("GET", "/v1/orders", key="wrong", headers=given) for given in headers]
    assert ([reply.status for reply in replies], clock) == ([401, 401, 429], [1000.0])


async def test_a_rate_of_0_is_none(start: Start, clock: list[float]) -> None:
    rescind = await start(key_rate_per_s=0, auth_failures_per_min=0, trusted_proxies="")
    assert {(await rescind.ask("GET", "/v1/orders", key="wrong")).status for _ in range(100)} == {401}
    assert {(await rescind.ask("GET", "/v1/keys")).status for _ in range(100)} == {200}
    assert clock == [1000.0]
