"""Many receipts parsed again: previewed, page by page, by a filter or by name."""

from __future__ import annotations

from typing import Any

import pytest
from providers import Provider
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app.web import bulk_reprocess

PATH = "/v1/receipts/reprocess"


async def reprocess(rescind: Rescind, *, dry_run: bool = False, key: str | None = None, **body: Any) -> Any:
    more = {} if key is None else {"key": key}
    body = body if "receipts" in body else {"filter": {}, **body}
    reply = await rescind.ask("POST", PATH, {"dry_run": dry_run, **body}, **more)
    assert reply.status == 200, reply
    return reply.json


async def strange(rescind: Rescind, number: int, endpoint: str = ENDPOINT) -> str:
    """A webhook that is not understood."""
    body = {"event": "order.flown", "kind": "order.processed", "order_id": str(number), "status": "ordered"}
    reply = await rescind.hook(body, endpoint)
    assert reply.status == 202, reply
    return str(reply.json["receipt"])


async def teach(rescind: Rescind, provider: Provider) -> None:
    """Now the account tells where the event's name stands."""
    config = {"event_keys": ["kind"]}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config=config))


async def test_a_preview_changes_nothing_and_is_what_happens(rescind: Rescind, provider: Provider) -> None:
    receipts = [await strange(rescind, number) for number in range(5)]
    assert (await reprocess(rescind, dry_run=True))["counts"] == {"quarantined": 5}
    await teach(rescind, provider)
    before = (await rescind.get("/v1/events"))["data"]
    preview = await reprocess(rescind, dry_run=True)
    assert [one["id"] for one in preview["data"]] == receipts[::-1]
    assert preview["counts"] == {"accepted": 5}
    first = preview["data"][-1]
    assert (first["before"], first["status"], first["events"], first["new_events"]) == ("quarantined", "accepted", 1, 1)
    assert first["orders"] == ["0"]
    assert (await rescind.get("/v1/events"))["data"] == before
    done = await reprocess(rescind)
    assert done == {**preview, "dry_run": False}
    assert (await rescind.order("0"))["phase"] == "open"
    assert (await reprocess(rescind))["data"] == [], "none is left in quarantine"
    again = await reprocess(rescind, dry_run=True, filter={"status": "accepted"})
    assert {one["new_events"] for one in again["data"]} == {0}


async def test_page_by_page(rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [await strange(rescind, number) for number in range(7)]
    await teach(rescind, provider)
    monkeypatch.setattr(bulk_reprocess, "TOGETHER", 2)
    found, cursor = [], None
    while True:
        page = await reprocess(rescind, limit=3, cursor=cursor)
        found.append([one["id"] for one in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            break
    assert [len(part) for part in found] == [3, 3, 1]
    assert [id for part in found for id in part] == receipts[::-1]
    assert (await rescind.get("/v1/receipts?status=quarantined"))["data"] == []


async def test_a_request_that_takes_long_ends_early(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = [await strange(rescind, number) for number in range(5)]
    await teach(rescind, provider)
    monkeypatch.setattr(bulk_reprocess, "TOGETHER", 2)
    monkeypatch.setattr(bulk_reprocess, "PAGE_S", -1.0)
    page = await reprocess(rescind)
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (receipts[:2:-1], True)
    rest = await reprocess(rescind, cursor=page["next_cursor"])
    assert [one["id"] for one in rest["data"]] == receipts[2:0:-1]


async def test_filters(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "other", account_of(provider.url))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    own, other = await strange(rescind, 1), await strange(rescind, 2, "other-in")
    malformed = (await rescind.hook(b"no json")).json["receipt"]

    async def ids(**conditions: Any) -> list[str]:
        return [one["id"] for one in (await reprocess(rescind, dry_run=True, filter=conditions))["data"]]

    assert await ids() == [malformed, other, own]
    assert await ids(account="other") == [other]
    assert await ids(endpoint=ENDPOINT, reason="FLOWN") == [own]
    at = (await rescind.get(f"/v1/receipts/{other}"))["received_at"]
    assert await ids(since=at) == [malformed, other]
    assert await ids(until=at) == [own]
    listed = (await rescind.get("/v1/receipts?status=quarantined&reason=flown"))["data"]
    assert [one["id"] for one in listed] == [other, own]
    named = await reprocess(rescind, dry_run=True, receipts=[own, malformed, own])
    assert [one["id"] for one in named["data"]] == [own, malformed]


async def test_what_is_refused(rescind: Rescind, provider: Provider) -> None:
    receipt = await strange(rescind, 1)
    for body in ({}, {"receipts": [receipt], "filter": {"account": ACCOUNT}}, {"filter": {}, "dry_run": "no"}):
        (await rescind.ask("POST", PATH, body)).problem(422, "invalid-request")
    missing = {"dry_run": True, "receipts": ["rcp_0000000000000001"]}
    (await rescind.ask("POST", PATH, missing)).problem(404, "not-found")
    (await rescind.ask("POST", PATH, {"dry_run": True, "filter": {"account": "none"}})).problem(404, "not-found")
    await rescind.put("accounts", "other", account_of(provider.url))
    created = (await rescind.ask("POST", "/v1/keys", {"name": "own", "scope": "write", "accounts": ["other"]})).json
    key = created["key"]
    (await rescind.ask("POST", PATH, {"filter": {}}, key=key)).problem(403, "forbidden")
    theirs = {"dry_run": True, "filter": {"account": ACCOUNT}}
    (await rescind.ask("POST", PATH, theirs, key=key)).problem(404, "not-found")
    (await rescind.ask("POST", PATH, {"dry_run": True, "receipts": [receipt]}, key=key)).problem(404, "not-found")
    assert (await reprocess(rescind, dry_run=True, key=key, filter={"account": "other"}))["data"] == []
