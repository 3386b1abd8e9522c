"""Approval by link: the page shows what is proposed and changes nothing; its two buttons decide, once."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import Provider, until
from servers import ACCOUNT, ENDPOINT, Reply, Rescind, account_of, endpoint_of, stored_in
from subscribers import Subscriber

from app.config.approval_links import ApprovalLinks, InvalidLinkError, make_key

pytestmark = pytest.mark.usefixtures("quick")

PUBLIC = "https://rescind.example/under/a/path"
HOOK = "https://hooks.slack.com/services/T0AAA/B0BBB/cCcCcCcCcCcCcCcCcCcCcCcC"
POLICY = {
    "accounts": [ACCOUNT],
    "description": "Not <b>scheduled</b> & old",
    "when": "order.phase == 'open' && size(order.appointments) == 0",
    "cancel": {"reason": "client_requested_cancelation", "note": "By policy."},
    "mode": "approve",
    "approve_within": "2h",
}


@pytest.fixture
async def rescind(start: Start, provider: Provider) -> Rescind:
    made = await start(public_url=PUBLIC)
    await made.put("accounts", ACCOUNT, account_of(provider.url))
    await made.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await made.put("policies", "old", POLICY)
    await made.put("subscriptions", "ops", {"format": "slack", "url": HOOK, "events": ["policy.*"]})
    return made


async def proposed(rescind: Rescind, provider: Provider, order: str = "o-1") -> dict[str, Any]:
    await provider.create(order)
    await rescind.tell("order.processed", order)
    waiting = (await rescind.get("/v1/cancellations?waiting=approval"))["data"]
    return dict(next(each for each in waiting if each["order"] == order))


def path(rescind: Rescind, cancel: dict[str, Any], subscription: str = "ops", hours: float = 2) -> str:
    until = datetime.now(UTC) + timedelta(hours=hours)
    return "/approvals/" + rescind.node.approval_links.token(cancel["id"], subscription, until)


async def page(rescind: Rescind, path: str, status: int = 200, method: str = "GET") -> str:
    reply = await rescind.ask(method, path, key=None)
    check_headers(reply)
    assert reply.status == status, reply
    return reply.raw.decode()


async def press(rescind: Rescind, path: str, decision: str, status: int = 200) -> str:
    """Press a button; the request follows the redirect, as a browser does."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await rescind.ask("POST", path, key=None, data=f"decision={decision}".encode(), headers=form)
    assert reply.status == status, reply
    return reply.raw.decode()


def check_headers(reply: Reply) -> None:
    headers = reply.headers
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "<script" not in reply.raw.decode()


async def test_opening_the_link_shows_all_and_changes_nothing(rescind: Rescind, provider: Provider) -> None:
    cancel = await proposed(rescind, provider)
    url = path(rescind, cancel)
    for _ in range(3):
        shown = await page(rescind, url)
        await page(rescind, url, method="HEAD")
    for text in (
        "Cancel order o-1?",
        "Policy old proposes",
        "order.processed",
        "client_requested_cancelation",
        "By policy.",
        "size(order.appointments) == 0",
        "Not &lt;b&gt;scheduled&lt;/b&gt; &amp; old",
        ">Approve the cancel<",
    ):
        assert text in shown, text
    assert (await rescind.cancellation(cancel["id"]))["waiting"]["for"] == "approval"
    assert await provider.calls() == []


async def test_approve_and_press_again(rescind: Rescind, provider: Provider) -> None:
    cancel = await proposed(rescind, provider)
    url = path(rescind, cancel)
    shown = await press(rescind, url, "approve")
    assert "Approved by link of subscription ops" in shown
    assert "<button" not in shown
    assert (await rescind.settled(cancel["id"]))["state"] == "succeeded"
    for decision in ("approve", "decline"):
        again = await press(rescind, url, decision)
        assert "Approved by link of subscription ops" in again
        assert "The order is canceled." in again
    assert (await rescind.cancellation(cancel["id"]))["state"] == "succeeded"
    events = [each["event"] for each in await rescind.timeline("o-1") if each["kind"] == "event"]
    details = [event["data"]["changes"].get("detail") for event in events if event["type"] == "cancellation.scheduled"]
    assert "Approved by link of subscription ops." in details


