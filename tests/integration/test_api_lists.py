"""Reading: orders, verdicts of other times, timelines, events, receipts; pages to the end, filters, wrong queries."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of, webhook

from app.web.pages import encode_cursor

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBER = 23
LISTS = ["/v1/orders", "/v1/events", "/v1/receipts", "/v1/cancellations"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shared: Rescind) -> Rescind:
    """Two accounts; 23 orders of the one, 2 of the other; two receipts in quarantine; 12 cancellations."""
    for account in (ACCOUNT, "other"):
        await shared.put("accounts", account, account_of("http://127.0.0.1:9"))
        await shared.put("endpoints", f"{account}-in", endpoint_of(account))
    await shared.ask("POST", "/v1/pause", {"scope": "all"})
    for n in range(NUMBER):
        event = ("order.processed", "appointment.scheduled", "order.delivered", "order.canceled")[n % 4]
        await shared.tell(event, f"o-{n}", metadata={"city": f"Denver {n}"})
    for n in range(2):
        await shared.tell("order.processed", f"p-{n}", "other-in")
    await shared.hook(webhook("order.exploded", "o-1"))
    await shared.hook(b"{", "other-in")
    for n in range(12):
        await shared.request_cancel(f"o-{n}")
    return shared


# -- Pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
async def test_pages_lead_to_the_end_without_gaps_or_repeats(filled: Rescind, path: str) -> None:
    everything = (await filled.get(f"{path}?limit=500"))["data"]
    assert len(everything) >= 12
    for limit in (1, 7, len(everything) - 1, len(everything), len(everything) + 1):
        assert [each["id"] for each in await filled.pages(path, limit)] == [each["id"] for each in everything]
    assert len({each["id"] for each in everything}) == len(everything)


async def test_a_page_stays_valid_while_rows_arrive(filled: Rescind) -> None:
    first = await filled.get("/v1/receipts?limit=3")
    for n in range(3):
        await filled.hook(webhook("order.processed", f"new-{n}"), "other-in")
    second = await filled.get(f"/v1/receipts?limit=3&cursor={first['next_cursor']}")
    ids = [each["id"] for each in (*first["data"], *second["data"])]
    assert ids == sorted(set(ids), reverse=True)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1e3",
        "limit=5&limit=6",
        "cursor=abc",
        "cursor=1.5",
        "cursor=99999999999999999999999",
        "cursor=-99999999999999999999999",
        "cursor=",
        "colour=red",
        "%ED%A0%80=1",
        "limit=%00",
        "Limit=5",
    ],
)
async def test_wrong_queries_are_named(filled: Rescind, path: str, query: str) -> None:
    problem = (await filled.ask("GET", f"{path}?{query}")).problem(422, "invalid-request")
    assert problem["field"]


@pytest.mark.parametrize("position", [0, -1, 2**63 - 1, 1 - 2**63])
async def test_cursors_at_the_edge(filled: Rescind, position: int) -> None:
    for path in LISTS:
        for newer in (False, True):
            page = await filled.get(f"{path}?cursor={encode_cursor(position, newer=newer)}&limit=1")
            assert len(page["data"]) == (1 if (position > 2) != newer else 0)


@pytest.mark.parametrize("path", LISTS)
async def test_pages_lead_back_to_the_beginning(filled: Rescind, path: str) -> None:
    everything = [row["id"] for row in (await filled.get(f"{path}?limit=500"))["data"]]
    for limit in (1, 5, len(everything) - 1):
        page = await filled.get(f"{path}?limit={limit}")
        assert page["previous_cursor"] is None
        while page["has_more"]:
            page = await filled.get(f"{path}?limit={limit}&cursor={page['next_cursor']}")
        back = [row["id"] for row in page["data"]]
        assert back == everything[-len(back) :]
        while page["previous_cursor"] is not None:
            page = await filled.get(f"{path}?limit={limit}&cursor={page['previous_cursor']}")
            # From there on as from the page before.
            assert page["has_more"]
            back = [row["id"] for row in page["data"]] + back
        assert back == everything


async def test_lists_by_id_page_both_ways(filled: Rescind) -> None:
    for path in ("/v1/providers", "/v1/accounts"):
        rows = (await filled.get(path))["data"]
        for limit in (1, 2, len(rows)):
            page = await filled.get(f"{path}?limit={limit}")
            pages = [page]
            while page["has_more"]:
                page = await filled.get(f"{path}?limit={limit}&cursor={page['next_cursor']}")
                pages.append(page)
            assert [row for page in pages for row in page["data"]] == rows
            for before in pages[-2::-1]:
                page = await filled.get(f"{path}?limit={limit}&cursor={page['previous_cursor']}")
                assert (page["data"], page["next_cursor"]) == (before["data"], before["next_cursor"])
            assert page["previous_cursor"] is None


async def test_pages_lead_on_to_what_arrives_meanwhile(filled: Rescind) -> None:
    second = await filled.get(f"/v1/receipts?limit=1&cursor={encode_cursor(2**63 - 1)}")
    newest = await filled.get(f"/v1/receipts?cursor={second['previous_cursor']}")
    assert (newest["data"], newest["previous_cursor"]) == ([], None)
    assert (await filled.get(f"/v1/receipts?limit=1&cursor={newest['next_cursor']}"))["data"] == second["data"]
    await filled.hook(webhook("order.processed", "later"), "other-in")
    later = await filled.get(f"/v1/receipts?cursor={second['previous_cursor']}")
    assert len(later["data"]) == 1
    assert (await filled.get(f"/v1/receipts?limit=1&cursor={later['next_cursor']}"))["data"] == second["data"]


async def test_a_cursor_of_another_list_is_refused(filled: Rescind) -> None:
    cursor = encode_cursor((1, "o-1"))
    for path in LISTS:
        problem = (await filled.ask("GET", f"{path}?cursor={cursor}")).problem(422, "invalid-request")
        assert problem["field"] == "cursor"


# -- Filters -----------------------------------------------------------------------------------------------


async def test_orders_by_account_phase_and_verdict(filled: Rescind) -> None:
    async def ids(query: str) -> set[str]:
        return {each["id"] for each in await filled.pages(f"/v1/orders?{query}", 4)}

    mine = {f"o-{n}" for n in range(NUMBER)}
    assert await ids(f"account={ACCOUNT}") == mine
    assert {"p-0", "p-1"} <= await ids("account=other")
    assert await ids(f"account={ACCOUNT}&phase=completed") == {f"o-{n}" for n in range(2, NUMBER, 4)}
    assert await ids(f"account={ACCOUNT}&phase=open&cancelable=yes") == {f"o-{n}" for n in range(0, NUMBER, 4)}
    assert await ids(f"account={ACCOUNT}&cancelable=no") == {f"o-{n}" for n in range(NUMBER) if n % 4}
    for query in ("phase=closed", "cancelable=perhaps"):
        (await filled.ask("GET", f"/v1/orders?{query}")).problem(422, "invalid-request")


async def test_events_by_order_type_time_and_text(filled: Rescind) -> None:
    async def types(query: str) -> list[str]:
        return [each["type"] for each in await filled.pages(f"/v1/events?{query}", 3)]

    assert await types(f"account={ACCOUNT}&order=o-1") == ["cancellation.rejected", "appointment.scheduled"]
    assert {each.partition(".")[0] for each in await types("type=appointment.*")} == {"appointment"}
    assert set(await types("type=cancellation.*")) == {"cancellation.scheduled", "cancellation.rejected"}
    assert await types("type=appointment.") == []
    assert len(await types("type=*")) == len(await types(""))
    assert await types("type=*.rejected,cancellation.sch*") == await types("type=cancellation.*")
    assert await types("source=clock") == []
    assert len(await types("source=webhook")) + len(await types("source=operator")) == len(await types(""))
    receipt = (await filled.get("/v1/events?type=order.processed&limit=1"))["data"][0]["receipt"]
    assert await types(f"receipt={receipt}") == ["order.processed"]
    (await filled.ask("GET", "/v1/events?receipt=nonsense")).problem(422, "invalid-request")
    assert await types(f"account={ACCOUNT}&text=DENVER 12".replace(" ", "%20")) == ["order.processed"]
    (await filled.ask("GET", "/v1/events?text=%25%25")).problem(422, "invalid-request")
    assert await types(f"account={ACCOUNT}&order=nobody") == []
    every = await filled.pages("/v1/events", 50)
    middle = every[10]["received_at"]
    since = await filled.pages(f"/v1/events?since={middle}", 50)
    until = await filled.pages(f"/v1/events?until={middle}", 50)
    assert all(each["received_at"] >= middle for each in since)
    assert all(each["received_at"] < middle for each in until)
    assert len(since) + len(until) == len(every)
    assert await types(f"since={middle}&until={middle}") == []


async def test_facets_count_the_events_of_the_filters(filled: Rescind) -> None:
    for query in ("", f"?account={ACCOUNT}", "?type=cancellation.*", "?text=denver", f"?account={ACCOUNT}&order=o-1"):
        rows = await filled.pages(f"/v1/events{query}", 500)
        facets = await filled.get(f"/v1/events/facets{query}")
        assert (facets["total"], facets["complete"]) == (len(rows), True), query
        for field in ("type", "account", "source"):
            values = {facet["value"]: facet["count"] for facet in facets["facets"][field]}
            assert values == Counter(row[field] for row in rows), query
        assert sum(facet["count"] for facet in facets["facets"]["day"]) == len(rows), query
    (await filled.ask("GET", "/v1/events/facets?account=nobody")).problem(404, "not-found")


async def test_facets_count_the_receipts_of_the_filters(filled: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = ("status", "endpoint", "account")
    quarantined = {"value": "quarantined", "count": 2, "complete": True}
    for query in ("", "?status=quarantined", f"?account={ACCOUNT}", "?endpoint=other-in", "?text=denver", "?reason=xx"):
        rows = await filled.pages(f"/v1/receipts{query}", 500)
        facets = await filled.get(f"/v1/receipts/facets{query}")
        assert (facets["total"], facets["complete"]) == (len(rows), True), query
        for field in fields:
            values = {facet["value"]: facet["count"] for facet in facets["facets"][field]}
            assert values == Counter(row[field] for row in rows), query
    # Of more than are counted, those that were set aside are counted by their index.
    monkeypatch.setattr("app.store.facets.COUNTED_MAX", 1)
    counted = await filled.get("/v1/receipts/facets")
    assert (counted["total"], counted["complete"]) == (1, False)
    assert quarantined in counted["facets"]["status"]
    (await filled.ask("GET", "/v1/receipts/facets?endpoint=nowhere")).problem(404, "not-found")


@pytest.mark.parametrize(
    "query",
    [
        "order=o-1",
        "type=a*b*c*d*e",
        "type=a,,b",
        "type=a?",
        "type=[a]",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "until=",
        "text=x",
        "since=2026-13-01T00:00:00Z",
    ],
)
async def test_filters_that_cannot_be(filled: Rescind, query: str) -> None:
    (await filled.ask("GET", f"/v1/events?{query}")).problem(422, "invalid-request")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "1e3", "253402300799"])
async def test_moments_at_the_edge(filled: Rescind, moment: str) -> None:
    verdict = f"/v1/accounts/{ACCOUNT}/orders/o-1/verdict"
    for path in ("/v1/events?since=", "/v1/events?until=", f"{verdict}?at=", f"{verdict}?known_at="):
        reply = await filled.ask("GET", path + moment)
        assert reply.status in (200, 422), (path, reply)


async def test_receipts_by_endpoint_and_status(filled: Rescind) -> None:
    async def rows(query: str) -> list[Any]:
        return await filled.pages(f"/v1/receipts?{query}", 4)

    assert {each["endpoint"] for each in await rows("endpoint=other-in")} == {"other-in"}
    assert {(each["endpoint"], each["status"]) for each in await rows("status=quarantined")} == {
        (ENDPOINT, "quarantined"),
        ("other-in", "quarantined"),
    }
    assert len(await rows(f"endpoint={ENDPOINT}&status=accepted")) == NUMBER
    assert all("body" not in each and "headers" not in each for each in await rows(""))
    (await filled.ask("GET", "/v1/receipts?status=lost")).problem(422, "invalid-request")


async def test_cancellations_by_state_and_order(filled: Rescind) -> None:
    async def orders(query: str) -> list[str]:
        return [each["order"] for each in await filled.pages(f"/v1/cancellations?{query}", 4)]

    assert await orders("state=scheduled") == ["o-8", "o-4", "o-0"]
    assert await orders("state=rejected") == [f"o-{n}" for n in range(11, -1, -1) if n % 4]
    assert await orders(f"account={ACCOUNT}&order=o-3") == ["o-3"]
    assert await orders("account=other") == await orders(f"account={ACCOUNT}&order=o-22") == []
    for query in ("state=lost", "order=o-1"):
        (await filled.ask("GET", f"/v1/cancellations?{query}")).problem(422, "invalid-request")


async def test_what_is_not_there(filled: Rescind) -> None:
    for path in (
        "/v1/accounts/nobody/orders/o-1",
        f"/v1/accounts/{ACCOUNT}/orders/nobody",
        f"/v1/accounts/{ACCOUNT}/orders/nobody/verdict",
        f"/v1/accounts/{ACCOUNT}/orders/nobody/timeline",
        "/v1/events/evt_" + "0" * 32,
        "/v1/events/evt_" + "0" * 31 + "x",
        "/v1/events/nonsense",
        "/v1/receipts/rcp_0000000000000001",
        "/v1/receipts/rcp_" + "f" * 16,
        "/v1/receipts/rcp_" + "%D9%A1" * 16,
        "/v1",
        "/v1/nothing",
        "/v1/orders?account=nobody",
        "/v1/events?account=nobody",
        "/v1/events?account=nobody&order=o-1",
        "/v1/cancellations?account=nobody",
        "/v1/cancellations?policy=nothing",
        "/v1/receipts?endpoint=nowhere",
        "/v1/policies/nothing/decisions",
        "/v1/policies/nothing/backtests",
        "/v2/orders",
    ):
        (await filled.ask("GET", path)).problem(404, "not-found")


# -- One order ------------------------------------------------------------------------------------------------

_VERDICT = f"/v1/accounts/{ACCOUNT}/orders/story/verdict"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(filled: Rescind) -> list[datetime]:
    """An order with a history; returns when each event was received."""
    moments = []
    for event, at in (
        ("order.processed", "2026-01-01T10:00:00Z"),
        ("appointment.scheduled", "2026-01-02T10:00:00Z"),
        ("order.delivered", "2026-01-04T10:00:00Z"),
        # It comes last, and happened before.
        ("appointment.awaiting_availability", "2026-01-01T12:00:00Z"),
    ):
        receipt = await filled.tell(event, "story", occurred_at=at, request_id="story-request")
        moments.append(datetime.fromisoformat((await filled.get(f"/v1/receipts/{receipt}"))["received_at"]))
    return moments


async def test_the_verdict_of_now_and_as_it_was_known(filled: Rescind, story: list[datetime]) -> None:
    now = await filled.get(_VERDICT)
    assert (now["cancelable"], now["reason"]) == ("no", "completed")
    expected = ["yes", "no", "no", "no"]
    for moment, cancelable in zip(story, expected, strict=True):
        stamp = moment.isoformat().replace("+", "%2B")
        then = await filled.get(f"{_VERDICT}?known_at={stamp}&at={stamp}")
        assert (then["cancelable"], then["as_of"][:23]) == (cancelable, moment.isoformat()[:23])
    early = (story[0] - timedelta(days=1)).isoformat().replace("+", "%2B")
    before = await filled.get(f"{_VERDICT}?known_at={early}")
    assert (before["cancelable"], before["reason"], before["evidence"]) == ("unknown", "never_seen", [])
    for query in ("at=noon", "known_at=2026-01-01T00:00:00", "when=now"):
        (await filled.ask("GET", f"{_VERDICT}?{query}")).problem(422, "invalid-request")


async def test_the_timeline_tells_what_became_known_when(filled: Rescind, story: list[datetime]) -> None:
    lines = await filled.timeline("story")
    assert [each["at"] for each in lines] == sorted(each["at"] for each in lines)
    told = [each["event"]["type"] if each["kind"] == "event" else each["verdict"]["reason"] for each in lines]
    assert told == [
        "order.processed",
        "not_scheduled",
        "appointment.scheduled",
        "in_progress",
        "order.delivered",
        "completed",
        "appointment.awaiting_availability",
    ]
    assert len({each["event"]["receipt"] for each in lines if each["kind"] == "event"}) == len(story)
    for line in lines:
        for id in line.get("verdict", {}).get("evidence", []):
            assert (await filled.get(f"/v1/events/{id}"))["order"] == "story"


async def test_an_order_is_found_by_every_name(filled: Rescind, story: list[datetime]) -> None:
    order = await filled.order("story")
    assert (order["version"], order["phase"]) == (len(story), "completed")
    assert order["opened_at"] == "2026-01-01T10:00:00Z"
    for alias in order["aliases"]:
        same = await filled.order(alias)
        assert {**same, "verdict": None} == {**order, "verdict": None}
    assert order["aliases"]
