"""The simulated token endpoint: it checks a client's assertion, and knows which access tokens are good."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from app.contract import HttpResponse
from app.kit.simulator import json_response

TOKEN_PATH = "/token"  # noqa: S105 - a path
EXAMPLE_ACCESS_TOKEN = "example-access-token"  # noqa: S105 - an example, and good at the simulator only
# Written down once more: a slip in the handler must not be made here as well.
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLAIMS = ("iss", "sub", "aud", "jti", "iat", "nbf", "exp")
JTI_MAX = 10_000

_NO_CLOCK = {f"verify_{claim}": False for claim in CLAIMS}
"""The library would look at the machine's clock, where the simulator has one of its own."""


class InvalidClient(Exception):
    """The assertion does not prove the client; the message is the `error_description`."""


@dataclass(slots=True, kw_only=True)
class TokenEndpoint:
    """Exchanges assertions for access tokens."""

    client_id: str | None = None
    """The client that it knows; any, if None."""
    key_id: str | None = None
    """The `kid` that it knows; any, if None."""
    public_key: str | None = None
    """PEM; without one, a signature is not checked (and every other claim is)."""
    audience: str | None = None
    """The `aud` that it takes; without one, any URL that ends in `/token`."""
    access_tokens: tuple[str, ...] = (EXAMPLE_ACCESS_TOKEN,)
    """Bearer tokens that are always good."""
    token_life_s: float = 300.0
    """How long a token is good."""
    issued: dict[str, float] = field(default_factory=dict)
    """Token → until when it is good."""
    _number: int = 0
    _used: dict[str, float] = field(default_factory=dict)
    """The `jti` of an assertion → when that expires."""

    def accepts(self, authorization: str, now: float) -> bool:
        """Is this header's bearer token good?"""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and (token in self.access_tokens or self.issued.get(token, 0.0) > now)

    def exchange(self, raw: bytes, now: float) -> HttpResponse:
        """Answer the form of a token request, as RFC 6749 has it."""
        form = dict(parse_qsl(raw.decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return _error(400, "invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
        try:
            self._check_claims(self._claims_of(form.get("client_assertion", "")), now)
        except InvalidClient as error:
            return _error(401, "invalid_client", str(error))
        self._number += 1
        token = f"simulated-token-{self._number}"
        self.issued[token] = now + self.token_life_s
        return json_response(200, {"access_token": token, "expires_in": self.token_life_s, "token_type": "Bearer"})

    def _claims_of(self, assertion: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(assertion)
            options: Any = {**_NO_CLOCK, "verify_signature": self.public_key is not None}
            claims: dict[str, Any] = jwt.decode(assertion, self.public_key or "", algorithms=["RS256"], options=options)
        except jwt.InvalidSignatureError:
            raise InvalidClient("the signature is not the client's") from None
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidClient(f"the assertion cannot be read: {error}") from None
        if header.get("alg") != "RS256" or not header.get("kid") or self.key_id not in (None, header["kid"]):
            raise InvalidClient("alg must be RS256, and kid the public key's")
        return claims

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        missing = [name for name in CLAIMS if claims.get(name) in (None, "")]
        if missing:
            raise InvalidClient(f"missing: {', '.join(missing)}")
        if claims["iss"] != claims["sub"] or self.client_id not in (None, claims["sub"]):
            raise InvalidClient("iss and sub must be the client's id")
        if not self._is_audience(claims["aud"]):
            raise InvalidClient("aud is not this endpoint")
        if any(type(claims[name]) not in (int, float) for name in ("iat", "nbf", "exp")):
            raise InvalidClient("iat, nbf and exp must be numbers")
        if claims["exp"] <= now:
            raise InvalidClient("the assertion has expired")
        if claims["nbf"] > now or claims["iat"] > now:
            raise InvalidClient("the assertion is not valid yet")
        # One may be forgotten once it has expired, and the oldest if there are too many.
        self._used = {jti: until for jti, until in list(self._used.items())[-JTI_MAX:] if until > now}
        if claims["jti"] in self._used:
            raise InvalidClient("this jti was used before")
        self._used[claims["jti"]] = claims["exp"]

    def _is_audience(self, given: Any) -> bool:
        if self.audience is not None:
            return bool(given == self.audience)
        return isinstance(given, str) and urlsplit(given).path.endswith(TOKEN_PATH)


def _error(status: int, error: str, description: str) -> HttpResponse:
    return json_response(status, {"error": error, "error_description": description})
