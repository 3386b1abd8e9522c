"""Access tokens: OAuth 2.0 client credentials, where the client proves itself by a signed assertion.

“Authentication” documents `private_key_jwt`: a JWT signed with RS256, with `kid` in its header and `jti`, `exp`, `nbf`
among its claims, is exchanged at the token endpoint for a bearer token. The form's fields are RFC 7523's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import jwt
from msgspec import Struct
from msgspec.structs import replace

from app.contract import CancelOutcome, Context, Flow, HttpRequest, HttpResponse
from app.kit.responses import json_or_none, retry_after_s, told_wait
from handlers.superloop.config import Config, is_token
from handlers.superloop.responses import words_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S = 60
ASSERTION_LEEWAY_S = 30
"""By how much the provider's clock may be behind ours."""
TOKEN_LIFE_S = 60.0
"""Of a token whose answer does not say; RFC 6749 only recommends that it does."""
TOKEN_LIFE_MAX_S = 24 * 3600.0
EARLY_S = 30.0
"""So long before it expires a token is no longer used, or from half of its life on if that is short."""

_KEPT = "access_token"

_ERRORS = {
    "temporarily_unavailable": CancelOutcome.RETRY,
    "server_error": CancelOutcome.RETRY,
    "slow_down": CancelOutcome.THROTTLED,
}
"""RFC 6749 and RFC 8628: errors that a person cannot mend. Any other means that the client is refused."""


class Denied(Struct, frozen=True):
    """There is no token, and so nothing was asked of the Connect API."""

    outcome: CancelOutcome
    detail: str
    after_s: float | None = None


@dataclass(slots=True)
class Session:
    """The tokens of one flow."""

    config: Config
    context: Context
    token: str = field(default="", repr=False)
    """The one that was last used."""
    _fetched: int = 0

    @property
    def is_fixed(self) -> bool:
        """The account has one token, and no way to another."""
        return self.config.access_token is not None

    def call(self, request: HttpRequest) -> Flow[HttpResponse | Denied]:
        """Send `request` with a token. A token that is refused is replaced, once, and the call made again.

        Nothing was done by a call that was answered 401.
        """
        response = yield from self._send(request)
        if isinstance(response, Denied) or response.status != HTTPStatus.UNAUTHORIZED or self.is_fixed:
            return response
        if self.context.recall(_KEPT) == self.token:
            self.context.forget(_KEPT)
        return (yield from self._send(request))

    def _send(self, request: HttpRequest) -> Flow[HttpResponse | Denied]:
        token = yield from self._token()
        if isinstance(token, Denied):
            return token
        self.token = token
        headers = {
            **request.headers,
            "Authorization": f"Bearer {token}",
            "X-API-VERSION": str(self.config.api_version),
        }
        return (yield replace(request, headers=headers))

    def _token(self) -> Flow[str | Denied]:
        if self.config.access_token is not None:
            return self.config.access_token.get_secret_value()
        kept: str | None = self.context.recall(_KEPT)
        if kept is not None:
            return kept
        self._fetched += 1
        assertion = signed_assertion(self.config, self.context, self._fetched)
        response = yield token_request(self.config, assertion)
        return self._taken(response, assertion)

    def _taken(self, response: HttpResponse, assertion: str) -> str | Denied:
        body = json_or_none(response, "Superloop")
        token = body.get("access_token") if type(body) is dict else None
        if response.status // 100 != 2 or type(token) is not str or not is_token(token):  # noqa: PLR2004 - successes
            return _denied(response, words_of(body, assertion), body)
        life_s = _life_s(body.get("expires_in"))
        # It was issued after this flow began: by our clock it may live longer, but not shorter.
        until = self.context.now + timedelta(seconds=life_s - min(EARLY_S, life_s / 2))
        self.context.keep(_KEPT, token, until)
        return token


def signed_assertion(config: Config, context: Context, number: int = 1) -> str:
    """What proves the client, for one use; `number` counts those of one flow."""
    now = int(context.now.timestamp())
    claims = {
        "iss": config.client_id,
        "sub": config.client_id,
        "aud": config.audience or config.token_url,
        "jti": context.nonce if number == 1 else f"{context.nonce}-{number}",
        "iat": now - ASSERTION_LEEWAY_S,
        "nbf": now - ASSERTION_LEEWAY_S,
        "exp": now + ASSERTION_LIFE_S,
    }
    key = config.private_key.get_secret_value() if config.private_key is not None else ""
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": config.key_id})


def token_request(config: Config, assertion: str) -> HttpRequest:
    """The exchange of an assertion for a token."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return HttpRequest(
        method="POST",
        url=config.token_url,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        body=urlencode(form).encode(),
        timeout_s=config.timeout_s,
        repeatable=True,
        confidential=True,
    )


def _denied(response: HttpResponse, words: str, body: Any) -> Denied:
    said = f"{response.status}, {words}" if words else str(response.status)
    word = body.get("error") if type(body) is dict else None
    outcome = _ERRORS.get(word) if type(word) is str else None
    match response.status:
        case _ if outcome is not None:
            text = f"Superloop's token endpoint answered {said}."
        case HTTPStatus.TOO_MANY_REQUESTS:
            outcome, text = CancelOutcome.THROTTLED, f"Superloop's token endpoint answered {said}."
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            outcome = CancelOutcome.UNAUTHORIZED
            text = (
                f"Superloop's token endpoint does not accept the client ({said}): check client_id, private_key, key_id "
                "and audience, and this machine's clock."
            )
        case status if status // 100 == 5 or status == HTTPStatus.REQUEST_TIMEOUT:  # noqa: PLR2004 - failures of theirs
            outcome, text = CancelOutcome.RETRY, f"Superloop's token endpoint failed ({said})."
        case _:
            outcome = CancelOutcome.RETRY
            text = f"What answered at the token endpoint ({said}) gave no token: check token_url."
    return Denied(outcome, text, told_wait(outcome, retry_after_s(response)))


def _life_s(given: Any) -> float:
    try:
        life_s = float(given)
    except (TypeError, ValueError, OverflowError):
        return TOKEN_LIFE_S
    return min(life_s, TOKEN_LIFE_MAX_S) if life_s > 0 else TOKEN_LIFE_S
