"""Scheme `sns`: messages of Amazon SNS (“Verifying the signatures of Amazon SNS messages”, SNS Developer Guide).

What is signed are some fields of the body, each as its name, a line feed, its value and a line feed. The certificate is
Amazon's: it must come by https from SNS's own host. SNS serves it without intermediates, so its chain is not verified;
its dates and its name are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.contract.published_keys import KeyRef, KeySource
from app.kit.signing.parts import read_document
from app.kit.signing.proof import require_fresh
from app.kit.signing.public_key import decoded_signature, look_up, require_signed

_CERTIFICATE = re.compile(r"https://sns\.(?!s3-)[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?/[A-Za-z0-9_-]{1,200}\.pem")
SNS_KEYS = KeySource(
    certificate_url="{json:SigningCertURL}",
    hosts=("sns.*.amazonaws.com", "sns.*.amazonaws.com.cn"),
    # It is for sns.amazonaws.com; in some regions for sns-REGION.amazonaws.com or sns-signing.REGION.amazonaws.com.
    names=("*.amazonaws.com", "sns-signing.*.amazonaws.com", "*.amazonaws.com.cn"),
    chain=False,
)
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""Type of a message → its fields that are signed, in turn. A notification may lack a subject."""
_ALGORITHMS = {"1": "rsa-sha1", "2": "rsa-sha256"}


def verify_sns(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raises `VerificationError`, and `KeyUnavailable` where the certificate has not been fetched."""
    message = read_document(request.body)
    if not isinstance(message, dict):
        raise VerificationError("its body is no message of SNS: it is no JSON object")
    signed = signed_text(message)
    algorithm = _ALGORITHMS.get(str(message.get("SignatureVersion")))
    if algorithm is None:
        raise VerificationError("its SignatureVersion is neither 1 nor 2")
    if _text(message, "TopicArn") not in options.topics:
        # Anybody who has an account with Amazon can have SNS sign a message.
        raise VerificationError("its TopicArn is not one of verify.topics")
    signature = decoded_signature(_text(message, "Signature"))
    if options.tolerance_s is not None:
        require_fresh(_time(_text(message, "Timestamp")), now, options.tolerance_s)
    url = _text(message, "SigningCertURL")
    if _CERTIFICATE.fullmatch(url) is None:
        raise VerificationError("its SigningCertURL is not one of SNS: https://sns.REGION.amazonaws.com/….pem")
    require_signed(look_up(request, KeyRef(SNS_KEYS, url)), algorithm, signature, signed)


def fault_in_topics(options: VerifyOptions) -> tuple[str, str] | None:
    """(option, what is wrong with it) of an endpoint that is saved; None if nothing is."""
    if options.topics:
        return None
    return "topics", "name the ARNs of the topics that may send: Amazon signs for all of its customers"


def signed_text(message: Mapping[str, Any]) -> bytes:
    """What SNS signs of a message. Raises `VerificationError`."""
    fields = _SIGNED.get(str(message.get("Type")))
    if fields is None:
        raise VerificationError(f"its body is no message of SNS: Type must be {', '.join(_SIGNED)}")
    optional = "Subject" if message.get("Subject") is None else ""
    try:
        return "".join(f"{name}\n{_text(message, name)}\n" for name in fields if name != optional).encode()
    except UnicodeEncodeError as error:
        raise VerificationError("what is signed holds characters that are no text") from error


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise VerificationError(f"its body is no message of SNS: it has no {name}", cause="missing_signature")
    return value


def _time(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise VerificationError("its Timestamp is no time") from error
    if time.tzinfo is None:
        raise VerificationError("its Timestamp has no offset from UTC")
    return time.timestamp()
