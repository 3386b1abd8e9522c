"""Signing in to the console: what a session may do, what ends it, and what no other site can do with it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from browsers import Browser
from providers import Provider
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, Rescind, account_of, endpoint_of
from yarl import URL

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


async def test_headers_that_name_no_host_are_no_fault_of_the_server(rescind: Rescind, browser: Browser) -> None:
    for host in ("", "x:abc", "[::", "a b"):
        head = f"GET /orders HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        status, _ = await rescind.raw(head.encode())
        assert status in (0, 303, 400), host
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
