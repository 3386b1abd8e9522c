"""Webhooks that are registered through the provider's API, checked, and restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from conftest import Start
from providers import WAIT_S, Side, until
from servers import ACCOUNT, Rescind, account_of, stored_in

from app import node as nodes
from app.contract import HttpRequest
from app.core.attempt import Attempt
from app.store import StoreUnavailable
from handlers.notpanel.config import Config
from handlers.notpanel.setup import sample
from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel
from handlers.notpanel.words import REGISTERED_EVENTS
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET, DEFAULT_SHOP_DOMAIN, Shoplazza
from handlers.shoplazza.words import TOPICS

SHOP, HOOK = "shop", "shop-in"
PUBLIC = "https://rescind.example.com"


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("shoplazza", Shoplazza(topics=()))
    yield side
    await side.close()


async def account(rescind: Rescind, shop: Side, **more: Any) -> None:
    config = {
        "base_url": shop.url,
        "shop_domain": DEFAULT_SHOP_DOMAIN,
        "access_token": DEFAULT_ACCESS_TOKEN,
        **more.pop("config", {}),
    }
    await rescind.put("accounts", SHOP, {"provider": "shoplazza", "config": config, **more})


async def endpoint(rescind: Rescind, *, keep: bool = True) -> None:
    verify = {"secrets": [DEFAULT_CLIENT_SECRET]}
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": verify, "keep_registered": keep})


async def registered(rescind: Rescind) -> set[str]:
    return {each["topic"] for each in (await rescind.get(f"/v1/endpoints/{HOOK}/registrations"))["registered"]}


async def all_are_registered(rescind: Rescind) -> None:
    async def look() -> bool:
        return await registered(rescind) == set(TOPICS)

    await until(look, "all topics at the provider")


async def test_an_endpoint_is_registered_and_what_is_dropped_is_restored(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind)
    await all_are_registered(rescind)
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert {each["url"] for each in found["registered"]} == {f"{PUBLIC}/webhooks/{HOOK}"}
    assert found["missing"] == []
    await shop.act("drop_webhook", topic="orders/cancelled")
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert found["missing"] == ["orders/cancelled"], "to look changes nothing"
    restored = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert (restored.status, restored.json["restored"]) == (200, ["orders/cancelled"])
    assert await registered(rescind) == set(TOPICS)
    again = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert again.json["restored"] == []


async def test_a_registered_shop_tells_of_its_orders_and_an_unregistered_one_no_more(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind, keep=False)
    assert await registered(rescind) == set()
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200
    # The shop would call PUBLIC, which is nobody's here.
    await shop.aim(f"{rescind.url}/webhooks/{HOOK}")
    first = str((await shop.act("create_order"))["order_id"])

    async def heard() -> bool:
        return (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{first}")).status == 200

    await until(heard, "the shop's webhook")
    gone = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    assert {each["topic"] for each in gone.json["removed"]} == set(TOPICS)
    second = str((await shop.act("create_order"))["order_id"])
    assert await registered(rescind) == set()
    assert (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{second}")).status == 404


async def test_somebody_else_s_registrations_are_left_alone(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind, keep=False)
    async with rescind.session.post(
        f"{shop.url}/openapi/2022-01/webhooks",
        json={"address": "https://else.example.com/in", "topic": "orders/create"},
        headers={"access-token": DEFAULT_ACCESS_TOKEN},
    ) as answer:
        assert answer.status < 300, await answer.text()
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    left = (await shop.act("list"))["webhooks"]
    assert [each["address"] for each in left] == ["https://else.example.com/in"]


async def test_what_cannot_be_done_is_said(start: Start, shop: Side) -> None:
    rescind = await start()
    await account(rescind, shop)
    await endpoint(rescind)
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    reply.problem(502, "provider-failed")
    assert "RESCIND_PUBLIC_URL" in reply.json["detail"]
    (await rescind.ask("GET", "/v1/endpoints/nobody/registrations")).problem(404, "not-found")
    await rescind.put("accounts", ACCOUNT, account_of(shop.url))
    body = {"account": ACCOUNT, "verify": {"scheme": "token", "secrets": ["x"]}, "keep_registered": True}
    reply = await rescind.ask("PUT", "/v1/endpoints/photos-in", body)
    reply.problem(422, "invalid-request")
    assert "keep_registered" in reply.json["detail"]


async def test_refused_credentials_are_reported_and_the_rest_goes_on(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop, config={"access_token": "no-good-0123456789"})
    await endpoint(rescind)
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert found["error"]
    assert "no-good" not in found["error"]
    await account(rescind, shop)
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200


async def test_registration_stays_within_the_limit_and_is_counted(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop, limits={"burst": 3, "rate_per_s": 20.0})
    await endpoint(rescind, keep=False)
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200
    arrivals = [each["at"] for each in await shop.calls()]
    assert len(arrivals) == len(TOPICS) + 1
    for number, later in enumerate(arrivals):
        for earlier in range(number):
            calls = number - earlier + 1
            assert calls <= 3 + 20.0 * (later - arrivals[earlier]) + 1e-6, "the bucket overflows"


class Panel:
    """A NotPanel on loopback, a Rescind that is registered there, and where its registered webhooks lead."""

    def __init__(self, rescind: Rescind, side: Side) -> None:
        self.rescind, self.side = rescind, side

    async def hooks(self) -> list[Any]:
        return list((await self.side.act("webhooks"))["webhooks"])

    async def tells(self) -> int:
        """The status that a webhook gets which the panel signs with the secret of the newest registration."""
        now, simulator = datetime.now(UTC), cast("Any", self.side.simulator)
        unsigned = sample(Config.model_validate({"key": DEFAULT_KEY}), now)
        webhook = simulator._endpoints[-1].signed(unsigned, now.timestamp())
        path, headers = f"/webhooks/{HOOK}", dict(webhook.headers)
        return (await self.rescind.ask("POST", path, data=webhook.body, headers=headers, key=None)).status


async def panel(start: Start, side: Side, **body: Any) -> Panel:
    rescind = await start(public_url=PUBLIC)
    config = {"base_url": side.url, "key": DEFAULT_KEY}
    await rescind.put("accounts", SHOP, {"provider": "notpanel", "config": config})
    made = await rescind.ask("POST", "/v1/endpoints", {"account": SHOP, "id": HOOK, **body})
    assert made.status == 201, made
    return Panel(rescind, side)


@pytest_asyncio.fixture
async def notpanel() -> AsyncIterator[Side]:
    side = await Side.begin("notpanel", NotPanel(webhook_secret=None))
    yield side
    await side.close()


async def test_the_secret_that_a_registration_shows_becomes_the_endpoint_s(
    start: Start, notpanel: Side, tmp_path: Path
) -> None:
    simulator: Any = notpanel.simulator
    simulator.handle(call(f"https://staging.example.com/webhooks/{HOOK}"), datetime.now(UTC).timestamp())
    made = await panel(start, notpanel, keep_registered=True)

    async def registered() -> bool:
        return len(await made.hooks()) > 1

    async def verified() -> bool:
        return await made.tells() == 200

    await until(registered, "a webhook at the panel")
    await until(verified, "the secret of the panel's in force")
    staging, hook = await made.hooks()
    assert hook["url"] == f"{PUBLIC}/webhooks/{HOOK}"
    assert "staging" in staging["url"], "unasked, no server takes the webhooks of another one"
    secret = simulator._endpoints[-1].secret
    shown = [
        await made.rescind.get(path)
        for path in (f"/v1/endpoints/{HOOK}", f"/v1/endpoints/{HOOK}/registrations", "/v1/changes", "/v1/receipts")
    ]
    assert secret not in str(shown)
    assert secret.encode() not in stored_in(tmp_path)


async def test_a_secret_that_is_shown_while_the_server_stops_is_kept(
    start: Start, notpanel: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notpanel.hold()
    made = await panel(start, notpanel, keep_registered=True)
    for number in (1, 2):  # both list webhooks
        await notpanel.arrived(number)
        await notpanel.hold()
        notpanel.release()
    await notpanel.arrived(3)
    assert len(await made.hooks()) == 1, "it is made, and its secret on its way"
    monkeypatch.setattr(nodes, "DRAIN_S", WAIT_S)  # the drain must not cut off the call that is held
    node, done = made.rescind.node, list[str]()
    keep, close = node.registrar._keep_secret, node.ledger.close

    async def kept(endpoint: str, secret: str) -> None:
        for _ in range(50):  # as the database may take its time
            await asyncio.sleep(0)
        await keep(endpoint, secret)
        done.append("kept")

    monkeypatch.setattr(node.registrar, "_keep_secret", kept)
    monkeypatch.setattr(node.ledger, "close", lambda: (done.append("closed"), close()))
    stopping = asyncio.create_task(made.rescind.stop())
    await until(lambda: asyncio.sleep(0, "registrar" not in node._tasks), "the registrar's end")
    notpanel.release()
    await stopping
    assert done == ["kept", "closed"]
    made.rescind = await start(public_url=PUBLIC)
    assert await made.tells() == 200
    assert len(await made.hooks()) == 1


async def test_a_secret_is_kept_though_the_end_of_its_call_cannot_be_recorded(
    start: Start, notpanel: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await panel(start, notpanel)
    ledger, simulator = made.rescind.node.ledger, cast("Any", notpanel.simulator)
    record, failed = ledger.record_attempt, list[Attempt]()

    async def recorded(attempt: Attempt) -> None:
        if attempt.outcome and simulator._endpoints:
            failed.append(attempt)
            raise StoreUnavailable("the disk is full")
        await record(attempt)

    monkeypatch.setattr(ledger, "record_attempt", recorded)
    answer = await made.rescind.ask("POST", f"/v1/endpoints/{HOOK}/register", {})
    assert (len(failed), answer.status, len(await made.hooks())) == (1, 200, 1)
    assert await made.tells() == 200


async def test_a_secret_that_is_stored_is_kept_whatever_fails_after_it(
    start: Start, notpanel: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await panel(start, notpanel)
    failed = list[str]()

    async def settle(**_: Any) -> None:
        failed.append("settle")
        raise StoreUnavailable("the connection was lost")

    with monkeypatch.context() as lost:
        lost.setattr(made.rescind.node.ownership, "settle", settle)
        answer = await made.rescind.ask("POST", f"/v1/endpoints/{HOOK}/register", {})
    assert failed
    assert (answer.status, len(await made.hooks())) == (200, 1)
    assert await made.tells() == 200


async def test_an_account_is_not_given_up_between_the_calls_that_renew(
    start: Start, notpanel: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await panel(start, notpanel)
    path, registrar = f"/v1/endpoints/{HOOK}/register", made.rescind.node.registrar
    await made.rescind.ask("POST", path, {})
    lane, unregister = made.rescind.node.lanes[SHOP], registrar._unregister
    monkeypatch.setattr(lane.gate.memory, "close", lambda: asyncio.sleep(0))
    giving_up = list[asyncio.Task[None]]()

    async def unregistered(*args: Any) -> None:
        await unregister(*args)
        giving_up.append(asyncio.create_task(made.rescind.node.ownership._give_up(f"account:{SHOP}")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert SHOP in made.rescind.node.lanes

    monkeypatch.setattr(registrar, "_unregister", unregistered)
    renewed = (await made.rescind.ask("POST", path, {"renew": True})).json
    await asyncio.gather(*giving_up)
    assert (len(giving_up), renewed["restored"]) == (1, list(REGISTERED_EVENTS))
    assert await made.tells() == 200


async def test_nothing_is_taken_for_a_secret_that_is_stored_while_the_server_stops(start: Start) -> None:
    rescind = await start()
    await rescind.node.ownership.stop()
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))  # changes resources, as a secret does
    assert ACCOUNT in rescind.node.config.accounts
    assert ACCOUNT not in rescind.node.lanes


async def test_registrations_are_repaired_replaced_and_renewed(start: Start, notpanel: Side) -> None:
    made = await panel(start, notpanel)
    simulator: Any = notpanel.simulator
    elsewhere = ("https://former.example.com/webhooks/shop-in", "https://other.example.com/hooks")
    for url in elsewhere:
        added = simulator.handle(call(url), datetime.now(UTC).timestamp())
        assert added.status == 200, added
    path = f"/v1/endpoints/{HOOK}"
    looked = await made.rescind.get(f"{path}/registrations")
    assert {one["url"] for one in looked["foreign"]} == {*elsewhere}
    assert looked["missing"] == list(REGISTERED_EVENTS)
    registered = (await made.rescind.ask("POST", f"{path}/register", {})).json
    assert {one["url"] for one in registered["replaced"]} == {elsewhere[0]}
    assert {hook["url"] for hook in await made.hooks()} == {elsewhere[1], f"{PUBLIC}/webhooks/{HOOK}"}
    assert registered["restored"] == list(REGISTERED_EVENTS)
    assert await made.tells() == 200
    former = simulator._endpoints[-1].secret
    renewed = (await made.rescind.ask("POST", f"{path}/register", {"renew": True})).json
    assert (renewed["missing"], renewed["restored"]) == ([], list(REGISTERED_EVENTS))
    assert simulator._endpoints[-1].secret != former
    assert await made.tells() == 200
    removed = (await made.rescind.ask("POST", f"{path}/unregister", {})).json
    assert len(removed["removed"]) == len(REGISTERED_EVENTS)
    assert [hook["url"] for hook in await made.hooks()] == [elsewhere[1]]


async def test_what_is_missing_at_the_provider_is_found_by_doctor_and_metric(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind)
    await all_are_registered(rescind)
    assert await drift(rescind) == ([], "0.0")
    await shop.act("drop_webhook", topic="orders/cancelled")
    await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    [finding], metric = await drift(rescind)
    assert (finding["state"], "orders/cancelled" in finding["detail"], metric) == ("fault", True, "1.0")
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register", {})
    assert await drift(rescind) == ([], "0.0")
    await account(rescind, shop, config={"access_token": "a-wrong-token"})
    await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    [finding], _ = await drift(rescind)
    assert "could not be checked" in finding["detail"]
    await rescind.ask("DELETE", f"/v1/endpoints/{HOOK}")

    async def forgotten() -> bool:
        series = f'rescind_registrations_missing{{endpoint="{HOOK}"}}'
        return series not in (await rescind.ask("GET", "/metrics")).raw.decode()

    await until(forgotten, "no metric of an endpoint that is gone")


async def drift(rescind: Rescind) -> tuple[list[Any], str]:
    """(findings about registrations, the metric of missing ones)."""
    findings = [one for one in (await rescind.get("/v1/status"))["findings"] if one["code"] == "registrations"]
    metrics = (await rescind.ask("GET", "/metrics")).raw.decode()
    name = f'rescind_registrations_missing{{endpoint="{HOOK}"}} '
    return findings, next(line.removeprefix(name) for line in metrics.splitlines() if line.startswith(name))


def call(url: str) -> HttpRequest:
    """A call that adds a webhook to the panel."""
    form = f"key={DEFAULT_KEY}&action=webhook.add&url={url}&events=order.completed"
    return HttpRequest("POST", "/api/v2", {"Content-Type": "application/x-www-form-urlencoded"}, form.encode())
