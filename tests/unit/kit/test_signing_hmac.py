"""Scheme `hmac`: keys, times and items; what the schemes have in common is in `test_signing_schemes`."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr, ValidationError
from unit.kit.signatures import BODY, KEY, NOW, SECONDS, digest, field_hmac, refusal, verify

from app.config.rotation import make_webhook_secret
from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.setup import URL_UNKNOWN
from app.kit.signing import OPTIONS, hmac_scheme, keys_of, proof, signs_url, unheeded, verify_scheme
from app.kit.signing.items import ITEMS_MAX

ITEMS = {
    "scheme": "hmac",
    "items": "data.items[].wrapped",
    "signature": "meta.signature",
    "signed": "{json:id}:{json:status}:{json:none}",
}


def options(secret: str = KEY, **given: Any) -> VerifyOptions:
    return VerifyOptions.model_validate({"scheme": "hmac", "secrets": (SecretStr(secret),), **given})


def fault(secret: str = KEY, **given: Any) -> tuple[str, str]:
    found = unheeded(options(secret, **given), OPTIONS["hmac"])
    return found or ("", "")


def item(id: str = "o-1", secret: str = KEY, **more: Any) -> dict[str, Any]:
    fields = {"id": id, "status": "paid"}
    return {
        "wrapped": {**fields, "meta": {"signature": field_hmac(fields, "id", "status", "none", secret=secret)}} | more
    }


def body(*items: Any) -> bytes:
    return json.dumps({"data": {"items": items}}).encode()


# -- Keys -------------------------------------------------------------------------------------


def test_a_secret_spells_its_key_as_the_option_says() -> None:
    raw = bytes(range(200, 232))
    headers = {"X-Signature": digest(raw, BODY).hex()}
    for form, secret in (("hex", raw.hex()), ("hex", raw.hex().upper()), ("base64", b64encode(raw).decode())):
        verify(headers, {"scheme": "hmac", "key": form}, secret)
        refusal(headers, {"scheme": "hmac"}, secret)


def test_a_secret_that_spells_no_key_proves_nothing() -> None:
    """With an empty key anybody can sign."""
    headers = {"X-Signature": digest(b"", BODY).hex()}
    for form, secret in (
        ("hex", "  "),
        ("hex", "zz"),
        ("hex", "abc"),
        ("base64", "===="),
        ("base64", "abcde"),
        ("base64", "é"),
    ):
        assert keys_of(options(secret, key=form), form) == []
        assert refusal(headers, {"scheme": "hmac", "key": form}, secret) == "the signature is wrong"
        name, text = fault(secret, key=form)
        assert name == "secrets"
        assert f"is not {form}" in text
        assert repr(secret) not in text


def test_generated_secrets_spell_keys_of_32_bytes() -> None:
    for form in ("hex", "base64"):
        secret = make_webhook_secret("hmac", form)
        assert [len(key) for key in keys_of(options(secret, key=form), form)] == [32]
    assert len(make_webhook_secret("hmac")) == 64


# -- Times ------------------------------------------------------------------------------------


def timed(form: str, value: str) -> tuple[dict[str, str], dict[str, Any]]:
    headers = {
        "X-Time": value,
        "X-Signature": digest(KEY.encode(), f"{value}.".encode("utf-8", "surrogateescape") + BODY).hex(),
    }
    return headers, {"scheme": "hmac", "timestamp_header": "X-Time", "timestamp_format": form}


def test_times_are_read_in_the_form_that_is_configured() -> None:
    for form, value in (
        ("unix", SECONDS),
        ("unix_ms", SECONDS + "000"),
        ("iso8601", "2026-03-02T16:04:06Z"),
        ("iso8601", "2026-03-02T16:04:06.000000000+00:00"),
        ("iso8601", "2026-03-02T18:04:06+02:00"),
    ):
        headers, given = timed(form, value)
        for after_s in (-300, 0, 300):
            verify(headers, given, KEY, now=NOW + timedelta(seconds=after_s))
        for after_s in (-301, 301):
            assert "tolerance_s" in refusal(headers, given, KEY, now=NOW + timedelta(seconds=after_s)), value
        moved = {**headers, "X-Time": value.replace("06", "07").replace(SECONDS, str(int(SECONDS) + 1))}
        assert refusal(moved, given, KEY) == "the signature is wrong"


def test_what_is_no_time_in_that_form_is_refused() -> None:
    for form, value in (
        ("unix_ms", "soon"),
        ("unix_ms", "-1"),
        ("unix_ms", "1" * 16),
        ("unix_ms", "\u0661"),
        ("iso8601", SECONDS),
        ("iso8601", "2026-03-02T16:04:06"),
        ("iso8601", "2026-03-02"),
        ("iso8601", "2026-03-02T16:04:06Z" + "0" * 40),
        ("iso8601", "0001-01-01T00:00:00+23:59"),
        ("iso8601", "9999-12-31T23:59:59-23:59"),
        ("iso8601", "\udcff"),
    ):
        headers, given = timed(form, value)
        assert any(says in refusal(headers, given, KEY) for says in ("holds no", "tolerance_s")), value


# -- Items ------------------------------------------------------------------------------------


def test_every_item_must_be_signed() -> None:
    verify({}, ITEMS, KEY, body=body(item()))
    verify({}, ITEMS, "other", KEY, body=body(item(), item("o-2"), item("o-3", secret="other")))
    bad = item("o-2", status="canceled")
    for items in ((bad,), (item(), bad), (bad, item()), (item(), bad, item("o-3"))):
        assert refusal({}, ITEMS, KEY, body=body(*items)) == "an item's signature is wrong"
    assert refusal({}, ITEMS, "other", body=body(item())) == "an item's signature is wrong"


def test_a_body_without_a_signed_item_proves_nothing() -> None:
    unsigned = {"wrapped": {"id": "o-1", "status": "paid"}}
    for sent, says in (
        (body(), "no items at data.items[].wrapped"),
        (b"{}", "no items"),
        (b'{"data": {"items": {"wrapped": {}}}}', "no items"),
        (b'{"data": []}', "no items"),
        (b"[]", "no items"),
        (b"", "is no JSON"),
        (body(None), "is no object"),
        (body({}), "is no object"),
        (body(item(), {"other": item()["wrapped"]}), "is no object"),
        (body(item(), {"wrapped": [item()["wrapped"]]}), "is no object"),
        (body(unsigned), "no signature at meta.signature"),
        (body(item(), unsigned), "no signature at meta.signature"),
        (body(item(meta={"signature": ""})), "no signature"),
        (body(item(meta={"signature": 1})), "no signature"),
        (body(item(meta="signature")), "no signature"),
        (body(item(meta={"signature": "\u0660\U0001f600"})), "signature is wrong"),
        (body(item(status={"a": 1})), "holds no text"),
        (body(*[item()] * (ITEMS_MAX + 1)), "more than 100 items"),
        (b"[" * 100_000, "parts"),
    ):
        assert says in refusal({}, ITEMS, KEY, body=sent), sent[:80]
    verify({}, ITEMS, KEY, body=body(*[item()] * ITEMS_MAX))


def test_lists_stand_where_they_are_said_to() -> None:
    inner = item()["wrapped"]
    for path, document in (
        ("items", {"items": [inner]}),
        ("items[]", {"items": [inner]}),
        ("[]", [inner]),
        ("[].a.b", [{"a": {"b": inner}}]),
        ("a.b[].c", {"a": {"b": [{"c": inner}]}}),
    ):
        assert fault(**{**ITEMS, "items": path}) == ("", "")
        verify({}, {**ITEMS, "items": path}, KEY, body=json.dumps(document).encode())


def test_a_body_may_be_signed_in_itself() -> None:
    given = {name: value for name, value in ITEMS.items() if name != "items"}
    assert fault(**given) == ("", "")
    verify({}, given, KEY, body=json.dumps(item()["wrapped"]).encode())
    for sent in (json.dumps(item(status="canceled")["wrapped"]).encode(), b"{}", b"[]", b"null", b""):
        refusal({}, given, KEY, body=sent)


def test_prefix_encoding_and_time_count_in_items_too() -> None:
    given = {**ITEMS, "prefix": "v1=", "signed": "{timestamp}.{json:id}", "timestamp_header": "X-Time"}
    signature = digest(KEY.encode(), f"{SECONDS}.o-1".encode()).hex()
    for written, is_right in (("v1=" + signature.upper(), True), (signature, False), ("v2=" + signature, False)):
        sent = body({"wrapped": {"id": "o-1", "meta": {"signature": written}}})
        if is_right:
            verify({"X-Time": SECONDS}, given, KEY, body=sent)
            assert "X-Time is missing" in refusal({}, given, KEY, body=sent)
            assert "tolerance_s" in refusal({"X-Time": SECONDS}, given, KEY, body=sent, now=NOW + timedelta(hours=1))
        else:
            refusal({"X-Time": SECONDS}, given, KEY, body=sent)


def test_signatures_of_items_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(hmac.compare_digest(one, other))
        return compared[-1]

    for module in (proof, hmac_scheme):
        monkeypatch.setattr(module, "compare_digest", compare)
    refusal({}, ITEMS, KEY, "other", body=body(item(status="canceled"), item()))
    assert compared == [False, False, True, False], "all are looked at, also after one that does not fit"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "meta", "signature"]), inner),
    max_leaves=6,
)


@examples(200)
@given(
    junk,
    st.binary(max_size=40),
    st.sampled_from(["{json:id}", "{form}", "{url}{json:id}{timestamp}", "{header:H}{body}"]),
)
def test_junk_is_a_verification_error_and_nothing_else(value: Any, raw: bytes, signed: str) -> None:
    sent = json.dumps({"data": {"items": [{"wrapped": value}, value]}}).encode()
    for chosen in (ITEMS, {"scheme": "hmac", "signed": signed, "timestamp_header": "X-Time"}):
        for document in (sent, raw, json.dumps(value).encode()):
            headers = {"X-Signature": "junk", "X-Time": SECONDS, "H": raw.decode("utf-8", "surrogateescape")}
            checked = VerifyOptions.model_validate({**chosen, "secrets": (SecretStr(KEY),)})
            with pytest.raises(VerificationError):
                verify_scheme(InboundRequest(CIMultiDict(headers), {}, document), checked, NOW)


# -- What is refused when it is saved ---------------------------------------------------------


def test_what_is_signed_must_hold_something_of_the_body() -> None:
    for signed in ("", "{url}", "{timestamp}.{method}", "{header:X-Digest}", "body", "{json:}", "{json}"):
        with pytest.raises(ValidationError, match=r"signed must hold \{body\}"):
            options(signed=signed, timestamp_header="X-Time")
    for signed in ("{body}", "{form}", "{sha256}", "{crc32}", "{json:id}"):
        assert fault(signed=signed) == ("", "")
    for signed in ("{header:x-time}{body}", "{timestamp}{body}"):
        assert fault(signed=signed, timestamp_header="X-Time") == ("", "")


def test_options_with_which_nothing_verifies_are_named() -> None:
    for name, says, chosen in (
        ("signed", "{bdoy} is nothing that can be put in", {"signed": "{bdoy}{body}"}),
        ("signed", "more than once", {"signed": "{body}{body}"}),
        ("timestamp_format", "without timestamp_header", {"timestamp_format": "iso8601"}),
        ("tolerance_s", "without timestamp_header", {"tolerance_s": 5}),
        ("timestamp_header", "anybody can change the time", {"timestamp_header": "X-Time", "signed": "{body}"}),
        ("signature", "say where in one item", {"items": "items", "signed": "{json:id}"}),
        ("header", "stands in the body", {**ITEMS, "header": "X-Signature"}),
        ("signature", "no path", {**ITEMS, "signature": "a..b"}),
        ("items", "no path", {**ITEMS, "items": "a..b[]"}),
        ("items", "no path to a list", {**ITEMS, "items": "a[].b[].c"}),
        ("items", "no path to a list", {**ITEMS, "items": "a[0]"}),
        ("items", "no path to a list", {**ITEMS, "items": ""}),
        ("signed", "say which fields are signed", {**ITEMS, "signed": "{body}"}),
        ("signed", "say which fields are signed", {**ITEMS, "signed": None}),
        ("signed", "the signature itself", {**ITEMS, "signed": "{json:id}{body}"}),
        ("signed", "the signature itself", {**ITEMS, "signed": "{json:meta.signature}"}),
    ):
        found, text = fault(**chosen)
        assert (found, says in text) == (name, True), (chosen, found, text)


def test_a_signature_over_the_url_is_told_from_others() -> None:
    assert signs_url(options(signed="{url}{body}"))
    assert not signs_url(options(signed="{body}"))
    assert not signs_url(options())
    assert "set RESCIND_PUBLIC_URL" in refusal(
        {"X-Signature": "a"}, {"scheme": "hmac", "signed": "{url}{body}"}, KEY, url="/x"
    )
    assert "RESCIND_PUBLIC_URL" in URL_UNKNOWN
