"""Events and receipts in the console: what they show, of hostile bodies too, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from browsers import Browser, text_of
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app.web.console.bodies import SHOWN_MAX, body_of

PAGE_MAX = 200_000


@pytest.fixture
async def rescind(tmp_path: Path) -> AsyncIterator[Rescind]:
    started = await Rescind.start(tmp_path)
    await started.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    yield started
    await started.stop()


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    admin = Browser(rescind.url)
    await admin.sign_in()
    return admin


async def signed_in(rescind: Rescind, **key: object) -> Browser:
    """A browser with a key of its own."""
    made = await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read", **key})
    browser = Browser(rescind.url)
    await browser.sign_in(made.json["key"])
    return browser


async def test_an_event_stands_beside_the_receipt_that_it_came_from(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "654321", at=1_700_000_000.0, shoot="twilight")
    (event,) = (await rescind.get("/v1/events"))["data"]
    listed = await browser.get("/events")
    assert f'href="/events/{event["id"]}"' in listed
    assert f'href="/orders/{ACCOUNT}/654321"' in listed
    page = await browser.get(f"/events/{event['id']}")
    assert f'href="/receipts/{receipt}"' in page
    assert "phase open" in text_of(page)
    # Each line of the body whose value the event has is marked, and no other.
    lines = {line.strip().partition(":")[0]: line for line in page.splitlines() if "&#34;:" in line}
    marked = {name.strip("&#34;") for name, line in lines.items() if 'href="#event-1"' in line}
    assert marked == {"event", "order_id", "occurred_at"}
    beside = await browser.get(f"/receipts/{receipt}")
    assert f'href="/events/{event["id"]}"' in beside
    assert "Reprocess" in beside


async def test_filters_stand_in_the_url_and_page_both_ways(rescind: Rescind, browser: Browser) -> None:
    for number in range(60):
        await rescind.tell("order.processed", f"{number}")
    await rescind.tell("appointment.scheduled", "7")
    page = await browser.get(f"/events?account={ACCOUNT}&order=7&type=appointment.*&limit=9&since=2020-01-01T00:00")
    assert "appointment.scheduled" in page
    assert "order.processed<" not in page
    assert 'value="2020-01-01T00:00:00"' in page
    first = await browser.get("/events?type=order.*")
    assert first.count('<th scope="row"') == 50
    older = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "type=order.%2A" in older
    assert (await browser.get(f"/events{older}")).count('<th scope="row"') == 10
    for query, detail in (("since=yesterday", "since"), ("order=7", "requires account"), ("account=nobody", "nobody")):
        status, _, text = await browser.ask("GET", f"/events?{query}")
        assert status in (404, 422), query
        assert detail in text_of(text), "the problem stands in the page, with the filters"
        assert 'name="type"' in text
    assert (await browser.ask("GET", "/events/evt_0"))[0] == 404
    assert (await browser.ask("GET", "/receipts/rcp_0"))[0] == 404


async def test_hostile_bodies_are_shown_and_do_nothing(rescind: Rescind, browser: Browser) -> None:
    bodies = {
        b'{"event": "<script>alert(1)</script>", "order_id": "\\"><img src=x onerror=alert(1)>"}': "<script>alert(1)",
        b"\x00\x1b[31m{": "␀␛[31m{",
        b"\xff\xfe\x00<script>": "ff fe 00 3c 73 63 72 69 70 74 3e",
        "\N{RIGHT-TO-LEFT OVERRIDE}{evil".encode(): "[U+202E]{evil",
        b"[" * 3000: "[[[",
    }
    for body, shown in bodies.items():
        receipt = (await rescind.hook(body)).json["receipt"]
        page = await browser.get(f"/receipts/{receipt}?raw=true")
        assert shown in text_of(page), body
        main = page.partition("<main")[2]
        assert "<script" not in main
        assert "<img" not in main
        assert not any(char in page for char in "\x00\x1b\N{RIGHT-TO-LEFT OVERRIDE}")
        status, response, _ = await browser.ask("GET", f"/receipts/{receipt}/body?raw=true")
        assert status == 200
        assert response.content_type in ("text/plain", "application/octet-stream")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    listed = await browser.get("/receipts?status=quarantined")
    assert "<script>alert" not in listed
    assert listed.count('<th scope="row">') == len(bodies)


async def test_of_a_large_body_a_page_shows_the_beginning(rescind: Rescind, browser: Browser) -> None:
    bodies = (
        b'{"event": "order.teleported", "note": "' + b'\\"' * 400_000 + b'"}',
        b"[" * 400 + b"1," * 400_000 + b"1" + b"]" * 400,  # laid out, it would have 300 MB
        b'"' * 1_000_000,
        b"\xff" * 1_000_000,
    )
    for body in bodies:
        receipt = (await rescind.hook(body)).json["receipt"]
        page = await browser.get(f"/receipts/{receipt}?raw=true")
        assert len(page.encode()) <= PAGE_MAX
        assert f'href="/receipts/{receipt}/body?raw=true"' in page
        assert "Cut here" in page
        _, _, whole = await browser.ask("GET", f"/receipts/{receipt}/body?raw=true")
        assert len(whole) >= len(body)


async def test_private_fields_are_shown_to_admins_who_ask(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "1", client="ann@example.com")
    reader = await signed_in(rescind)
    for visitor in (browser, reader):
        page = await visitor.get(f"/receipts/{receipt}")
        assert "ann@example.com" not in page
        assert ("?raw=true" in page) == (visitor is browser)
    for path in (f"/receipts/{receipt}?raw=true", f"/receipts/{receipt}/body?raw=true"):
        assert "ann@example.com" in await browser.get(path)
        status, _, text = await reader.ask("GET", path)
        assert (status, "ann@example.com" in text) == (403, False)


async def test_reprocessing_needs_scope_write(rescind: Rescind, browser: Browser) -> None:
    receipt = (await rescind.hook(b'{"event": "order.teleported", "order_id": "1"}')).json["receipt"]
    reader = await signed_in(rescind)
    page = await reader.get(f"/receipts/{receipt}")
    assert "Reprocess" not in page
    status, _, text = await reader.send(page, f"/receipts/{receipt}/reprocess")
    assert status == 403
    assert "requires scope write" in text_of(text)
    page = await browser.get(f"/receipts/{receipt}")
    status, response, _ = await browser.send(page, f"/receipts/{receipt}/reprocess")
    assert (status, response.headers["Location"]) == (303, f"/receipts/{receipt}")
    assert "Reprocessed: quarantined" in text_of(await browser.get(f"/receipts/{receipt}"))


async def test_a_restricted_key_sees_nothing_of_other_accounts(rescind: Rescind) -> None:
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    receipt = await rescind.tell("order.processed", "1")
    (event,) = (await rescind.get("/v1/events"))["data"]
    stranger = await signed_in(rescind, accounts=["other"])
    for path in (f"/events/{event['id']}", f"/receipts/{receipt}", f"/receipts/{receipt}/body"):
        assert (await stranger.ask("GET", path))[0] == 404, path
    for path in ("/events", "/receipts"):
        assert event["id"] not in await stranger.get(path)


def test_marks_follow_the_events_of_a_body_with_several() -> None:
    events = [
        {"order": order, "type": "order.placed", "occurred_at": f"2026-03-02T0{order}:00:00Z", "facts": facts}
        for order, facts in (
            ("1", {"phase": "open", "aliases": ["number:A-1"]}),
            ("2", {"attributes": {"total": "9.50"}}),
        )
    ]
    text = (
        '[{"id":1,"no":"A-1","at":"2026-03-02T02:00:00+01:00"},{"id":2,"total":9.50,"no":"B","at":null,"door":"open"}]'
    )
    shown = {
        line.text.strip().rstrip(","): list(line.events) for line in body_of({"size": 9, "body": text}, events).lines
    }
    assert shown['"id": 1'] == shown['"no": "A-1"'] == shown['"at": "2026-03-02T02:00:00+01:00"'] == [1]
    assert shown['"id": 2'] == shown['"total": 9.50'] == [2]
    assert shown['"no": "B"'] == shown['"at": null'] == shown['"door": "open"'] == []


def test_no_body_takes_long_to_lay_out() -> None:
    hostile = ("\\" * 999_999, '"' + '\\"' * 499_000 + '"', "[" * 900 + "]" * 900, " " * 999_998 + "{}", '["",' * 900)
    for text in hostile:  # what is quadratic in one of them takes minutes
        assert sum(len(line.text) + 1 for line in body_of({"size": len(text), "body": text}).lines) <= SHOWN_MAX + 1


async def test_the_tail_streams_with_the_session(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    await rescind.tell("order.processed", "first")
    stranger = await signed_in(rescind, accounts=["other"])
    status, response, _ = await Browser(rescind.url).ask("GET", "/events/stream")
    assert (status, response.headers["Location"].partition("?")[0]) == (303, "/sign-in")
    assert (await stranger.ask("GET", f"/events/stream?account={ACCOUNT}"))[0] == 404
    assert (await browser.ask("GET", "/events/stream?type=[x"))[0] == 422
    live = await browser.get("/events?live=1&type=order.*")
    since = live.partition('data-since="')[2].partition('"')[0]
    assert "http-equiv" in live, "without scripts the page is loaded again"
    assert "http-equiv" not in await browser.get("/events")
    await rescind.tell("appointment.scheduled", "first")
    await rescind.tell("order.processed", "second")
    seen = []
    async for event in browser.events(f"/events/stream?since={since}&type=order.*"):
        seen.append(event["order"])
        if len(seen) == 2:
            break
    assert seen == ["first", "second"], "from the newest event of the page on, by its filters"


async def test_of_an_erased_order_the_facts_are_left(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "1", client="ann@example.com")
    erased = await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/1/erase")
    assert erased.status == 200, erased
    page = await browser.get(f"/receipts/{receipt}?raw=true")
    assert "The content was expunged" in text_of(page)
    assert "Reprocess" not in page
    assert "order.processed" in page
    assert (await browser.ask("GET", f"/receipts/{receipt}/body"))[0] == 410
    page = await browser.get(f"/receipts/{receipt}")
    status, _, text = await browser.send(page, f"/receipts/{receipt}/reprocess")
    assert status == 410
    assert "it cannot be parsed again" in text_of(text)
    (event, *_) = (await rescind.get("/v1/events?type=order.erased"))["data"]
    assert "order.erased" in await browser.get(f"/events/{event['id']}")


async def test_counts_lead_to_what_they_count(rescind: Rescind, browser: Browser) -> None:
    for number in range(3):
        await rescind.tell("order.processed", f"{number}")
    await rescind.tell("appointment.scheduled", "1")
    page = await browser.get(f"/events?account={ACCOUNT}")
    assert "Count 4 Type order.processed 3 appointment.scheduled 1" in text_of(page)
    link = page.partition("order.processed <span")[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    page = await browser.get(f"/events{link}")
    assert page.count('<th scope="row"') == 3
    assert 'aria-current="true">order.processed' in page
    assert "Count" not in text_of(await browser.get("/events?live=1")), "the rows run ahead of a count"


async def test_a_key_of_several_accounts_sees_one_at_a_time(rescind: Rescind) -> None:
    for account in ("other", "third"):
        await rescind.put("accounts", account, account_of("http://127.0.0.1:9"))
        await rescind.put("endpoints", f"{account}-in", endpoint_of(account))
        await rescind.tell("order.processed", f"of-{account}", f"{account}-in")
    await rescind.tell("order.processed", "of-acme")
    visitor = await signed_in(rescind, accounts=["other", ACCOUNT], scope="write")
    for path in (
        "/events",
        "/receipts",
        "/quarantine",
        "/cancellations",
        "/bulk/cancel",
        "/bulk/revoke",
        "/bulk/reprocess",
    ):
        page = await visitor.get(path)
        assert "of-other" not in page
        assert "of-third" not in page
        if not path.startswith("/bulk"):
            assert f'<option value="{ACCOUNT}" selected' in page, path
    assert "of-acme" in await visitor.get("/events")
    assert "of-other" in await visitor.get("/events?account=other")
    async for event in visitor.events("/events/stream?since=2020-01-01T00:00:00Z"):
        assert event["order"] == "of-acme", "the tail is of the account that the list shows"
        break
