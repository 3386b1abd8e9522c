"""The simulated token endpoint: what becomes of a client's assertion, and which access tokens are good."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from app.contract import HttpResponse
from app.kit.simulator import json_response

TOKEN_PATH = "/token"  # noqa: S105 - a path
# Written down once more: a slip in the handler must not be made here as well.
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLAIMS = ("iss", "sub", "aud", "jti", "iat", "nbf", "exp")
JTI_MAX = 10_000

_NO_CLOCK = {f"verify_{claim}": False for claim in CLAIMS}
"""The library would look at the machine's clock, where the simulator has one of its own."""


class InvalidClient(Exception):
    """The assertion does not prove the client; the message is the `error_description`."""


class TokenEndpoint:
    """Exchanges assertions for access tokens.

    Args:
        client_id: the client that it knows; any, if None.
        key_id: the `kid` that it knows; any, if None.
        public_key: PEM; without one, a signature is not checked (and every other claim is).
        audience: the `aud` that it takes; without one, any URL that ends in `/token`.
        fixed: access tokens that are always good.
        life_s: how long a token is good.
    """

    def __init__(
        self,
        *,
        client_id: str | None,
        key_id: str | None,
        public_key: str | None,
        audience: str | None,
        fixed: tuple[str, ...],
        life_s: float,
    ) -> None:
        self.public_key, self.life_s = public_key, life_s
        self._client_id, self._key_id, self._audience, self._fixed = client_id, key_id, audience, fixed
        self._issued: dict[str, float] = {}
        self._number = 0
        self._seen: dict[str, float] = {}

    def accepts(self, authorization: str, now: float) -> bool:
        """Is this header's bearer token good?"""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and (token in self._fixed or self._issued.get(token, 0.0) > now)

    def expire(self) -> None:
        """No token that was issued is good any more."""
        self._issued.clear()

    def exchange(self, raw: bytes, now: float) -> HttpResponse:
        """Answer the form of a token request, as RFC 6749 has it."""
        form = dict(parse_qsl(raw.decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return _error(400, "invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
        try:
            self._check(form.get("client_assertion", ""), now)
        except InvalidClient as error:
            return _error(401, "invalid_client", str(error))
        self._number += 1
        token = f"simulated-token-{self._number}"
        self._issued[token] = now + self.life_s
        return json_response(200, {"access_token": token, "expires_in": self.life_s, "token_type": "Bearer"})

    def _check(self, assertion: str, now: float) -> None:
        try:
            header = jwt.get_unverified_header(assertion)
            options: Any = {**_NO_CLOCK, "verify_signature": self.public_key is not None}
            claims = jwt.decode(assertion, self.public_key or "", algorithms=["RS256"], options=options)
        except jwt.InvalidSignatureError:
            raise InvalidClient("the signature is not the client's") from None
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidClient(f"the assertion cannot be read: {error}") from None
        if header.get("alg") != "RS256" or (self._key_id is not None and header.get("kid") != self._key_id):
            raise InvalidClient("alg must be RS256, and kid the public key's")
        if not header.get("kid"):
            raise InvalidClient("kid is missing")
        missing = [name for name in CLAIMS if claims.get(name) in (None, "")]
        if missing:
            raise InvalidClient(f"missing: {', '.join(missing)}")
        self._check_claims(claims, now)

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        client = claims["sub"]
        if claims["iss"] != client or (self._client_id is not None and client != self._client_id):
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
        self._seen = {jti: until for jti, until in list(self._seen.items())[-JTI_MAX:] if until > now}
        if claims["jti"] in self._seen:
            raise InvalidClient("this jti was used before")
        self._seen[claims["jti"]] = claims["exp"]

    def _is_audience(self, given: Any) -> bool:
        if self._audience is not None:
            return bool(given == self._audience)
        return isinstance(given, str) and urlsplit(given).path.endswith(TOKEN_PATH)


def _error(status: int, error: str, description: str) -> HttpResponse:
    return json_response(status, {"error": error, "error_description": description})
