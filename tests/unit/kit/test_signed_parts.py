"""What a signature is made over: `app.kit.signing.parts`."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Any

import pytest
from multidict import CIMultiDict

from app.contract import InboundRequest, VerificationError
from app.kit.signing import signed_parts
from app.kit.signing.parts import FORM_ESCAPES_MAX, FORM_FIELDS_MAX, JSON_PARTS_MAX, KEYS_MAX, PLACES_MAX

URL = "https://hooks.example.com/webhooks/shop?a=1&b=%2F"
JSON = b'{"id": "o-1", "n": 1130, "price": 10.50, "on": true, "off": false, "none": null, "deep": {"er": "\xc3\xa9"}}'


def message(text: str, body: bytes = JSON, **more: Any) -> bytes:
    headers = CIMultiDict({"X-Id": " id-7 ", "X-Raw": "\udcff", "X-Bad": "\ud800"})
    request = InboundRequest(headers, {}, body, url=more.pop("url", URL))
    return signed_parts(text).message(request, **more)


def refusal(text: str, body: bytes = JSON, **more: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        message(text, body, **more)
    return str(caught.value)


def test_each_place_becomes_what_it_names() -> None:
    for text, wanted in (
        ("{body}", JSON),
        ("a{body}z", b"a" + JSON + b"z"),
        ("v0:{timestamp}:{body}", b"v0:17:" + JSON),
        ("{url}{method}", URL.encode() + b"POST"),
        ("{header:x-id}|{header:X-Raw}|{crc32}", f"id-7|\udcff|{zlib.crc32(JSON)}".encode("utf-8", "surrogateescape")),
        ("{sha256}", hashlib.sha256(JSON).hexdigest().encode()),
        ("{json:id}:{json:n}:{json:price}:{json:on}:{json:off}", b"o-1:1130:10.50:true:false"),
        ("{json:none}:{json:nothing}:{json:id.below}:{json:deep.er}", ":::é".encode()),
        ("é{json:id}", "éo-1".encode()),
        ('{"body": {body}}{} {"a": 1}', b'{"body": ' + JSON + b'}{} {"a": 1}'),
    ):
        assert message(text, timestamp="17") == wanted, text


def test_the_body_alone_is_not_copied() -> None:
    assert message("{body}", JSON) is JSON


def test_what_a_request_sends_is_not_filled_in_again() -> None:
    body = b'{"id": "{timestamp}{body}"}'
    assert message("{json:id}{body}", body, timestamp="{url}") == b"{timestamp}{body}" + body
    assert message("{timestamp}{body}", body, timestamp="{url}") == b"{url}" + body


def test_form_fields_are_sorted_decoded_and_joined() -> None:
    for body, wanted in (
        (b"b=2&a=1", b"a1b2"),
        (b"To=%2B1+800&Empty=&Flag&&From=x", b"EmptyFlagFromxTo+1 800"),
        (b"a=2&a=1&a=2&B=3", b"B3a1a2"),
        (b"n=%C3%A9%ff%zz", b"n\xc3\xa9\xff%zz"),
        (b"", b""),
        (b"a=b=c", b"ab=c"),
    ):
        assert message("{form}", body) == wanted, body


def test_a_document_of_its_own_takes_the_place_of_the_body() -> None:
    assert message("{json:id}", b"no JSON", document={"id": "item"}) == b"item"
    assert message("{json:id}", document=None) == b""


def test_a_request_that_lacks_what_is_signed_is_refused() -> None:
    for text, body, says in (
        ("{json:id}", b"", "is no JSON"),
        ("{json:id}", b"a=1", "is no JSON"),
        ("{json:id}", b"[" * 10_000, "is no JSON"),
        ("{json:id}", b'{"id": "\xff"}', "is no JSON"),
        ("{json:id}", b'{"id": {"a": 1}}', "id is signed, and holds no text, number or boolean"),
        ("{json:id}", b'{"id": []}', "holds no text"),
        ("{json:id}", b'{"id": ' + b"9" * 10_000 + b"}", "is no JSON"),
        ("{header:X-Bad}{body}", JSON, "characters that are no text"),
        ("{header:X-None}{body}", JSON, "the header X-None is missing"),
        ("{form}", b"&" * FORM_FIELDS_MAX, "its form has more than"),
        ("{form}", b"%" * (FORM_ESCAPES_MAX + 1), "its form has more than"),
        ("{json:id}", b"[" + b"0," * JSON_PARTS_MAX + b"0]", "parts that are looked through"),
        ("{json:id}", b"[" + b"[]," * (JSON_PARTS_MAX // 2) + b"0]", "parts that are looked through"),
    ):
        assert says in refusal(text, body), text
    for url in ("", "/webhooks/shop"):
        assert "set RESCIND_PUBLIC_URL" in refusal("{url}{body}", url=url)
    for body in (b'{"id": "\\ud800"}', b'{"id": "\\udc80"}'):
        assert refusal("{json:id}", body)


def test_the_limits_are_taken() -> None:
    fields = b"&".join(b"k%d=v" % index for index in range(FORM_FIELDS_MAX))
    assert message("{form}", fields).count(b"k") == FORM_FIELDS_MAX
    assert message("{form}", b"%41" * FORM_ESCAPES_MAX) == b"A" * FORM_ESCAPES_MAX
    assert message("{json:id}", b"[" + b"0," * (JSON_PARTS_MAX - 1) + b"0]") == b""
    assert message("{json:" + ".".join("k" * KEYS_MAX) + "}") == b""
    assert message("".join(f"{{json:k{index}}}" for index in range(PLACES_MAX))) == b""


def test_what_cannot_be_filled_in_is_refused_when_it_is_compiled() -> None:
    for text, says in (
        ("{body}{nothing}", "{nothing} is nothing that can be put in"),
        ("{json}", "{json} is nothing"),
        ("{json:}", "no path"),
        ("{json:a..b}", "no path"),
        ("{json:a b}", "no path"),
        ("{json:a[0]}", "no path"),
        ("{json:" + ".".join("k" * (KEYS_MAX + 1)) + "}", "no path"),
        ("{header:}", "{header:} is nothing"),
        ("{header:X Y}", "is nothing"),
        ("{body}{body}", "{body} stands in it more than once"),
        ("".join(f"{{json:k{index}}}" for index in range(PLACES_MAX + 1)), "places"),
    ):
        with pytest.raises(ValueError, match=re.escape(says)):
            signed_parts(text)


def test_kinds_of_places_are_told() -> None:
    assert signed_parts("{timestamp}.{json:id}.{json:n}{header:X-Id}").places == {"timestamp", "json", "header"}
