"""Notices over real HTTP and SMTP: what Slack, PagerDuty, a mail server and others get, alone and in digests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from aiohttp import web
from mail_server import MailServer, certify
from standardwebhooks import Webhook
from subscribers import Received, Sending, Subscriber

from app.config.approval_links import ApprovalLinks, make_key
from app.config.formats import secrets_in_url
from app.config.secret_values import secrets_in
from app.config.subscriptions import SubscriptionSpec, make_secret
from app.core.outbound import examples
from app.core.outbound.delivery import Delivery, DeliveryState
from app.core.outbound.routing import Filter
from app.runtime import ids
from app.runtime.mail import SmtpServer
from app.runtime.outgoing import OutgoingHttp
from app.store import Changes
from app.store.codec import micros
from app.workers.deliveries.notice_senders import Senders

PUBLIC = "https://rescind.example"
ROUTING_KEY = "R0123456789ABCDEF0123456789ABCDEF"
MORNING = datetime(2026, 5, 4, 9, 10, tzinfo=UTC)
"""A Monday."""
NIGHT = {"from": "22:00", "to": "07:00", "timezone": "UTC"}


class People(Sending):
    """Subscriptions of every format, and messages to them."""

    smtp: SmtpServer | None = None
    tls: Any = None

    def senders(self) -> Senders:
        self.links = ApprovalLinks(make_key(), PUBLIC)
        return Senders(self.http, self.redactor, self.links, self.smtp, "rescind@acme.example", PUBLIC, self.tls)

    def add(self, **fields: Any) -> SubscriptionSpec:
        """Create or change the subscription `ops`, as a node would."""
        spec = SubscriptionSpec.model_validate({"id": "ops", **fields})
        self.specs["ops"] = spec
        self.redactor.set_secrets([*secrets_in(spec), *secrets_in_url(spec.format, spec.url)])
        self.deliveries.follow(self.specs)
        return spec

    async def tell(self, *types: str) -> list[int]:
        """Write an example of each type; returns the messages' numbers."""
        spec, messages = self.specs["ops"], []
        filter = Filter("ops", ("*",), ("*",), spec.ordered, spec.payload == "full", spec.lead, spec.delays)
        for type in types:
            self._count += 1
            number = ids.at(micros(self.now) // 1000) + self._count
            messages.append(examples.message(number, type, self.now, "acme", (filter.target_of(type),)))
        async with self.store.transaction() as transaction:
            await transaction.commit(Changes(messages=messages))
        self.deliveries.wake(["ops"])
        return [message.id for message in messages]

    async def delivered(self, message: int) -> Delivery:
        return await self.until(message, lambda delivery: delivery.state is DeliveryState.DELIVERED, "ops")

    async def tried(self, message: int) -> Delivery:
        return await self.until(message, lambda delivery: bool(delivery.attempts), "ops")


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    started = await People.start(tmp_path, People.senders)
    started.now = MORNING
    yield started
    await started.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Subscriber]:
    started = await Subscriber.start()
    yield started
    await started.close()


def slack(received: Received) -> web.StreamResponse:
    """Slack's answers to an incoming webhook, and its limits."""
    body = received.json
    blocks = body["blocks"]
    if received.headers["Content-Type"] != "application/json" or "text" not in body or len(blocks) > 50:
        return web.Response(status=400, text="invalid_payload")
    headers = [block["text"] for block in blocks if block["type"] == "header"]
    if any(len(text["text"]) > 150 or text["type"] != "plain_text" for text in headers):
        return web.Response(status=400, text="invalid_blocks")
    return web.Response(text="ok")


def pagerduty(received: Received) -> web.StreamResponse:
    """PagerDuty's answers to events."""
    event = received.json
    if event["routing_key"] != ROUTING_KEY:
        return web.json_response({"status": "invalid event", "errors": ["routing_key"]}, status=400)
    if event["event_action"] == "trigger" and {"summary", "source", "severity"} - set(event["payload"]):
        return web.json_response({"status": "invalid event"}, status=400)
    return web.json_response({"status": "success", "dedup_key": event["dedup_key"], "echo": event}, status=202)


# -- One by one ------------------------------------------------------------------------------


async def test_slack_gets_a_message_and_its_url_is_seen_nowhere(people: People, receiver: Subscriber) -> None:
    receiver.respond = slack
    url = receiver.url + "/services/T0AAA/B0BBB/cCcCcCcCcCcCcCcCcCcCcCcC"
    people.add(format="slack", url=url)
    [message] = await people.tell("policy.proposed")
    [received] = await receiver.wait_for(1)
    token = received.body.decode().partition("/approvals/")[2].partition("|")[0]
    assert people.links.read(token).cancellation == "can_0d39a8f1e2004001"
    assert people.links.read(token).until == int((examples.NOW + timedelta(hours=24)).timestamp())
    assert (await people.delivered(message)).attempts[0].status == 200
    # A receiver that answers with what it got, and one that is not there.
    receiver.respond = lambda received: web.Response(status=500, text=f"{url} {received.body.decode()[-900:]}")
    [message] = await people.tell("policy.proposed")
    [attempt] = (await people.tried(message)).attempts
    assert attempt.status == 500
    assert "cCcC" not in attempt.body
    assert "approvals/**********" in attempt.body
    people.add(format="slack", url=f"http://127.0.0.1:1{url.partition('/hooks')[2]}")
    [message] = await people.tell("account.paused")
    [attempt] = (await people.tried(message)).attempts
    assert "no connection" in attempt.error
    assert "cCcC" not in attempt.error


