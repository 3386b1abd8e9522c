from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from contract.handler_cases import drive
from unit.superloop.support import FIXED, NOW, at, keys, oauth

from app.contract import CancelOutcome, CancelRequest, CancelResult, HttpRequest, HttpResponse, Order, ProbeUnavailable
from handlers.superloop.cancel import cancel, probe
from handlers.superloop.config import Config

CANCEL_REQUEST = CancelRequest(Order("a", "10"), "client_requested", None)
OK, REFUSED = HttpResponse(200, {}), HttpResponse(401, {})


def token(value: str = "tok-1", **more: Any) -> HttpResponse:
    body = {"access_token": value, "expires_in": 300, "token_type": "Bearer", **more}
    return HttpResponse(200, {}, json.dumps({key: each for key, each in body.items() if each is not None}).encode())


def ask(config: Config, around: Any, *answers: HttpResponse) -> tuple[CancelResult, list[HttpRequest]]:
    [result], asked = drive(cancel([CANCEL_REQUEST], config, around), list(answers))
    return result, asked


def form(request: HttpRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def claims(request: HttpRequest) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    decoded: dict[str, Any] = jwt.decode(
        form(request)["client_assertion"], keys()[1], algorithms=["RS256"], options=options
    )
    return decoded


def test_the_assertion_is_the_documented_one() -> None:
    config = oauth()
    result, [asked, call] = ask(config, at(NOW, "n0nce"), token(), OK)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert (asked.method, asked.url) == ("POST", config.token_url)
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.repeatable
    assert asked.confidential, "the answer holds a token"
    assert not call.confidential
    sent = form(asked)
    assertion = sent.pop("client_assertion")
    assert sent == {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "kid": "acme-kid", "typ": "JWT"}
    now = int(NOW.timestamp())
    assert claims(asked) == {
        "iss": "acme-client",
        "sub": "acme-client",
        "aud": config.token_url,
        "jti": "n0nce",
        "iat": now - 30,
        "nbf": now - 30,
        "exp": now + 60,
    }


def test_the_audience_may_be_another() -> None:
    _, [asked, _] = ask(oauth(audience="https://sso.superloop.com/auth/realms/superloop"), at(NOW), token(), OK)
    assert claims(asked)["aud"] == "https://sso.superloop.com/auth/realms/superloop"


@pytest.mark.parametrize(
    "config", [oauth(api_version=3), Config.model_validate({"access_token": "t", "api_version": 3})]
)
def test_every_call_carries_the_token_and_the_version(config: Config) -> None:
    fetched = [] if config.access_token else [token("t")]
    for flow in (cancel([CANCEL_REQUEST], config, at(NOW)), probe([CANCEL_REQUEST.order], config, at(NOW))):
        _, asked = drive(flow, [*fetched, HttpResponse(404, {})])
        assert asked[-1].headers["Authorization"] == "Bearer t"
        assert asked[-1].headers["X-API-VERSION"] == "3"


# -- How long a token is kept --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "kept_s"),
    [
        (300, 270),
        (60, 30),
        (40, 20),
        ("300", 270),
        (300.5, 270.5),
        (None, 30),
        (0, 30),
        (-5, 30),
        ("soon", 30),
        (10**9, 86_370),
    ],
)
def test_a_token_is_kept_until_shortly_before_it_expires(expires_in: Any, kept_s: float) -> None:
    memory: dict[str, Any] = {}
    ask(oauth(), at(NOW, memory=memory), token("tok-1", expires_in=expires_in), OK)
    last = NOW + timedelta(seconds=kept_s)
    _, [call] = ask(oauth(), at(last - timedelta(milliseconds=1), memory=memory), OK)
    assert call.headers["Authorization"] == "Bearer tok-1"
    _, [_, call] = ask(oauth(), at(last, memory=memory), token("tok-2"), OK)
    assert call.headers["Authorization"] == "Bearer tok-2"


def test_a_life_that_is_no_number_is_short() -> None:
    memory: dict[str, Any] = {}
    ask(oauth(), at(NOW, memory=memory), HttpResponse(200, {}, b'{"access_token":"x","expires_in":1e999}'), OK)
    assert memory["access_token"][0] <= NOW + timedelta(days=1)
    nan = HttpResponse(200, {}, b'{"access_token":"x","expires_in":"nan"}')
    ask(oauth(), at(NOW, memory={}), nan, OK)


# -- A token that is refused ---------------------------------------------------------------------


def test_a_refused_token_is_replaced_once_and_the_call_made_again() -> None:
    memory: dict[str, Any] = {}
    result, asked = ask(oauth(), at(NOW, "n", memory), token("old"), REFUSED, token("new"), OK)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert [each.url.rpartition("/")[2] for each in asked] == ["token", "cancel", "token", "cancel"]
    assert [each.headers.get("Authorization") for each in asked] == [None, "Bearer old", None, "Bearer new"]
    assert [each.repeatable for each in asked] == [True, False, True, False]
    assert [claims(asked[0])["jti"], claims(asked[2])["jti"]] == ["n", "n-2"], "an assertion is good for one use"
    assert memory["access_token"][1] == "new"


