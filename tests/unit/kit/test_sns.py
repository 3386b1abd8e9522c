"""Scheme `sns`: messages that Amazon SNS signed verify, and nothing that it did not sign for these topics."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificate
from key_pairs import private_key, signature
from multidict import CIMultiDict

from app.contract import InboundRequest, KeyRef, KeyUnavailable, VerificationError, VerifyOptions
from app.kit.host_patterns import is_allowed_host
from app.kit.signing import OPTIONS, unheeded, verify_scheme
from app.kit.signing.certificates import certified_key
from app.kit.signing.sns import SNS_KEYS, signed_text

GIVEN = json.loads((Path(__file__).parents[2] / "fixtures" / "signatures" / "sns.json").read_text(encoding="utf-8"))
CERTIFICATE = load_pem_x509_certificate(GIVEN["certificate"].encode())
TOPIC = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic"
OPTIONS_OF = VerifyOptions(scheme="sns", topics=(TOPIC,))
NOW = datetime(2026, 3, 6, 20, 5, tzinfo=UTC)


class Ring:
    def __init__(self, key: Any) -> None:
        self.key = key

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        if self.key is None:
            raise KeyUnavailable(ref)
        return (self.key,)


def verify(message: Any, key: Any = None, **options: Any) -> None:
    ring = Ring(key or CERTIFICATE.public_key())
    body = message if isinstance(message, bytes) else json.dumps(message, indent=2).encode()
    request = InboundRequest(CIMultiDict(), {}, body, keys=ring)
    verify_scheme(request, OPTIONS_OF.model_copy(update=options), NOW)


def test_messages_that_amazon_signed_verify_and_no_change_of_a_signed_field_does() -> None:
    for message in GIVEN["messages"]:
        verify(message)
        verify(message, tolerance_s=7200)
        with pytest.raises(VerificationError, match="away from now"):
            verify(message, tolerance_s=10)
        unsigned = {"Signature", "SigningCertURL", "UnsubscribeURL", "SignatureVersion"}
        for name in message.keys() - unsigned:
            for changed in ({**message, name: message[name] + "x"}, {k: v for k, v in message.items() if k != name}):
                with pytest.raises(VerificationError):
                    verify(changed)
        other = {"1": "2", "2": "1"}[message["SignatureVersion"]]
        for version in (other, "3", 0, None):
            with pytest.raises(VerificationError):
                verify({**message, "SignatureVersion": version})


def test_the_certificate_of_amazon_is_for_the_names_that_are_wanted() -> None:
    document = GIVEN["certificate"].encode()
    key, until = certified_key(document, NOW, names=SNS_KEYS.names, roots=None)
    assert key == CERTIFICATE.public_key()
    assert until == CERTIFICATE.not_valid_after_utc
    for name in ("sns-signing.eu-south-1.amazonaws.com", "sns-cn-north-1.amazonaws.com.cn"):
        assert is_allowed_host(name, SNS_KEYS.names)
    assert not is_allowed_host("sns.amazonaws.com.evil.example", SNS_KEYS.names)


def test_a_message_of_another_topic_is_refused_though_amazon_signed_it() -> None:
    with pytest.raises(VerificationError, match=r"not one of verify\.topics"):
        verify(GIVEN["messages"][0], topics=(TOPIC + "-2",))
    fault = unheeded(VerifyOptions(scheme="sns"), OPTIONS["sns"])
    assert fault is not None
    assert fault[0] == "topics"


def test_the_certificate_comes_from_amazon_only() -> None:
    key = private_key("rsa-sha256")
    message = {**GIVEN["messages"][0]}
    message["Signature"] = signature("rsa-sha256", signed_text(message), key)
    right = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem"
    for url in (right, "https://sns.cn-north-1.amazonaws.com.cn/a.pem"):
        verify({**message, "SigningCertURL": url}, key.public_key())
    for url in (
        right.replace("https", "http"),
        "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
        "https://sns.us-east-1.amazonaws.com.cn.evil.example/a.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
        "https://sns.us-east-1.amazonaws.com:8443/a.pem",
        "https://sns.us-east-1.amazonaws.com/a.pem?x",
        "https://sns.us-east-1.amazonaws.com/a.pem#x",
        "https://sns.us-east-1.amazonaws.com/a",
        "https://sns.us-east-1.amazonaws.com/a/../b.pem",
        "https://SNS.us-east-1.amazonaws.com/a.pem",
        "https://bucket.s3.amazonaws.com/a.pem",
        "https://sns.bucket.s3.amazonaws.com/a.pem",
        # A bucket named sns, at other names of S3: anybody's.
        "https://sns.s3-us-west-2.amazonaws.com/a.pem",
        "https://sns.s3-accelerate.amazonaws.com/a.pem",
        "https://snsxus-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws\u3002com/a.pem",
        right + "\n",
        "",
    ):
        with pytest.raises(VerificationError, match="SigningCertURL"):
            verify({**message, "SigningCertURL": url}, key.public_key())


def test_a_star_in_a_host_is_no_bucket() -> None:
    assert is_allowed_host("sns.us-east-1.amazonaws.com", SNS_KEYS.hosts)
    for label in ("s3", "s3-accelerate", "s3-us-west-2"):
        assert not is_allowed_host(f"sns.{label}.amazonaws.com", SNS_KEYS.hosts)


def test_what_is_no_message_of_sns_is_refused_with_a_reason() -> None:
    for body in (b"", b"[]", b"<html>", b"{}", b'{"Type": "Notification"}', b'{"Type": ["Notification"]}'):
        with pytest.raises(VerificationError):
            verify(body)
    message = GIVEN["messages"][0]
    for name in ("Message", "Timestamp", "Signature", "SigningCertURL"):
        for value in (None, 5, ["x"], "\ud800"):
            with pytest.raises(VerificationError):
                verify(json.dumps({**message, name: value}).encode(), tolerance_s=7200)


def test_a_certificate_that_is_not_here_lets_the_message_come_again() -> None:
    request = InboundRequest(CIMultiDict(), {}, json.dumps(GIVEN["messages"][0]).encode(), keys=Ring(None))
    with pytest.raises(KeyUnavailable) as caught:
        verify_scheme(request, OPTIONS_OF, NOW)
    assert caught.value.ref.url == GIVEN["messages"][0]["SigningCertURL"]
