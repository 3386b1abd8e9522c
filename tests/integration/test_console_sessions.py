"""Signing in to the console: what a session may do, what ends it, and what no other site can do with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from browsers import Browser, text_of
from conftest import Start
from providers import Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, Rescind, account_of, endpoint_of, settings_for
from times import shift
from yarl import URL

from app.config import sessions
from app.config.sessions import OpenSession
from app.web.console.hosts import is_served_under
from app.web.console.pages import FILES, PAGES

SESSION = "rescind_session"


@pytest.fixture
async def rescind(tmp_path: Path) -> AsyncIterator[Rescind]:
    started = await Rescind.start(tmp_path)
    yield started
    await started.stop()


@pytest.fixture
def browser(rescind: Rescind) -> Browser:
    return Browser(rescind.url)


async def test_without_a_session_every_page_leads_to_the_sign_in_and_back(rescind: Rescind, browser: Browser) -> None:
    for page in (*PAGES, *FILES):
        path = page.path.replace("{", "x").replace("}", "")
        status, response, _ = await browser.ask(page.method, path, {} if page.method == "POST" else None)
        assert (status, response.headers["Location"].partition("?")[0]) == (303, "/sign-in"), path
    _, response, _ = await browser.ask("GET", "/orders?phase=open&account=a%26b")
    assert await browser.sign_in(next=URL(response.headers["Location"]).query["next"]) == (
        303,
        "/orders?phase=open&account=a%26b",
    )
    status, response, text = await browser.ask("GET", "/orders?phase=open")
    assert status == 200
    assert response.headers["Cache-Control"] == "no-store"
    policy = response.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert BOOTSTRAP_KEY not in text
    assert rescind.url not in text, "links work behind any host name"


async def test_what_does_not_exist_is_a_page_for_browsers_and_a_problem_for_programs(browser: Browser) -> None:
    for path, accept, type in (
        ("/nowhere", "text/html,*/*", "text/html"),
        ("/nowhere", "*/*", "application/problem+json"),
        ("/v1/nowhere", "text/html", "application/problem+json"),
    ):
        status, response, _ = await browser.ask("GET", path, Accept=accept)
        assert (status, response.content_type) == (404, type)


async def test_a_wrong_key_starts_no_session(browser: Browser) -> None:
    for key in ("", "rk_wrong", "x" * 400):
        status, response, text = await browser.ask("POST", "/sign-in", {"key": key})
        assert status == 401
        assert SESSION not in response.cookies
        assert not key or key not in text
    assert (await browser.ask("GET", "/"))[0] == 303


async def test_the_sign_in_leads_to_no_other_site(browser: Browser) -> None:
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", "\\evil", "/\t/evil.example", ""):
        assert await browser.sign_in(next=elsewhere) == (303, "/"), elsewhere


async def test_the_cookie_is_kept_from_scripts_and_from_forms_of_other_sites(browser: Browser) -> None:
    _, response, _ = await browser.ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY})
    morsel = response.cookies[SESSION]
    assert (morsel["httponly"], morsel["samesite"], morsel["secure"], morsel["path"]) == (True, "Lax", "", "/")
    secure = Browser(browser.url)
    _, response, _ = await secure.ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY}, X_Forwarded_Proto="https")
    assert response.cookies[f"__Host-{SESSION}"]["secure"] is True


async def sign_out(browser: Browser, **more: str) -> None:
    page = await browser.get("/orders")
    status, response, _ = await browser.send(page, "/sign-out", more)
    assert (status, response.headers["Location"]) == (303, "/sign-in")


def copy_of(browser: Browser) -> Browser:
    """Somebody who copied the cookies."""
    copied = Browser(browser.url)
    copied.cookies.load(browser.cookies.output(header="", sep=";"))
    assert copied.cookies[SESSION].value == browser.cookies[SESSION].value
    return copied


async def test_a_copied_cookie_is_worthless_after_the_sign_out(start: Start) -> None:
    rescind = await start()
    here, there = Browser(rescind.url), Browser(rescind.url)
    await here.sign_in()
    await there.sign_in()
    copied = copy_of(here)
    await copied.get("/orders")
    await sign_out(here)
    assert (await copied.ask("GET", "/orders"))[0] == 303
    await there.get("/orders")
    # Signing in again replaces the session that the browser had.
    copied = copy_of(there)
    await there.sign_in()
    assert (await copied.ask("GET", "/orders"))[0] == 303
    copied = copy_of(there)
    await rescind.stop()
    rescind = await start()
    here, there, copied.url = Browser(rescind.url), Browser(rescind.url), rescind.url
    await copied.get("/orders")  # a restart ends no session
    there.cookies = copied.cookies
    await here.sign_in()
    await sign_out(here, everywhere="1")
    assert [(await browser.ask("GET", "/orders"))[0] for browser in (here, there, copied)] == [303] * 3


async def test_an_administrator_ends_the_sessions_of_a_key(rescind: Rescind, browser: Browser) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json
    await browser.sign_in(made["key"])
    [listed] = (await rescind.get("/v1/keys"))["data"]
    assert listed["sessions"] == 1
    assert (await rescind.ask("DELETE", f"/v1/keys/{made['id']}/sessions", key=made["key"])).status == 403
    administrator = Browser(rescind.url)
    await administrator.sign_in()
    page = await administrator.get(f"/keys/{made['id']}")
    assert "1 session" in text_of(page)
    assert (await administrator.send(page, f"/keys/{made['id']}/sessions"))[0] == 303
    assert (await browser.ask("GET", "/orders"))[0] == 303
    assert (await browser.sign_in(made["key"]))[0] == 303, "the key stays valid"
    await administrator.get("/orders")
    assert (await rescind.ask("DELETE", "/v1/keys/bootstrap/sessions")).status == 204
    assert (await administrator.ask("GET", "/orders"))[0] == 303
    (await rescind.ask("DELETE", "/v1/keys/key_none/sessions")).problem(404, "not-found")


async def follow(rescind: Rescind, browser: Browser) -> asyncio.Task[list[Any]]:
    """An open stream of this session; gives its events when it has ended."""

    async def rest(stream: AsyncIterator[Any]) -> list[Any]:
        return [event async for event in stream]

    following = asyncio.create_task(rest(copy_of(browser).events("/events/stream")))

    async def joined() -> bool:
        return rescind.node.log_feed.tails == 1

    await until(joined, "a tail")
    return following


async def test_a_stream_ends_with_its_session(
    rescind: Rescind, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json
    await browser.sign_in(made["key"])
    stored = rescind.node.store
    following = await follow(rescind, browser)
    await sign_out(browser)
    assert await following == []
    # Another node ends it: this one looks again after a while.
    monkeypatch.setattr(sessions, "RECHECK_S", 0.0)
    await browser.sign_in(made["key"])
    following = await follow(rescind, browser)
    await stored.end_sessions(made["id"])
    assert await following == []
    await browser.sign_in(made["key"])
    following = await follow(rescind, browser)
    await rescind.ask("DELETE", f"/v1/keys/{made['id']}")
    assert await following == []


async def test_a_session_ends_after_its_lifetime(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    rescind = await start(session_h=1)
    browser = Browser(rescind.url)
    _, response, _ = await browser.ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY})
    assert response.cookies[SESSION]["max-age"] == "3600"
    following = await follow(rescind, browser)
    shift(monkeypatch, timedelta(hours=1), sessions)
    assert await following == [], "the stream ends with it"
    assert (await browser.ask("GET", "/orders"))[0] == 303


async def test_a_session_ends_with_its_key(rescind: Rescind, browser: Browser) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json
    await browser.sign_in(made["key"])
    assert (await browser.ask("GET", "/orders"))[0] == 200
    await rescind.ask("DELETE", f"/v1/keys/{made['id']}")
    assert (await browser.ask("GET", "/orders"))[0] == 303


async def test_a_form_without_the_sessions_token_changes_nothing(browser: Browser) -> None:
    await browser.sign_in()
    session = browser.cookies[SESSION].value
    for form, headers in (
        ({}, {}),
        ({"form_token": "0" * 64}, {}),
        ({"form_token": "é"}, {}),
    ):
        status, response, text = await browser.ask("POST", "/sign-out", form, **headers)
        assert status == 403
        assert SESSION not in response.cookies
        assert "Nothing was changed" in text or "not sent from this console" in text
    other = Browser(browser.url)
    await other.sign_in()
    _, _, text = await other.ask("GET", "/")
    foreign = text.partition('name="form_token" value="')[2].partition('"')[0]
    assert (await browser.ask("POST", "/sign-out", {"form_token": foreign}))[0] == 403, "the token of another session"
    assert browser.cookies[SESSION].value == session


async def test_the_browser_says_that_another_site_sent_the_form(browser: Browser) -> None:
    await browser.sign_in()
    _, _, text = await browser.ask("GET", "/")
    token = text.partition('name="form_token" value="')[2].partition('"')[0]
    for headers in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        assert (await browser.ask("POST", "/sign-out", {"form_token": token}, **headers))[0] == 403
        assert (await Browser(browser.url).ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY}, **headers))[0] == 403
    status, _, _ = await browser.ask("POST", "/sign-out", {"form_token": token}, Sec_Fetch_Site="same-origin")
    assert status == 303
    assert (await browser.ask("GET", "/"))[0] == 303


async def test_a_page_sees_only_the_accounts_of_its_key(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    body = {"name": "ann", "scope": "read", "accounts": [ACCOUNT]}
    await browser.sign_in((await rescind.ask("POST", "/v1/keys", body)).json["key"])
    assert (await browser.ask("GET", f"/orders?account={ACCOUNT}"))[0] == 200
    assert (await browser.ask("GET", "/orders?account=other"))[0] == 404
    status, _, text = await browser.ask("GET", "/")
    assert status == 200
    assert "restricted" in text


async def test_another_site_cannot_sign_a_browser_out(browser: Browser) -> None:
    # It comes without the session (SameSite), but what it is answered with would remove the cookie.
    status, response, _ = await Browser(browser.url).ask("POST", "/sign-out", {}, Origin="https://evil.example")
    assert (status, SESSION in response.cookies, "Clear-Site-Data" in response.headers) == (403, False, False)


async def test_a_notice_is_shown_in_its_own_session_only(rescind: Rescind) -> None:
    ann, eve = Browser(rescind.url), Browser(rescind.url)
    await ann.sign_in()
    await eve.sign_in()
    sealed = rescind.node.sessions.seal_notice(await session_of(rescind, eve), "All is well.")
    for browser, is_shown in ((eve, True), (ann, False)):
        browser.cookies["rescind_notice"] = sealed
        assert ("All is well." in await browser.get("/orders")) == is_shown


async def session_of(rescind: Rescind, browser: Browser) -> OpenSession:
    session = await rescind.node.sessions.find(browser.cookies[SESSION].value, rescind.node.keys)
    assert session is not None
    return session


async def test_the_console_on_loopback_is_served_under_names_that_are_its_own(start: Start, tmp_path: Path) -> None:
    rescind = await start(public_url="https://rescind.example.com/x")
    browser = Browser(rescind.url)
    port = URL(rescind.url).port
    for host, status in (
        (f"127.0.0.1:{port}", 200),
        (f"[::1]:{port}", 200),
        ("localhost", 200),
        ("console.localhost:8700", 200),
        ("Rescind.Example.com", 200),
        ("rescind.example.com.", 200),
        ("evil.example", 403),
        ("rescind.example.com.evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ):
        for path in ("/sign-in", "/nowhere"):
            shown = (await browser.ask("GET", path, Host=host, Accept="text/html"))[0]
            assert shown == (403 if status == 403 else {"/sign-in": 200, "/nowhere": 404}[path]), (host, path)
    _, _, text = await browser.ask("GET", "/orders", Host="evil.example")
    assert "RESCIND_PUBLIC_URL" in text
    # Programs and providers come with whatever name leads here.
    assert (await rescind.ask("GET", "/v1/orders", headers={"Host": "rescind.internal"})).status == 200
    for settings, host, wanted in (
        ({"host": "0.0.0.0"}, "rescind.internal", True),  # noqa: S104 - nothing listens
        ({"host": "0.0.0.0", "console_hosts": "a.example"}, "rescind.internal", False),  # noqa: S104
        ({"host": "0.0.0.0", "console_hosts": "a.example"}, "a.example", True),  # noqa: S104
        ({"host": "127.0.0.1", "console_hosts": "*"}, "rescind.internal", True),
        ({"host": "::1"}, "rescind.internal", False),
        ({"host": "127.0.0.1"}, "", False),
    ):
        assert is_served_under(settings_for(tmp_path, **settings), host) == wanted, (settings, host)


async def test_behind_https_the_cookie_is_bound_to_it(start: Start) -> None:
    rescind = await start(public_url="https://rescind.example.com")
    for headers, secure in (
        ({"Host": "rescind.example.com"}, True),  # a proxy that does not say how it was called
        ({"Host": "rescind.example.com", "X_Forwarded_Proto": "http"}, False),
        ({"X_Forwarded_Proto": "https"}, True),
        ({}, False),
    ):
        browser = Browser(rescind.url)
        _, response, _ = await browser.ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY}, **headers)
        name = f"__Host-{SESSION}" if secure else SESSION
        morsel = response.cookies[name]
        assert (bool(morsel["secure"]), morsel["path"], morsel["domain"]) == (secure, "/", ""), headers
        assert (await browser.ask("GET", "/orders", **headers))[0] == 200


async def test_headers_that_name_no_host_are_no_fault_of_the_server(rescind: Rescind, browser: Browser) -> None:
    for host in ("", "x:abc", "[::", "a b"):
        head = f"GET /orders HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        status, _ = await rescind.raw(head.encode())
        assert status in (0, 400, 403), host
    for origin in ("http://[::1", "null", "", "http://"):
        status, _, text = await browser.ask("POST", "/sign-in", {"key": BOOTSTRAP_KEY}, Origin=origin)
        assert (status, "not sent from this console" in text) == (403, True), origin


async def test_links_lead_only_to_pages_that_the_key_may_open(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await rescind.put("subscriptions", "crm", {"events": ["*"]})
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    cancellation = (await rescind.settled(await rescind.cancel("o-1")))["id"]
    pages = ("/", f"/accounts/{ACCOUNT}", f"/endpoints/{ENDPOINT}", f"/cancellations/{cancellation}")
    pages += (f"/events?account={ACCOUNT}&order=o-1",)
    made: list[dict[str, Any]] = [{"scope": "admin"}, {"scope": "read"}, {"scope": "admin", "accounts": [ACCOUNT]}]
    for key in made:
        browser = Browser(rescind.url)
        await browser.sign_in((await rescind.ask("POST", "/v1/keys", {"name": "ann", **key})).json["key"])
        for page in pages:
            text = await browser.get(page)
            links = {urljoin(page, unescape(link)) for link in re.findall(r'<a\b[^>]*href="([/?][^"]*)"', text)}
            assert ("/messages/" in text) == (page.startswith("/cancellations") and "accounts" not in key), (key, page)
            for link in links - {"/docs"}:
                status, _, answer = await browser.ask("GET", link)
                assert status == 200, (key, page, link, answer)
