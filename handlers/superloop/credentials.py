"""Access tokens: OAuth 2.0 client credentials, where the client proves itself by a signed assertion.

“Authentication” documents `private_key_jwt`: a JWT signed with RS256, with `kid` in its header and `jti`, `exp`, `nbf`
among its claims, is exchanged at the token endpoint for a bearer token. The form's fields are RFC 7523's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import jwt
from msgspec.structs import replace

from app.contract import Context, Flow, HttpRequest, HttpResponse, ProbeUnavailable
from app.kit.responses import ResponseKind, ResponseTable, Row, object_or_none, told_wait
from handlers.superloop.config import Config
from handlers.superloop.responses import words_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S = 60
ASSERTION_LEEWAY_S = 30
"""By how much the provider's clock may be behind ours."""
TOKEN_LIFE_S = 60.0
"""Of a token whose response does not say; RFC 6749 only recommends that it does."""
TOKEN_LIFE_MAX_S = 24 * 3600.0
EARLY_S = 30.0
"""A token is replaced so long before it expires, or from half of its life on if that is shorter."""

_MEMORY_KEY = "access_token"
_TOKEN = re.compile(r"[!-~]{1,16384}")
"""What can stand in an `Authorization` header, as RFC 6750 has it."""

_FAILED = Row("{provider} failed ({said}).")
_NO_TOKEN = Row("What answered at the token endpoint ({said}) gave no token: check token_url.")
_ENDPOINT = ResponseTable(
    "Superloop's token endpoint",
    kinds={400: ResponseKind.NOT_ALLOWED},
    rows={
        ResponseKind.NOT_ALLOWED: Row(
            "{provider} does not accept the client ({said}): check client_id, private_key, key_id and audience, and "
            "this machine's clock."
        ),
        **dict.fromkeys((ResponseKind.CRASHED, ResponseKind.UNAVAILABLE, ResponseKind.LOST), _FAILED),
        **dict.fromkeys((ResponseKind.UNREADABLE, ResponseKind.REJECTED, ResponseKind.MISDIRECTED), _NO_TOKEN),
    },
)
_ERRORS = {
    "temporarily_unavailable": ResponseKind.UNAVAILABLE,
    "server_error": ResponseKind.UNAVAILABLE,
    "slow_down": ResponseKind.THROTTLED,
}
"""RFC 6749 and RFC 8628: errors that pass, whatever the status. Any other means that the client is refused."""


@dataclass(slots=True)
class Session:
    """The tokens of one flow."""

    config: Config
    context: Context
    token: str = field(default="", repr=False)
    """The one that was last used."""
    _fetched: int = 0

    def call(self, request: HttpRequest) -> Flow[HttpResponse | ProbeUnavailable]:
        """Send `request` with a token. A token that is refused is replaced, once, and the call made again.

        Nothing was done by a call that was answered 401. Without a token nothing is sent, and the result says why.
        """
        is_last = self.config.access_token is not None
        while True:
            token = yield from self._get_token()
            if isinstance(token, ProbeUnavailable):
                return token
            self.token = token
            own = {"Authorization": f"Bearer {token}", "X-API-VERSION": str(self.config.api_version)}
            response = yield replace(request, headers={**request.headers, **own})
            if response.status != HTTPStatus.UNAUTHORIZED or is_last:
                return response
            if self.context.recall(_MEMORY_KEY) == token:
                self.context.forget(_MEMORY_KEY)
            is_last = True

    def _get_token(self) -> Flow[str | ProbeUnavailable]:
        if self.config.access_token is not None:
            return self.config.access_token.get_secret_value()
        remembered: str | None = self.context.recall(_MEMORY_KEY)
        if remembered is not None:
            return remembered
        self._fetched += 1
        assertion = signed_assertion(self.config, self.context, self._fetched)
        response = yield token_request(self.config, assertion)
        return self._read_token(response, assertion)

    def _read_token(self, response: HttpResponse, assertion: str) -> str | ProbeUnavailable:
        body = object_or_none(response, _ENDPOINT.provider) or {}
        token = body.get("access_token")
        if response.status // 100 != 2 or type(token) is not str or not _TOKEN.fullmatch(token):  # noqa: PLR2004 - successes
            return _no_token(response, body, assertion)
        life_s = _life_s(body.get("expires_in"))
        # The token was issued after this flow began: by our clock it may live longer, but not shorter.
        until = self.context.now + timedelta(seconds=life_s - min(EARLY_S, life_s / 2))
        self.context.keep(_MEMORY_KEY, token, until)
        return token


def signed_assertion(config: Config, context: Context, number: int = 1) -> str:
    """A proof of the client, for one use; `number` counts those of one flow."""
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


def _no_token(response: HttpResponse, body: dict[str, Any], assertion: str) -> ProbeUnavailable:
    kind = _ERRORS.get(str(body.get("error"))) or _ENDPOINT.kind_of(response.status, readable=False)
    read = _ENDPOINT.read(response, kind, None, words_of(body), secrets=[assertion])
    outcome = _ENDPOINT.probe_unavailable(read).outcome
    return ProbeUnavailable(read.detail, outcome=outcome, after_s=told_wait(outcome, read.after_s))


def _life_s(given: Any) -> float:
    try:
        life_s = float(given)
    except (TypeError, ValueError, OverflowError):
        return TOKEN_LIFE_S
    return min(life_s, TOKEN_LIFE_MAX_S) if life_s > 0 else TOKEN_LIFE_S
