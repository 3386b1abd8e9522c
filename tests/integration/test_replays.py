"""A copy of a request under another id is a duplicate, as a redelivery is, and a second event is none."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any

import msgspec
from conftest import Start
from integration.test_endpoints import SOURCE, create
from integration.test_foreign_signatures import BY_FORM, KEY, PUBLIC, orders, post, shop
from servers import Rescind
from unit.kit.signatures import WHSEC, digest, form_hmac, github, standard

UNTIMED = {"order": "order.id", "status": "order.status"}
TIMED = {**UNTIMED, "time": "at"}
ID, WEBHOOK_ID = "X-Delivery", "webhook-id"
SECRET = "a-secret-of-the-account-0123"


def about(status: str, **more: Any) -> bytes:
    return msgspec.json.encode({"order": {"id": 7, "status": status}, **more})


async def send(rescind: Rescind, body: bytes, headers: dict[str, str]) -> str:
    """What becomes of a request that is signed as GitHub signs, with these headers besides."""
    reply = await post(rescind, body, {**github(body, KEY), "Content-Type": "application/json", **headers})
    assert reply.status in (200, 202), reply
    return str(reply.json["status"])


async def events(rescind: Rescind) -> int:
    """How many webhooks' events the log has."""
    return len([event for event in (await rescind.get("/v1/events"))["data"] if event["source"] == "webhook"])


async def test_a_captured_request_under_another_id_is_a_duplicate(start: Start) -> None:
    rescind = await shop(start, UNTIMED, key_header=ID, secrets={"other": SECRET})
    await create(rescind, account="shop", id="in", verify={"scheme": "github", "secrets": [KEY]})
    opened, closed = about("new"), about("sent")
    assert await send(rescind, opened, {ID: "1", WEBHOOK_ID: "a"}) == "accepted"
    assert await send(rescind, opened, {ID: "1", WEBHOOK_ID: "a"}) == "duplicate"
    assert await send(rescind, closed, {ID: "2"}) == "accepted"
    for headers in ({ID: "3"}, {WEBHOOK_ID: "b"}, {ID: "3", WEBHOOK_ID: "b"}, {}):
        assert await send(rescind, opened, headers) == "duplicate", headers
    assert await orders(rescind) == {"7": "completed"}
    assert await send(rescind, about("new", no=2), {ID: "4"}) == "accepted"
    assert await events(rescind) == 3
    # The body of one that is compressed and holds a secret is replaced: that must not make its headers proven.
    packed = gzip.compress(about("sent", note=SECRET))
    found = [await send(rescind, packed, {ID: id, "Content-Encoding": "gzip"}) for id in ("5", "6")]
    assert found == ["accepted", "duplicate"]


async def test_a_receipt_that_is_read_again_counts_as_it_would_have_at_first(start: Start) -> None:
    rescind = await shop(start, UNTIMED, key_header=ID, unknown_statuses="quarantine")
    await create(rescind, account="shop", id="in", verify={"scheme": "github", "secrets": [KEY]})
    body = about("odd")
    receipts = []
    for id in ("1", "2", "3"):
        reply = await post(rescind, body, {**github(body, KEY), "Content-Type": "application/json", ID: id})
        assert reply.json["status"] == "quarantined"
        receipts.append(reply.json["receipt"])
    phases = {"new": "open", "sent": "completed", "odd": "canceled"}
    given = {**SOURCE, "fields": UNTIMED, "key_header": ID, "phases": phases}
    await rescind.put("accounts", "shop", {"provider": "generic", "config": given})
    for receipt in receipts[:2]:
        assert (await rescind.ask("POST", f"/v1/receipts/{receipt}/reprocess")).json["status"] == "accepted"
        assert await events(rescind) == 1
    # Without its endpoint nothing says what a receipt's proof covered: no header counts as proven.
    await rescind.ask("DELETE", "/v1/endpoints/in")
    assert (await rescind.ask("POST", f"/v1/receipts/{receipts[2]}/reprocess")).json["status"] == "accepted"
    assert await events(rescind) == 1


