"""The console's pages of endpoints and accounts: what they show, what they change, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from browsers import Browser, text_of
from providers import PROVIDER_KEY, Provider
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
async def rescind(tmp_path: Path, provider: Provider) -> AsyncIterator[Rescind]:
    started = await Rescind.start(tmp_path)
    await started.put("accounts", ACCOUNT, account_of(provider.url))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    yield started
    await started.stop()


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    opened = Browser(rescind.url)
    await opened.sign_in()
    return opened


async def reader(rescind: Rescind, **more: object) -> Browser:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read", **more})).json
    opened = Browser(rescind.url)
    await opened.sign_in(made["key"])
    return opened


async def submit(browser: Browser, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(status, where the response leads, the page)."""
    status, response, text = await browser.send(await browser.get("/orders"), path, form or {})
    return status, response.headers.get("Location", ""), text


async def test_an_endpoint_s_page_shows_what_came_and_what_was_refused(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "o-1")
    await rescind.hook({}, token="wrong-token-0123456789")
    await rescind.hook(b"{")
    shown = text_of(await browser.get(f"/endpoints/{ENDPOINT}"))
    for expected in (f"{rescind.url}/webhooks/{ENDPOINT}", receipt, "1 accepted", "1 refused", "1 quarantined"):
        assert expected in shown, expected
    assert "the token is wrong" in shown
    assert "bad signature 1 (last" in shown
    assert f'href="/receipts/{receipt}"' in await browser.get(f"/endpoints/{ENDPOINT}")
    row = text_of(await browser.get("/endpoints"))
    assert f"{ENDPOINT} {ACCOUNT} active" in row


async def test_a_new_endpoint_s_secret_is_shown_once_and_on_no_other_page(rescind: Rescind, browser: Browser) -> None:
    form = {"id": "fresh", "account": ACCOUNT, "verify.scheme": "token", "silent_after": "6h"}
    status, location, text = await submit(browser, "/endpoints/~new", form)
    assert (status, location) == (200, "")
    secret = text.partition('aria-label="secret"><code>')[2].partition("<")[0]
    assert len(secret) > 15
    assert f"{rescind.url}/webhooks/fresh" in text, "the text for the provider's form"
    assert (await rescind.hook({"event": "order.processed", "order_id": "o-1"}, "fresh", token=secret)).status == 200
    _, _, again = await submit(browser, "/endpoints/fresh/rotate", {"overlap_h": "2"})
    rotated = again.partition('aria-label="secret"><code>')[2].partition("<")[0]
    assert rotated not in ("", secret)
    assert (await rescind.hook({"event": "order.processed", "order_id": "o-2"}, "fresh", token=secret)).status == 200
    assert "the provider still uses it" in await browser.get("/endpoints/fresh")
    for path in ("/", "/endpoints", "/endpoints/fresh", f"/accounts/{ACCOUNT}"):
        shown = await browser.get(path)
        assert secret not in shown, path
        assert rotated not in shown, path
    assert secret not in str(browser.cookies)


async def test_a_rejected_form_keeps_what_was_typed_and_tells_at_the_field(rescind: Rescind, browser: Browser) -> None:
    form = {"silent_after": "soon", "allow_from": "10.0.0.0/8\nnowhere"}
    status, _, text = await submit(browser, f"/endpoints/{ENDPOINT}", form)
    assert status == 422
    assert 'aria-describedby="f-silent_after-hint f-silent_after-fault" aria-invalid="true"' in text
    assert "must be a duration from 1m to 90d" in text
    assert "10.0.0.0/8\nnowhere" in text
    assert (await rescind.get(f"/v1/endpoints/{ENDPOINT}"))["version"] == 1


async def test_settings_change_and_secrets_stay(rescind: Rescind, browser: Browser) -> None:
    form = {"silent_after": "6h", "quarantine_status": "200", "allow_from": "127.0.0.0/8", "verify.scheme": "token"}
    assert (await submit(browser, f"/endpoints/{ENDPOINT}", form))[:2] == (303, f"/endpoints/{ENDPOINT}")
    saved = await rescind.get(f"/v1/endpoints/{ENDPOINT}")
    assert (saved["silent_after"], saved["quarantine_status"], saved["allow_from"]) == ("6h", 200, ["127.0.0.0/8"])
    await rescind.tell("order.processed", "o-1")
    # As text: what the page shows, with one member changed.
    text = {**saved, "silent_after": "7h"}
    body = {name: value for name, value in text.items() if name not in ("url", "traffic", "version", "id")}
    status, _, _ = await submit(browser, f"/endpoints/{ENDPOINT}", {"text": msgspec.json.encode(body).decode()})
    assert status == 303
    assert (await rescind.get(f"/v1/endpoints/{ENDPOINT}"))["silent_after"] == "7h"
    await rescind.tell("order.processed", "o-2")
    status, _, shown = await submit(browser, f"/endpoints/{ENDPOINT}", {"text": f"{{{HOSTILE}"})
    assert status == 400
    assert HOSTILE not in shown


async def test_an_endpoint_is_tested_disabled_and_removed(rescind: Rescind, browser: Browser) -> None:
    _, _, shown = await submit(browser, f"/endpoints/{ENDPOINT}/test")
    assert "The test succeeded" in shown
    assert (await submit(browser, f"/endpoints/{ENDPOINT}/disable"))[0] == 303
    assert (await rescind.hook({})).status == 404
    assert "is disabled: real webhooks get 404" in (await submit(browser, f"/endpoints/{ENDPOINT}/test"))[2]
    await submit(browser, f"/endpoints/{ENDPOINT}/enable")
    assert (await submit(browser, f"/endpoints/{ENDPOINT}/delete", {"typed": "acme"}))[0] == 422
    assert (await rescind.ask("GET", f"/v1/endpoints/{ENDPOINT}")).status == 200
    assert (await submit(browser, f"/endpoints/{ENDPOINT}/delete", {"typed": ENDPOINT}))[0] == 303
    assert (await rescind.ask("GET", f"/v1/endpoints/{ENDPOINT}")).status == 404


