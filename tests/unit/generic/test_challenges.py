"""Challenges: what sources document, by the examples of the README, and what strangers do with them."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from multidict import CIMultiDict
from pydantic import SecretStr, ValidationError
from unit.generic.support import FOLDER, make

from app.contract import HandshakeResponse, InboundRequest
from handlers.generic.challenges import BODY_MAX, Challenge, Confirm
from handlers.generic.config import Config
from handlers.generic.webhook import handshake

README = (FOLDER / "README.md").read_text(encoding="utf-8")
URL = "https://hooks.example.com/webhooks/shop-in"
SECRETS = {
    "verification_token": "eBay-Token_0123456789-0123456789abc",
    "verify_token": "meta-1",
    "secret_token": "zm-1",
}
FORM = "application/x-www-form-urlencoded"


def documented() -> dict[str, list[dict[str, Any]]]:
    found = re.search(r"```yaml\n(ebay:.*?)```", README, re.DOTALL)
    assert found
    loaded: dict[str, list[dict[str, Any]]] = yaml.safe_load(found[1])
    return loaded


SOURCES = documented()


def source(name: str) -> Config:
    return made(*SOURCES[name])


def made(*challenges: Mapping[str, Any]) -> Config:
    return make(challenges=list(challenges), secrets={name: SecretStr(value) for name, value in SECRETS.items()})


def get(config: Config, query: Mapping[str, str], method: str = "GET", **headers: str) -> HandshakeResponse | None:
    url = f"{URL}?{urlencode(query)}"
    return handshake(InboundRequest(CIMultiDict(headers), query, b"", method, url), config)


def post(config: Config, body: Any, *, proven: bool = True, kind: str = "application/json") -> HandshakeResponse | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = CIMultiDict({"Content-Type": kind})
    return handshake(InboundRequest(headers, {}, raw, "POST", URL, proven=proven), config)


def shown(response: HandshakeResponse | None) -> tuple[int, str, Any]:
    assert response is not None
    kind = response.headers.get("Content-Type", "")
    return response.status, kind, json.loads(response.body) if kind == "application/json" else response.body.decode()


# -- What sources document -----------------------------------------------------------------------


def test_ebay_hashes_code_token_and_endpoint() -> None:
    """“eBay Marketplace Account Deletion/Closure Notifications Workflow”."""
    code = "a8628072-3d33-45ee-9004-bee86830a22d"
    expected = hashlib.sha256(f"{code}{SECRETS['verification_token']}{URL}".encode()).hexdigest()
    for method in ("GET", "HEAD"):
        response = get(source("ebay"), {"challenge_code": code}, method)
        assert shown(response) == (200, "application/json", {"challengeResponse": expected})
    assert get(source("ebay"), {"other": code}) is None
    config = source("ebay")
    response = handshake(InboundRequest({}, {"challenge_code": code}, b"", "GET", "/webhooks/shop-in"), config)
    status, kind, text = shown(response)
    assert (status, kind) == (400, "text/plain")
    assert "RESCIND_PUBLIC_URL is not set" in text


def test_meta_wants_its_challenge_for_its_token() -> None:
    """“Webhooks from Meta: Verification Requests”."""
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "meta-1"}
    assert shown(get(source("meta"), query)) == (200, "text/plain", "1158201444")
    for wrong in ("", "meta-2", "meta-1 "):
        assert shown(get(source("meta"), {**query, "hub.verify_token": wrong})) == (403, "", "")
    without = {name: value for name, value in query.items() if name != "hub.verify_token"}
    assert shown(get(source("meta"), without))[0] == 403
    assert get(source("meta"), {}) is None
    assert shown(get(source("meta"), {**query, "hub.challenge": ""})) == (200, "text/plain", "")


def test_dropbox_gets_its_challenge_as_text() -> None:
    assert shown(get(source("dropbox"), {"challenge": "<script>1</script>"})) == (
        200,
        "text/plain",
        "<script>1</script>",
    )


def test_zoom_s_token_is_signed_only_for_zoom() -> None:
    """“Using webhooks: Validate your webhook endpoint”; by its secret Zoom signs `v0:{timestamp}:{body}` as well."""
    token = "qgg8vlvZRS6UYooatFL8Aw"
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": token}, "event_ts": 1654503849680}
    signed = hmac.new(b"zm-1", token.encode(), hashlib.sha256).hexdigest()
    expected = {"plainToken": token, "encryptedToken": signed}
    assert shown(post(source("zoom"), body)) == (200, "application/json", expected)
    assert post(source("zoom"), body, proven=False) is None, "else anybody could have webhooks signed"
    assert source("zoom").post_handshakes() == "proven"
    assert post(source("zoom"), {**body, "event": "meeting.ended"}) is None
    for lacking in ({}, {"plainToken": None}, {"plainToken": {"a": 1}}, None, [token]):
        assert post(source("zoom"), {**body, "payload": lacking}) is None, "it goes to quarantine"


def test_zoom_s_token_is_signed_as_another_receiver_of_zoom_s_webhooks_does() -> None:
    """The value of validate_CRC_request in elastic/beats, x-pack/filebeat/input/http_endpoint/handler_test.go."""
    config = make(challenges=SOURCES["zoom"], secrets={"secret_token": SecretStr("secretValueTest")})
    token = "qgg8vlvZRS6UYooatFL8Aw"
    body = {"event_ts": 1654503849680, "event": "endpoint.url_validation", "payload": {"plainToken": token}}
    signed = "70c1f2e2e6ca2d39297490d1f9142c7d701415ea8e6151f6562a08fa657a40ff"
    assert shown(post(config, body)) == (200, "application/json", {"plainToken": token, "encryptedToken": signed})


def test_slack_gets_its_challenge_as_json() -> None:
    """The example of https://api.slack.com/events/url_verification."""
    body = {
        "token": "Jhj5dZrVaK7ZwHHjRyZWjbDl",
        "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
        "type": "url_verification",
    }
    assert shown(post(source("slack"), body)) == (200, "application/json", {"challenge": body["challenge"]})
    assert post(source("slack"), {**body, "type": "event_callback"}) is None


