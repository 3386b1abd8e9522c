"""Asking for cancellations: early rejections with their evidence (I7), idempotency, dry runs, unknown orders."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from providers import RETRIEVE_PATH, Provider
from servers import ACCOUNT, Rescind, account_of, webhook

PATH = f"/v1/accounts/{ACCOUNT}/orders/o-1/cancellations"


@pytest.fixture
async def paused(rescind: Rescind, provider: Provider) -> Rescind:
    """Nothing is sent, so that what was asked for stays as it is."""
    await provider.create("o-1", "o-2")
    await rescind.tell("order.processed", "o-1")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    return rescind


async def test_a_cancel_request_is_answered_with_its_cancellation(paused: Rescind) -> None:
    reply = await paused.request_cancel("o-1", note="x" * 255)
    assert reply.status == 202
    shown = reply.json
    assert (shown["state"], shown["final"], shown["attempts"], shown["forced"]) == ("scheduled", False, 0, False)
    assert (shown["account"], shown["order"], shown["requested_by"]) == (ACCOUNT, "o-1", "bootstrap")
    assert (shown["reason"], shown["note"]) == ("client_requested_cancelation", "x" * 255)
    assert shown["verdict"]["cancelable"] == "yes"
    assert shown["waiting"]["until"] == shown["deadline"]
    same = {key: value for key, value in (await paused.cancellation(shown["id"])).items() if key in shown}
    assert {**same, "waiting": shown["waiting"]} == shown
    assert (await paused.order("o-1"))["cancellation"] == shown["id"]


# -- Early rejection (I7) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "more", "reason"),
    [
        ("appointment.scheduled", {}, "in_progress"),
        ("order.post_processing", {}, "in_progress"),
        ("order.delivered", {}, "completed"),
        ("order.canceled", {}, "already_canceled"),
        (
            "appointment.scheduled",
            {"appointments": [{"start_datetime": "2030-01-01T10:00:00Z", "confirmed": True}]},
            "appointment_confirmed",
        ),
        ("order.processed", {"status": "ordered", "rule": "scheduling"}, "status_not_cancelable"),
    ],
)
async def test_a_rejection_names_the_rule_and_its_evidence(
    rescind: Rescind, provider: Provider, event: str, more: dict[str, Any], reason: str
) -> None:
    rules = {"cancelable_statuses": [more.pop("rule", "ordered")]}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, rules=rules))
    await rescind.tell("order.processed", "o-1", at=1_700_000_000.0)
    receipt = await rescind.tell(event, "o-1", **more)
    problem = (await rescind.request_cancel("o-1")).problem(409, "order-not-cancelable")
    verdict, rejected = problem["verdict"], problem["cancellation"]
    assert (verdict["cancelable"], verdict["reason"]) == ("no", reason)
    assert problem["detail"] == verdict["explanation"]
    assert verdict["evidence"]
    for id in verdict["evidence"]:
        found = await rescind.get(f"/v1/events/{id}")
        assert (found["order"], found["type"], found["receipt"]) == ("o-1", event, receipt)
    assert (rejected["state"], rejected["final"]) == ("rejected", True)
    known = await rescind.cancellation(rejected["id"])
    assert (known["state"], known["evidence"]) == ("rejected", verdict["evidence"])
    assert (await rescind.order("o-1"))["verdict"]["evidence"] == verdict["evidence"]
    assert await provider.calls(None) == []


async def test_what_is_not_known_is_not_rejected(rescind: Rescind) -> None:
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    v2 = {"order_id": "o-1", "order_status": "hold"}
    assert (await rescind.hook(v2)).status == 200
    reply = await rescind.request_cancel("o-1")
    assert (reply.status, reply.json["verdict"]["cancelable"], reply.json["waiting"]["for"]) == (
        202,
        "unknown",
        "probe",
    )


async def test_a_status_that_a_document_rules_out_is_rejected(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    for status in ("hold", "committed", "pending_appointment", "post_processing", "delivered"):
        await rescind.tell("order.processed", f"o-{status}", status=status)
        problem = (await rescind.request_cancel(f"o-{status}")).problem(409, "order-not-cancelable")
        assert status in problem["detail"] or status in ("post_processing", "delivered")
        assert problem["verdict"]["evidence"]


async def test_force_overrules_a_no_once_but_not_new_evidence(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1", "o-2")
    for order in ("o-1", "o-2"):
        await rescind.tell("appointment.scheduled", order)
    done = await rescind.settled(await rescind.cancel("o-1", force=True))
    assert (done["state"], done["forced"]) == ("succeeded", True)
    problem = (await rescind.request_cancel("o-1", force=True)).problem(409, "order-not-cancelable")
    assert problem["verdict"]["reason"] == "already_canceled"
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    id = await rescind.cancel("o-2", force=True)
    await rescind.tell("order.delivered", "o-2")
    assert (await rescind.cancellation(id))["state"] == "revoked"


# -- Dry runs ---------------------------------------------------------------------------------------------


async def test_a_dry_run_says_what_would_be_and_does_nothing(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    await rescind.tell("order.delivered", "o-2")
    before = [await rescind.get(path) for path in ("/v1/events", "/v1/cancellations")]
    for order, force, would, cancelable in (
        ("o-1", False, "send", "yes"),
        ("o-2", False, "reject", "no"),
        ("o-2", True, "send", "no"),
        ("nobody", False, "probe", "unknown"),
        ("nobody", True, "send", "unknown"),
    ):
        reply = await rescind.request_cancel(order, dry_run=True, force=force)
        assert (reply.status, reply.json["dry_run"], reply.json["would"]) == (200, True, would), order
        assert reply.json["verdict"]["cancelable"] == cancelable
    assert [await rescind.get(path) for path in ("/v1/events", "/v1/cancellations")] == before
    assert await provider.calls(None) == []


async def test_a_dry_run_is_checked_like_the_real_thing(paused: Rescind) -> None:
    (await paused.request_cancel("o-1", dry_run=True, reason="no such reason")).problem(422, "invalid-request")
    await paused.cancel("o-1")
    (await paused.request_cancel("o-1", dry_run=True)).problem(409, "cancellation-exists")


# -- Idempotency ---------------------------------------------------------------------------------------------


async def test_the_same_request_again_gets_the_first_answer(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    headers = {"Idempotency-Key": "k-1"}
    first = await rescind.request_cancel("o-1", headers=headers, deadline="2099-01-01T01:00:00+02:00")
    await rescind.settled(first.json["id"])
    again = await rescind.request_cancel("o-1", headers=headers, deadline="2099-01-01T01:00:00+02:00")
    assert (again.status, again.raw) == (202, first.raw)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert len(await provider.calls()) == 1


async def test_a_rejection_is_repeated_as_well(rescind: Rescind) -> None:
    await rescind.tell("order.delivered", "o-1")
    headers = {"Idempotency-Key": "k-1"}
    first = await rescind.request_cancel("o-1", headers=headers)
    await rescind.tell("order.canceled", "o-1")
    again = await rescind.request_cancel("o-1", headers=headers)
    first.problem(409, "order-not-cancelable")
    assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (409, first.raw, "true")
    assert len((await rescind.get("/v1/cancellations"))["data"]) == 1


async def test_another_request_with_the_same_key_is_an_error(paused: Rescind) -> None:
    headers = {"Idempotency-Key": "k-1"}
    assert (await paused.request_cancel("o-1", headers=headers)).status == 202
    (await paused.request_cancel("o-1", headers=headers, note="other")).problem(422, "idempotency-key-reused")
    (await paused.request_cancel("o-2", headers=headers)).problem(422, "idempotency-key-reused")
    assert (await paused.request_cancel("o-2", headers={"Idempotency-Key": "k-2"})).status == 202
    assert len((await paused.get("/v1/cancellations"))["data"]) == 2


async def test_two_holders_of_api_keys_do_not_share_idempotency_keys(paused: Rescind) -> None:
    key = (await paused.ask("POST", "/v1/keys", {"name": "x", "scope": "write"})).json["key"]
    headers = {"Idempotency-Key": "k-1"}
    assert (await paused.request_cancel("o-1", headers=headers)).status == 202
    reply = await paused.ask(
        "POST", PATH.replace("o-1", "o-2"), {"reason": "duplicate_order", "note": "x"}, key=key, headers=headers
    )
    assert reply.status == 202


@pytest.mark.parametrize("rejected", [False, True])
async def test_concurrent_requests_with_one_key_make_one_cancellation(rescind: Rescind, rejected: bool) -> None:
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await rescind.tell("order.delivered" if rejected else "order.processed", "o-1")
    headers = {"Idempotency-Key": "k-1"}
    replies = await asyncio.gather(*(rescind.request_cancel("o-1", headers=headers) for _ in range(20)))
    assert {(reply.status, reply.raw) for reply in replies} == {(409 if rejected else 202, replies[0].raw)}
    assert len((await rescind.get("/v1/cancellations"))["data"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_idempotency_keys_have_a_length(paused: Rescind, key: str) -> None:
    (await paused.request_cancel("o-1", headers={"Idempotency-Key": key})).problem(422, "invalid-request")


# -- Orders never heard of --------------------------------------------------------------------------------------


async def test_unknown_orders_are_probed_first(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1", "o-2")
    await provider.act("schedule_appointment", order_id="o-2", silent=True)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    done = await rescind.settled(await rescind.cancel("o-2"))
    assert (done["state"], done["cause"], done["attempts"]) == ("rejected", "not_cancelable", 0)
    (evidence,) = done["evidence"]
    assert (await rescind.get(f"/v1/events/{evidence}"))["type"] == "order.probed"
    assert (done["verdict"]["cancelable"], done["expected_at"], done["in_time"]) == ("no", None, None)
    assert [each["order"] for each in await provider.calls()] == ["o-1"]
    assert len(await provider.calls(RETRIEVE_PATH)) == 2


async def test_unknown_orders_are_sent_if_the_account_says_so(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    await provider.create("o-1")
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert await provider.calls(RETRIEVE_PATH) == []


async def test_unknown_orders_are_rejected_if_the_account_says_so(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="reject"))
    problem = (await rescind.request_cancel("o-1")).problem(409, "order-not-cancelable")
    # Even then it is not known, and no `no` (I7).
    assert (problem["verdict"]["cancelable"], problem["verdict"]["reason"]) == ("unknown", "never_seen")
    assert (await rescind.request_cancel("o-1", force=True)).status == 202


async def test_an_order_is_canceled_by_any_of_its_names(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await rescind.tell("order.processed", "o-1", request_id="r-1")
    (alias,) = (await rescind.order("o-1"))["aliases"]
    id = await rescind.cancel(alias)
    assert (await rescind.cancellation(id))["order"] == "o-1"
    (await rescind.request_cancel("o-1")).problem(409, "cancellation-exists")
    listed = await rescind.get(f"/v1/cancellations?account={ACCOUNT}&order={quote(alias)}")
    assert [each["id"] for each in listed["data"]] == [id]


# -- What cannot be asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": "client_requested_cancelation"},
        {"reason": "client_requested_cancelation", "note": ""},
        {"reason": "client_requested_cancelation", "note": "   "},
        {"reason": "client_requested_cancelation", "note": "x" * 256},
        {"reason": "client_requested_cancelation", "note": "x" * 5000},
        {"reason": "client_requested_cancelation", "note": "a\0b"},
        {"reason": "because", "note": "x"},
        {"reason": "", "note": "x"},
        {"reason": None, "note": "x"},
        {"reason": 7, "note": "x"},
        {"reason": "duplicate_order", "note": ["x"]},
        {"reason": "duplicate_order", "note": "x", "force": "perhaps"},
        {"reason": "duplicate_order", "note": "x", "unknown": 1},
    ],
)
async def test_wrong_arguments_are_named(paused: Rescind, body: dict[str, Any]) -> None:
    problem = (await paused.ask("POST", PATH, body)).problem(422, "invalid-request")
    assert problem["field"] in (*body, "reason", "note")
    assert (await paused.get("/v1/cancellations"))["data"] == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'"x"', b"null", b'{"reason":"\\ud800"}', b"{" * 10_000])
async def test_bodies_that_are_no_object(paused: Rescind, body: bytes) -> None:
    reply = await paused.ask("POST", PATH, data=body)
    assert reply.status in (400, 422)
    reply.problem(reply.status, {400: "bad-request", 422: "invalid-request"}[reply.status])


@pytest.mark.parametrize("order", ["%00", "%0A", "x" * 201, "%C2%85"])
async def test_order_ids_that_cannot_be(paused: Rescind, order: str) -> None:
    reply = await paused.ask("POST", PATH.replace("o-1", order), {"reason": "duplicate_order", "note": "x"})
    reply.problem(422, "invalid-request")


async def test_what_is_not_there(paused: Rescind) -> None:
    (await paused.request_cancel("o-1", "nobody")).problem(404, "not-found")
    for id in ("can_0000000000000001", "nonsense", "%00"):
        (await paused.ask("GET", f"/v1/cancellations/{id}")).problem(404, "not-found")
        (await paused.ask("POST", f"/v1/cancellations/{id}/revoke")).problem(404, "not-found")
        settle = {"outcome": "succeeded", "note": "x"}
        (await paused.ask("POST", f"/v1/cancellations/{id}/resolve", settle)).problem(404, "not-found")
    id = await paused.cancel("o-1")
    (await paused.ask("POST", f"/v1/cancellations/{id}/resolve", {"outcome": "failed", "note": "x"})).problem(
        422, "invalid-request"
    )
    (await paused.ask("POST", f"/v1/cancellations/{id}/resolve", settle)).problem(409, "wrong-state")


async def test_a_body_too_large(paused: Rescind) -> None:
    body = msgspec.json.encode({**webhook("x", "y"), "note": "x" * 2_000_000})
    (await paused.ask("POST", PATH, data=body)).problem(413, "body-too-large")
