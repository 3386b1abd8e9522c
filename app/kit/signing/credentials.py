"""Schemes `token` and `basic`: the secret itself is the proof, whatever the body is."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.proof import as_bytes, header_of, require_match, secrets_of

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
        raise VerificationError(f"the {header} header holds no bearer token", cause="missing_signature")
    if given is None:
        raise VerificationError(
            f"no token: send it in the header {header} or as ?{QUERY_TOKEN}= in the URL", cause="missing_signature"
        )
    require_match(as_bytes(given.strip()), secrets_of(options), "token")


def verify_basic(request: InboundRequest, options: VerifyOptions, _now: datetime) -> None:
    """Scheme `basic`: user and secret. Raises `VerificationError`."""
    scheme, _, encoded = header_of(request, options.header or "Authorization").partition(" ")
    if scheme.lower() != "basic":
        raise VerificationError("it holds no basic credentials", cause="missing_signature")
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError as error:
        raise VerificationError("its basic credentials are no base64") from error
    user = options.username.encode() + b":"
    require_match(given, [user + secret for secret in secrets_of(options)], "user or password")
