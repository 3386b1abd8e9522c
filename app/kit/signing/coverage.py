"""What of a request a scheme's proof covers: anyone who has a copy of it can send it again with all else changed."""

from __future__ import annotations

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.hmac_scheme import default_signed
from app.kit.signing.parts import body_parts, header_names, signed_parts

_TEXTS = frozenset({"hmac", "public_key"})
"""Schemes whose options say what is signed."""
_WHOLE = frozenset({"body", "sha256", "crc32"})
"""Places that hold every byte of the body."""
_SNS_MESSAGE = "{json:MessageId}"
"""SNS gives each message an id of its own, signs it, and repeats it with each delivery."""


def signed_headers(options: VerifyOptions) -> frozenset[str] | None:
    """Headers that the proof by `options.scheme`, which must not be `handler`, covers, in lower case.

    None: the proof is a secret that the sender adds, so all headers are as proven as the body.
    """
    if options.scheme in ("token", "basic"):
        return None
    if options.scheme == "standard_webhooks":
        return frozenset({"webhook-id", "webhook-timestamp"})
    if options.scheme not in _TEXTS:
        return frozenset()
    signed = options.signed or default_signed(options.timestamp_header)
    names = {name.lower() for name in header_names(signed)}
    if options.timestamp_header is not None and "{timestamp}" in signed:
        names.add(options.timestamp_header.lower())
    return frozenset(names)


def signed_body(options: VerifyOptions) -> str | None:
    """What of the body the proof covers, as a text with places; None: every byte, or what each item says of itself."""
    if options.scheme == "sns":
        return _SNS_MESSAGE
    if options.scheme not in _TEXTS or options.signed is None or options.items is not None:
        return None
    try:
        places = signed_parts(options.signed).places
    except ValueError:
        return None  # accepted by an earlier release: nothing is verified by it
    return body_parts(options.signed) if {"form", "json"} & places and not _WHOLE & places else None


def proven_part(request: InboundRequest) -> bytes:
    """The bytes of the body that are proven: two requests with the same are one request that was sent twice."""
    if request.proven_body is None:
        return request.body
    try:
        return signed_parts(request.proven_body).message(request)
    except (VerificationError, ValueError):
        return request.body
