"""Every list has a cap on its pages, and its pages together are the whole list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from servers import Rescind, account_of

from app.store import Backtest
from app.web.server import ROUTES

CAP = 500


def is_list(response: Any) -> bool:
    fields = getattr(response, "__struct_fields__", None) or getattr(
        getattr(response, "__origin__", None), "__struct_fields__", ()
    )
    return {"data", "next_cursor"} <= set(fields)


def test_every_list_takes_a_limit_with_a_cap_and_a_cursor() -> None:
    lists = [route for route in ROUTES if route.method == "GET" and is_list(route.response)]
    assert len(lists) >= 12
    for route in lists:
        if route.name == "listRefusals":
            continue  # It has 20 rows at most.
        fields = route.query.model_fields
        assert {"limit", "cursor"} <= fields.keys(), route.name
        caps = [limit.le for limit in fields["limit"].metadata if hasattr(limit, "le")]
        assert caps, route.name
        assert caps[0] <= CAP, route.name
        assert fields["limit"].default <= CAP, route.name
    names = {route.name for route in lists}
    assert {route.name for route in ROUTES if route.name.startswith("list")} - names == set()


async def test_pages_of_what_was_configured_are_the_whole(rescind: Rescind) -> None:
    for number in range(5):
        await rescind.put("accounts", f"a-{number}", account_of("http://127.0.0.1:1"))
        assert (await rescind.ask("POST", "/v1/keys", {"name": str(number)})).status == 201
        report = {"events": 1, "orders": 1}
        backtest = Backtest(number + 1, "p", "hash", datetime.now(UTC), "me", report)
        await rescind.node.store.save_backtest(backtest)
    for path in ("/v1/accounts", "/v1/keys", "/v1/changes", "/v1/policies/p/backtests"):
        whole = (await rescind.get(path))["data"]
        assert len(whole) >= 5, path
        for limit in (1, 2, len(whole)):
            assert await rescind.pages(path, limit) == whole, path
        (await rescind.ask("GET", f"{path}?limit={CAP + 1}")).problem(422, "invalid-request")
        (await rescind.ask("GET", f"{path}?limit=0")).problem(422, "invalid-request")
    # What is removed meanwhile leaves no gap.
    first = await rescind.get("/v1/accounts?limit=3")
    await rescind.ask("DELETE", f"/v1/accounts/{first['next_cursor']}")
    rest = await rescind.get(f"/v1/accounts?cursor={first['next_cursor']}")
    assert len(first["data"]) + len(rest["data"]) == 6
