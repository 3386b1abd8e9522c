"""The first and the last times that there are, in whatever takes a time: an answer, or a 422 that names the field."""

from __future__ import annotations

from urllib.parse import quote

from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

ENDS = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
BEYOND = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")
"""Times that UTC has no year for."""


async def test_every_query_answers_the_first_and_the_last_time(rescind: Rescind) -> None:
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await rescind.tell("order.processed", "o-1")
    await rescind.cancel("o-1")
    schema, asked = await rescind.get("/openapi.json"), 0
    for path, operations in schema["paths"].items():
        parameters = operations.get("get", {}).get("parameters", [])
        for parameter in parameters:
            if "date-time" not in str(parameter) or parameter["in"] != "query":
                continue
            url = path.format_map({"account": ACCOUNT, "order": "o-1", "policy": "p", "id": "p", "subscription": "s"})
            for time in ENDS + BEYOND:
                reply = await rescind.ask("GET", f"{url}?{parameter['name']}={quote(time)}")
                assert reply.status < 500, (url, parameter["name"], time, reply)
                if time in BEYOND:
                    assert "outside the years" in reply.problem(422, "invalid-request")["detail"]
                asked += 1
    assert asked > 60


async def test_a_key_never_expires_at_a_time_that_cannot_be_read_back(rescind: Rescind) -> None:
    """It could be stored, and no list of keys be read from then on."""
    last, beyond = ENDS[1], BEYOND[1]
    refused = await rescind.ask("POST", "/v1/keys", {"name": "ci", "expires_at": beyond})
    assert "expires_at" in refused.problem(422, "invalid-request")["detail"]
    assert (await rescind.ask("POST", "/v1/keys", {"name": "ci", "expires_at": last})).status == 201
    assert last in [key["expires_at"] for key in (await rescind.get("/v1/keys"))["data"]]
