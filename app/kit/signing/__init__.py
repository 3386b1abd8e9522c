"""Proofs of origin that serve any provider; `schemes` lists them."""

from app.kit.signing.credentials import QUERY_TOKEN, verify_token
from app.kit.signing.hmac_scheme import HmacScheme
from app.kit.signing.parts import BODY_PLACES, SignedParts, signed_parts
from app.kit.signing.proof import (
    TOLERANCE_S,
    as_bytes,
    header_of,
    require_fresh,
    require_match,
    secrets_of,
    unix_time,
)
from app.kit.signing.schemes import OPTIONS, PROOF_IN_HEADERS, unheeded, verify_scheme

__all__ = [
    "BODY_PLACES",
    "OPTIONS",
    "PROOF_IN_HEADERS",
    "QUERY_TOKEN",
    "TOLERANCE_S",
    "HmacScheme",
    "SignedParts",
    "as_bytes",
    "header_of",
    "require_fresh",
    "require_match",
    "secrets_of",
    "signed_parts",
    "unheeded",
    "unix_time",
    "verify_scheme",
    "verify_token",
]
