"""The console's pages of subscriptions, keys and changes: secrets once, attempts, recovery, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from browsers import Browser, text_of
from providers import Provider, until
from receivers import Receiver
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, Rescind, account_of, endpoint_of

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


async def submit(browser: Browser, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(status, where the response leads, the page)."""
    status, response, text = await browser.send(await browser.get("/orders"), path, form or {})
    assert response.headers["Cache-Control"] == "no-store"
    return status, response.headers.get("Location", ""), text


def shown_once(text: str, what: str) -> str:
    """The secret on the page that shows it."""
    secret = text.partition(f'aria-label="{what}"><code>')[2].partition("<")[0]
    assert len(secret) > 15, text
    return secret


async def test_every_secret_is_shown_once_and_then_nowhere(rescind: Rescind, browser: Browser) -> None:
    new = {"id": "crm", "events": "cancellation.*"}
    secrets = [shown_once((await submit(browser, "/subscriptions/~new", new))[2], "secret")]
    secrets.append(shown_once((await submit(browser, "/subscriptions/crm/rotate", {"overlap_h": "1"}))[2], "secret"))
    secrets.append(shown_once((await submit(browser, "/keys", {"name": "ann", "scope": "write"}))[2], "key"))
    [key] = (await rescind.get("/v1/keys"))["data"]
    status, _, text = await submit(browser, f"/keys/{key['id']}/rotate", {"overlap_h": "1"})
    secrets.append(shown_once(text, "key"))
    assert status == 200
    endpoint = {"id": "fresh", "account": ACCOUNT, "verify.scheme": "token"}
    secrets.append(shown_once((await submit(browser, "/endpoints/~new", endpoint))[2], "secret"))
    assert len(set(secrets)) == 5
    assert (await rescind.ask("GET", "/v1/orders", key=secrets[2])).status == 200, "the old key, for the overlap"
    paths = ["/subscriptions", "/subscriptions/crm", "/keys", f"/keys/{key['id']}", "/audit", "/endpoints/fresh"]
    paths += ["/audit/subscriptions/crm", "/audit/endpoints/fresh", "/", "/endpoints"]
    for path in paths:
        shown = await browser.get(path)
        assert [secret for secret in (*secrets, BOOTSTRAP_KEY) if secret in shown] == [], path
    kept = "".join(morsel.value for morsel in browser.cookies.values())
    assert [secret for secret in secrets if secret in kept] == []


async def test_a_form_that_is_sent_twice_makes_one_key(rescind: Rescind, browser: Browser) -> None:
    page = await browser.get("/keys")
    made = [await browser.send(page, "/keys", {"name": "ann", "scope": "read"}) for _ in range(2)]
    assert [status for status, _, _ in made] == [200, 200]
    assert len((await rescind.get("/v1/keys"))["data"]) == 1


async def test_a_key_is_revoked_only_by_its_name(rescind: Rescind, browser: Browser) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": HOSTILE, "scope": "read", "accounts": [ACCOUNT]})).json
    for path in ("/keys", f"/keys/{made['id']}"):
        shown = await browser.get(path)
        assert HOSTILE not in shown
        assert "alert(1)" in shown
        assert f'href="/accounts/{ACCOUNT}"' in shown
    path = f"/keys/{made['id']}/revoke"
    assert (await submit(browser, path, {"typed": "ann"}))[0] == 422
    assert (await rescind.ask("GET", f"/v1/orders?account={ACCOUNT}", key=made["key"])).status == 200
    assert (await submit(browser, path, {"typed": HOSTILE}))[:2] == (303, "/keys")
    assert (await rescind.ask("GET", f"/v1/orders?account={ACCOUNT}", key=made["key"])).status == 401
    assert (await submit(browser, "/keys", {"name": "b", "scope": "read", "accounts": "nobody"}))[0] == 422


async def test_deliveries_show_their_attempts_and_are_sent_again(browser: Browser, receiver: Receiver) -> None:
    await submit(browser, "/subscriptions/~new", {"id": "crm", "url": receiver.url, "events": "*"})
    status, location, _ = await submit(browser, "/subscriptions/crm/test", {"type": "order.closing_soon"})
    assert status == 303

    async def attempted() -> str:
        shown = await browser.get(location)
        return shown if "<li>" in shown.partition("<h2>Attempts</h2>")[2] else ""

    assert "delivered" in text_of(await until(attempted, "an attempt")), "it is not retried by itself"
    assert len(receiver.requests) == 1
    assert (await submit(browser, f"{location}/resend"))[:2] == (303, location)

    async def resent() -> bool:
        return len(receiver.requests) == 2

    await until(resent, "the delivery again")
    assert len({request.id for request in receiver.requests}) == 1
    listed = await browser.get("/subscriptions/crm?type=order.*")
    assert f'href="{location}"' in listed
    assert "No delivery matches." in await browser.get("/subscriptions/crm?type=policy.*")
    assert (await submit(browser, "/subscriptions/crm/recover", {"since": ""}))[0] == 422
    assert (await submit(browser, "/subscriptions/crm/recover", {"since": "2026-01-01T00:00"}))[0] == 303


