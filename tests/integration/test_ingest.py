"""Webhooks in: durable before the answer (I1), nothing authentic dropped (I10), nothing else let in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import pytest
from commits import full_disk
from providers import Provider, until
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, execute_sql, stored_in, webhook

from app.store import StoreError

PATH = f"/webhooks/{ENDPOINT}"
BODY = msgspec.json.encode(webhook("order.processed", "o-1"))


async def receipts(rescind: Rescind) -> list[dict[str, Any]]:
    return await rescind.pages("/v1/receipts", 100)


# -- I1: durable before ack -------------------------------------------------------------------


async def test_an_acknowledged_webhook_is_committed_and_applied(rescind: Rescind, tmp_path: Path) -> None:
    reply = await rescind.hook(BODY)
    assert (reply.status, reply.json["status"]) == (200, "accepted")
    # Another connection sees only what is committed.
    assert execute_sql(tmp_path, "SELECT size FROM receipts") == [(len(BODY),)]
    assert execute_sql(tmp_path, "SELECT name, type FROM events") == [("o-1", "order.processed")]
    assert execute_sql(tmp_path, "SELECT id, phase, cancelable FROM orders") == [("o-1", "open", "yes")]
    assert (await rescind.order("o-1"))["version"] == 1


@pytest.mark.sqlite_only("its pragmas")
async def test_a_commit_does_not_wait_for_the_system_to_write_it_some_time(rescind: Rescind) -> None:
    """FULL, and a log that is kept."""
    writer = rescind.node.store._writer  # type: ignore[attr-defined]
    pragmas = [await writer.execute_fetchall(f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]
    assert [tuple(rows[0]) for rows in pragmas] == [(2,), ("wal",)]


@pytest.mark.sqlite_only("its file is full")
async def test_nothing_is_acknowledged_that_could_not_be_committed(rescind: Rescind) -> None:
    large = msgspec.json.encode(webhook("order.processed", "o-1", metadata={"a": token_hex(50_000)}))
    async with full_disk(rescind.node.store):
        reply = await rescind.hook(large)
        reply.problem(503, "busy")
        assert int(reply.headers["Retry-After"]) >= 1
        assert b"full" in reply.raw
    assert await receipts(rescind) == []
    assert (await rescind.hook(large)).json["status"] == "accepted"


async def test_an_answer_waits_for_its_commit(rescind: Rescind) -> None:
    async with rescind.node.store.transaction():
        # The only writer is taken: neither of these can be on disk before the block ends.
        waiting = [asyncio.create_task(rescind.hook(webhook("order.processed", f"o-{n}"))) for n in range(2)]

        async def both_wait() -> bool:
            return rescind.node.ledger.waiting >= 1

        await until(both_wait, "a webhook to wait")
        for _ in range(20):
            await rescind.get("/healthz", key=None)
        assert not any(task.done() for task in waiting)
    assert [(await task).status for task in waiting] == [200, 200]


# -- What a receipt keeps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [BODY, b"", b"not JSON \x00\xff", b"\xef\xbb\xbf" + BODY, BODY.decode().encode("utf-16"), b'{"a":"\\ud800"}'],
    ids=["json", "empty", "bytes", "bom", "utf-16", "surrogate"],
)
async def test_a_receipt_gives_the_body_back_byte_for_byte(rescind: Rescind, body: bytes) -> None:
    reply = await rescind.hook(body)
    assert reply.status in (200, 202)
    assert await rescind.receipt_body(reply.json["receipt"]) == body


async def test_a_receipt_keeps_query_and_headers_but_not_the_token(rescind: Rescind) -> None:
    headers = {"X-Trace": "abc", "Authorization": f"Bearer {TOKEN}", "Cookie": f"session={TOKEN}"}
    reply = await rescind.ask("POST", f"{PATH}?token={TOKEN}&a=1&a=2&b=%FF", key=None, data=BODY, headers=headers)
    assert reply.status == 200
    shown = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    kept = {name.lower(): value for name, value in shown["headers"]}
    assert kept["x-trace"] == "abc"
    assert (kept["authorization"], kept["cookie"]) == ("**********", "**********")
    assert shown["query"] == [["token", "**********"], ["a", "1"], ["a", "2"], ["b", "\ufffd"]]


async def test_a_token_that_a_proxy_copied_into_a_header_is_not_stored(rescind: Rescind) -> None:
    headers = {"X-Original-URI": f"{PATH}?token={TOKEN}", "Referer": f"https://a.example/?token={TOKEN}"}
    reply = await rescind.hook(BODY, headers=headers)
    assert reply.status == 200
    assert TOKEN not in str(await rescind.get(f"/v1/receipts/{reply.json['receipt']}"))


async def test_no_event_without_its_receipt(rescind: Rescind) -> None:
    receipt = await rescind.tell("order.processed", "o-1")
    events = await rescind.get(f"/v1/events?account={ACCOUNT}&order=o-1")
    assert [each["receipt"] for each in events["data"]] == [receipt]


# -- Who may -----------------------------------------------------------------------------------


def header_endpoint(**verify: Any) -> dict[str, Any]:
    return {"account": ACCOUNT, "verify": {"secrets": [TOKEN], "header": "X-Hook", **verify}}


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        (f"?Token={TOKEN}", {}),
        (f"?token={TOKEN}x", {}),
        (f"?token=wrong&token={TOKEN}", {}),
        ("?token=%ED%A0%80", {}),
        ("?token=%FF%00", {}),
        ("", {"Authorization": "Bearer wrong"}),
        ("", {"Authorization": f"Basic {TOKEN}"}),
        ("", {"Authorization": TOKEN}),
        ("", {"Authorization": "Bearer"}),
        ("", {"X-Hook": TOKEN}),
        ("?token=**********", {}),
    ],
)
async def test_who_shows_no_valid_token_leaves_nothing(rescind: Rescind, query: str, headers: dict[str, str]) -> None:
    reply = await rescind.ask("POST", PATH + query, data=BODY, key=None, headers=headers)
    reply.problem(401, "unauthentic-webhook")
    assert TOKEN.encode() not in reply.raw
    assert await receipts(rescind) == []


@pytest.mark.parametrize("scheme", ["token", "handler"])
@pytest.mark.parametrize("place", ["bearer", "query", "header"])
async def test_the_token_is_taken_from_each_place_and_never_stored(
    rescind: Rescind, tmp_path: Path, scheme: str, place: str
) -> None:
    body = {"account": ACCOUNT, "verify": {"scheme": scheme, "secrets": [TOKEN]}}
    await rescind.put("endpoints", "in-2", header_endpoint(scheme=scheme) if place == "header" else body)
    headers = {"bearer": {"Authorization": f"bearer {TOKEN}"}, "header": {"X-Hook": TOKEN}}.get(place, {})
    query = f"?token={TOKEN}" if place == "query" else ""
    reply = await rescind.ask("POST", f"/webhooks/in-2{query}", data=BODY, key=None, headers=headers)
    assert reply.status == 200
    assert TOKEN not in str(await rescind.get(f"/v1/receipts/{reply.json['receipt']}"))
    on_disk = stored_in(tmp_path)
    assert BODY in on_disk
    assert TOKEN.encode() not in on_disk


async def test_a_rotated_token_is_valid_until_it_is_dropped(rescind: Rescind) -> None:
    for secrets, valid in (([TOKEN, "new-token-123456"], (200, 200)), (["new-token-123456"], (401, 200))):
        await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT, verify={"scheme": "token", "secrets": secrets}))
        replies = [await rescind.hook(BODY, token=token) for token in (TOKEN, "new-token-123456")]
        assert tuple(reply.status for reply in replies) == valid


async def test_unknown_endpoint_wrong_method_and_wrong_path(rescind: Rescind) -> None:
    for path in ("/webhooks/nobody", "/webhooks/%00", "/webhooks/%FF", "/webhooks/..%2F..", "/webhooks/"):
        (await rescind.ask("POST", f"{path}?token={TOKEN}", data=BODY, key=None)).problem(404, "not-found")
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        reply = await rescind.ask(method, f"{PATH}?token={TOKEN}", data=BODY, key=None)
        # PlanOmatic asks nobody for leave to send.
        allowed = "POST" if method in ("GET", "HEAD") else "GET,HEAD,OPTIONS,POST"
        assert (reply.status, reply.headers["Allow"].replace(" ", "")) == (405, allowed)
    reply = await rescind.ask("OPTIONS", PATH, key=None)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST"), "PlanOmatic asks nobody for leave to send"
    assert await receipts(rescind) == []


# -- Duplicates and quarantine -------------------------------------------------------------------


async def test_a_redelivery_is_acknowledged_and_changes_nothing(rescind: Rescind) -> None:
    assert (await rescind.hook(BODY)).json["status"] == "accepted"
    before = await rescind.order("o-1")
    again = await rescind.hook(BODY)
    assert (again.status, again.json["status"]) == (200, "duplicate")
    assert await rescind.receipt_body(again.json["receipt"]) == BODY
    after = await rescind.order("o-1")
    before["verdict"].pop("as_of"), after["verdict"].pop("as_of")
    assert before == after


async def test_of_many_copies_at_once_one_counts(rescind: Rescind) -> None:
    replies = await asyncio.gather(*(rescind.hook(BODY) for _ in range(30)))
    assert sorted(reply.json["status"] for reply in replies) == ["accepted"] + ["duplicate"] * 29
    assert (await rescind.order("o-1"))["version"] == 1
    assert len(await receipts(rescind)) == 30


async def test_an_unknown_event_is_quarantined_and_visible(rescind: Rescind) -> None:
    reply = await rescind.hook(webhook("order.exploded", "o-1"))
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    (shown,) = (await rescind.get("/v1/receipts?status=quarantined"))["data"]
    assert shown["id"] == reply.json["receipt"]
    assert "order.exploded" in shown["reason"]


async def test_quarantine_is_emptied_by_reprocessing_after_a_fix(rescind: Rescind, provider: Provider) -> None:
    body = {"what": {"name": "order.processed"}, "order_id": "o-1", "occurred_at": "2026-01-01T00:00:00Z"}
    reply = await rescind.hook(body)
    assert reply.status == 202
    path = f"/v1/receipts/{reply.json['receipt']}/reprocess"
    still = await rescind.ask("POST", path)
    assert (still.status, still.json["status"]) == (200, "quarantined")
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"event_keys": ["what.name"]}))
    mended = await rescind.ask("POST", path)
    assert (mended.status, mended.json["status"]) == (200, "accepted")
    assert (await rescind.get("/v1/receipts?status=quarantined"))["data"] == []
    first = await rescind.order("o-1")
    assert (first["phase"], first["version"]) == ("open", 1)
    await rescind.ask("POST", path)
    assert (await rescind.order("o-1"))["version"] == 1
    assert (await rescind.hook(body)).json["status"] == "duplicate"


async def test_reprocessing_changes_nothing_of_what_is_understood(rescind: Rescind) -> None:
    receipts = [(await rescind.hook(BODY)).json["receipt"] for _ in range(2)]
    before = [await rescind.get(f"/v1/receipts/{id}") for id in receipts]
    assert [each["status"] for each in before] == ["accepted", "duplicate"]
    for id in receipts:
        assert (await rescind.ask("POST", f"/v1/receipts/{id}/reprocess")).status == 200
    assert [await rescind.get(f"/v1/receipts/{id}") for id in receipts] == before
    assert (await rescind.order("o-1"))["version"] == 1


async def test_reprocessing_what_is_not_there(rescind: Rescind) -> None:
    for id in ("rcp_0000000000000001", "rcp_x", "nothing", "%00", "rcp_ffffffffffffffff"):
        (await rescind.ask("POST", f"/v1/receipts/{id}/reprocess")).problem(404, "not-found")


async def test_a_failed_store_is_said_and_forgotten(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("SQLite: database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(rescind.node.ledger, "_submit", fail)
        (await rescind.hook(BODY)).problem(503, "busy")
        (await rescind.request_cancel("o-1")).problem(503, "busy")
    assert (await rescind.hook(BODY)).json["status"] == "accepted"