async def test_pagerduty_gets_triggers_and_the_resolves_that_match(people: People, receiver: Subscriber) -> None:
    receiver.respond = pagerduty
    people.add(format="pagerduty", url=receiver.url, routing_key=ROUTING_KEY)
    sent = []
    for type in ("account.paused", "account.resumed", "policy.proposed"):
        sent += await people.tell(type)
        await receiver.wait_for(len(sent))
    first, last, proposed = (received.json for received in receiver.received)
    assert (first["event_action"], last["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == last["dedup_key"] == "rescind:account:acme"
    assert first["payload"]["source"] == PUBLIC
    assert proposed["links"][0]["href"].startswith(f"{PUBLIC}/approvals/")
    [attempt] = (await people.delivered(sent[0])).attempts
    assert (attempt.status, ROUTING_KEY in attempt.body) == (202, False)


async def test_a_template_makes_the_request(people: People, receiver: Subscriber) -> None:
    secret = make_secret()
    body = '{"text": {{ notice.title | json }}, "order": {{ data.snapshot.id | json }}, "to": "{{ message.type }}"}'
    template = {"method": "PUT", "headers": {"Title": "{{ notice.title }}\n\n"}, "body": body}
    people.add(
        format="template", url=receiver.url, template=template, secret=secret, payload="full", headers={"X-A": "1"}
    )
    [message] = await people.tell("order.closing_soon")
    [received] = await receiver.wait_for(1)
    await people.delivered(message)
    title = "Order PMO-1042 can soon not be canceled any more"
    assert received.json == {"text": title, "order": "PMO-1042", "to": "order.closing_soon"}
    assert (received.headers["Title"], received.headers["X-A"]) == (title, "1")
    Webhook(secret).verify(received.body, dict(received.headers)) if people.now > datetime.now(UTC) else None
    assert received.headers["webhook-id"] == ids.show(ids.MESSAGE, message)


# -- Digests and quiet hours -----------------------------------------------------------------


async def test_a_digest_tells_all_of_an_interval_at_its_end_and_records_each(
    people: People, receiver: Subscriber
) -> None:
    receiver.respond = slack
    people.add(format="slack", url=receiver.url, digest="1h", concurrency=1)
    sent = await people.tell(*["order.verdict_changed"] * 150, "policy.matched")
    urgent = await people.tell("account.paused")
    [received] = await receiver.wait_for(1)
    assert "Sending is paused" in received.json["text"]
    await people.delivered(urgent[0])
    assert {(await people.delivery(id, "ops")).due_at for id in sent} == {datetime(2026, 5, 4, 10, tzinfo=UTC)}
    people.pass_time(minutes=50)
    digest = (await receiver.wait_for(2))[1].json
    assert digest["text"] == "151 notices since Mon 4 May 2026, 09:10 UTC"
    assert "and 131 more" in str(digest)
    assert "order.verdict_changed: 150, policy.matched: 1" in str(digest)
    for id in sent:
        assert len((await people.delivered(id)).attempts) == 1
    assert len(receiver.received) == 2


async def test_quiet_hours_hold_what_is_not_urgent_also_over_a_restart(tmp_path: Path, receiver: Subscriber) -> None:
    receiver.respond = slack
    fields = {"format": "slack", "url": receiver.url, "quiet_hours": NIGHT, "urgent": ["breaker.*"]}
    people = await People.start(tmp_path, People.senders)
    people.now = datetime(2026, 5, 4, 23, 30, tzinfo=UTC)
    people.add(**fields)
    held = await people.tell("order.verdict_changed", "account.paused")
    [urgent] = await people.tell("breaker.opened")
    [received] = await receiver.wait_for(1)
    assert "fails for all orders" in received.json["text"]
    await people.delivered(urgent)
    await people.stop()
    people = await People.start(tmp_path, People.senders)
    people.now = datetime(2026, 5, 5, 7, 0, tzinfo=UTC)
    people.add(**fields)
    digest = (await receiver.wait_for(2))[1].json
    assert digest["text"] == "2 notices since Mon 4 May 2026, 23:30 UTC"
    for id in held:
        assert (await people.delivered(id)).due_at == people.now
    await people.stop()


async def test_a_digest_that_fails_is_told_again_with_what_came_since(people: People, receiver: Subscriber) -> None:
    answers = [500]
    receiver.respond = lambda _received: answers.pop() if answers else 200
    people.add(format="slack", url=receiver.url, digest="1h")
    first = await people.tell("order.verdict_changed", "policy.matched")
    people.pass_time(minutes=50)
    await receiver.wait_for(1)
    for id in first:
        await people.tried(id)
    health = people.deliveries.state("ops")
    assert health.failures == 1, "one call failed, however many messages it told"
    people.pass_time(hours=1)
    await receiver.wait_for(2)
    for id in first:
        assert [attempt.status for attempt in (await people.delivered(id)).attempts] == [500, 200]


# -- Mail ------------------------------------------------------------------------------------


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    started = await MailServer().start()
    yield started
    await started.close()


async def mailing(tmp_path: Path, server: SmtpServer, tls: Any = None) -> People:
    def senders(people: People) -> Senders:
        people.smtp, people.tls = server, tls
        return people.senders()

    started = await People.start(tmp_path, senders)
    started.now = MORNING
    started.add(format="email", url="mailto:ops@acme.example,lead@acme.example")
    return started


async def test_a_mail_arrives_and_one_that_is_tried_again_is_the_same_mail(tmp_path: Path, mails: MailServer) -> None:
    people = await mailing(tmp_path, SmtpServer("127.0.0.1", mails.port, tls=False))
    mails.failures = 1
    [message] = await people.tell("policy.proposed")
    [attempt] = (await people.tried(message)).attempts
    assert (attempt.status, attempt.body) == (451, "451 try later")
    people.pass_time(minutes=1)
    [mail] = await mails.wait_for(1)
    assert (await people.delivered(message)).attempts[1].body == "queued as 1A2B3C"
    assert (mail.sender, mail.recipients) == ("rescind@acme.example", ["ops@acme.example", "lead@acme.example"])
    assert mail.message["Message-ID"] == f"<{ids.show(ids.MESSAGE, message)}.ops@acme.example>"
    assert mail.message["Subject"] == "Approve the cancel of order PMO-1042?"
    for subtype in ("plain", "html"):
        assert f"{PUBLIC}/approvals/" in mail.text(subtype)
    mails.refused = {"lead@acme.example"}
    [message] = await people.tell("account.paused")
    assert "not to lead@acme.example: 550 no such mailbox" in (await people.delivered(message)).attempts[0].body
    mails.refused |= {"ops@acme.example"}
    [message] = await people.tell("account.paused")
    assert (await people.tried(message)).attempts[0].status == 550
    await people.stop()


async def test_credentials_leave_only_by_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmtpServer, "is_here", False)
    ours, theirs = certify(tmp_path)
    for server, trusts, arrives in (
        (MailServer(users={"u": "pass-word-1"}), theirs, False),  # without STARTTLS
        (MailServer(users={"u": "pass-word-1"}, tls=ours), None, False),  # with a certificate that nobody vouches for
        (MailServer(users={"u": "pass-word-1"}, tls=ours), theirs, True),
        (MailServer(users={"u": "pass-word-2"}, tls=ours), theirs, False),
    ):
        await server.start()
        folder = Path(mkdtemp(dir=tmp_path))  # not named by the port, which the next server may get again
        people = await mailing(folder, SmtpServer("127.0.0.1", server.port, False, "u", "pass-word-1"), trusts)
        [message] = await people.tell("account.paused")
        [attempt] = (await people.tried(message)).attempts
        assert (attempt.status == 250) is arrives, attempt
        assert "pass-word" not in attempt.error + attempt.body
        said_openly = server.tls is None or trusts is None
        assert not any(line.upper().startswith("AUTH") for line in server.lines) or not said_openly
        if arrives:
            [mail] = server.mails
            assert (mail.user, mail.tls) == ("u", True)
        await people.stop()
        await server.close()


async def test_mail_without_a_server_says_which_setting_is_missing(people: People) -> None:
    people.add(format="email", url="mailto:ops@acme.example")
    [message] = await people.tell("account.paused")
    [attempt] = (await people.tried(message)).attempts
    assert attempt.error.startswith("no mail can be sent: set RESCIND_SMTP_URL and RESCIND_MAIL_FROM")


async def test_no_format_reaches_a_private_network(tmp_path: Path, receiver: Subscriber) -> None:
    people = await People.start(tmp_path, People.senders)
    await people.http.close()
    guarded = OutgoingHttp(())
    senders = Senders(guarded, people.redactor, people.links)
    people.now = MORNING
    specs = (
        {"format": "slack"},
        {"format": "pagerduty", "routing_key": ROUTING_KEY},
        {"format": "template", "template": {"body": "{}"}, "secret": make_secret()},
    )
    delivery = Delivery(
        subscription="ops",
        message=examples.message(1, "account.paused", MORNING, "acme"),
        sequence=None,
        state=DeliveryState.PENDING,
        due_at=MORNING,
        tries=0,
        attempts=(),
    )
    for fields in specs:
        sender = senders.make(SubscriptionSpec.model_validate({"id": "ops", "url": receiver.url, **fields}))
        outcome = await sender.send([delivery], MORNING)
        assert "private network" in outcome.attempt.error
    assert receiver.received == []
    await guarded.close()
    await people.stop()
