"""The fields of how an endpoint verifies its requests: those that each scheme heeds, read as they were written."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from app.contract import KeySource, VerifyOptions
from app.kit.signing import OPTIONS
from app.runtime.redaction import REDACTED
from app.web.console import verification
from app.web.console.forms import SECRETS, Field, form_again, form_of, read_form
from app.web.console.proofs import proof_in_words
from app.web.problems import Kind, Problem

OWN = frozenset({"header", "tolerance_s"})
VALUES: dict[str, Any] = {
    "header": "X-Signature",
    "tolerance_s": 1.5,
    "timestamp_header": "X-Time",
    "timestamp_format": "unix_ms",
    "signed": "\n{method}\n {timestamp}\r\n{body}\n",
    "key": "hex",
    "encoding": "hex",
    "prefix": " Signature ",
    "signature": "{header:X-Sig:signature}",
    "items": "items[].Item",
    "username": " ann",
    "key_id": "{header:X-Kid}",
    "topics": ["arn:aws:sns:us-east-1:1:a", "arn:aws:sns:us-east-1:1:b"],
    "keys": {
        "jwks_url": "https://example.com/jwks",
        "certificate_url": "{header:X-Url}",
        "url": "https://example.com/{key_id}",
        "hosts": ["a.example", "*.b.example"],
        "read": "keys[0].key",
        "authorized": True,
        "names": ["a.example"],
        "roots": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        "chain": False,
    },
}
ALGORITHMS = {"hmac": "sha512", "public_key": "rsa-pss-sha256"}


def group(scheme: str) -> list[Field]:
    return verification.fields_of(verification.groups(OWN, is_new=False), scheme)


def options_of(scheme: str) -> frozenset[str]:
    return {"handler": OWN, **OPTIONS}[scheme]


def body_of(scheme: str) -> dict[str, Any]:
    """An endpoint's body with every option of the scheme."""
    given = {**VALUES, "algorithm": ALGORITHMS.get(scheme)}
    return {"account": "acme", "verify": {"scheme": scheme, **{name: given[name] for name in options_of(scheme)}}}


def test_each_scheme_has_the_fields_that_it_heeds_and_their_descriptions() -> None:
    assert set(verification.SCHEMES) == {"handler", *OPTIONS}
    for scheme in verification.SCHEMES:
        fields = [field for field in group(scheme) if field.input not in SECRETS]
        heeded = {f"verify.{name}" for name in options_of(scheme)}
        if "verify.keys" in heeded:
            heeded = heeded - {"verify.keys"} | {f"verify.keys.{name}" for name in KeySource.model_fields}
        assert {field.name for field in fields} == heeded, scheme
        assert not [field.name for field in fields if not field.hint], scheme


def test_choices_are_choices_and_every_algorithm_is_of_one_scheme() -> None:
    inputs = {field.name: field.input for scheme in verification.SCHEMES for field in group(scheme)}
    for name in ("algorithm", "key", "encoding", "timestamp_format"):
        assert inputs[f"verify.{name}"] == "choice", name
    chosen = {scheme: next(f.options for f in group(scheme) if f.name == "verify.algorithm") for scheme in ALGORITHMS}
    assert not set(chosen["hmac"]) & set(chosen["public_key"])
    every = get_args(VerifyOptions.model_fields["algorithm"].annotation)
    assert {*chosen["hmac"], *chosen["public_key"]} == set(every)


@pytest.mark.parametrize("scheme", verification.SCHEMES)
def test_every_option_is_read_as_it_was_written(scheme: str) -> None:
    body = body_of(scheme)
    fields = [verification.CHOOSER, *group(scheme)]
    shown = form_of(fields, body).values
    # As a browser sends them: one kind of line break, and none in inputs.
    sent = {name: text.replace("\r\n", "\n").replace("\n", "\r\n") for name, text in shown.items()}
    assert read_form(fields, sent, body) == body
    typed = read_form(fields, sent, {"account": "acme"})
    if "signed" in body["verify"]:
        assert typed["verify"].pop("signed") == body["verify"].pop("signed").replace("\r\n", "\n")
    assert typed == body
    # After a problem the form has what was typed.
    again = form_again(fields, sent, {}, Problem(Kind.INVALID, ""))
    assert {name: text for name, text in again.values.items() if text} == {n: t for n, t in sent.items() if t}
    emptied = read_form(fields, dict.fromkeys(sent, ""), body)
    assert emptied == {"account": "acme"}


def test_secrets_are_never_written_and_stay_where_nothing_is_typed() -> None:
    for scheme in set(verification.SCHEMES) - {"sns"}:
        body = {"verify": {"scheme": scheme, "secrets": [REDACTED, REDACTED]}}
        fields = group(scheme)
        name = verification.SECRETS
        assert form_of(fields, body).values[name] == REDACTED
        assert read_form(fields, {name: ""}, body) == body
        assert read_form(fields, {name: " new "}, body)["verify"]["secrets"] == ["new"]
        again = form_again(fields, {name: "typed"}, {}, Problem(Kind.INVALID, ""))
        assert again.values[name] == ""
    pem = "-----BEGIN PUBLIC KEY-----\r\nAAAA\r\nBBBB\r\n-----END PUBLIC KEY-----"
    given = read_form(group("public_key"), {verification.SECRETS: f"{pem}\r\n{pem}\r\n"}, {})
    assert given["verify"]["secrets"] == [pem.replace("\r\n", "\n")] * 2