async def test_what_is_revoked_after_its_approval_was_not_declined(rescind: Rescind, provider: Provider) -> None:
    cancel = await proposed(rescind, provider)
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await press(rescind, path(rescind, cancel), "approve")
    await rescind.ask("POST", f"/v1/cancellations/{cancel['id']}/revoke", {})
    assert (await rescind.cancellation(cancel["id"]))["state"] == "revoked"
    shown = await page(rescind, path(rescind, cancel))
    assert "Approved by link of subscription ops on " in shown
    assert "It was not sent. Revoked by" in shown
    assert "Declined" not in shown


async def test_decline(rescind: Rescind, provider: Provider) -> None:
    cancel = await proposed(rescind, provider)
    shown = await press(rescind, path(rescind, cancel), "decline")
    assert "Declined. Revoked by link of subscription ops." in shown
    assert (await rescind.cancellation(cancel["id"]))["state"] == "revoked"
    assert "<button" not in await press(rescind, path(rescind, cancel), "approve")
    assert (await rescind.cancellation(cancel["id"]))["state"] == "revoked"
    assert await provider.calls() == []


async def test_a_link_that_only_shows(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("subscriptions", "ops", {"format": "slack", "url": HOOK, "approval_links": "view"})
    cancel = await proposed(rescind, provider)
    shown = await page(rescind, path(rescind, cancel))
    assert "<button" not in shown
    assert f"rescind cancellations approve {cancel['id']}" in shown
    await press(rescind, path(rescind, cancel), "approve", 403)
    assert (await rescind.cancellation(cancel["id"]))["waiting"]["for"] == "approval"


async def test_a_link_is_refused_once_it_is_over_or_its_subscription_is_gone(
    rescind: Rescind, provider: Provider
) -> None:
    cancel = await proposed(rescind, provider)
    url, old = path(rescind, cancel), path(rescind, cancel, hours=-0.01)
    assert "has expired" in await page(rescind, old, 410)
    await press(rescind, old, "approve", 410)
    spec = {"format": "slack", "url": HOOK}
    for change in ({"enabled": False}, {"events": ["cancellation.*"]}, {"accounts": ["other"]}):
        await rescind.put("subscriptions", "ops", {**spec, **change})
        assert "was withdrawn" in await page(rescind, url, 410)
        await press(rescind, url, "approve", 410)
    await rescind.put("subscriptions", "ops", spec)
    assert "<button" in await page(rescind, url)
    assert (await rescind.ask("DELETE", "/v1/subscriptions/ops")).status == 204
    assert "was withdrawn" in await page(rescind, url, 410)
    await press(rescind, url, "approve", 410)
    assert (await rescind.cancellation(cancel["id"]))["waiting"]["for"] == "approval"


async def test_a_link_does_not_outlive_its_subscription_in_another_of_the_same_id(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = await proposed(rescind, provider)
    with monkeypatch.context() as earlier:
        ago = time.time() - 60
        earlier.setattr("cryptography.fernet.time.time", lambda: ago)
        url = path(rescind, cancel)
    assert "<button" in await page(rescind, url)
    assert (await rescind.ask("DELETE", "/v1/subscriptions/ops")).status == 204
    await rescind.put("subscriptions", "ops", {"format": "slack", "url": HOOK, "events": ["policy.*"]})
    assert "was withdrawn" in await page(rescind, url, 410)
    await press(rescind, url, "approve", 410)
    assert (await rescind.cancellation(cancel["id"]))["waiting"]["for"] == "approval"
    assert "<button" in await page(rescind, path(rescind, cancel))


async def test_forged_tokens_and_odd_forms(rescind: Rescind, provider: Provider, capfd: Any) -> None:
    cancel = await proposed(rescind, provider)
    url = path(rescind, cancel)
    stranger = ApprovalLinks(make_key(), PUBLIC).token(cancel["id"], "ops", datetime.now(UTC) + timedelta(hours=1))
    missing = path(rescind, {"id": "can_0000000000000000"})
    for forged in (
        url[:-1],
        url + "A",
        "/approvals/" + url.rpartition("/")[2].swapcase(),
        "/approvals/x",
        "/approvals/" + "A" * 5000,
        "/approvals/" + stranger,
        "/approvals/%C3%A9",
        "/approvals/%2F%2F" + url.rpartition("/")[2],
        url + "%0D%0A",
        url + ".",
        missing,
    ):
        assert "not valid" in await page(rescind, forged, 404), forged
        await press(rescind, forged, "approve", 404)
    for body in (
        b"",
        b"decision=",
        b"decision=Approve",
        b"x" * 5000,
        b"&" * 900,
        b"\xff\xfe=1",
        b'{"decision":"approve"}',
    ):
        reply = await rescind.ask("POST", url, key=None, data=body or b" ")
        assert reply.status == 422, (body, reply)
        check_headers(reply)
    assert (await rescind.cancellation(cancel["id"]))["waiting"]["for"] == "approval"
    token = url.rpartition("/")[2]
    assert token not in "".join(capfd.readouterr())


async def test_links_survive_a_restart_and_no_token_is_stored(
    start: Start, rescind: Rescind, provider: Provider, tmp_path: Path
) -> None:
    cancel = await proposed(rescind, provider)
    url = path(rescind, cancel)
    await page(rescind, url)
    await rescind.stop()
    assert url.rpartition("/")[2].encode() not in stored_in(tmp_path)
    again = await start(public_url=PUBLIC)
    assert "Approved by link" in await press(again, url, "approve")


def test_links_need_the_url_of_this_server_and_fit_into_messages() -> None:
    until = datetime.now(UTC)
    assert ApprovalLinks(make_key(), "").url("can_1", "ops", until) is None
    links = ApprovalLinks(make_key(), PUBLIC + "/")
    url = links.url("can_0d39a8f1e2004001", "x" * 63, until) or ""
    assert re.fullmatch(re.escape(PUBLIC) + r"/approvals/[A-Za-z0-9_-]{100,300}", url)
    assert links.read(url.rpartition("/")[2]).subscription == "x" * 63
    with pytest.raises(InvalidLinkError):
        links.read("é")


async def test_from_the_proposal_to_the_notice_to_the_decision(
    start: Start, provider: Provider, capfd: Any, tmp_path: Path
) -> None:
    receiver = await Subscriber.start()
    rescind = await start(public_url=PUBLIC)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await rescind.put("policies", "old", POLICY)
    hook = f"{receiver.url}/services/T0AAA/B0BBB/cCcCcCcCcCcCcCcCcCcCcCcC"
    await rescind.put("subscriptions", "ops", {"format": "slack", "url": hook, "events": ["policy.proposed"]})
    pager = {"format": "pagerduty", "url": receiver.url, "routing_key": "R0123456789ABCDEF"}
    await rescind.put("subscriptions", "oncall", {**pager, "events": ["policy.proposed", "cancellation.*"]})
    cancel = await proposed(rescind, provider)
    received = [each.json for each in await receiver.wait_for(3)]
    chat = next(each for each in received if "blocks" in each)
    link = re.search(r"<(https://[^|]+)\|Review and decide>", str(chat))
    assert link is not None
    assert "Cancel order o-1?" in await page(rescind, link[1].removeprefix(PUBLIC))
    assert "Approved by link of subscription ops" in await press(rescind, link[1].removeprefix(PUBLIC), "approve")
    assert (await rescind.settled(cancel["id"]))["state"] == "succeeded"

    async def resolved() -> list[Any]:
        alerts = [each.json for each in receiver.received if "routing_key" in each.json]
        return alerts if alerts[-1]["event_action"] == "resolve" else []

    alerts = await until(resolved, "the alert resolved")
    actions = [alert["event_action"] for alert in alerts]
    assert actions == sorted(actions, reverse=True), "triggers, and then resolves"
    assert actions[0] == "trigger"
    assert {alert["dedup_key"] for alert in alerts} == {f"rescind:cancellation:{cancel['id']}"}
    shown = await rescind.get("/v1/subscriptions/ops")
    assert shown["url"].endswith("/**********")
    # What was shown can be sent back: the URL stays.
    given = {key: shown[key] for key in ("format", "url", "events")}
    await rescind.put("subscriptions", "ops", {**given, "description": "Chat"})
    assert rescind.node.config.subscriptions["ops"].url == hook
    said = str(await rescind.get("/v1/changes")) + str(await rescind.get("/v1/subscriptions"))
    deliveries = await rescind.ask("GET", "/v1/subscriptions/ops/deliveries")
    said += deliveries.raw.decode() + "".join(capfd.readouterr())
    for secret in ("cCcCcC", "R0123456789ABCDEF", link[1].rpartition("/")[2]):
        assert secret not in said
        assert secret.encode() not in stored_in(tmp_path)
    await receiver.close()