async def test_a_subscription_is_changed_disabled_and_removed(rescind: Rescind, browser: Browser) -> None:
    new = {"id": "crm", "url": "https://crm.example/hooks", "headers": '{"X-Token": "s3cret-value-1"}'}
    assert (await submit(browser, "/subscriptions/~new", new))[0] == 200
    assert "s3cret-value-1" not in await browser.get("/subscriptions/crm")
    form = {
        "url": new["url"],
        "description": HOSTILE,
        "events": "cancellation.*\norder.*",
        "headers": '{"X-Token": "**********"}',
    }
    assert (await submit(browser, "/subscriptions/crm", form))[0] == 303
    saved = await rescind.get("/v1/subscriptions/crm")
    assert saved["events"] == ["cancellation.*", "order.*"]
    spec = rescind.node.config.subscriptions["crm"]
    assert spec.headers["X-Token"].get_secret_value() == "s3cret-value-1"
    assert HOSTILE not in await browser.get("/subscriptions/crm")
    status, _, text = await submit(browser, "/subscriptions/crm", {"events": "cancelation.*", "headers": "{"})
    assert (status, "is not JSON" in text) == (422, True)
    assert "did you mean" in (await submit(browser, "/subscriptions/crm", {"events": "cancelation.*"}))[2]
    await submit(browser, "/subscriptions/crm/disable")
    assert "disabled by hand" in await browser.get("/subscriptions")
    await submit(browser, "/subscriptions/crm/enable")
    assert (await submit(browser, "/subscriptions/crm/delete", {"typed": "crm"}))[:2] == (303, "/subscriptions")


async def test_the_audit_trail_says_who_changed_what(rescind: Rescind, browser: Browser) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "Ann & Co", "scope": "admin"})).json
    endpoint = endpoint_of(ACCOUNT, silent_after="6h")
    await rescind.ask("PUT", f"/v1/endpoints/{ENDPOINT}", endpoint, key=made["key"])
    everything = text_of(await browser.get("/audit"))
    assert everything.count("create accounts") == 1
    assert f"Ann & Co update endpoints {ENDPOINT} 2" in everything
    assert "accounts" not in (await browser.get("/audit?by=Ann+%26+Co")).partition("<tbody>")[2]
    of_one = (
        (await browser.get(f"/audit?kind=endpoints&id={ENDPOINT}")).partition("<tbody>")[2].partition("</tbody>")[0]
    )
    assert of_one.count("<tr>") == 2
    status, _, text = await browser.ask("GET", f"/audit?id={ENDPOINT}")
    assert (status, "requires kind" in text) == (422, True)
    shown = await browser.get(f"/audit/endpoints/{ENDPOINT}")
    assert '<span class="added">+  &#34;silent_after&#34;: &#34;6h&#34;</span>' in shown
    assert "removed" in shown, "the line before lacked a comma"
    first = (await rescind.get(f"/v1/changes?kind=endpoints&id={ENDPOINT}"))["data"][-1]["at"]
    assert "-0,0" in await browser.get(f"/audit/endpoints/{ENDPOINT}?after={first}")
    assert (await browser.ask("GET", "/audit/endpoints/none"))[0] == 404
    assert (await browser.ask("GET", "/audit/nothing/none"))[0] == 422


async def test_who_may_not(rescind: Rescind, browser: Browser) -> None:
    await submit(browser, "/subscriptions/~new", {"id": "crm"})
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json
    other = Browser(rescind.url)
    await other.sign_in(made["key"])
    for path in ("/keys", "/audit", f"/audit/endpoints/{ENDPOINT}", f"/keys/{made['id']}"):
        assert (await other.ask("GET", path))[0] == 403, path
    for path in ("/subscriptions", "/subscriptions/crm"):
        assert 'method="post"' not in (await other.get(path)).partition('<main id="main"')[2], path
    for path in (
        *(f"/subscriptions/crm{action}" for action in ("", "/rotate", "/test", "/disable", "/enable")),
        *("/subscriptions/~new", "/keys", f"/keys/{made['id']}/rotate", f"/keys/{made['id']}/revoke"),
    ):
        assert (await submit(other, path, {"name": "x", "scope": "read"}))[0] == 403, path
    assert (await submit(other, "/subscriptions/crm/delete", {"typed": "crm"}))[0] == 403
    assert (await submit(other, "/subscriptions/crm/recover", {"since": "2026-01-01T00:00"}))[0] == 403
    assert len((await rescind.get("/v1/keys"))["data"]) == 1


async def test_no_id_and_no_number_is_too_long_for_a_page(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("subscriptions", "crm", {})
    assert (await browser.ask("GET", f"/keys/{'x' * 400}"))[0] == 404
    digits = "9" * 5000
    form = {"since": "2026-03-02T09:30", "recovered": digits}
    status, location, _ = await submit(browser, "/subscriptions/crm/recover", form)
    assert (status, location) == (303, "/subscriptions/crm")
    status, _, text = await submit(browser, f"/endpoints/{ENDPOINT}", {"quarantine_status": digits})
    assert status == 422, text_of(text)
