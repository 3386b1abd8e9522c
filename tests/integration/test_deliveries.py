"""Deliveries over HTTP: what is sent, what comes of each response, and what the store says then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from providers import until
from standardwebhooks import Webhook
from subscribers import Received, Sending, Subscriber, is_delivered, once, tried

from app.config.approval_links import ApprovalLinks, make_key
from app.core.event_types import SUBSCRIPTION_DISABLED, SUBSCRIPTION_FAILING
from app.core.outbound.delivery import DeliveryState
from app.runtime import ids
from app.store import Window
from app.store.filters import EventFilter

DELIVERED, FAILED, PENDING = DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.PENDING


async def test_a_delivery_arrives_signed_and_is_recorded(sending: Sending, subscriber: Subscriber) -> None:
    spec = sending.put(
        url=subscriber.url,
        payload="full",
        headers={"Authorization": "Bearer abcdef-123456", "X-Own": "1"},
    )
    sending.redactor.set_secrets(["Bearer abcdef-123456"])
    subscriber.respond = lambda received: web.Response(
        text="saw " + received.headers["Authorization"] + "x" * 5000,
        headers={"X-Request-Id": "r-1", "Set-Cookie": "a=b"},
    )
    (message,) = await sending.write(7)
    (received,) = await subscriber.wait_for(1)
    assert spec.secret is not None
    Webhook(spec.secret.get_secret_value()).verify(received.body, dict(received.headers))
    assert received.id == ids.show(ids.MESSAGE, message)
    assert received.json["type"] == "order.verdict_changed"
    assert received.json["data"] == {"n": 1, "order": 7, "snapshot": {"id": "o"}}
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Host"].startswith("127.0.0.1:")
    assert received.headers["X-Own"] == "1"
    assert received.headers["User-Agent"].startswith("Rescind/")
    stored = await sending.until(message, is_delivered)
    (attempt,) = stored.attempts
    assert (stored.tries, attempt.status, attempt.error) == (1, 200, "")
    assert attempt.body.startswith("saw Bearer **********x") or attempt.body.startswith("saw **********x")
    assert len(attempt.body) == 1000
    assert attempt.headers["x-request-id"] == "r-1"
    assert "set-cookie" not in attempt.headers


async def test_nothing_of_a_secret_is_kept_where_a_response_is_cut_within_one(
    sending: Sending, subscriber: Subscriber
) -> None:
    secret = "begin-" + "0123456789" * 8 + "-end"
    token = ApprovalLinks(make_key(), "").token("can_1", "ops", datetime.now(UTC))
    sending.put(url=subscriber.url, headers={"X-Own": secret})
    sending.redactor.set_secrets([secret])
    for text in (secret * 46, "begin", f"token={token}, " * 46, f'{{"t":"{token}"}}'):
        subscriber.respond = lambda _received, text=text: web.Response(text=text)  # type: ignore[misc]
        (message,) = await sending.write(7)
        (attempt,) = (await sending.until(message, is_delivered)).attempts
        assert token[:30] not in attempt.body
        assert ("begin" in attempt.body) == (text == "begin")


async def test_the_fault_of_a_response_does_not_name_the_url(sending: Sending) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    sending.put(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks?token=very-secret")
    (message,) = await sending.write(7)
    (attempt,) = (await sending.until(message, tried(1))).attempts
    assert attempt.error.startswith("the response is no valid HTTP: ")
    assert "very-secret" not in attempt.error
    server.close()


async def test_a_response_that_is_no_utf_8_keeps_no_result_from_being_recorded(
    sending: Sending, subscriber: Subscriber
) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: a\x80\xff\r\nX-Request-Id: \xed\xa0\x80\r\n")
        writer.write(b"Content-Length: 5\r\nConnection: close\r\n\r\n\0\xff\xed\xa0\x80")
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    sending.put(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    (message,) = await sending.write(7)
    (attempt,) = (await sending.until(message, is_delivered)).attempts
    assert (attempt.headers["content-type"], attempt.body[0]) == ("a??", "\ufffd")
    server.close()
    sending.put(url=subscriber.url)
    (message,) = await sending.write(8)
    await sending.until(message, is_delivered)


async def test_what_fails_is_sent_again_with_the_same_id(sending: Sending, subscriber: Subscriber) -> None:
    subscriber.respond = once(500)
    sending.put(url=subscriber.url)
    (message,) = await sending.write(7)
    stored = await sending.until(message, tried(1))
    assert (stored.state, stored.tries, stored.attempts[0].status) == (PENDING, 1, 500)
    assert timedelta(seconds=4) < stored.due_at - sending.now < timedelta(seconds=6)
    assert stored.attempts[0].body == "why"
    sending.pass_time(seconds=4)
    sending.pass_time(seconds=2)
    stored = await sending.until(message, is_delivered)
    assert [received.id for received in subscriber.received] == [ids.show(ids.MESSAGE, message)] * 2
    assert [attempt.status for attempt in stored.attempts] == [500, 204]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_in_both_forms(sending: Sending, subscriber: Subscriber, form: str) -> None:
    asked = "120" if form == "seconds" else format_datetime(sending.now + timedelta(seconds=120), usegmt=True)
    headers = {"Retry-After": asked, "Date": format_datetime(sending.now, usegmt=True)}
    subscriber.respond = once(429, headers)
    sending.put(url=subscriber.url, concurrency=1)
    first, second = await sending.write(7, 8)
    stored = await sending.until(first, tried(1))
    assert timedelta(seconds=110) < stored.due_at - sending.now <= timedelta(seconds=121)
    assert stored.tries == 0
    sending.pass_time(seconds=60)
    # The other one waits too: the receiver asked for fewer.
    assert len((await sending.delivery(second)).attempts) == 0
    sending.pass_time(seconds=62)
    for message in (first, second):
        await sending.until(message, is_delivered)
    assert len(subscriber.received) == 3


async def test_redirects_are_not_followed(sending: Sending, subscriber: Subscriber) -> None:
    subscriber.respond = once(307, {"Location": subscriber.url})
    sending.put(url=subscriber.url)
    (message,) = await sending.write(7)
    stored = await sending.until(message, tried(1))
    assert (stored.state, stored.attempts[0].status) == (PENDING, 307)
    assert stored.attempts[0].headers["location"] == subscriber.url
    assert len(subscriber.received) == 1


async def test_a_private_address_is_refused_where_one_sees_it(sending: Sending) -> None:
    sending.put(url="http://10.0.0.1/hooks")
    (message,) = await sending.write(7)
    stored = await sending.until(message, tried(1))
    assert stored.state is PENDING
    assert stored.attempts[0].status is None
    assert "private network" in stored.attempts[0].error
    assert sending.deliveries.state("crm").error == stored.attempts[0].error


async def test_410_disables_holds_and_tells(sending: Sending, subscriber: Subscriber) -> None:
    subscriber.respond = once(410)
    sending.put(url=subscriber.url, concurrency=1)
    messages = await sending.write(7, 8)
    await sending.until(messages[0], tried(1))
    state = (await sending.store.subscription_states())["crm"]
    assert state.disabled_at == sending.now
    messages += await sending.write(9)
    sending.pass_time(days=30)
    rows = await sending.store.events(Window(9), EventFilter(order_pk=0))
    assert [event.type for _, event in rows] == [SUBSCRIPTION_DISABLED]
    assert rows[0][1].data["subscription"] == "crm"
    assert len(subscriber.received) == 1
    sending.deliveries.enable("crm")
    for message in messages:
        await sending.until(message, is_delivered)
    assert len(subscriber.received) == 4


async def test_what_comes_while_it_is_disabled_by_hand_is_held(sending: Sending, subscriber: Subscriber) -> None:
    sending.put(url=subscriber.url, enabled=False)
    messages = await sending.write(7, 8, 9)
    sending.pass_time(days=30)
    await sending.deliveries._look()
    assert [(await sending.delivery(message)).state for message in messages] == [PENDING] * 3
    assert subscriber.received == []
    sending.put(enabled=True)
    for message in messages:
        await sending.until(message, is_delivered)


async def test_a_poison_message_holds_back_its_order_and_no_other(sending: Sending, subscriber: Subscriber) -> None:
    sending.put(url=subscriber.url, ordered=True)
    poison = True
    subscriber.respond = lambda received: 500 if poison and received.n == 2 else 204
    messages = await sending.write(7, 7, 8, 7, 8, 7)
    for n in (0, 2, 4):
        await sending.until(messages[n], is_delivered)
    await sending.until(messages[1], tried(1))
    # Those behind it are put off until it is due again: nobody looks at them before.
    due = (await sending.delivery(messages[1])).due_at
    for n in (3, 5):
        await sending.until(messages[n], lambda delivery: delivery.due_at == due)
    later = await sending.write(7, 9)
    await sending.until(later[1], is_delivered)
    await sending.until(later[0], lambda delivery: delivery.due_at == due)
    poison = False
    sending.pass_time(seconds=10)
    for message in (*messages, *later):
        await sending.until(message, is_delivered)
    of_order = [received.n for received in subscriber.received if received.json["data"]["order"] == 7]
    assert of_order == [1, 2, 2, 4, 6, 7]


async def test_many_messages_of_one_order_are_sent_in_turn_and_delay_no_other(
    sending: Sending, subscriber: Subscriber
) -> None:
    other_arrived = asyncio.Event()

    async def respond(received: Received) -> web.Response:
        # The first one of the many is under way until that of the other order has arrived.
        if received.json["data"]["order"] == 8:
            other_arrived.set()
        await other_arrived.wait()
        return web.Response()

    subscriber.respond = respond
    sending.put(url=subscriber.url, ordered=True, concurrency=8, timeout_s=60)
    await sending.write(*[7] * 500, wake=False)
    last = await sending.write(8, *[7] * 20)
    received = await subscriber.wait_for(521)
    await sending.until(last[-1], is_delivered)
    assert {entry.n for entry in received[:2]} == {1, 501}
    of_order = [entry.n for entry in received if entry.json["data"]["order"] == 7]
    assert of_order == [*range(1, 501), *range(502, 522)]


async def test_after_a_crash_nothing_is_lost_and_little_is_sent_again(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def hang(_received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    subscriber = await Subscriber.start()
    sending = await Sending.start(tmp_path)
    sending.put(url=subscriber.url)
    subscriber.respond = once(500)
    (failed,) = await sending.write(6)
    await sending.until(failed, tried(1))
    failing_since = (await sending.store.subscription_states())["crm"].failing_since
    assert failing_since is not None
    subscriber.respond = hang
    messages = await sending.write(*range(10, 20))
    await subscriber.wait_for(5)
    specs, now, count = sending.specs, sending.now, sending._count
    await sending.crash()
    release.set()
    sending = await Sending.start(tmp_path)
    sending.now, sending._count = now, count
    sending.specs = specs
    sending.deliveries.follow(specs)
    assert sending.deliveries.state("crm").failing_since == failing_since
    assert (await sending.delivery(failed)).tries == 1
    sending.pass_time(seconds=10)
    for message in (failed, *messages):
        await sending.until(message, is_delivered)
    received = [entry.id for entry in subscriber.received]
    assert set(received) == {ids.show(ids.MESSAGE, message) for message in (failed, *messages)}
    assert len(received) <= 2 + 10 + 4
    await sending.stop()
    await subscriber.close()


async def test_a_subscriber_that_is_down_for_a_week(sending: Sending, subscriber: Subscriber) -> None:
    down = True
    subscriber.respond = lambda _received: 503 if down else 204
    sending.put(url=subscriber.url, ordered=True, concurrency=2)
    messages = await sending.write(*[1 + n % 20 for n in range(100)])
    worker = sending.deliveries._workers["crm"]
    while worker.state.disabled_at is None:
        calls = len(subscriber.received)

        async def called(before: int = calls) -> bool:
            if not worker._slots and worker._held_s() is not None:
                # While it is down each wait ends with one call; longer waits let the week pass sooner.
                sending.pass_time(hours=4)
            return len(subscriber.received) > before or worker.state.disabled_at is not None

        await until(called)

    async def recorded() -> bool:
        return (await sending.store.subscription_states())["crm"].disabled_at is not None

    await until(recorded)
    rows = await sending.store.events(Window(9), EventFilter(order_pk=0))
    assert [event.type for _, event in rows] == [SUBSCRIPTION_DISABLED, SUBSCRIPTION_FAILING, SUBSCRIPTION_FAILING]
    told = rows[-1][1].data
    assert (told["subscription"], told["error"]) == ("crm", "the receiver answered 503")
    sending.pass_time(days=2)
    down, failed = False, len(subscriber.received)
    assert failed < 60
    sending.deliveries.enable("crm")  # nothing waits for its next try any more
    for message in messages:
        await sending.until(message, is_delivered)
    accepted = subscriber.received[failed:]
    assert len({entry.id for entry in accepted}) == len(accepted) == 100
    for order in range(1, 21):
        numbers = [entry.n for entry in accepted if entry.json["data"]["order"] == order]
        assert numbers == sorted(numbers)


async def test_subscribers_that_hang_delay_no_other(sending: Sending, subscriber: Subscriber) -> None:
    release = asyncio.Event()

    async def hang(_received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    hanging = await Subscriber.start(hang)
    sending.deliveries._tools.sockets._free = 3  # as if there were few
    names = [f"s{n}" for n in range(40)]
    for n, name in enumerate(names):
        sending.put(name, url=(hanging if n % 4 == 0 else subscriber).url)
    held = [message for name in names[::4] for message in await sending.write(1, 2, 3, 4, 5, to=name)]
    await hanging.wait_for(10 + 3)
    assert not sending.deliveries._tools.sockets.take()
    healthy = [name for n, name in enumerate(names) if n % 4]
    messages = {name: await sending.write(*range(20), to=name) for name in healthy}
    for name, written in messages.items():
        for message in written:
            await sending.until(message, is_delivered, name)
    assert len(hanging.received) == 10 + 3
    release.set()
    for n, message in enumerate(held):
        await sending.until(message, is_delivered, names[n // 5 * 4])
    assert sending.deliveries._tools.sockets._free == 3
    await hanging.close()