async def test_where_events_say_when_they_occurred_a_copy_changes_nothing(start: Start) -> None:
    rescind = await shop(start, TIMED, key_header=ID)
    await create(rescind, account="shop", id="in", verify={"scheme": "github", "secrets": [KEY]})
    opened = about("new", at="2026-03-02T16:00:00Z")
    closed = about("sent", at="2026-03-02T17:00:00Z")
    for id, body in (("1", opened), ("2", closed), ("3", opened)):
        assert await send(rescind, body, {ID: id}) == "accepted"
    assert await orders(rescind) == {"7": "completed"}
    # The id tells a redelivery although the body is spelled in another way.
    assert await send(rescind, b" " + opened, {ID: "3"}) == "duplicate"


async def test_a_form_is_known_again_in_any_spelling(start: Start) -> None:
    fields = {"order": "id", "status": "status"}
    rescind = await shop(start, fields, PUBLIC, format="form", key_header=ID)
    await create(rescind, account="shop", id="in", verify=BY_FORM)
    found = []
    for id, body, state in (
        ("1", b"id=o+1&status=new", "accepted"),
        ("2", b"status=sent&id=o+1", "accepted"),
        ("3", b"status=new&id=o%201", "duplicate"),
        ("4", b"id=o+1&status=new&id=o+1", "quarantined"),
        ("5", b"&status=new&&id=%6f+1&", "duplicate"),
    ):
        reply = await post(rescind, body, {**form_hmac(body, KEY, url=PUBLIC + "/webhooks/in"), ID: id})
        found.append((id, reply.json["status"], state))
    assert all(status == state for _, status, state in found), found
    assert await orders(rescind) == {"o 1": "completed"}


async def test_an_id_that_is_signed_tells_two_events_of_one_body_apart(start: Start) -> None:
    rescind = await shop(start, UNTIMED, key_header=ID)
    by_header = {"scheme": "hmac", "signed": "{header:X-Delivery}.{body}", "secrets": [KEY]}
    await create(rescind, account="shop", id="in", verify=by_header)
    await create(rescind, account="shop", id="standard", verify={"scheme": "standard_webhooks", "secrets": [WHSEC]})
    body, found = about("new"), []
    for id in ("1", "2", "1"):
        headers = {ID: id, "X-Signature": digest(KEY.encode(), f"{id}.".encode() + body).hex()}
        found.append((await post(rescind, body, headers)).json["status"])
    now = str(int(datetime.now(UTC).timestamp()))
    for id in ("m1", "m2", "m1"):
        # The header of the account is not signed here: the one that is takes its place.
        headers = {**standard(body, at=now, id=id), ID: "1" + id}
        found.append((await post(rescind, body, headers, "/webhooks/standard")).json["status"])
    assert found == ["accepted", "accepted", "duplicate"] * 2


async def test_a_header_that_is_not_read_is_shown_where_operators_look(start: Start) -> None:
    rescind = await shop(start, UNTIMED, key_header=ID)
    verify = {"scheme": "hmac", "secrets": [KEY]}
    made = await create(rescind, account="shop", id="in", verify=verify)
    [note] = [note for note in made["setup"]["notes"] if ID in note]
    assert "{header:X-Delivery}" in note
    [found] = (await rescind.get("/v1/status"))["findings"]
    assert (found["code"], found["what"], found["state"]) == ("unread_header", "endpoint in", "notice")
    assert "scheme hmac" in found["detail"]
    assert "fields.time" in found["do"]
    file = {"resources": {"endpoints": [{"id": "in", "account": "shop", "verify": verify}]}, "dry_run": True}
    [change] = (await rescind.ask("POST", "/v1/apply", file)).json["changes"]
    assert [ID in text for text in change["warnings"]] == [True]
    await rescind.put(
        "endpoints", "in", {"account": "shop", "verify": {**verify, "signed": "{header:X-Delivery}{body}"}}
    )
    assert (await rescind.get("/v1/status"))["findings"] == []
    await rescind.put("endpoints", "in", {"account": "shop", "verify": {"scheme": "shopify", "secrets": [KEY]}})
    [found] = (await rescind.get("/v1/status"))["findings"]
    assert "verify.signed" not in found["do"]
    config = {**SOURCE, "fields": TIMED, "key_header": ID}
    await rescind.put("accounts", "shop", {"provider": "generic", "config": config})
    assert (await rescind.get("/v1/status"))["findings"] == []
