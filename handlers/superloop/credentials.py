"""Access tokens: OAuth 2.0 client credentials, where the client proves itself by a signed assertion.

“Authentication” documents `private_key_jwt`: a JWT signed with RS256, with `kid` in its header and `jti`, `exp`, `nbf`
among its claims, is exchanged at the token endpoint for a bearer token. The form's fields are RFC 7523's.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

from msgspec.structs import replace

from app.contract import Context, HttpRequest
from app.kit.jwt import sign_jwt
from app.kit.tokens import FetchedToken, FixedToken, Tokens, endpoint_table
from handlers.superloop.config import Config

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S = 60
ASSERTION_LEEWAY_S = 30
"""By how much the provider's clock may be behind ours."""

_ENDPOINT = endpoint_table(
    "Superloop's token endpoint", client="client_id, private_key, key_id and audience", address="token_url"
)


def tokens(config: Config) -> Tokens:
    """Where the account's tokens come from."""
    if config.access_token is not None:
        return FixedToken(config.access_token.get_secret_value())
    return FetchedToken(request=partial(_token_request, config), table=_ENDPOINT)


def authorized(request: HttpRequest, config: Config, token: str) -> HttpRequest:
    """The call with a token, and the version of the API."""
    own = {"Authorization": f"Bearer {token}", "X-API-VERSION": str(config.api_version)}
    return replace(request, headers={**request.headers, **own})


def _signed_assertion(config: Config, context: Context) -> str:
    """A proof of the client, for one use."""
    now = int(context.now.timestamp())
    claims = {
        "iss": config.client_id,
        "sub": config.client_id,
        "aud": config.audience or config.token_url,
        "jti": context.unique(),
        "iat": now - ASSERTION_LEEWAY_S,
        "nbf": now - ASSERTION_LEEWAY_S,
        "exp": now + ASSERTION_LIFE_S,
    }
    key = config.private_key.get_secret_value() if config.private_key is not None else ""
    return sign_jwt("RS256", key, claims, {"kid": config.key_id})


def _token_request(config: Config, context: Context) -> HttpRequest:
    """The exchange of an assertion for a token."""
    assertion = _signed_assertion(config, context)
    context.conceal(assertion)
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
    )
