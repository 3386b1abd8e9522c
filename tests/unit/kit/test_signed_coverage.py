"""What a proof covers: what is said of it, against what the verification refuses."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
from key_pairs import pem_of
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.kit.signatures import BODY, CASES, KEY, PRIVATE, SECONDS, URL, digest, field_hmac, form_hmac, verify

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import OPTIONS, proven_part, signed_body, signed_headers

OTHERS = ("webhook-id", "webhook-timestamp", "X-Id", "X-Delivery", "ce-id", "X-Shop-Time")
"""Headers that an id may stand in, or a time."""


def options(**given: Any) -> VerifyOptions:
    return VerifyOptions.model_validate(given)


def is_refused(headers: dict[str, str], given: dict[str, Any], secret: str) -> bool:
    try:
        verify(headers, given, secret)
    except VerificationError:
        return True
    return False


def test_a_header_is_covered_if_and_only_if_another_value_is_refused() -> None:
    by_header = {"scheme": "hmac", "signed": "{header:X-Delivery}.{body}"}
    by_time = {"scheme": "hmac", "signed": "{header:X-Shop-Time}{body}", "timestamp_header": "x-shop-time"}
    made = {
        **{name: (sign(), given, secret) for name, (sign, given, secret) in CASES.items()},
        "a header": ({"X-Signature": digest(KEY.encode(), b"d-1." + BODY).hex()}, by_header, KEY),
        "a time": ({"X-Signature": digest(KEY.encode(), SECONDS.encode() + BODY).hex()}, by_time, KEY),
    }
    seen = set()
    for name, (headers, given, secret) in made.items():
        sent = {"X-Delivery": "d-1", "ce-id": "1", "X-Shop-Time": SECONDS, "webhook-id": "m", "X-Id": "1", **headers}
        assert not is_refused(sent, given, secret), name
        covered = signed_headers(options(**given))
        for header in OTHERS if given["scheme"] not in ("token", "basic") else ():
            # A second more is a time that is near enough: only a signature can refuse it.
            changed = {**sent, header: str(int(SECONDS) + 1)}
            assert is_refused(changed, given, secret) == (header.lower() in (covered or ())), (name, header)
        seen.add(given["scheme"])
        assert (covered is None) == (given["scheme"] in ("token", "basic"))
    assert seen == OPTIONS.keys() - {"public_key", "sns"}


def test_the_other_schemes_say_what_they_sign() -> None:
    assert signed_headers(options(scheme="sns", topics=["arn"])) == set()
    given = {"scheme": "public_key", "algorithm": "ed25519"}
    assert signed_headers(options(**given)) == set()
    assert signed_headers(options(**given, timestamp_header="X-Time")) == {"x-time"}
    signed = "{header:PAYPAL-ID}|{crc32}"
    assert signed_headers(options(**given, signed=signed)) == {"paypal-id"}
    sent = {"X-Delivery": "d-1", "X-Signature": b64encode(PRIVATE.sign(b"d-1" + BODY)).decode()}
    public, by_key = pem_of(PRIVATE), {**given, "signed": "{header:X-Delivery}{body}"}
    assert not is_refused(sent, by_key, public)
    assert is_refused({**sent, "X-Delivery": "d-2"}, by_key, public)
    # What an earlier release accepted keeps no server from starting.
    assert signed_headers(options(scheme="hmac", signed="{nothing}{body}{header:X-A}")) == {"x-a"}
    assert signed_body(options(scheme="hmac", signed="{nothing}{form}")) is None


def part(body: bytes, **given: Any) -> bytes:
    return proven_part(InboundRequest(CIMultiDict(), {}, body, proven_body=signed_body(options(**given))))


def test_what_is_signed_of_a_body_is_the_same_however_it_is_spelled() -> None:
    by_form = {"scheme": "hmac", "algorithm": "sha1", "encoding": "base64", "signed": "{url}{form}"}
    first, copies = b"id=o+1&status=sent", [b"status=sent&id=o%201", b"id=o+1&&status=sent&id=o+1"]
    for copy in copies:
        verify(form_hmac(first, url=URL), by_form, KEY, body=copy)
        assert part(copy, **by_form) == part(first, **by_form)
    assert part(b"id=o+2&status=sent", **by_form) != part(first, **by_form)

    by_field = {"scheme": "hmac", "signed": "{json:id}:{json:status}"}
    fields = {"id": "o-1", "status": "sent"}
    headers = {"X-Signature": field_hmac(fields, "id", "status")}
    for copy in (b'{"status":"sent","id":"o-1"}', b' {"id": "o-1", "status": "sent", "more": 1}'):
        verify(headers, by_field, KEY, body=copy)
        assert part(copy, **by_field) == part(msgspec.json.encode(fields), **by_field)
    # What separates the fields is kept: two events are never taken for one because theirs run together.
    assert part(b'{"id": "1", "status": "23"}', **by_field) != part(b'{"id": "12", "status": "3"}', **by_field)

    sns = {"scheme": "sns", "topics": ["arn"]}
    assert part(b'{"MessageId": "m-1", "x": 1}', **sns) == part(b'{"MessageId":"m-1"}', **sns)
    assert part(b'{"MessageId": "m-1"}', **sns) != part(b'{"MessageId": "m-2"}', **sns)


def test_a_body_that_is_signed_byte_for_byte_is_its_own_part() -> None:
    for name, (_, given, secret) in CASES.items():
        if name != "hmac of a form":
            verified = VerifyOptions.model_validate({**given, "secrets": (SecretStr(secret),)})
            assert signed_body(verified) is None, name
    assert part(b"no JSON", scheme="hmac", signed="{json:id}") == b"no JSON"
    assert part(BODY, scheme="hmac", signed="{json:id}{body}") == BODY
    assert part(BODY, scheme="hmac", signed="{json:id}", items="list", signature="by") == BODY
