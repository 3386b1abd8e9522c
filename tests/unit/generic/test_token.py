"""Tokens by configuration: what the endpoint is asked, what the calls carry, and what is refused when it is saved."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from contract.handler_cases import drive
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError
from unit.generic.support import CALL, NOW, make, order

from app.contract import CancelOutcome, CancelRequest, CancelResult, Context, HttpRequest, HttpResponse
from handlers.generic.cancel import cancel, probe

SECRET = "t0p+secret/key"
CLIENT = {"client_id": "acme", "client_secret": "{{ secrets.client_secret }}", "grant_type": "client_credentials"}
OAUTH = {"url": "https://auth.example.com/oauth/token", "body": CLIENT}
REQUEST = CancelRequest(order(), "late", None)
OK, REFUSED = HttpResponse(200, {}), HttpResponse(401, {})
Headers = Mapping[str, str]


def private_pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


RSA = rsa.generate_private_key(65537, 2048)


def answer(body: Any, status: int = 200, headers: Headers | None = None) -> HttpResponse:
    return HttpResponse(status, dict(headers or {}), json.dumps(body).encode())


def token(value: str = "tok-1", **more: Any) -> HttpResponse:
    return answer({"access_token": value, "expires_in": 300, **more})


def ask(
    given: Mapping[str, Any], *answers: HttpResponse, context: Context | None = None, **more: Any
) -> tuple[CancelResult, list[HttpRequest]]:
    config = make(token=given, **{"secrets": {"client_secret": SECRET}, **more})
    [result], asked = drive(cancel([REQUEST], config, context or Context(NOW, "n0nce")), list(answers))
    return result, asked


def form(request: HttpRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


# -- Shapes of providers --------------------------------------------------------------------------


def test_client_credentials_in_a_form() -> None:
    result, [asked, call] = ask(OAUTH, token(), OK)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert (asked.method, asked.url, asked.repeatable, asked.confidential) == ("POST", OAUTH["url"], True, True)
    assert asked.shared, "flows of a burst share it"
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form(asked) == {**CLIENT, "client_secret": SECRET}
    assert call.headers["Authorization"] == "Bearer tok-1"
    assert (call.shared, call.confidential, call.repeatable) == ("", False, False)


def test_client_credentials_in_a_basic_header() -> None:
    basic = 'Basic {{ base64.encode(bytes("acme:" + secrets.client_secret)) }}'
    given = {"url": OAUTH["url"], "headers": {"Authorization": basic}, "body": {"grant_type": "client_credentials"}}
    _, [asked, _] = ask(given, token(), OK)
    assert base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode() == f"acme:{SECRET}"


def test_a_login_by_json_whose_answer_has_the_token_deeper() -> None:
    given = {
        "url": "https://ws-api.example.com/authentication/v1/authentication/login",
        "encoding": "json",
        "body": {"clientId": "acme", "clientSecret": "{{ secrets.client_secret }}", "userAccessType": "MACHINE"},
        "access_token": "token.accessToken",
        "expires_in": "token.expiresIn",
    }
    memory: dict[str, Any] = {}
    replied = answer({"token": {"tokenType": "Bearer", "accessToken": "t.o.k", "expiresIn": 1000}})
    _, [asked, call] = ask(given, replied, OK, context=Context(NOW, memory=memory))
    assert json.loads(asked.body)["clientSecret"] == SECRET
    assert asked.headers["Content-Type"] == "application/json"
    assert call.headers["Authorization"] == "Bearer t.o.k"
    [(until, _)] = memory.values()
    assert until == NOW + timedelta(seconds=970)


def test_a_call_says_itself_where_the_token_stands() -> None:
    headers = {"x-amz-access-token": "{{ token }}"}
    _, [_, call] = ask(OAUTH, token(), OK, cancel={**CALL, "headers": headers})
    assert call.headers["x-amz-access-token"] == "tok-1"
    assert "Authorization" not in call.headers


def test_a_life_for_answers_that_state_none() -> None:
    memory: dict[str, Any] = {}
    ask({**OAUTH, "life_s": 3600}, answer({"access_token": "x"}), OK, context=Context(NOW, memory=memory))
    assert [until for until, _ in memory.values()] == [NOW + timedelta(seconds=3570)]


def test_a_jwt_for_each_call() -> None:
    key = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    given = {
        "jwt": {
            "alg": "HS256",
            "header": {"dd-ver": "DD-JWT-V1"},
            "claims": {"aud": "doordash", "iss": "dev-1", "kid": "key-1"},
            "key": "secrets.signing_secret",
            "key_encoding": "base64url",
            "ttl_s": 300,
        }
    }
    _, [call] = ask(given, OK, secrets={"signing_secret": key})
    made = call.headers["Authorization"].removeprefix("Bearer ")
    assert jwt.get_unverified_header(made) == {"alg": "HS256", "typ": "JWT", "dd-ver": "DD-JWT-V1"}
    claims = jwt.decode(made, bytes(range(32)), ["HS256"], audience="doordash", options={"verify_exp": False})
    now = int(NOW.timestamp())
    assert claims == {"aud": "doordash", "iss": "dev-1", "kid": "key-1", "iat": now, "exp": now + 300}
    result, asked = ask(given, REFUSED, secrets={"signing_secret": key})
    assert (result.outcome, len(asked)) == (CancelOutcome.UNAUTHORIZED, 1), "another one would say the same"


def test_a_jwt_that_is_exchanged_for_a_token() -> None:
    given = {
        "url": OAUTH["url"],
        "body": {"grant_type": "client_credentials", "client_assertion": "{{ jwt }}"},
        "jwt": {
            "alg": "RS256",
            "header": {"kid": "k1"},
            "claims": {"jti": "{{ jti }}", "nbf": "{{ int(now) - 30 }}", "iat": None, "iss": "acme"},
            "key": "secrets.private_key",
        },
    }
    secrets = {"private_key": private_pem(RSA).replace("\n", "\\n")}
    _, [first, _, second, _] = ask(given, token("a"), REFUSED, token("b"), OK, secrets=secrets)
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    options: Any = {"verify_exp": False}
    one, two = (
        jwt.decode(form(asked)["client_assertion"], public, ["RS256"], options=options) for asked in (first, second)
    )
    now = int(NOW.timestamp())
    assert one == {"jti": "n0nce", "nbf": now - 30, "exp": now + 300, "iss": "acme"}
    assert two["jti"] == "n0nce-2", "an assertion is good for one use"


ROTATING = {
    "url": OAUTH["url"],
    "body": {"grant_type": "refresh_token", "refresh_token": "{{ refresh_token }}"},
    "refresh_token": {"initial": "secrets.first"},
}


def test_a_refresh_token_that_changes_with_each_use() -> None:
    durable: dict[str, str] = {}
    for number, sent in enumerate(("r0", "r1", "r2")):
        context = Context(NOW + timedelta(hours=number), durable=durable)
        answers = (token(f"t{number}", refresh_token=f"r{number + 1}"), OK)
        _, [asked, _] = ask(ROTATING, *answers, context=context, secrets={"first": "r0"})
        assert form(asked)["refresh_token"] == sent
    _, [asked, _] = ask(ROTATING, token(), OK, context=Context(NOW, durable=durable), secrets={"first": "another"})
    assert form(asked)["refresh_token"] == "another", "a changed configuration wins"
    _, [asked, _] = ask(ROTATING, token(), OK, context=Context(NOW, durable=durable), secrets={"first": "r0"})
    assert form(asked)["refresh_token"] == "r3", "an answer without another one leaves it"
    assert not any("r0" in key or "another" in key for key in durable)


# -- Reuse, and refusals --------------------------------------------------------------------------


def test_a_token_is_used_until_shortly_before_it_expires() -> None:
    memory: dict[str, Any] = {}

    def at(after_s: float) -> Context:
        return Context(NOW + timedelta(seconds=after_s), memory=memory)

    ask(OAUTH, token("a"), OK, context=at(0))
    _, [call] = ask(OAUTH, OK, context=at(269))
    assert call.headers["Authorization"] == "Bearer a"
    _, [_, call] = ask(OAUTH, token("b"), OK, context=at(270))
    assert call.headers["Authorization"] == "Bearer b"


def test_a_refused_token_is_replaced_once() -> None:
    result, asked = ask(OAUTH, token("a"), REFUSED, token("b"), OK)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert [each.headers.get("Authorization") for each in asked] == [None, "Bearer a", None, "Bearer b"]
    result, asked = ask(OAUTH, token("a"), REFUSED, token("b"), REFUSED)
    assert (result.outcome, len(asked)) == (CancelOutcome.UNAUTHORIZED, 4)


def test_a_403_replaces_a_remembered_token_once_where_the_source_says_so_of_an_expired_one() -> None:
    given, denied = {**OAUTH, "refresh_on": [401, 403]}, HttpResponse(403, {})
    memory: dict[str, Any] = {}

    def sent(*answers: HttpResponse, **more: Any) -> tuple[str, list[str | None]]:
        result, asked = ask(given, *answers, context=Context(NOW, memory=memory), **more)
        return result.outcome, [each.headers.get("Authorization") for each in asked]

    assert sent(token("a"), OK) == ("succeeded", [None, "Bearer a"])
    assert sent(denied, token("b"), OK) == ("succeeded", ["Bearer a", None, "Bearer b"])
    # One that persists: each attempt fetches one token at most and makes two calls at most, and the answer decides.
    for number in range(3):
        calls = [f"Bearer {'b' if number == 0 else number - 1}", None, f"Bearer {number}"]
        assert sent(denied, token(str(number)), denied) == ("unauthorized", calls)
    shipped = {"cancel": {**CALL, "answers": [{"status": 403, "outcome": "refused"}]}}
    assert sent(denied, token("c"), denied, **shipped) == ("refused", ["Bearer 2", None, "Bearer c"])
    assert sent(denied, token("d"), REFUSED) == ("unauthorized", ["Bearer c", None, "Bearer d"])
    # One that was fetched for this very call has not expired; a 401 says that it is not good all the same.
    memory.clear()
    assert sent(token("e"), denied) == ("unauthorized", [None, "Bearer e"])
    memory.clear()
    assert sent(token("e"), REFUSED, token("f"), denied) == ("unauthorized", [None, "Bearer e", None, "Bearer f"])
    # Without `refresh_on` a 403 is no word on the token.
    given = OAUTH
    assert sent(denied) == ("unauthorized", ["Bearer f"])
    assert memory["access_token"][1] == "f"
    for wrong in ([], [404], [401, 500], "403"):
        assert "refresh_on" in fault({**OAUTH, "refresh_on": wrong})
    assert "key_token.refresh_on" in fault(OAUTH, key_token={**OAUTH, "refresh_on": [401]})


def test_without_a_token_nothing_is_sent_and_the_reason_is_told() -> None:
    cases = [
        (answer({"error": "invalid_client"}, 401), "unauthorized", None, "invalid_client"),
        (answer({"error": "invalid_grant"}, 400), "unauthorized", None, "check token"),
        (answer({}, 429, {"retry-after": "7"}), "throttled", 7.0, "429"),
        (answer({}, 503, {"retry-after": "3"}), "retry", 3.0, "failed"),
        (HttpResponse(200, {}, b"<html>"), "retry", None, "check token.url"),
        (answer({"token": "elsewhere"}), "retry", None, "token.access_token"),
        (token("two words"), "retry", None, "gave no token"),
    ]
    for replied, outcome, after_s, says in cases:
        result, asked = ask(OAUTH, replied)
        assert (result.outcome, result.after_s, result.may_have_applied) == (outcome, after_s, False), replied
        assert says in result.detail
        assert result.detail.endswith(".")
        assert len(asked) == 1
        config = make(token=OAUTH, secrets={"client_secret": SECRET})
        [unknown], asked = drive(probe([order()], config, Context(NOW)), [replied])
        assert (unknown.outcome, len(asked)) == (outcome, 1)


def test_no_token_is_fetched_for_a_call_that_cannot_be_made() -> None:
    url = "/orders/{{ order.attributes.number }}/cancel"
    result, asked = ask(OAUTH, cancel={"url": url})
    assert result.outcome is CancelOutcome.PROBE_FIRST
    assert asked == []


def test_no_credential_shows() -> None:
    echo = f"bad {SECRET} in {base64.b64encode(b'acme:' + SECRET.encode()).decode()}"
    context = Context(NOW, memory={})
    result, asked = ask(OAUTH, answer({"error": "invalid_client", "error_description": echo}, 401), context=context)
    shown = f"{result} {asked!r} {context!r}"
    assert SECRET not in shown
    assert base64.b64encode(SECRET.encode()).decode()[:12] not in shown
    result, asked = ask(OAUTH, token("tok-s3cret"), answer({"message": "no tok-s3cret"}, 422), context=context)
    assert "tok-s3cret" not in f"{result} {asked!r} {context!r}"
    config = make(token=OAUTH, secrets={"client_secret": SECRET})
    assert SECRET not in f"{config!r}"


# -- What is refused when it is saved -------------------------------------------------------------


def fault(given: Any, **more: Any) -> str:
    with pytest.raises(ValidationError) as error:
        make(token=given, **{"secrets": {"client_secret": SECRET}, **more})
    text = str(error.value)
    assert SECRET not in text
    return text


def test_a_token_s_configuration_is_checked() -> None:
    public = public_pem(RSA)
    curve, small = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is refused
    hs, rs = {"alg": "HS256", "claims": {}, "key": "secrets.k"}, {"alg": "RS256", "claims": {}, "key": "secrets.k"}
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        ({}, "give a url", {}),
        ({"url": "/oauth/token"}, "the whole URL", {}),
        ({"url": "ftp://example.com/token"}, "the whole URL", {}),
        ({"url": "https://me:pw@example.com/token"}, "leave credentials", {}),
        ({"url": "https://example.com/{{ secrets.client_secret }}"}, "templates out of the URL", {}),
        ({**OAUTH, "body": {"client_secret": "in-full"}}, "take client_secret from secrets", {}),
        ({**OAUTH, "body": {"x": "{{ secrets.unknown }}"}}, "token.body.x", {}),
        ({**OAUTH, "body": {"x": "{{ order.id }}"}}, "token.body.x", {}),
        ({**OAUTH, "body": {"x": "{{ jwt }}"}}, "token.body.x", {}),
        ({**OAUTH, "body": {"x": ["a"]}}, "encoding: json", {}),
        ({**OAUTH, "headers": {"Authorization": "Basic YWNtZTpwdw=="}}, "take what Authorization holds", {}),
        ({**OAUTH, "headers": {"Host": "x"}}, "leave out Host", {}),
        ({**OAUTH, "access_token": "a["}, "access_token", {}),
        ({**OAUTH, "refresh_token": {"initial": "r0"}}, "name the secret", {}),
        ({**OAUTH, "refresh_token": {"initial": "secrets.none"}}, "there is no secrets.none", {}),
        ({"jwt": {**hs, "key": "secrets.none"}}, "there is no secrets.none", {}),
        ({"jwt": {**hs, "key": "in-full"}}, "name the secret", {}),
        ({"jwt": {**hs, "alg": "none"}}, "give one of", {"k": "x" * 32}),
        ({"jwt": {**hs, "header": {"alg": "none"}}}, "leave out alg", {"k": "x" * 32}),
        ({"jwt": hs, "body": {}}, "of use only with a url", {"k": "x" * 32}),
        ({"jwt": hs, "refresh_on": [401, 403]}, "refresh_on: of use only with a url", {"k": "x" * 32}),
        ({"jwt": hs}, "32 bytes or more", {"k": "short"}),
        ({"jwt": {**hs, "key_encoding": "hex"}}, "not written in hex", {"k": "xyz"}),
        ({"jwt": {**hs, "key_encoding": "base64"}}, "not written in base64", {"k": "a_b"}),
        ({"jwt": hs}, "token.jwt.key: HS256", {"k": public}),
        ({"jwt": rs}, "private key in PEM", {"k": "x" * 32}),
        ({"jwt": rs}, "private key in PEM", {"k": public}),
        ({"jwt": rs}, "private key in PEM", {"k": private_pem(curve)}),
        ({"jwt": rs}, "1024 bits", {"k": private_pem(small)}),
        ({"jwt": {**rs, "alg": "ES256"}}, "this is a public one", {"k": public_pem(curve)}),
        ({"jwt": {**rs, "alg": "ES384"}}, "of its own kind", {"k": private_pem(curve)}),
        ({"jwt": {**rs, "key_encoding": "hex"}}, "takes a key in PEM", {"k": private_pem(RSA)}),
        ({"jwt": {**hs, "claims": {"a": "{{ token }}"}}}, "token.jwt.claims.a", {"k": "x" * 32}),
    ]
    for given, says, secrets in cases:
        text = fault(given, secrets={"client_secret": SECRET, **secrets})
        assert says in text, (given, text)
        assert not any(secret in text for secret in secrets.values()), given
    for alg, key in (("ES256", curve), ("EdDSA", ed25519.Ed25519PrivateKey.generate()), ("PS384", RSA)):
        make(token={"jwt": {**rs, "alg": alg}}, secrets={"k": private_pem(key)})


def test_a_call_that_would_not_send_the_token_is_refused() -> None:
    headers = {"Authorization": "Key {{ secrets.client_secret }}"}
    assert "would not send the token" in fault(OAUTH, cancel={**CALL, "headers": headers})
    with pytest.raises(ValidationError, match="token"):
        make(cancel={**CALL, "headers": {"X-Token": "{{ token }}"}})


def test_a_jwt_that_cannot_be_written_is_told_and_nothing_is_sent() -> None:
    given = {"jwt": {"alg": "HS256", "claims": {}, "key": "secrets.k", "header": {"kid": 5}}}
    result, asked = ask(given, secrets={"k": "x" * 32})
    assert (result.outcome, "JWT cannot be written" in result.detail) == (CancelOutcome.UNAUTHORIZED, True)
    assert asked == []


def test_an_rsa_key_whose_parts_do_not_belong_together_is_refused() -> None:
    rs = {"jwt": {"alg": "RS256", "claims": {}, "key": "secrets.k"}}
    numbers, other = RSA.private_numbers(), rsa.generate_private_key(65537, 2048).private_numbers()
    parts = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
    for name in ("d", "dmp1", "dmq1", "iqmp"):
        wrong = {**parts, name: getattr(other, name)}
        key = rsa.RSAPrivateNumbers(**wrong, public_numbers=numbers.public_numbers)
        pem = private_pem(key.private_key(unsafe_skip_rsa_key_validation=True))
        assert "do not belong together" in fault(rs, secrets={"client_secret": SECRET, "k": pem}), name


def test_times_are_the_flow_s() -> None:
    later = datetime(2030, 1, 1, tzinfo=NOW.tzinfo)
    given = {"jwt": {"alg": "HS256", "claims": {}, "key": "secrets.k"}}
    _, [call] = ask(given, OK, context=Context(later), secrets={"k": "x" * 32})
    claims = jwt.decode(call.headers["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims == {"iat": int(later.timestamp()), "exp": int(later.timestamp()) + 300}