async def test_an_account_is_created_by_the_fields_that_its_handler_declares(
    rescind: Rescind, browser: Browser
) -> None:
    form = await browser.get("/accounts/~new?provider=planomatic")
    assert 'name="config.api_key" type="password"' in form
    assert "from its page in PlanOintegrate" in form
    made = {
        "provider": "planomatic",
        "id": "fresh",
        "config.base_url": "https://p.example",
        "config.api_key": "k-12345",
    }
    assert (await submit(browser, "/accounts/~new", {**made, "deadline_h": "soon"}))[0] == 422
    assert (await submit(browser, "/accounts/~new", {**made, "deadline_h": "12"}))[:2] == (303, "/accounts/fresh")
    saved = await rescind.get("/v1/accounts/fresh")
    assert (saved["deadline_h"], saved["config"]["base_url"]) == (12, "https://p.example")
    status, _, text = await submit(browser, "/accounts/~new", made)
    assert (status, "k-12345" in text) == (409, False)
    assert "set, and not shown" in await browser.get("/accounts/fresh")


async def test_an_empty_secret_keeps_the_account_s(rescind: Rescind, browser: Browser, provider: Provider) -> None:
    form = {"config.base_url": provider.url, "config.api_key": "", "config.timezone": "Europe/Berlin"}
    assert (await submit(browser, f"/accounts/{ACCOUNT}", form))[0] == 303
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["config"]["timezone"] == "Europe/Berlin"
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert PROVIDER_KEY not in await browser.get(f"/accounts/{ACCOUNT}")


async def test_an_account_is_paused_for_a_reason_and_resumed(rescind: Rescind, browser: Browser) -> None:
    assert (await submit(browser, f"/accounts/{ACCOUNT}/pause", {"reason": HOSTILE}))[0] == 303
    shown = await browser.get(f"/accounts/{ACCOUNT}")
    assert HOSTILE not in shown
    assert "alert(1)" in shown
    assert "paused" in text_of(await browser.get("/accounts"))
    assert (await submit(browser, f"/accounts/{ACCOUNT}/resume"))[0] == 303
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "idle"


async def test_a_reader_sees_no_buttons_and_changes_nothing(rescind: Rescind) -> None:
    browser = await reader(rescind)
    for path in (f"/endpoints/{ENDPOINT}", f"/accounts/{ACCOUNT}", "/endpoints", "/accounts"):
        shown = await browser.get(path)
        main = shown.partition('<main id="main"')[2]
        assert 'method="post"' not in main, path
        assert "/new" not in main, path
    for path in (
        *(f"/endpoints/{ENDPOINT}{action}" for action in ("", "/rotate", "/test", "/disable", "/enable")),
        *(f"/accounts/{ACCOUNT}{action}" for action in ("", "/pause", "/resume")),
        "/endpoints/~new",
    ):
        assert (await submit(browser, path, {"id": "x", "account": ACCOUNT}))[0] == 403, path
    for path, typed in ((f"/endpoints/{ENDPOINT}/delete", ENDPOINT), (f"/accounts/{ACCOUNT}/delete", ACCOUNT)):
        assert (await submit(browser, path, {"typed": typed}))[0] == 403
    new = {"provider": "planomatic", "id": "x", "config.api_key": "k-12345"}
    assert (await submit(browser, "/accounts/~new", new))[0] == 403


async def test_a_restricted_key_sees_its_accounts_only(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "other", account_of(provider.url))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    browser = await reader(rescind, accounts=[ACCOUNT])
    assert "other" not in text_of(await browser.get("/accounts")).replace("another", "")
    assert "other-in" not in await browser.get("/endpoints")
    await browser.get(f"/accounts/{ACCOUNT}")
    await browser.get(f"/endpoints/{ENDPOINT}")
    for path in ("/accounts/other", "/endpoints/other-in"):
        assert (await browser.ask("GET", path))[0] == 404


async def test_an_account_shows_its_own_endpoints(rescind: Rescind, browser: Browser, provider: Provider) -> None:
    await rescind.put("accounts", "other", account_of(provider.url))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    shown = await browser.get(f"/accounts/{ACCOUNT}")
    assert f'href="/endpoints/{ENDPOINT}"' in shown
    assert "other-in" not in shown
    listed = await rescind.get("/v1/endpoints?account=other")
    assert [endpoint["id"] for endpoint in listed["data"]] == ["other-in"]


async def test_long_lists_are_paged_and_entered_at_an_id(
    rescind: Rescind, browser: Browser, provider: Provider
) -> None:
    resources = [{"id": f"m-{number:03}", **account_of(provider.url)} for number in range(120)]
    await rescind.ask("POST", "/v1/apply", {"resources": {"accounts": resources}})
    first = await browser.get("/accounts")
    assert "m-048" in first
    assert "m-049" not in first
    assert 'rel="next" href="?cursor=m-048"' in first
    assert "m-049" in await browser.get("/accounts?cursor=m-048")
    entered = await browser.get("/accounts?from=m-100")
    assert "m-100" in entered
    assert "m-099" not in entered
    assert 'rel="next"' not in entered
