"""Composition of credentials: what `send_authorized` does with any `Authorize`, and what flows keep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from contract.handler_cases import drive
from msgspec.structs import replace

from app.contract import CancelOutcome, Context, Flow, HttpRequest, HttpResponse, ProbeUnavailable
from app.kit.tokens import FetchedToken, FixedToken, MadeToken, bearer, endpoint_table, send_authorized

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
CALL = HttpRequest("POST", "https://api.example.com/orders/1/cancel", {"X-Own": "1"})
OK, REFUSED = HttpResponse(200), HttpResponse(401)
FETCHED = FetchedToken(
    request=lambda _: HttpRequest("POST", "https://auth.example.com/token"),
    table=endpoint_table("The endpoint", client="the client", address="token_url"),
)


def token(value: str) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps({"access_token": value, "expires_in": 300}).encode())


def send(authorize: Any, *answers: HttpResponse, context: Context | None = None) -> tuple[Any, list[HttpRequest]]:
    return drive(send_authorized(CALL, authorize, None, context or Context(NOW)), list(answers))


def test_a_call_is_authorized_and_keeps_its_own_headers() -> None:
    response, [asked, call] = send(bearer(lambda _: FETCHED), token("a"), OK)
    assert response is OK
    assert asked.shared
    assert call.headers == {"X-Own": "1", "Authorization": "Bearer a"}


def test_a_refused_token_is_replaced_once() -> None:
    context = Context(NOW)
    response, asked = send(bearer(lambda _: FETCHED), token("a"), REFUSED, token("b"), OK, context=context)
    assert (response, len(asked)) == (OK, 4)
    response, asked = send(bearer(lambda _: FETCHED), REFUSED, token("c"), REFUSED, context=context)
    assert (response, len(asked)) == (REFUSED, 3)
    _, [call] = send(bearer(lambda _: FETCHED), OK, context=context)
    assert call.headers["Authorization"] == "Bearer c"


def test_what_another_flow_fetched_meanwhile_is_used() -> None:
    context = Context(NOW)
    flow = send_authorized(CALL, bearer(lambda _: FETCHED), None, context)
    next(flow)
    flow.send(token("a"))
    context.keep("access_token", "newer", NOW + timedelta(hours=1))
    assert flow.send(REFUSED).headers["Authorization"] == "Bearer newer"


def test_credentials_that_stay_the_same_are_not_tried_again() -> None:
    def signed(request: HttpRequest, _config: Any, context: Context) -> Flow[HttpRequest | ProbeUnavailable]:
        seen.append(context.refused is not None)
        return replace(request, headers={"X-Signature": "s"})
        yield

    seen = list[bool]()
    for authorize in (signed, bearer(lambda _: FixedToken("fixed")), bearer(lambda _: MadeToken(lambda _: "made"))):
        response, asked = send(authorize, REFUSED)
        assert (response, len(asked)) == (REFUSED, 1)
    assert seen == [False, True]


def test_without_credentials_nothing_is_sent() -> None:
    none = ProbeUnavailable("no key", outcome=CancelOutcome.UNAUTHORIZED)
    assert send(bearer(lambda _: MadeToken(lambda _: none))) == (none, [])
    unavailable, asked = send(bearer(lambda _: FETCHED), HttpResponse(503))
    assert (type(unavailable), len(asked)) == (ProbeUnavailable, 1)
    unavailable, asked = send(bearer(lambda _: FETCHED), token("a"), REFUSED, HttpResponse(503))
    assert (type(unavailable), len(asked)) == (ProbeUnavailable, 3)


def test_who_shares_a_response_does_not_prolong_the_token() -> None:
    """A flow that began after the token was issued, and waited for another's call, counts from that one's beginning."""
    memory: dict[str, Any] = {}
    first, second = Context(NOW, memory=memory), Context(NOW + timedelta(seconds=60), memory=memory)
    flows = [send_authorized(CALL, bearer(lambda _: FETCHED), None, context) for context in (first, second)]
    for flow in flows:
        assert next(flow).shared
    for flow in flows:
        flow.send(token("a"))
    assert memory["access_token"] == (NOW + timedelta(seconds=270), "a")


def test_what_a_flow_came_by_is_concealed_and_not_shown() -> None:
    context = Context(NOW)
    send(bearer(lambda _: FETCHED), token("s3cret-token"), OK, context=context)
    assert context.concealed == {"s3cret-token"}
    context.keep("refresh", "s3cret-refresh", durable=True)
    assert context.recall("refresh") == "s3cret-refresh"
    shown = f"{context!r} {FixedToken('s3cret')!r} {FETCHED!r}"
    assert "s3cret" not in shown