def test_another_scheme_keeps_no_option_and_no_secret_of_another_kind() -> None:
    base = {"account": "acme", "verify": {"scheme": "hmac", "algorithm": "sha1", "secrets": [REDACTED]}}
    assert verification.base_for(base, "hmac") == base
    assert verification.base_for(base, "token") == {"account": "acme", "verify": {"secrets": [REDACTED]}}
    for scheme in ("public_key", "sns", "standard_webhooks"):
        assert verification.base_for(base, scheme) == {"account": "acme"}
        # A public key as the key of an HMAC would let anybody sign.
        public = {"account": "acme", "verify": {"scheme": scheme, "secrets": [REDACTED]}}
        assert verification.base_for(public, "hmac") == {"account": "acme"}
        assert verification.base_for(public, "token") == {"account": "acme"}


@pytest.mark.parametrize(
    ("verify", "says"),
    [
        ({}, "As Acme proves its webhooks"),
        ({"header": "X-Key", "tolerance_s": 60}, "As Acme proves its webhooks, in X-Key; at most 60 s from now"),
        ({"scheme": "token"}, "The secret itself, as bearer token or in the URL (?token=)"),
        ({"scheme": "token", "header": "X-Key"}, "The secret itself, in X-Key"),
        ({"scheme": "basic", "username": "ann"}, "User ann and the secret as its password, in Authorization"),
        ({"scheme": "github"}, "HMAC-SHA256 over body, hex after “sha256=”, in X-Hub-Signature-256"),
        ({"scheme": "shopify"}, "HMAC-SHA256 over body, base64, in X-Shopify-Hmac-SHA256"),
        (
            {"scheme": "stripe"},
            "HMAC-SHA256 over time and body, hex, in Stripe-Signature; the time in its header may be 300 s from now",
        ),
        (
            {"scheme": "hmac", "algorithm": "sha1", "encoding": "base64", "header": "X-T", "signed": "{url}{form}"},
            "HMAC-SHA1 over URL and form fields, base64, in X-T",
        ),
        (
            {"scheme": "hmac", "timestamp_header": "X-Time", "prefix": "v0=", "tolerance_s": 90},
            "HMAC-SHA256 over time and body, hex after “v0=”, in X-Signature; the time in X-Time may be 90 s from now",
        ),
        (
            {"scheme": "hmac", "items": "a[].I", "signature": "b.c", "signed": "{json:a}{json:b}{json:c}{json:d}"},
            "HMAC-SHA256 over 4 fields, hex, at b.c of each item of a[].I",
        ),
        (
            {"scheme": "hmac", "signature": "sig", "signed": "{json:id}{json:at}"},
            "HMAC-SHA256 over field id and field at, hex, at sig of the body",
        ),
        (
            {
                "scheme": "public_key",
                "algorithm": "ecdsa-sha1",
                "signature": "{header:X-E:signature}",
                "keys": {"url": "https://api.example.com/key/{key_id}"},
            },
            "ECDSA signature (SHA-1) over body, base64, at {header:X-E:signature}, by a key from api.example.com",
        ),
        (
            {
                "scheme": "public_key",
                "algorithm": "rsa-pss-sha256",
                "encoding": "hex",
                "signed": "{header:Id}|{crc32}",
                "keys": {"certificate_url": "{header:Cert}", "hosts": ["a.example"]},
            },
            (
                "RSA-PSS signature (SHA-256) over header Id and CRC-32 of the body, hex, in X-Signature, "
                "by a key from the URL in {header:Cert}"
            ),
        ),
        (
            {"scheme": "public_key", "algorithm": "ed25519"},
            "Ed25519 signature over body, base64, in X-Signature, by the endpoint's public key",
        ),
        (
            {"scheme": "sns", "topics": ["arn:x"]},
            "RSA signature of Amazon SNS over the message, by Amazon's certificate, of topic arn:x",
        ),
        (
            {"scheme": "sns", "topics": ["arn:x", "arn:y"], "tolerance_s": 60},
            (
                "RSA signature of Amazon SNS over the message, by Amazon's certificate, of 2 topics; "
                "the time in it may be 60 s from now"
            ),
        ),
    ],
)
def test_a_proof_is_said_in_one_sentence(verify: dict[str, Any], says: str) -> None:
    assert proof_in_words(verify, "Acme") == says


def test_every_scheme_has_its_sentence() -> None:
    for scheme in verification.SCHEMES:
        body = body_of(scheme)
        if scheme == "public_key":
            body["verify"]["keys"] = {"jwks_url": "https://example.com/jwks"}
        assert proof_in_words({**body["verify"], "secrets": [REDACTED]}, "Acme"), scheme
