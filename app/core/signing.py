"""Proofs of origin that more than one handler uses. Every comparison takes constant time."""

from __future__ import annotations

from hmac import compare_digest

from app.contract import InboundRequest, VerificationError, VerifyOptions

QUERY_TOKEN = "token"  # noqa: S105 - the name of a parameter


def verify_token(request: InboundRequest, options: VerifyOptions) -> None:
    """Scheme `token`: the secret itself, as a bearer token, in the header that `options` names, or as `?token=`."""
    header = options.header or "Authorization"
    given = request.headers.get(header)
    if given is not None and header.lower() == "authorization":
        # Credentials of another scheme may be a proxy's business.
        scheme, _, token = given.partition(" ")
        given = token if scheme.lower() == "bearer" else None
    if given is None:
        given = request.query.get(QUERY_TOKEN)
    if given is None and header in request.headers:
        raise VerificationError(f"the {header} header holds no bearer token")
    if given is None:
        raise VerificationError(f"no token: send it in the header {header} or as ?{QUERY_TOKEN}= in the URL")
    # A header may hold bytes that are no text; they must compare, and not raise.
    raw = given.strip().encode("utf-8", "surrogateescape")
    require_match(raw, [secret.get_secret_value().encode() for secret in options.secrets], "token")


def require_match(given: bytes, accepted: list[bytes], what: str) -> None:
    """Raise `VerificationError` unless `given` is one of `accepted`; looks at all of them either way."""
    matches = [compare_digest(given, each) for each in accepted]
    if not any(matches):
        raise VerificationError(f"the {what} is wrong")