def test_woocommerce_s_ping_is_not_signed() -> None:
    config = source("woocommerce")
    assert config.post_handshakes() == "any"
    for kind in (FORM, FORM + "; charset=UTF-8"):
        assert shown(post(config, b"webhook_id=13", proven=False, kind=kind)) == (200, "", "")
    assert post(config, b"webhook_id=13", proven=True, kind=FORM) is None, "it was asked before the proof"
    for body, kind in ((b"webhook_id=13&id=1", FORM), (b"id=13", FORM), (b'{"webhook_id": 13}', "application/json")):
        assert post(config, body, proven=False, kind=kind) is None, body


SNS_URL = (
    "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:1:t&Token=2336"
)


def test_sns_has_its_subscription_confirmed() -> None:
    """“Sending Amazon SNS messages to HTTP/HTTPS endpoints”: the body is JSON, whatever its Content-Type says."""
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": SNS_URL}
    response = post(source("sns"), body, kind="text/plain; charset=UTF-8")
    assert response is not None
    assert (response.status, response.confirm) == (200, SNS_URL)
    assert post(source("sns"), body, proven=False) is None
    for url in ("https://evil.example/", SNS_URL.replace("https", "http"), "", None, ["x"]):
        assert post(source("sns"), {**body, "SubscribeURL": url}) is None, url
    assert post(source("sns"), {**body, "Type": "Notification"}) is None


def test_the_readme_shows_every_source() -> None:
    assert list(SOURCES) == ["ebay", "meta", "dropbox", "zoom", "slack", "woocommerce", "sns"]
    for name in (*Challenge.model_fields, *Confirm.model_fields):
        assert f"`{name}`" in README.partition("## Challenges")[2], name
    for model in (Challenge, Confirm):
        assert all(field.description for field in model.model_fields.values())


# -- What is refused when it is saved ------------------------------------------------------------

ASKED = {"when": "request.json.a == 'b'"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"status": 302}, "not answered by a redirect"),
    ({"status": 500}, "status: .*less than or equal to 499"),
    ({"status": 199}, "status: .*greater than or equal to 200"),
    ({"method": "PUT"}, "method: .*'GET', 'POST' or 'OPTIONS'"),
    ({"method": "POST"}, "when: say which POST requests"),
    ({"method": "POST", "when": "true"}, "challenges.0.when: it must tell the challenge from webhooks"),
    ({"verified": True}, "only POST requests prove their sender"),
    ({"when": "request.jsn.a == 'b'"}, r"challenges.0.when: line 1, column 13: there is no request.jsn"),
    ({"when": "'a'"}, "must give a bool"),
    ({"body": "{{ secrets.verify_token }}"}, "secrets.verify_token may stand only in sha256"),
    ({"body": {"a": ["{{ secrets.verify_token.size() }}"]}}, r"challenges.0.body.a.0: .*may stand only in sha256"),
    ({"headers": {"X-Proof": "{{ secrets.verify_token }}"}}, "challenges.0.headers.X-Proof: strangers may ask"),
    ({"when": "request.query.a == secrets.verify_token"}, "may stand only in .*same"),
    (
        {"when": "sha256(request.query.a + secrets.verify_token).startsWith(request.query.b)"},
        "compare sha256.* by same",
    ),
    (
        {"when": "cel.bind(d, hmac('sha256', secrets.verify_token, request.query.a, 'hex'), d <= request.query.b)"},
        "compare hmac.* by same",
    ),
    ({"body": '{{ hmac("sha256", secrets.verify_token, request.query.a, "hex") }}'}, "have texts signed"),
    ({"method": "POST", "verified": False, **ASKED, "body": "{{ sha256(secrets.verify_token) }}"}, "have texts signed"),
    ({"headers": {"Set-Cookie": "a=b"}}, "leave out Set-Cookie"),
    ({"headers": {"location": "/"}}, "leave out location"),
    ({"headers": {"Access-Control-Allow-Origin": "*"}}, "leave out Access-Control-Allow-Origin"),
    ({"headers": {"A B": "x"}}, "is no name of a header"),
    ({"headers": {"Content-Type": "text/html"}}, "must be text/plain or application/json"),
    ({"headers": {"content-type": "{{ request.query.a }}"}}, "must be text/plain or application/json"),
    ({"headers": {"Content-Type": "text/plain{{ request.query.a }}"}}, "must be text/plain or application/json"),
    ({"body": 5}, "give a text, an object or a list"),
    ({"confirm": {"url": "{{ request.query.u }}", "hosts": ["a.example.com"]}}, "only a verified POST"),
    ({"method": "POST", **ASKED, "confirm": {"url": "x", "hosts": []}}, "hosts: .*at least 1"),
    ({"method": "POST", **ASKED, "confirm": {"url": "x", "hosts": ["*"]}}, "is no host"),
    ({"when": "request.query.all(a, request.headers.all(b, a < b))"}, "the maximum is 40 ms"),
]


