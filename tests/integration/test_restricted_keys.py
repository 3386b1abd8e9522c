"""A key that is restricted to accounts sees and changes nothing of others, by any route; theirs do not even exist."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio
from providers import Provider, until
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, Reply, Rescind, account_of, endpoint_of

from app.config.scope import Scope
from app.core.aggregate import JobKind
from app.core.attempt import Attempt
from app.web.routes import AccountCheck, Route
from app.web.server import ROUTES

OTHER = "bravo"
"""In every name of what belongs to the other account."""
POLICY = {"when": "order.phase == 'open'", "cancel": {"reason": "duplicate_order", "note": "x"}}
FILTERS = (
    "",
    "account={other}",
    "order=bravo-1",
    "account={own}&order=bravo-1",
    "endpoint=bravo-in",
    "policy=bravo-policy",
)
BODIES: dict[str, list[Any]] = {
    "createCancellation": [CANCEL_BODY],
    "createCancellationBatch": [{"cancellations": [{"account": OTHER, "order": "bravo-1", **CANCEL_BODY}]}],
    "resolveCancellation": [{"outcome": "succeeded", "note": "x"}],
    "changeTags": [{"add": ["x"]}],
    "wantProbes": [{"orders": ["bravo-1"]}],
    "pause": [{"account": OTHER}, {"scope": "all"}, {"policies": True}, {"policy": "bravo-policy"}],
    "resume": [{"account": OTHER}, {"scope": "all"}, {"policies": True}, {"policy": "bravo-policy"}],
    "apply": [{"resources": {}, "prune": True, "confirm": True}, {"resources": {}, "dry_run": True, "prune": True}],
    "createKey": [{"name": "mine", "scope": "admin"}, {"name": "mine", "accounts": [OTHER]}],
    "testPolicy": [{"account": OTHER, "order": "bravo-1"}, {"account": OTHER, "order": "bravo-1", "policy": POLICY}],
    "testEndpoint": [{}],
    "startBacktest": [{}, {"policy": {"accounts": [OTHER], **POLICY}}],
    "eraseOrder": [{"dry_run": True}, {}],
    "bulkReprocessReceipts": [
        {"filter": {}},
        {"filter": {"account": OTHER}},
        {"filter": {"account": OTHER, "order": "bravo-1", "status": "accepted"}},
        {"filter": {"account": ACCOUNT, "order": "bravo-1", "status": "accepted"}},
        {"filter": {"account": ACCOUNT, "endpoint": "bravo-in", "status": "accepted"}},
    ],
}
"""What to send to routes with a body, about the other account. Others get an empty object."""

HAS_LIVE_CANCELLATION = ("createCancellation", "eraseOrder")
"""Routes that refuse an order with a live cancellation."""


class House:
    """A Rescind with two accounts, and everything that there can be of the other one."""

    def __init__(self, rescind: Rescind, key: str, ids: list[str]) -> None:
        self.rescind, self.key, self.ids = rescind, key, ids
        """Ids of what belongs to the other account, of every kind."""

    async def ask(self, route: Route, path: str, body: Any, *, key: str | None = None) -> Reply:
        body = body if route.body is not None else None
        return await self.rescind.ask(route.method, path, body, key=key or self.key)


@pytest_asyncio.fixture
async def house(rescind: Rescind, provider: Provider) -> House:
    await rescind.put("accounts", OTHER, account_of(provider.url))
    await rescind.put("endpoints", "bravo-in", endpoint_of(OTHER))
    await rescind.put("policies", "bravo-policy", {"accounts": [OTHER], **POLICY, "mode": "shadow"})
    await rescind.put("policies", "both", {"accounts": [ACCOUNT, OTHER], **POLICY, "mode": "shadow"})
    await rescind.put("subscriptions", "bravo-sub", {"accounts": [OTHER]})
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await rescind.ask("POST", "/v1/pause", {"account": OTHER})
    for endpoint, order in ((ENDPOINT, "o-1"), (ENDPOINT, "o-2"), ("bravo-in", "bravo-1"), ("bravo-in", "bravo-2")):
        await rescind.tell("order.processed", order, endpoint)
    await rescind.cancel("o-1")
    await rescind.cancel("bravo-1", OTHER)
    both = [
        {"account": account, "order": order, **CANCEL_BODY} for account, order in ((ACCOUNT, "o-2"), (OTHER, "bravo-3"))
    ]
    batch = (
        await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [{**both[1], "order": "bravo-2"}]})
    ).json["id"]
    await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": both})
    backtest = (await rescind.ask("POST", "/v1/policies/bravo-policy/backtest", {})).json["id"]
    now = datetime.now(UTC)
    attempt = Attempt(rescind.node.ids.next(), 1, OTHER, "bravo-1", JobKind.PROBE, None, now, now, outcome="retry")
    await rescind.node.ledger.record_attempt(attempt)

    async def report() -> Any:
        return dict(await rescind.get(f"/v1/policies/bravo-policy/backtests/{backtest}")).get("report")

    await until(report, "the end of the backtest, which writes a row")
    made = await rescind.ask("POST", "/v1/keys", {"name": "theirs", "scope": "admin", "accounts": [ACCOUNT]})
    theirs = await rescind.ask("POST", "/v1/keys", {"name": "bravo key", "accounts": [OTHER]})
    ids = ["bravo", "bravo-1", "bravo-in", "bravo-policy", batch, backtest, theirs.json["id"]]
    for kind in ("events", "receipts", "cancellations", "attempts"):
        ids += [row["id"] for row in (await rescind.get(f"/v1/{kind}?account={OTHER}"))["data"]]
    deliveries = (await rescind.get("/v1/subscriptions/bravo-sub/deliveries"))["data"]
    ids += ["bravo-sub", deliveries[0]["message"]]
    return House(rescind, made.json["key"], ids)


def never_was(text: str, ids: list[str]) -> str:
    """`text`, with the names and ids of the other account replaced by some that do not exist."""
    for id in ids:
        prefix, _, rest = id.partition("_")
        text = text.replace(id, f"{prefix}_{rest[::-1]}" if rest else id)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+|(?<=\"id\":\")bat_\w+", "x", text.replace(OTHER, "zulu9"))


def requests(route: Route, ids: list[str]) -> Iterator[tuple[str, Any]]:
    """(path, body) of requests to a route about the other account: by each id, filter and body."""
    accounts = [OTHER, ACCOUNT] if route.method == "GET" else [OTHER]
    values = {"account": accounts, "order": ["bravo-1"], "id": ids, "backtest": [ids[5]]}
    names = re.findall(r"{(\w+)}", route.path)
    filters = FILTERS if route.query.model_fields.keys() & {"account", "endpoint", "policy"} else FILTERS[:1]
    for given in itertools.product(*(values.get(name, ids[-3:]) for name in names)):
        path = route.path
        for name, value in zip(names, given, strict=True):
            path = path.replace("{" + name + "}", value)
        bodies = BODIES.get(route.name, [{}])
        if route.name == "bulkReprocessReceipts":
            bodies = [*bodies, *({"receipts": [id]} for id in ids)]
        for query, body in itertools.product(filters, bodies):
            yield path + (f"?{query.format(own=ACCOUNT, other=OTHER)}" if query else ""), body


def of_other(directory: Path) -> set[str]:
    """All rows of the database that name the other account, and all keys, resources and pauses."""
    db = sqlite3.connect(directory / "rescind.db")
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {f"{table} {row}" for table in tables for row in db.execute("SELECT * FROM " + table)}  # noqa: S608 - its own tables
    db.close()
    counted = ("endpoint_states ", "endpoint_counts ")  # written now and then, as webhooks arrive
    rows = {row for row in rows if not row.startswith(counted)}
    always = ("resources ", "resource_changes ", "pauses ", "backtests ")
    return {row for row in rows if OTHER in row or row.startswith(always)}


async def test_nothing_of_another_account_is_seen_or_changed_by_any_route(house: House, tmp_path: Path) -> None:
    before = of_other(tmp_path)
    for route in ROUTES:
        for path, body in requests(route, house.ids):
            reply = await house.ask(route, path, body)
            text, about = reply.raw.decode(), (route.name, path, body, reply)
            sent = path + json.dumps(body)
            assert not [id for id in house.ids if id in text and id not in sent], about
            missing = json.loads(never_was(json.dumps(body), house.ids))
            twin = await house.ask(route, never_was(path, house.ids), missing)
            same = twin.status, never_was(twin.raw.decode(), house.ids)
            assert (reply.status, never_was(text, house.ids)) == same, about
    assert of_other(tmp_path) == before
    refused = await house.rescind.ask("GET", "/metrics", key=house.key)
    refused.problem(403, "forbidden")


async def test_without_the_restriction_the_same_requests_see_the_other_account(house: House) -> None:
    full = await house.rescind.ask("POST", "/v1/keys", {"name": "full", "scope": "admin"})
    seen = set()
    for route in ROUTES:
        if route.method == "GET":
            for path, body in requests(route, house.ids):
                reply = await house.ask(route, path, body, key=full.json["key"])
                if reply.status < 400 and OTHER in reply.raw.decode().replace(path, ""):
                    seen.add(route.name)
    unseen = {route.name for route in ROUTES if route.method == "GET"} - seen
    assert unseen <= {
        "getCancellationBatch",
        "getLatestCheckpoint",
        "getNode",
        "getProbes",
        "getPruning",
        "listBacktests",
        "listCheckpoints",
        "listRefusals",
        "listProviders",
        "getVerdict",
        "showRegistrations",
    }


async def test_its_own_account_is_all_there(house: House) -> None:
    """Every route that such a key may use works for its own account."""
    rescind = house.rescind
    own = {"account": ACCOUNT, "order": "o-1"}
    lists = {
        kind: (await rescind.ask("GET", f"/v1/{kind}", key=house.key)).json["data"]
        for kind in ("orders", "events", "receipts", "cancellations", "accounts", "endpoints")
    }
    assert [order["id"] for order in lists["orders"]] == ["o-2", "o-1"]
    assert [account["id"] for account in lists["accounts"]] == [ACCOUNT]
    assert [endpoint["id"] for endpoint in lists["endpoints"]] == [ENDPOINT]
    assert [cancellation["order"] for cancellation in lists["cancellations"]] == ["o-2", "o-1"]
    wanted = {route.name for route in ROUTES if route.account_check is AccountCheck.PATH}
    bodies = {
        "wantProbes": {"orders": ["o-1"]},
        "changeTags": {"add": ["x"]},
        "createCancellation": {**CANCEL_BODY, "dry_run": True},
    }
    for route in ROUTES:
        if route.name in wanted:
            reply = await house.ask(route, route.path.format(**own), bodies.get(route.name))
            assert reply.status < 300 or (reply.status == 409 and route.name in HAS_LIVE_CANCELLATION), reply
    for kind in ("events", "receipts", "cancellations"):
        one = await rescind.ask("GET", f"/v1/{kind}/{lists[kind][0]['id']}", key=house.key)
        assert one.status == 200, one
    paused = await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT}, key=house.key)
    assert {pause["scope"] for pause in paused.json["paused"]} == {"all", f"account:{ACCOUNT}"}
    assert (await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT}, key=house.key)).status == 200
    batch = {
        "cancellations": [{"account": account, "order": "o-1", **CANCEL_BODY} for account in (ACCOUNT, OTHER, "nix")]
    }
    made = (await rescind.ask("POST", "/v1/cancellation-batches", batch, key=house.key)).json
    assert made["outcomes"] == {"exists": 1, "invalid": 2}
    assert made["results"][1]["detail"].replace(OTHER, "nix") == made["results"][2]["detail"]


async def test_a_batch_counts_only_what_the_key_sees(house: House) -> None:
    cancellations = (await house.rescind.get(f"/v1/cancellations?account={ACCOUNT}"))["data"]
    batch = cancellations[0]["batch"]
    whole = await house.rescind.get(f"/v1/cancellation-batches/{batch}")
    part = (await house.rescind.ask("GET", f"/v1/cancellation-batches/{batch}", key=house.key)).json
    assert (whole["total"], part["total"]) == (2, 1)


async def test_several_accounts_need_a_choice(house: House) -> None:
    body = {"name": "two", "scope": "read", "accounts": [ACCOUNT, OTHER]}
    key = (await house.rescind.ask("POST", "/v1/keys", body)).json["key"]
    for kind in ("orders", "events", "receipts", "cancellations"):
        reply = await house.rescind.ask("GET", f"/v1/{kind}", key=key)
        assert f"{ACCOUNT}, {OTHER}" in reply.problem(422, "invalid-request")["detail"]
        for account in (ACCOUNT, OTHER):
            assert (await house.rescind.ask("GET", f"/v1/{kind}?account={account}", key=key)).json["data"]
    accounts = (await house.rescind.ask("GET", "/v1/accounts", key=key)).json["data"]
    assert [account["id"] for account in accounts] == [ACCOUNT, OTHER]


def test_every_route_says_how_it_is_restricted() -> None:
    for route in ROUTES:
        if "{account}" in route.path:
            assert route.account_check is AccountCheck.PATH, route.name
        if route.account_check is AccountCheck.QUERY:
            assert "account" in route.query.model_fields, route.name
        if route.body is not None and route.account_check is not AccountCheck.REFUSED:
            assert route.name in BODIES, f"{route.name}: say in BODIES what to send about the other account"
    assert {route.scope for route in ROUTES if route.name in ("createKey", "apply")} == {Scope.ADMIN}
