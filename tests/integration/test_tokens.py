"""What tokens cost and risk: one fetch for a burst, refresh tokens that survive, and no token where people look."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import pytest_asyncio
from clusters import cluster
from conftest import Start
from integration.test_token_flows import LOOP, TOKEN_PATH, account, loop, order, tell  # noqa: F401 - a fixture
from providers import Side, until
from servers import Rescind

from app.config.master_key import count_former, rotate
from app.config.secrets import Vault
from app.contract import HttpRequest, HttpResponse
from app.store import StoreUnavailable
from app.workers.lane import Lane
from handlers.superloop.simulator import CANCEL_PATH, Superloop

SHOP = "shop"
FIRST = "first-refresh-token"
MANY = 1000
pytestmark = pytest.mark.usefixtures("quick")


class TokenShop:
    """A source whose refresh tokens are good once, and whose errors repeat the token in every spelling."""

    def __init__(self) -> None:
        self.refresh = FIRST
        self.issued = 0
        self.good = ""
        self.refuses = False
        self.canceled: list[str] = []

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        del now
        path = urlsplit(request.url).path
        if path.endswith("/token"):
            return self._exchange(parse_qs(request.body.decode()))
        given = {name.lower(): value for name, value in request.headers.items()}.get("x-token", "")
        if given != self.good or not given:
            return reply(401, {"message": "expired"})
        if request.method == "GET":
            return reply(200, {"id": path.split("/")[-1], "status": "placed", "said": f"hello {given}"})
        if self.refuses:
            spelled = [given, quote(given, safe=""), base64.b64encode(b"me:" + given.encode()).decode()]
            return reply(422, {"message": f"not with {' or '.join(spelled)}"})
        self.canceled.append(path.split("/")[-2])
        return reply(200, {})

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        del action, now
        return {}

    def emitted(self) -> list[HttpRequest]:
        return []

    def _exchange(self, form: Mapping[str, list[str]]) -> HttpResponse:
        if form.get("refresh_token") != [self.refresh]:
            return reply(400, {"error": "invalid_grant"})
        self.issued += 1
        self.refresh, self.good = f"refresh/token+{self.issued}", f"access/token+{self.issued}"
        return reply(200, {"access_token": self.good, "expires_in": 3600, "refresh_token": self.refresh})


def reply(status: int, body: Any) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin(SHOP, TokenShop())
    yield side
    await side.close()


def shop_account(shop: Side, first: str = FIRST, **more: Any) -> dict[str, Any]:
    config = {
        "base_url": shop.url,
        "secrets": {"first": first},
        "token": {
            "url": f"{shop.url}/token",
            "body": {"grant_type": "refresh_token", "refresh_token": "{{ refresh_token }}"},
            "refresh_token": {"initial": "secrets.first"},
        },
        "fields": {"order": "id", "status": "status", "attributes": {"said": "said"}},
        "phases": {"placed": "open"},
        "cancel": {"url": "/orders/{{ order.id }}/cancel", "headers": {"X-Token": "{{ token }}"}, "body": {}},
    }
    return {"provider": "generic", "config": {**config, **more}, "unknown_orders": "send"}


async def ask(rescind: Rescind, order: str, account: str = SHOP) -> str:
    path = f"/v1/accounts/{account}/orders/{order}/cancellations"
    answer = await rescind.ask("POST", path, {"reason": "late"})
    assert answer.status == 202, answer
    return str(answer.json["id"])


def files_of(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir() if file.is_file())


# -- One fetch for a burst ------------------------------------------------------------------------


async def orders(loop: Side, number: int) -> list[str]:  # noqa: F811 - the fixture's value
    made = [await loop.act("create_order", silent=True) for _ in range(number)]
    return [str(each["order_id"]) for each in made]


async def queued(rescind: Rescind, loop: Side, number: int) -> str:  # noqa: F811
    """The batch of so many cancels that wait while the account is paused."""
    await rescind.ask("POST", "/v1/pause", {"account": LOOP})
    items = [{"account": LOOP, "order": id, "reason": "moved"} for id in await orders(loop, number)]
    answer = await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": items})
    assert answer.status == 202, answer
    return str(answer.json["id"])


async def all_sent(rescind: Rescind, batch: str) -> None:
    await rescind.ask("POST", "/v1/resume", {"account": LOOP})

    async def look() -> bool:
        counts = (await rescind.get(f"/v1/cancellation-batches/{batch}"))["states"]
        return set(counts) == {"succeeded"}

    await until(look, "all cancels of the batch", 300)


async def share_a_token(lane: Lane, number: int) -> None:
    """Wait until so many calls want the outcome of one fetch. A call that is only claimed could fetch another one."""

    async def look() -> bool:
        return [flight.callers for flight in lane._memory.shared._flights.values()] == [number]

    await until(look, f"{number} calls that need a token")


async def test_a_burst_fetches_one_token_and_one_more_when_that_is_no_good(start: Start) -> None:
    side = await Side.begin(
        "superloop", Superloop(client_id="acme", key_id="k1", requests=1_000_000, per_s=1.0, tells_of_cancels=False)
    )
    try:
        rescind = await start()
        await account(rescind, side, limits={"requests": 1_000_000, "concurrency": 8}, unknown_orders="send")
        lane = rescind.node.lanes[LOOP]
        batch = await queued(rescind, side, MANY)
        await side.hold(path=TOKEN_PATH)
        await rescind.ask("POST", "/v1/resume", {"account": LOOP})
        await share_a_token(lane, 8)
        await side.arrived(1, TOKEN_PATH)
        side.release()
        await all_sent(rescind, batch)
        tokens, cancels = len(await side.calls(TOKEN_PATH)), len(await side.calls(CANCEL_PATH))
        assert (tokens, cancels) == (1, MANY)
        # It is refused: whoever used it waits for one other.
        batch = await queued(rescind, side, 40)
        side.simulator._tokens.issued.clear()
        await all_sent(rescind, batch)
        assert len(await side.calls(TOKEN_PATH)) == 2
        refused = len(await side.calls(CANCEL_PATH)) - cancels - 40
        assert 1 <= refused <= 8, "only those that were out already"
        # It expires by our clock.
        _, token = lane._memory.memory["access_token"]
        lane._memory.memory["access_token"] = (datetime.now(UTC) - timedelta(seconds=1), token)
        await all_sent(rescind, await queued(rescind, side, 40))
        assert len(await side.calls(TOKEN_PATH)) == 3
    finally:
        await side.close()


async def test_waiting_for_a_token_takes_no_place_and_loses_none(rescind: Rescind, loop: Side) -> None:  # noqa: F811
    limits = {"requests": 5, "per_s": 3600, "concurrency": 4}
    await account(rescind, loop, limits=limits, unknown_orders="send")
    lane = rescind.node.lanes[LOOP]
    await loop.hold(path=TOKEN_PATH)
    ids = [await ask(rescind, order, LOOP) for order in await orders(loop, 4)]
    await share_a_token(lane, 4)
    await loop.arrived(1, TOKEN_PATH)
    loop.release()
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    assert [each["path"] for each in await loop.calls()] == [TOKEN_PATH, *[CANCEL_PATH] * 4]
    assert (lane.status().used, lane.status().running) == (5, 0)


async def test_who_waits_for_a_token_never_holds_the_place_of_who_fetches_it(
    rescind: Rescind,
    loop: Side,  # noqa: F811
) -> None:
    limits = {"requests": 1, "per_s": 0.2, "concurrency": 3}
    await account(rescind, loop, limits=limits, unknown_orders="send")
    assert (await rescind.settled(await ask(rescind, (await orders(loop, 1))[0], LOOP)))["state"] == "succeeded"
    for _ in range(3):
        loop.simulator._tokens.issued.clear()
        ids = [await ask(rescind, order, LOOP) for order in await orders(loop, 3)]
        for id in ids:
            assert (await rescind.settled(id))["state"] == "succeeded"


async def test_all_who_wait_for_a_token_learn_that_there_is_none(rescind: Rescind, loop: Side) -> None:  # noqa: F811
    await account(rescind, loop, limits={"concurrency": 4}, unknown_orders="send")
    lane = rescind.node.lanes[LOOP]
    await loop.hold(path=TOKEN_PATH, processed="after")
    ids = [await ask(rescind, order, LOOP) for order in await orders(loop, 4)]
    await share_a_token(lane, 4)
    await loop.arrived(1, TOKEN_PATH)
    loop.simulator._tokens.client_id = "somebody-else"
    loop.release()

    async def paused() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{LOOP}"))["lane"]["state"] == "paused")

    await until(paused, "the pause")
    await asyncio.gather(*lane._calling)
    assert len(await loop.calls()) == 1
    assert {(await rescind.cancellation(id))["final"] for id in ids} == {False}
    assert lane.status().running == 0


async def test_the_fence_is_asked_again_after_waiting_for_another_s_token(rescind: Rescind, loop: Side) -> None:  # noqa: F811
    await account(rescind, loop, limits={"concurrency": 3})
    known = [await order(rescind, loop) for _ in range(3)]
    # A connection stands, so that only the wait for the token lies between the claim and the cancel.
    lane = rescind.node.lanes[LOOP]
    await rescind.settled(await ask(rescind, await order(rescind, loop), LOOP))
    lane._memory.memory.clear()
    before = len(await loop.calls(CANCEL_PATH))
    await loop.hold(path=TOKEN_PATH)
    ids = [await ask(rescind, number, LOOP) for number in known]
    await share_a_token(lane, 3)
    await loop.arrived(2, TOKEN_PATH)
    for number in known:
        await tell(rescind, "order.completed", {"id": int(number), "isCancellable": False, "status": "Completed"})
    loop.release()
    for id in ids:
        done = await rescind.settled(id)
        assert (done["state"], done["cause"]) == ("revoked", "window_closed")
    assert len(await loop.calls(CANCEL_PATH)) == before


# -- Refresh tokens that are good once ------------------------------------------------------------


async def test_a_refresh_token_outlives_the_process(start: Start, shop: Side) -> None:
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    assert await rescind.node.store.account_secrets(SHOP) is None
    assert (await rescind.settled(await ask(rescind, "o-1")))["state"] == "succeeded"
    sealed = await rescind.node.store.account_secrets(SHOP)
    assert sealed is not None
    assert b"refresh" not in sealed
    await rescind.stop()
    rescind = await start()
    assert (await rescind.settled(await ask(rescind, "o-2")))["state"] == "succeeded"
    assert shop.simulator.issued == 2
    # A change that leaves the first token as it is leaves the current one.
    await rescind.put("accounts", SHOP, shop_account(shop, timeout_s=20))
    assert (await rescind.settled(await ask(rescind, "o-3")))["state"] == "succeeded"
    # Another first token replaces it.
    shop.simulator.refresh = "another-first-token"
    await rescind.put("accounts", SHOP, shop_account(shop, "another-first-token"))
    assert (await rescind.settled(await ask(rescind, "o-4")))["state"] == "succeeded"
    assert shop.simulator.issued == 4
    assert (await rescind.ask("DELETE", f"/v1/accounts/{SHOP}")).status < 300
    assert await rescind.node.store.account_secrets(SHOP) is None


async def test_it_is_encrypted_anew_with_a_new_master_key(start: Start, shop: Side) -> None:
    rescind = await start(secret_key="former-key-0123456789-abcdefghijklmn")
    await rescind.put("accounts", SHOP, shop_account(shop))
    await rescind.settled(await ask(rescind, "o-1"))
    keys, store = ["new-key-0123456789-abcdefghijklmnopq", "former-key-0123456789-abcdefghijklmn"], rescind.node.store
    assert [progress async for progress in rotate(store, keys, None)]
    assert await count_former(store, Vault(keys[:1])) == 0
    sealed = await store.account_secrets(SHOP)
    assert sealed is not None
    assert shop.simulator.refresh in json.loads(Vault(keys[:1]).open(sealed)).values()


async def test_nothing_is_sent_before_it_is_stored(start: Start, shop: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    store, seen = rescind.node.store, list[tuple[int, int]]()
    save, broken = store.save_account_secrets, asyncio.Event()

    async def fails_at_first(account: str, sealed: bytes) -> None:
        seen.append((shop.simulator.issued, len(shop.simulator.canceled)))
        if not broken.is_set():
            raise StoreUnavailable("the disk is full")
        await save(account, sealed)

    monkeypatch.setattr(store, "save_account_secrets", fails_at_first)
    id = await ask(rescind, "o-1")

    async def told() -> bool:
        entries = [entry for entry in await rescind.timeline("o-1", SHOP) if entry["kind"] == "attempt"]
        return any("could not be stored" in str(entry["attempt"]["detail"]) for entry in entries)

    await until(told, "a failure that says so")
    assert shop.simulator.canceled == []
    broken.set()
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert set(seen) == {(1, 0)}, "one token, and no cancel before it was stored"


async def test_it_is_stored_before_the_call_that_waits_for_its_turn(start: Start, shop: Side) -> None:
    """A limit may make that call wait for an hour, and a server that stops meanwhile does not make it."""
    rescind = await start()
    await rescind.put("accounts", SHOP, {**shop_account(shop), "limits": {"requests": 1, "per_s": 3600}})
    id = await ask(rescind, "o-1")

    async def stored() -> bool:
        return await rescind.node.store.account_secrets(SHOP) is not None

    await until(stored, "the token stored while the cancel waits for the limit")
    await rescind.stop()
    assert shop.simulator.canceled == []
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert (shop.simulator.issued, shop.simulator.canceled) == (2, ["o-1"])


async def test_a_node_that_takes_over_goes_on_with_it(tmp_path: Path, shop: Side) -> None:
    async with cluster(tmp_path, 2) as nodes:
        any_node = nodes.nodes[0]
        await any_node.node.apply({"accounts": [{"id": SHOP, **shop_account(shop)}]}, by="test")
        owner = await nodes.owner(SHOP)
        assert (await owner.settled(await ask(owner, "o-1")))["state"] == "succeeded"
        await nodes.kill(owner)
        heir = await nodes.owner(SHOP)
        assert (await heir.settled(await ask(heir, "o-2")))["state"] == "succeeded"
        assert shop.simulator.canceled == ["o-1", "o-2"]
        assert shop.simulator.issued == 2


# -- Where tokens do not show, and where no token is asked for -------------------------------------


async def test_a_token_that_the_source_repeats_is_shown_nowhere(
    start: Start, shop: Side, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    shop.simulator.refuses = True
    done = await rescind.settled(await ask(rescind, "o-1"))
    assert done["state"] == "refused"
    probe = {"url": "/orders/{{ order.id }}", "headers": {"X-Token": "{{ token }}"}}
    await rescind.put("accounts", SHOP, shop_account(shop, probe=probe))
    assert (await rescind.ask("POST", f"/v1/accounts/{SHOP}/probes", {"orders": ["o-1"]})).status < 300

    async def probed() -> bool:
        return "said" in (await rescind.order("o-1", SHOP))["attributes"]

    await until(probed, "a probe")
    attributes = (await rescind.order("o-1", SHOP))["attributes"]
    assert attributes["said"].startswith("hello **")
    timeline = await rescind.timeline("o-1", SHOP)
    exchanges = [each for entry in timeline if entry["kind"] == "attempt" for each in entry["attempt"]["exchanges"]]
    assert [each["url"].rpartition("/")[2] for each in exchanges] == ["token", "cancel", "token", "o-1"]
    assert "not with" in exchanges[1]["answer"], "what the source said is shown, without the token"
    await rescind.stop()
    logged = "".join(capfd.readouterr())
    stored = files_of(tmp_path)
    for token in ("access/token+1", "refresh/token+1", FIRST):
        in_base64 = base64.b64encode(b"me:" + token.encode()).decode()[4:-4]
        for spelling in (token, quote(token, safe=""), in_base64):
            assert spelling not in f"{done} {timeline} {logged}", spelling
            assert spelling.encode() not in stored, spelling


async def test_a_token_url_passes_the_guard_of_addresses(start: Start, shop: Side) -> None:
    rescind = await start()
    for number, host in enumerate(("169.254.169.254", "10.0.0.1", "[fd00::1]")):
        token = {**shop_account(shop)["config"]["token"], "url": f"http://{host}/token"}
        account = f"{SHOP}-{number}"
        await rescind.put("accounts", account, shop_account(shop, token=token))
        id = await ask(rescind, "o-1", account)

        async def refused(account: str = account, host: str = host) -> bool:
            lane = (await rescind.get(f"/v1/accounts/{account}"))["lane"]
            return lane["state"] == "paused" and f"{host.strip('[]')} is in a private network" in str(lane)

        await until(refused, "a pause that says why")
        assert not (await rescind.cancellation(id))["final"]
    assert shop.simulator.issued == 0
    assert await shop.calls() == []
