"""Proofs of origin that serve any provider; `schemes` lists them."""

from app.kit.signing.credentials import QUERY_TOKEN, verify_token
from app.kit.signing.hmac_scheme import HmacScheme
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
    "OPTIONS",
    "PROOF_IN_HEADERS",
    "QUERY_TOKEN",
    "TOLERANCE_S",
    "HmacScheme",
    "as_bytes",
    "header_of",
    "require_fresh",
    "require_match",
    "secrets_of",
    "unheeded",
    "unix_time",
    "verify_scheme",
    "verify_token",
]
