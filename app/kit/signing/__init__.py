"""Proofs of origin that serve any provider; `schemes` lists them."""

from app.kit.signing.coverage import proven_part, signed_body, signed_headers
from app.kit.signing.credentials import QUERY_TOKEN, verify_token
from app.kit.signing.hmac_scheme import HmacScheme, default_signed, keys_of, scheme_of
from app.kit.signing.items import items_of
from app.kit.signing.parts import BODY_PLACES, SignedParts, header_names, read_document, signed_parts
from app.kit.signing.proof import (
    TOLERANCE_S,
    TimestampFormat,
    as_bytes,
    header_of,
    require_fresh,
    require_match,
    secrets_of,
    unix_time,
)
from app.kit.signing.schemes import OPTIONS, PROOF_IN_HEADERS, is_keyless, signs_url, unheeded, verify_scheme

__all__ = [
    "BODY_PLACES",
    "OPTIONS",
    "PROOF_IN_HEADERS",
    "QUERY_TOKEN",
    "TOLERANCE_S",
    "HmacScheme",
    "SignedParts",
    "TimestampFormat",
    "as_bytes",
    "default_signed",
    "header_names",
    "header_of",
    "is_keyless",
    "items_of",
    "keys_of",
    "proven_part",
    "read_document",
    "require_fresh",
    "require_match",
    "scheme_of",
    "secrets_of",
    "signed_body",
    "signed_headers",
    "signed_parts",
    "signs_url",
    "unheeded",
    "unix_time",
    "verify_scheme",
    "verify_token",
]
