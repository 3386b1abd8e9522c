"""How an endpoint verifies its requests, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.contract import VerifyOptions
from app.kit.signing import BODY_PLACES, TOLERANCE_S, default_signed, scheme_of
from app.kit.signing.hmac_scheme import GITHUB, HEADER, SHOPIFY, HmacScheme

_PLACE = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_WORDS = {
    "url": "URL",
    "body": "body",
    "form": "form fields",
    "timestamp": "time",
    "method": "method",
    "sha256": "SHA-256 of the body",
    "crc32": "CRC-32 of the body",
}
_NAMED_MAX = 3
"""Fields of a body that are named; of more, their number."""
_DIGESTS = {"sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
_KINDS = {"rsa": "RSA", "rsa-pss": "RSA-PSS", "ecdsa": "ECDSA", "ed25519": "Ed25519"}


def proof_in_words(verify: Mapping[str, Any], provider: str) -> str:
    """What is verified of each request: `HMAC-SHA1 over URL and form fields, base64, in X-Twilio-Signature`.

    Args:
        verify: as the API shows it.
        provider: the name of the account's provider.
    """
    options = VerifyOptions.model_validate(verify)
    if options.scheme == "handler":
        header = f", in {options.header}" if options.header else ""
        return f"As {provider} proves its webhooks{header}{_within(options, None)}"
    return _SCHEMES[options.scheme](options)


def _token(options: VerifyOptions) -> str:
    return (
        f"The secret itself, {f'in {options.header}' if options.header else 'as bearer token or in the URL (?token=)'}"
    )


def _basic(options: VerifyOptions) -> str:
    return f"User {options.username or '(none)'} and the secret as its password, in {options.header or 'Authorization'}"


def _hmac(options: VerifyOptions) -> str:
    scheme = scheme_of(options)
    over = _parts(options.signed or default_signed(options.timestamp_header))
    where = f"in {options.header or scheme.header}"
    if options.signature is not None:
        where = f"at {options.signature}{f' of each item of {options.items}' if options.items else ' of the body'}"
    return _signature(f"HMAC-{options.algorithm.upper()}", over, options.encoding, options.prefix, where) + _within(
        options, options.timestamp_header
    )


def _public_key(options: VerifyOptions) -> str:
    kind, _, digest = options.algorithm.rpartition("-") if "-" in options.algorithm else (options.algorithm, "", "")
    signer = f"{_KINDS.get(kind, kind)} signature{f' ({_DIGESTS[digest]})' if digest in _DIGESTS else ''}"
    over = _parts(options.signed or default_signed(options.timestamp_header))
    encoding = options.encoding if "encoding" in options.model_fields_set else "base64"
    header = options.header or HEADER
    where = f"in {header}" if options.signature is None else f"at {options.signature}"
    by = "by the endpoint's public key" if options.keys is None else f"by a key from {_host(options.keys.location)}"
    return f"{_signature(signer, over, encoding, options.prefix, where)}, {by}" + _within(
        options, options.timestamp_header
    )


def _fixed(signer: str, parts: str, encoding: str, header: str, *, prefix: str = "", time: bool = False) -> Any:
    def said(options: VerifyOptions) -> str:
        where = f"in {options.header or header}"
        return _signature(signer, parts, encoding, prefix, where) + _within(options, "its header" if time else None)

    return said


def _fixed_hmac(scheme: HmacScheme) -> Any:
    return _fixed("HMAC-SHA256", "body", scheme.encoding, scheme.header, prefix=scheme.prefix)


def _sns(options: VerifyOptions) -> str:
    topics = f"{len(options.topics)} topics" if len(options.topics) != 1 else f"topic {options.topics[0]}"
    within = "" if options.tolerance_s is None else _within(options, "it")
    return f"RSA signature of Amazon SNS over the message, by Amazon's certificate, of {topics}{within}"


def _signature(signer: str, over: str, encoding: str, prefix: str, where: str) -> str:
    return f"{signer} over {over}, {encoding}{f' after “{prefix}”' if prefix else ''}, {where}"


def _within(options: VerifyOptions, time: str | None) -> str:
    """How far the time may be from now; nothing where none is signed."""
    if time is None and options.tolerance_s is None:
        return ""
    tolerance_s = TOLERANCE_S if options.tolerance_s is None else options.tolerance_s
    return (
        f"; the time in {time} may be {tolerance_s:g} s from now" if time else f"; at most {tolerance_s:g} s from now"
    )


def _parts(signed: str) -> str:
    """`URL and form fields` of `{url}{form}`."""
    places = _PLACE.findall(signed)
    fields = [name for kind, name in places if kind == "json"]
    said = list[str]()
    for kind, name in places:
        if kind == "json" and len(fields) > _NAMED_MAX:
            said += [f"{len(fields)} fields"] if name == fields[0] else []
        elif kind in ("json", "header"):
            said.append(f"{'field' if kind == 'json' else 'header'} {name}")
        else:
            said.append(_WORDS.get(kind, kind))
    if not {kind for kind, _ in places} & BODY_PLACES:
        return signed  # of a handler's own form
    return _listed(said)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _host(location: str) -> str:
    """The host of a URL; a place of the request as it is."""
    return location.split("/")[2] if "://" in location else f"the URL in {location}"


_SCHEMES: dict[str, Callable[[VerifyOptions], str]] = {
    "token": _token,
    "basic": _basic,
    "hmac": _hmac,
    "standard_webhooks": _fixed(
        "HMAC-SHA256 or Ed25519 signature", "id, time and body", "base64", "webhook-signature", time=True
    ),
    "github": _fixed_hmac(GITHUB),
    "stripe": _fixed("HMAC-SHA256", "time and body", "hex", "Stripe-Signature", time=True),
    "shopify": _fixed_hmac(SHOPIFY),
    "public_key": _public_key,
    "sns": _sns,
}
