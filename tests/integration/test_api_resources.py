"""Accounts, endpoints, apply, pauses; the description of the API; metrics."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from conftest import Start
from providers import PROVIDER_KEY, Provider, until
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, webhook

from app.config import store
from app.web.problems import Kind


async def plan(rescind: Rescind, given: dict[str, Any], **how: Any) -> list[tuple[str, str]]:
    reply = await rescind.ask("POST", "/v1/apply", {"resources": given, **how})
    assert reply.status == 200, reply
    assert reply.json["dry_run"] is how.get("dry_run", False)
    return [(each["id"], each["action"]) for each in reply.json["changes"]]


def named(id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, **body}


# -- One at a time ---------------------------------------------------------------------------------------


async def test_put_makes_changes_and_shows_without_secrets(rescind: Rescind, provider: Provider) -> None:
    body = account_of(provider.url, deadline_h=5, limits={"requests": 7, "per_s": 3, "concurrency": 2})
    made = await rescind.ask("PUT", "/v1/accounts/shop-2", body)
    assert (made.status, made.json["version"], made.json["config"]["api_key"]) == (201, 1, "**********")
    assert made.json["lane"]["limit"] == 7
    again = await rescind.ask("PUT", "/v1/accounts/shop-2", body)
    assert (again.status, again.json["version"]) == (200, 1)
    changed = await rescind.ask("PUT", "/v1/accounts/shop-2", {**body, "deadline_h": 6})
    assert (changed.status, changed.json["version"]) == (200, 2)
    assert (await rescind.get("/v1/accounts/shop-2"))["deadline_h"] == 6
    assert [each["id"] for each in (await rescind.get("/v1/accounts"))["data"]] == [ACCOUNT, "shop-2"]


async def test_what_is_shown_can_be_put_back(rescind: Rescind) -> None:
    for kind, id in (("accounts", ACCOUNT), ("endpoints", ENDPOINT)):
        shown = await rescind.get(f"/v1/{kind}/{id}")
        put = await rescind.ask("PUT", f"/v1/{kind}/{id}", shown)
        assert (put.status, put.json["version"]) == (200, shown["version"])
    await rescind.tell("order.processed", "o-1")


async def test_a_change_resolves_all_resources_once(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, former = 0, store.resolve

    def counting(*given: Any, **options: Any) -> Any:
        nonlocal resolved
        resolved += 1
        return former(*given, **options)

    monkeypatch.setattr(store, "resolve", counting)
    for hours, version in ((5, 1), (5, 1), (6, 2)):
        put = await rescind.ask("PUT", "/v1/accounts/shop-2", account_of(provider.url, deadline_h=hours))
        assert put.json["version"] == rescind.node.config.accounts["shop-2"].version == version
    assert resolved == 3, "as often as something was put"


async def test_what_works_but_should_be_changed_is_said_when_applied_and_with_the_account(rescind: Rescind) -> None:
    def superloop(version: int) -> dict[str, Any]:
        config = {"access_token": "t0ken-of-the-account", "api_version": version}
        return {"accounts": [{"id": "nbn", "provider": "superloop", "config": config}]}

    for dry_run in (True, False):
        reply = await rescind.ask("POST", "/v1/apply", {"resources": superloop(2), "dry_run": dry_run})
        [change] = reply.json["changes"]
        [warning] = change["warnings"]
        assert warning.startswith("account nbn: config.api_version: Superloop has deprecated version 2")
    shown = await rescind.get("/v1/accounts/nbn")
    assert shown["warnings"] == [warning]
    assert (await rescind.ask("PUT", "/v1/accounts/nbn", shown)).status == 200, "what is shown can be put back"
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["warnings"] == []
    refused = await rescind.ask("POST", "/v1/apply", {"resources": superloop(9)})
    assert "allow_unknown_api_version" in refused.problem(422, "invalid-request")["detail"]
    await rescind.ask("POST", "/v1/apply", {"resources": superloop(7)})
    assert (await rescind.get("/v1/accounts/nbn"))["warnings"] == []


async def test_an_account_in_use_is_not_removed(rescind: Rescind) -> None:
    detail = (await rescind.ask("DELETE", f"/v1/accounts/{ACCOUNT}")).problem(409, "resource-in-use")["detail"]
    assert ENDPOINT in detail
    await rescind.tell("order.processed", "o-1")
    assert (await rescind.ask("DELETE", f"/v1/endpoints/{ENDPOINT}")).status == 204
    (await rescind.hook(webhook("order.processed", "o-2"))).problem(404, "not-found")
    assert (await rescind.ask("DELETE", f"/v1/accounts/{ACCOUNT}")).status == 204
    for kind, id in (("accounts", ACCOUNT), ("endpoints", ENDPOINT), ("accounts", "never-there")):
        (await rescind.ask("GET", f"/v1/{kind}/{id}")).problem(404, "not-found")
        (await rescind.ask("DELETE", f"/v1/{kind}/{id}")).problem(404, "not-found")
    # The log still shows what the account's orders were.
    assert [each["type"] for each in (await rescind.get("/v1/events"))["data"]] == ["order.processed"]
    (listed,) = (await rescind.get("/v1/orders"))["data"]
    assert listed["verdict"]["cancelable"] == "unknown"


async def test_concurrent_changes_are_all_kept(rescind: Rescind, provider: Provider, start: Start) -> None:
    names = [f"shop-{n}" for n in range(8)]
    body = account_of(provider.url)
    replies = await asyncio.gather(*(rescind.ask("PUT", f"/v1/accounts/{id}", body) for id in names))
    assert [reply.status for reply in replies] == [201] * 8
    for id in names:
        assert (await rescind.ask("GET", f"/v1/accounts/{id}")).status == 200, id
    await rescind.stop()
    again = await start()
    assert {each["id"] for each in (await again.get("/v1/accounts"))["data"]} == {ACCOUNT, *names}


WRONG = {
    "no provider": {},
    "unknown provider": {"provider": "nobody"},
    "provider a number": {"provider": 7},
    "no key": {"provider": "planomatic", "config": {}},
    "unknown config": account_of("http://127.0.0.1:9", config={"colour": "red"}),
    "wrong url": account_of("ftp://127.0.0.1"),
    "unknown rule": account_of("http://127.0.0.1:9", rules={"cancelable": []}),
    "rule of wrong type": account_of("http://127.0.0.1:9", rules={"cancelable_statuses": "ordered"}),
    "unknown field": account_of("http://127.0.0.1:9", colour="red"),
    "no deadline": account_of("http://127.0.0.1:9", deadline_h=0),
    "long deadline": account_of("http://127.0.0.1:9", deadline_h=1e9),
    "unknown orders": account_of("http://127.0.0.1:9", unknown_orders="guess"),
    "limits a list": account_of("http://127.0.0.1:9", limits=[]),
    "config deep": account_of("http://127.0.0.1:9", config={"event_keys": [[[[]]]]}),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
async def test_accounts_that_cannot_be(rescind: Rescind, body: dict[str, Any]) -> None:
    before = await rescind.get("/v1/accounts")
    (await rescind.ask("PUT", "/v1/accounts/shop-2", body)).problem(422, "invalid-request")
    tried = {"resources": {"accounts": [named("shop-2", body)]}, "dry_run": True}
    (await rescind.ask("POST", "/v1/apply", tried)).problem(422, "invalid-request")
    assert await rescind.get("/v1/accounts") == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"account": ACCOUNT},
        {"account": "nobody", "verify": {"secrets": [TOKEN]}},
        {"account": ACCOUNT, "verify": {"secrets": []}},
        {"account": ACCOUNT, "verify": {"secrets": [""]}},
        {"account": ACCOUNT, "verify": {"secrets": [TOKEN, ""]}},
        {"account": ACCOUNT, "verify": {"scheme": "none", "secrets": [TOKEN]}},
        {"account": ACCOUNT, "verify": {"secrets": [TOKEN], "colour": "red"}},
        {"account": ACCOUNT, "verify": []},
    ],
)
async def test_endpoints_that_cannot_be(rescind: Rescind, body: dict[str, Any]) -> None:
    (await rescind.ask("PUT", "/v1/endpoints/in-2", body)).problem(422, "invalid-request")
    (await rescind.ask("POST", "/webhooks/in-2", data=b"{}")).problem(404, "not-found")


@pytest.mark.parametrize("id", ["UPPER", "-x", "a b", "%00", "x" * 64, "%F0%9F%8F%A0", "..", "a/b"])
async def test_ids_that_cannot_be(rescind: Rescind, provider: Provider, id: str) -> None:
    reply = await rescind.ask("PUT", f"/v1/accounts/{id.replace(' ', '%20')}", account_of(provider.url))
    assert reply.status in (404, 422)


# -- Apply ------------------------------------------------------------------------------------------------


async def test_apply_shows_then_does_then_rests(start: Start, provider: Provider) -> None:
    rescind = await start()
    resources = {
        "accounts": [named(ACCOUNT, account_of(provider.url))],
        "endpoints": [named(ENDPOINT, endpoint_of(ACCOUNT))],
    }
    created = [(ACCOUNT, "create"), (ENDPOINT, "create")]
    assert await plan(rescind, resources, dry_run=True) == created
    assert (await rescind.get("/v1/accounts"))["data"] == []
    assert await plan(rescind, resources) == created
    assert await plan(rescind, resources) == [(ACCOUNT, "unchanged"), (ENDPOINT, "unchanged")]
    await rescind.tell("order.processed", "o-1")
    resources["accounts"][0]["deadline_h"] = 1
    assert await plan(rescind, resources) == [(ACCOUNT, "update"), (ENDPOINT, "unchanged")]
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["version"] == 2


async def test_apply_prunes_only_if_asked(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "old", account_of(provider.url))
    resources = {
        "accounts": [named(ACCOUNT, account_of(provider.url))],
        "endpoints": [named(ENDPOINT, endpoint_of(ACCOUNT))],
    }
    unchanged = [(ACCOUNT, "unchanged"), (ENDPOINT, "unchanged")]
    assert await plan(rescind, resources) == unchanged
    assert await plan(rescind, resources, prune=True, dry_run=True) == [*unchanged, ("old", "delete")]
    assert (await rescind.ask("GET", "/v1/accounts/old")).status == 200
    assert await plan(rescind, resources, prune=True) == [*unchanged, ("old", "delete")]
    (await rescind.ask("GET", "/v1/accounts/old")).problem(404, "not-found")


async def test_apply_is_all_or_nothing(rescind: Rescind, provider: Provider) -> None:
    good = named("good", account_of(provider.url))
    for wrong in (
        {"accounts": [good, named("bad", {"provider": "planomatic", "config": {"api_key": ""}})]},
        {"accounts": [good, good]},
        {"accounts": [good], "endpoints": [named("in-2", endpoint_of("nobody"))]},
        {"accounts": [good], "colours": []},
        {"accounts": [good, "bad"]},
        {"accounts": {"good": good}},
        {"accounts": [{"provider": "planomatic"}]},
        {"accounts": [{**good, "id": {}}]},
    ):
        (await rescind.ask("POST", "/v1/apply", {"resources": wrong})).problem(422, "invalid-request")
    assert [each["id"] for each in (await rescind.get("/v1/accounts"))["data"]] == [ACCOUNT]
    (await rescind.ask("POST", "/v1/apply", {})).problem(422, "invalid-request")
    (await rescind.ask("POST", "/v1/apply", {"resources": []})).problem(422, "invalid-request")


async def test_faults_come_in_the_order_of_the_request(rescind: Rescind, provider: Provider) -> None:
    nameless = {"provider": "planomatic"}
    wrong = [named("new", {"config": {}}), nameless, named(ACCOUNT, account_of(provider.url, deadline_h=-1))]
    given = {"endpoints": [named(ENDPOINT, {"account": ACCOUNT, "colour": 1})], "accounts": wrong, "colours": []}
    reply = await rescind.ask("POST", "/v1/apply", {"resources": given, "prune": True})
    detail = reply.problem(422, "invalid-request")["detail"]
    places = ["colours: ", "account new: ", "accounts[1]: ", f"account {ACCOUNT}: ", f"endpoint {ENDPOINT}: "]
    assert sorted(places, key=detail.index) == places, detail


# -- Pauses -------------------------------------------------------------------------------------------------


async def test_pauses_are_listed_repeated_and_lifted(rescind: Rescind) -> None:
    paused = await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "holidays"})
    (shown,) = paused.json["paused"]
    assert (shown["scope"], shown["reason"], shown["by"]) == (f"account:{ACCOUNT}", "holidays", "bootstrap")
    both = await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    assert {each["scope"] for each in both.json["paused"]} == {f"account:{ACCOUNT}", "all"}
    assert len((await rescind.ask("POST", "/v1/pause", {"scope": "all"})).json["paused"]) == 2
    one = await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    assert [each["scope"] for each in one.json["paused"]] == [f"account:{ACCOUNT}"]
    assert (await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})).json["paused"] == []
    assert (await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})).status == 200
    types = [each["type"] for each in (await rescind.get("/v1/events"))["data"]]
    assert sorted(set(types)) == ["sending.paused", "sending.resumed"]
    for id in (await rescind.get("/v1/events"))["data"]:
        assert (await rescind.get(f"/v1/events/{id['id']}"))["id"] == id["id"]


async def test_pauses_that_cannot_be(rescind: Rescind) -> None:
    everything = {"scope": "all"}
    bodies = [{}, None, {"reason": "x"}, {"policies": False}, {"scope": "some"}, {"scope": None}, {"account": ["acme"]}]
    bodies += [{"policy": "p", "policies": True}, {**everything, "policies": True}, {**everything, "account": ACCOUNT}]
    bodies += [{**everything, "reason": ""}, {**everything, "reason": "x" * 501}, {"policies": 1}]
    for body in bodies:
        (await rescind.ask("POST", "/v1/pause", body)).problem(422, "invalid-request")
        if not (body or {}).get("reason"):
            (await rescind.ask("POST", "/v1/resume", body)).problem(422, "invalid-request")
    assert not rescind.node.ledger.pauses


async def test_pauses_of_what_is_not_there(rescind: Rescind) -> None:
    (await rescind.ask("POST", "/v1/pause", {"account": "nobody"})).problem(404, "not-found")
    (await rescind.ask("POST", "/v1/resume", {"account": "nobody"})).problem(404, "not-found")


# -- What describes itself ------------------------------------------------------------------------------------


async def test_wrong_paths_and_methods_are_problems(rescind: Rescind) -> None:
    for path in ("/v1", "/v1/", "/v1/orders/", "/v3/orders", "/v1/accounts/a/orders", "/%00"):
        (await rescind.ask("GET", path)).problem(404, "not-found")
    for method, path in (("POST", "/v1/orders"), ("GET", "/v1/apply"), ("DELETE", "/v1/events/x"), ("PUT", "/healthz")):
        reply = await rescind.ask(method, path)
        reply.problem(405, "method-not-allowed")
        assert reply.headers["Allow"]


async def test_metrics_count_what_happened(rescind: Rescind, provider: Provider) -> None:
    async def sample(name: str, **labels: str) -> float:
        text = (await rescind.ask("GET", "/metrics")).raw.decode()
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        braces = f"{{{wanted}}}" if labels else ""
        found = re.search(rf"^{name}{re.escape(braces)} ([0-9.e+]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    labels = {"endpoint": ENDPOINT, "status": "accepted"}
    before, events = await sample("rescind_webhooks_total", **labels), await sample("rescind_events_total")
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    await rescind.hook(b"{}", token="wrong")
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert await sample("rescind_webhooks_total", **labels) == before + 1
    assert await sample("rescind_webhooks_unauthentic_total", endpoint=ENDPOINT) >= 1
    assert await sample("rescind_events_total") == events + 5
    assert await sample("rescind_cancellations_total", account=ACCOUNT, state="succeeded") >= 1
    assert await sample("rescind_calls_total", account=ACCOUNT, kind="cancel", outcome="succeeded") >= 1

    async def open_() -> bool:
        return await sample("rescind_lane_open", account=ACCOUNT) == 1

    await until(open_, "the lane to be shown as open")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    assert await sample("rescind_lane_open", account=ACCOUNT) == 0
    assert PROVIDER_KEY.encode() not in (await rescind.ask("GET", "/metrics")).raw


def test_every_problem_is_of_the_closed_list() -> None:
    slugs = [kind.slug for kind in Kind]
    assert len(set(slugs)) == len(slugs)
    assert all(400 <= kind.status < 600 for kind in Kind)


async def test_values_are_of_the_types_that_are_stated(rescind: Rescind) -> None:
    for time in ("0.5", "1772366400", "2026-03-01", 1772366400, "2026-03-01T12:00:00"):
        (await rescind.ask("GET", f"/v1/events?until={time}")).problem(422, "invalid-request")
        (await rescind.request_cancel("o-1", deadline=time)).problem(422, "invalid-request")
    for flag in (0, 1, "true", "yes"):
        (await rescind.ask("POST", "/v1/apply", {"resources": {}, "confirm": flag})).problem(422, "invalid-request")
    (await rescind.ask("PUT", f"/v1/accounts/{ACCOUNT}?confirm=1", {})).problem(422, "invalid-request")
