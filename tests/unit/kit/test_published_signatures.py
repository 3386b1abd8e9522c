"""Signatures that providers publish, by the options with which an endpoint verifies them.

Where a vector stands is said beside it. Shopify and WooCommerce publish no value that holds all of secret, body and
signature.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from unit.kit.signatures import refusal, verify

TWILIO = {
    "scheme": "hmac",
    "algorithm": "sha1",
    "encoding": "base64",
    "header": "X-Twilio-Signature",
    "signed": "{url}{form}",
}
SQUARE = {
    "scheme": "hmac",
    "encoding": "base64",
    "header": "x-square-hmacsha256-signature",
    "signed": "{url}{body}",
}
ADYEN = {
    "scheme": "hmac",
    "key": "hex",
    "encoding": "base64",
    "items": "notificationItems[].NotificationRequestItem",
    "signature": "additionalData.hmacSignature",
    "signed": "{json:pspReference}:{json:originalReference}:{json:merchantAccountCode}:{json:merchantReference}"
    ":{json:amount.value}:{json:amount.currency}:{json:eventCode}:{json:success}",
}
ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"


def test_twilio() -> None:
    """“Security”, twilio.com/docs/usage/security; then twilio/twilio-python, tests/unit/test_request_validator.py."""
    body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212"
    headers = {"X-Twilio-Signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}
    verify(headers, TWILIO, "12345", body=body, url="https://example.com/myapp.php?foo=1&bar=2")
    url, token = "https://mycompany.com/myapp.php?foo=1&bar=2", "12345"
    body = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
    verify({"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, TWILIO, token, body=body, url=url)
    twice = b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234"
    verify({"X-Twilio-Signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU="}, TWILIO, token, body=twice, url=url)
    with_port = {"X-Twilio-Signature": "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="}
    verify(with_port, TWILIO, token, body=body, url="http://mycompany.com:1234/myapp.php?foo=1&bar=2")
    refusal(with_port, TWILIO, token, body=body, url=url)


def test_square() -> None:
    """github.com/square/square-python-sdk, tests/integration/test_webhooks_helper.py."""
    body = (
        b'{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification",'
        b'"event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z",'
        b'"data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}'
    )
    url, key = "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9", "Ibxx_5AKakO-3qeNVR61Dw"
    headers = {"x-square-hmacsha256-signature": "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="}
    verify(headers, SQUARE, key, body=body, url=url)
    refusal(headers, SQUARE, key, body=body, url=url.replace("679a", "79a"))
    refusal(headers, SQUARE, key, body=body.replace(b"-07-", b"-06-"), url=url)
    refusal(headers, SQUARE, "MCmhFRxGX82xMwg5FsaoQA", body=body, url=url)
    escaped = {"x-square-hmacsha256-signature": "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U="}
    body, url = b'{"data":{"type":"webhooks","id":">id<"}}', "https://webhook.site/webhooks"
    verify(escaped, SQUARE, "signature-key", body=body, url=url)


def adyen(signature: str, **changed: Any) -> bytes:
    item = {
        "pspReference": "7914073381342284",
        "merchantReference": "TestPayment-1407325143704",
        "merchantAccountCode": "TestMerchant",
        "amount": {"currency": "EUR", "value": 1130},
        "eventCode": "AUTHORISATION",
        "success": "true",
        "eventDate": "2019-05-06T17:15:34.121+02:00",
        "operations": ["CANCEL", "CAPTURE", "REFUND"],
        "paymentMethod": "visa",
        "additionalData": {"hmacSignature": signature},
    }
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item | changed}]}).encode()


def test_adyen() -> None:
    """github.com/Adyen/adyen-python-api-library, test/UtilTest.py and Adyen/util.py."""
    signature = "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="
    verify({}, ADYEN, ADYEN_KEY, body=adyen(signature))
    verify({}, ADYEN, ADYEN_KEY, body=adyen(signature, success=True))
    for changed in (
        {"success": "false"},
        {"amount": {"currency": "EUR", "value": 1131}},
        {"pspReference": "7914073381342285"},
        {"originalReference": "1"},
    ):
        refusal({}, ADYEN, ADYEN_KEY, body=adyen(signature, **changed))
    # Only what `signed` names is proven.
    verify({}, ADYEN, ADYEN_KEY, body=adyen(signature, paymentMethod="mc"))


ADYEN_NOTIFICATIONS = (
    ("\\\\slashes are fun", "T7FD4VM4D3RZNN82", "nIgT81gaB5oJpn2jPXupDq68iRo2wUlBsuYjtYfwKqo="),
    (":slashes are fun", "M8NB66SBZSGLNK82", "2EQYm7YJpKO4EtHSPu55SQTyWf8dkW5u2nD1tJFpViA="),
    ("//slashes are fun", "X3GWNS6KJ8NKGK82", "9Z0xdpG9Xi3zcmXv14t/BvMBut77O/Xq9D4CQXSDUi4="),
    ("\\:/\\/slashes are fun", "ZVWN7D3WSMK2WN82", "CZErGCNQaSsxbaQfZaJlakqo7KPP+mIa8a+wx3yNs9A="),
)


def test_adyen_with_characters_that_other_schemes_escape() -> None:
    """github.com/Adyen/adyen-python-api-library, test/mocks/util/*_notification.json."""
    key = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174"
    for reference, psp, signature in ADYEN_NOTIFICATIONS:
        changed = {"merchantReference": reference, "pspReference": psp, "merchantAccountCode": "AntoniStroinski"}
        amount = {"currency": "EUR", "value": 1000}
        verify({}, ADYEN, key, body=adyen(signature, amount=amount, **changed))


def test_github_by_configuration() -> None:
    """docs.github.com, “Validating webhook deliveries”."""
    options = {"scheme": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256="}
    headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    verify(headers, options, "It's a Secret to Everybody", body=b"Hello, World!")


def test_rfc_2202_and_4231() -> None:
    """RFC 2202 and RFC 4231, test case 2; and case 3, whose key is not text."""
    for algorithm, signature, other in (
        ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (
            "sha256",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            "sha512",
            (
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            ),
            (
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
                "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"
            ),
        ),
    ):
        options = {"scheme": "hmac", "algorithm": algorithm}
        verify({"X-Signature": signature}, options, "Jefe", body=b"what do ya want for nothing?")
        verify({"X-Signature": other}, {**options, "key": "hex"}, "aa" * 20, body=b"\xdd" * 50)
        spelled = b64encode(b"\xaa" * 20).decode()
        verify({"X-Signature": other}, {**options, "key": "base64"}, spelled, body=b"\xdd" * 50)


def test_slack() -> None:
    """“Verifying requests from Slack”, api.slack.com/authentication/verifying-requests-from-slack."""
    options = {
        "scheme": "hmac",
        "header": "X-Slack-Signature",
        "prefix": "v0=",
        "timestamp_header": "X-Slack-Request-Timestamp",
        "signed": "v0:{timestamp}:{body}",
    }
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"X-Slack-Request-Timestamp": "1531420618", "X-Slack-Signature": signature}
    now = datetime.fromtimestamp(1531420618, UTC)
    verify(headers, options, "8f742231b10e8888abcd99yyyzzz85a5", body=body, now=now)


def test_shopify_and_woocommerce() -> None:
    """Both document base64 of HMAC-SHA256 over the body. The value is another implementation's: SQLPage's own tests."""
    body, secret = b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}', "test-webhook-secret"
    signature = "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="
    verify({"X-Shopify-Hmac-SHA256": signature}, {"scheme": "shopify"}, secret, body=body)
    for header in ("X-WC-Webhook-Signature", "X-Shopify-Hmac-SHA256"):
        options = {"scheme": "hmac", "encoding": "base64", "header": header}
        verify({header: signature}, options, secret, body=body)