@pytest.mark.parametrize(("challenge", "says"), REFUSED)
def test_what_is_wrong_is_said(challenge: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(challenge)
    text = "\n".join(f"{'.'.join(map(str, error['loc'][2:]))}: {error['msg']}" for error in caught.value.errors())
    assert re.search(says, text), text


def test_a_digest_for_anybody_is_allowed_where_it_is_said() -> None:
    crc = {
        "when": "has(request.query.crc_token)",
        "body": {
            "response_token": 'sha256={{ hmac("sha256", secrets.secret_token, request.query.crc_token, "base64") }}'
        },
        "signs_for_anyone": True,
    }
    status, _, body = shown(get(made(crc), {"crc_token": "x"}))
    assert (status, body["response_token"][:7]) == (200, "sha256=")


def test_the_expressions_of_all_challenges_have_one_budget() -> None:
    costly = {"when": "request.url.contains(request.method)"}
    made(costly)
    with pytest.raises(ValidationError, match="ms together"):
        made(*[costly] * 10)
    with pytest.raises(ValidationError, match="at most 10"):
        made(*SOURCES["dropbox"] * 11)


# -- Strangers -----------------------------------------------------------------------------------

ODD: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}" * 3,
    b'{"event": "endpoint.url_validation", "payload": ' + b"[" * 5000,
    b'{"type": "url_verification", "challenge": 1e999}',
    b'{"type": "url_verification", "challenge": 18446744073709551616}',
    b'{"type": "url_verification", "challenge": "\\ud800"}',
    b'{"type": "url_verification", "challenge": {"a": [null, 1.5, true]}}',
    b"\xff\xfe",
    b"a=b&" * 2000,
    b"webhook_id=%ff",
    b'{"a": 1}' + b" " * BODY_MAX,
]


def test_odd_requests_are_answered_or_none() -> None:
    configs = [source(name) for name in SOURCES]
    for config in configs:
        for body in ODD:
            for proven in (True, False):
                for kind in (FORM, "application/json", ""):
                    post(config, body, proven=proven, kind=kind)
        for value in ("", "\0", "\ud800", "a" * 9000, "é\r\nX: y"):
            for name in ("challenge_code", "hub.mode", "hub.challenge", "challenge"):
                get(config, {name: value.encode("utf-8", "replace").decode(), "hub.mode": "subscribe"})


def test_a_long_value_is_not_repeated() -> None:
    assert get(source("dropbox"), {"challenge": "a" * 9000}) is None
    assert shown(get(made({"body": "{{ request.query.challenge }}"}), {"challenge": "a" * 9000}))[0] == 400
    assert shown(get(source("dropbox"), {"challenge": "a" * 8000}))[0] == 200


def test_text_with_nul_is_not_there() -> None:
    """CEL's library would cut it off, and take `meta-1\0x` for `meta-1`."""
    query = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "meta-1\0x"}
    assert shown(get(source("meta"), query))[0] == 403
    assert post(source("slack"), {"type": "url_verification\0", "challenge": "x"}) is None
    config = made({"method": "POST", "when": "request.form.a == 'b'"})
    assert post(config, b"a=b", kind=FORM) is not None
    assert post(config, b"a=b%00c", kind=FORM) is None
    assert get(made({"when": "request.headers.a == 'b'"}), {}, a="b\0") is None


def test_a_larger_body_is_no_challenge() -> None:
    body = {"type": "url_verification", "challenge": "x"}
    assert post(source("slack"), body) is not None
    assert post(source("slack"), {**body, "more": "x" * BODY_MAX}) is None


def test_options_is_a_challenge_or_the_handshake_of_cloudevents() -> None:
    config = made({"method": "OPTIONS", "when": "'x-ask' in request.headers", "body": "yes"})
    assert shown(get(config, {}, "OPTIONS", **{"X-Ask": "1"})) == (200, "text/plain", "yes")
    assert get(config, {}, "OPTIONS") == HandshakeResponse()
    assert get(config, {}) is None
