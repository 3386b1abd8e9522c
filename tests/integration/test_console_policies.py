"""The console's pages of policies: the editor, tests, backtests, halting, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, text_of
from providers import Provider, until
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

HOSTILE = '"><script>alert(1)</script>'
POLICY = {
    "id": "idle",
    "accounts": ACCOUNT,
    "when": "order.phase == 'open' && size(order.appointments) == 0",
    "cancel.reason": "client_requested_cancelation",
    "cancel.note": "Not scheduled in time",
    "mode": "shadow",
    "limits.per_day": "3",
}


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


async def submit(browser: Browser, path: str, form: dict[str, str]) -> tuple[int, str, str]:
    """(status, where the response leads, the page)."""
    status, response, text = await browser.send(await browser.get("/orders"), path, form)
    return status, response.headers.get("Location", ""), text


async def create(browser: Browser, **more: str) -> None:
    assert (await submit(browser, "/policies/~new", {**POLICY, **more}))[:2] == (303, "/policies/idle")


async def test_a_policy_is_created_and_changed_by_its_fields(rescind: Rescind, browser: Browser) -> None:
    await create(browser, description=HOSTILE)
    saved = await rescind.get("/v1/policies/idle")
    assert (saved["accounts"], saved["mode"], saved["limits"]) == ([ACCOUNT], "shadow", {"per_day": 3})
    for path in ("/policies", "/policies/idle"):
        shown = await browser.get(path)
        assert HOSTILE not in shown
        assert "0 of 3" in shown
    assert (await submit(browser, "/policies/~new", POLICY))[0] == 409
    changed = {**POLICY, "limits.per_day": "", "wait": "48h since order.opened_at"}
    assert (await submit(browser, "/policies/idle", changed))[0] == 303
    saved = await rescind.get("/v1/policies/idle")
    assert (saved["wait"], saved["version"], saved["limits"]) == ("48h since order.opened_at", 2, {})


@pytest.mark.parametrize(
    ("field", "text", "line", "caret"),
    [
        ("when", "order.phase == 'open' &&\n  order.pase != ''", "  order.pase != ''", 9),
        ("when", "size(order.appointments) = 0", "size(order.appointments) = 0", 26),
        ("wait", "48h since order.oped_at", "48h since order.oped_at", 17),
    ],
)
async def test_a_fault_is_shown_below_its_place(browser: Browser, field: str, text: str, line: str, caret: int) -> None:
    form = {**POLICY, field: text}
    status, _, shown = await submit(browser, "/policies/~new", form)
    assert status == 422
    place = shown.partition('<pre class="place" aria-hidden="true">')[2].partition("</pre>")[0]
    written = line.replace("'", "&#39;")
    assert place == f"{written}\n{' ' * (caret - 1)}^"
    fault = shown.partition(f'id="f-{field}-fault"')[2].partition("</div>")[0]
    assert f"column {caret}" in fault
    assert form["limits.per_day"] in shown.partition('name="limits.per_day" value="')[2][:2], "what was typed stays"


async def test_enforcing_what_nobody_has_seen_must_be_confirmed(rescind: Rescind, browser: Browser) -> None:
    form = {**POLICY, "mode": "enforce"}
    status, _, shown = await submit(browser, "/policies/~new", form)
    assert (status, "never backtested" in shown or "neither backtested" in shown) == (409, True)
    assert 'name="confirm"' in shown
    assert (await rescind.ask("GET", "/v1/policies/idle")).status == 404
    assert (await submit(browser, "/policies/~new", {**form, "confirm": "true"}))[0] == 303
    assert (await rescind.get("/v1/policies/idle"))["mode"] == "enforce"


async def test_what_stands_in_the_form_is_tested_clause_by_clause(rescind: Rescind, browser: Browser) -> None:
    await create(browser)
    await rescind.tell("order.processed", "o-1")
    when = "order.phase == 'open' && order.account == 'other'"
    form = {**POLICY, "when": when, "test_account": ACCOUNT, "test_order": "o-1"}
    for path in ("/policies/idle/test", "/policies/~new/test"):
        status, _, shown = await submit(browser, path, form)
        assert status == 200
        said = text_of(shown)
        assert "true order.phase == 'open' false order.account == 'other'" in said, path
        assert "Nothing was recorded" in said
        assert f'href="/orders/{ACCOUNT}/o-1"' in shown
        assert "order.account == &#39;other&#39;" in shown.partition('name="when"')[2], "the form keeps what was typed"
    assert "other" not in (await rescind.get("/v1/policies/idle"))["when"]
    assert (await submit(browser, "/policies/idle/test", {**form, "test_order": "o-9"}))[0] == 404


async def test_a_backtest_shows_its_days_as_a_chart(rescind: Rescind, browser: Browser) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    for number in range(4):
        await rescind.tell("order.processed", f"o-{number}", at=before)
    await rescind.tell("order.canceled", "o-0")
    status, location, _ = await submit(browser, "/policies/~new/backtest", POLICY)
    assert status == 303
    assert location.startswith("/policies/idle/backtests/bkt_")

    async def done() -> str:
        shown = await browser.get(location)
        return "" if 'id="backtest" data-refresh' in shown else shown

    shown = await until(done, "the backtest")
    report: dict[str, Any] = (await rescind.get(f"/v1{location}"))["report"]
    [day] = report["days"]
    assert (day["would_cancel"], day["too_late"], day["happened"]) == (4, 0, {"canceled": 1, "open": 3})
    assert 'class="bar canceled"' in shown
    assert 'class="bar open"' in shown
    assert f"{day['day']}: 3 open" in shown
    assert f'href="/orders/{ACCOUNT}/o-3"' in shown
    # It counts as seen: the policy may be enforced.
    assert (await submit(browser, "/policies/~new", {**POLICY, "mode": "enforce"}))[0] == 303


async def test_decisions_link_to_orders_events_and_cancellations(rescind: Rescind, browser: Browser) -> None:
    await create(browser, mode="approve")
    await rescind.tell("order.processed", "o-1")

    async def listed() -> list[Any]:
        # Where several write, a policy with limits decides after the webhook's commit.
        return list((await rescind.get("/v1/cancellations"))["data"])

    [proposed] = await until(listed, "the policy's cancellation")
    shown = await browser.get("/policies/idle")
    assert f'href="/orders/{ACCOUNT}/o-1"' in shown
    assert f'href="/cancellations/{proposed["id"]}"' in shown
    assert 'href="/events/evt_' in shown
    assert "1 of 3" in shown


async def test_a_policy_is_halted_and_resumed(rescind: Rescind, browser: Browser) -> None:
    await create(browser)
    assert (await submit(browser, "/policies/idle/pause", {"reason": "too eager"}))[0] == 303
    assert (await rescind.get("/v1/policies/idle"))["paused"]["reason"] == "too eager"
    assert "Halted by bootstrap" in text_of(await browser.get("/policies/idle"))
    assert "paused" in text_of(await browser.get("/policies"))
    assert (await submit(browser, "/policies/idle/resume", {}))[0] == 303
    assert "paused" not in await rescind.get("/v1/policies/idle")
    assert (await submit(browser, "/policies/idle/delete", {"typed": "idle?"}))[0] == 422
    assert (await submit(browser, "/policies/idle/delete", {"typed": "idle"}))[:2] == (303, "/policies")


async def test_who_may_not_change_policies(rescind: Rescind, browser: Browser) -> None:
    await create(browser)
    for scope in ("read", "write"):
        made = (await rescind.ask("POST", "/v1/keys", {"name": scope, "scope": scope})).json
        other = Browser(rescind.url)
        await other.sign_in(made["key"])
        main = (await other.get("/policies/idle")).partition('<main id="main"')[2]
        assert ('action="/policies/idle/test"' in main) == (scope == "write"), "a writer may test"
        assert ">Save<" not in main
        assert ("<form" in main) == (scope == "write")
        assert (await submit(other, "/policies/idle", POLICY))[0] == 403
        assert (await submit(other, "/policies/~new", {**POLICY, "id": "b"}))[0] == 403
        assert (await submit(other, "/policies/idle/delete", {"typed": "idle"}))[0] == 403
        status = 303 if scope == "write" else 403
        assert (await submit(other, "/policies/idle/pause", {}))[0] == status
        assert (await submit(other, "/policies/idle/backtest", POLICY))[0] == status
    assert (await rescind.get("/v1/policies/idle"))["version"] == 1