def test_a_kept_token_that_is_refused_is_replaced() -> None:
    memory = {"access_token": (NOW + timedelta(hours=1), "kept")}
    result, asked = ask(oauth(), at(NOW, memory=memory), REFUSED, token("new"), OK)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert len(asked) == 3


def test_a_token_that_another_flow_replaced_meanwhile_is_used() -> None:
    memory = {"access_token": (NOW + timedelta(hours=1), "kept")}
    flow = cancel([CANCEL_REQUEST], oauth(), at(NOW, memory=memory))
    next(flow)
    memory["access_token"] = (NOW + timedelta(hours=1), "newer")
    assert flow.send(REFUSED).headers["Authorization"] == "Bearer newer"


def test_a_second_refusal_is_the_account_s() -> None:
    result, _ = ask(oauth(), at(NOW), token("old"), REFUSED, token("new"), REFUSED)
    assert result.outcome is CancelOutcome.UNAUTHORIZED
    assert "a fresh one" in result.detail


def test_a_fixed_token_is_not_replaced() -> None:
    result, [call] = ask(Config.model_validate({"access_token": FIXED}), at(NOW), REFUSED)
    assert result.outcome is CancelOutcome.UNAUTHORIZED
    assert call.headers["Authorization"] == f"Bearer {FIXED}"
    assert FIXED not in result.detail


def test_each_order_of_a_flow_may_replace_a_token() -> None:
    answers = [token("a"), REFUSED, token("b"), HttpResponse(404, {}), REFUSED, token("c"), HttpResponse(404, {})]
    orders = [Order("a", "1"), Order("a", "2")]
    _, asked = drive(probe(orders, oauth(), at(NOW, "n")), answers)
    jtis = [claims(each)["jti"] for each in asked if each.method == "POST"]
    assert jtis == ["n", "n-2", "n-3"]


# -- No token ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome", "after_s", "says"),
    [
        (400, {"error": "invalid_client"}, {}, "unauthorized", None, "invalid_client"),
        (401, {"error": "invalid_client", "error_description": "Bad kid"}, {}, "unauthorized", None, "Bad kid"),
        (401, None, {"retry-after": "9"}, "unauthorized", None, "client_id"),
        (403, {"error": "access_denied"}, {}, "unauthorized", None, "access_denied"),
        (400, {"error": "temporarily_unavailable"}, {}, "retry", None, "temporarily_unavailable"),
        (400, {"error": "slow_down"}, {"retry-after": "5"}, "throttled", 5.0, "slow_down"),
        (429, None, {"retry-after": "7"}, "throttled", 7.0, "429"),
        (429, None, {}, "throttled", None, "429"),
        (500, {"error": "unknown_error"}, {}, "retry", None, "unknown_error"),
        (503, None, {"retry-after": "3"}, "retry", 3.0, "503"),
        (408, None, {}, "retry", None, "failed"),
        (404, {"error": "Realm does not exist"}, {}, "retry", None, "token_url"),
        (302, None, {}, "retry", None, "token_url"),
        (200, None, {}, "retry", None, "token_url"),
        (200, {"access_token": ""}, {}, "retry", None, "token_url"),
        (200, {"access_token": "two words"}, {}, "retry", None, "token_url"),
        (200, {"access_token": "line\nend"}, {}, "retry", None, "token_url"),
        (200, {"access_token": 7}, {}, "retry", None, "token_url"),
        (200, ["x"], {}, "retry", None, "token_url"),
        (400, {"error": ["x"]}, {}, "unauthorized", None, "400"),
    ],
)
def test_without_a_token_nothing_is_sent_and_nothing_is_doubtful(
    status: int, body: Any, headers: dict[str, str], outcome: str, after_s: float | None, says: str
) -> None:
    answer = HttpResponse(status, headers, b"" if body is None else json.dumps(body).encode())
    result, [asked] = ask(oauth(), at(NOW), answer)
    assert (result.outcome, result.after_s, result.may_have_applied) == (outcome, after_s, False)
    assert says in result.detail
    assert result.detail.endswith(".")
    assert asked.url.endswith("/token")
    [found], _ = drive(probe([CANCEL_REQUEST.order], oauth(), at(NOW)), [answer])
    assert isinstance(found, ProbeUnavailable)
    assert (found.outcome, found.after_s) == (outcome, after_s)


def test_a_token_that_cannot_be_replaced_ends_the_flow() -> None:
    result, asked = ask(oauth(), at(NOW), token("old"), REFUSED, HttpResponse(503, {}))
    assert (result.outcome, result.may_have_applied) == (CancelOutcome.RETRY, False)
    assert len(asked) == 3


def test_no_token_and_no_assertion_show() -> None:
    around = at(NOW)
    flow = cancel([CANCEL_REQUEST], oauth(), around)
    asked = next(flow)
    assertion = form(asked)["client_assertion"]
    echo = json.dumps({"error": "invalid_client", "error_description": f"bad {assertion}"}).encode()
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(401, {}, echo))
    assert assertion[:40] not in end.value.value[0].detail
    echo = json.dumps({"message": "tok-secret"}).encode()
    result, asked_again = ask(oauth(), at(NOW), token("tok-secret"), HttpResponse(422, {}, echo))
    assert "tok-secret" not in f"{result} {asked_again!r} {around!r}"
