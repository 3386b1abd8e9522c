"""The token of an account's calls, by what its configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from app.contract import Authorize, CancelOutcome, Context, HttpRequest, ProbeUnavailable
from app.kit.cel.expression import ExpressionFailed
from app.kit.excerpts import excerpt
from app.kit.jwt import sign_jwt
from app.kit.tokens import FetchedToken, MadeToken, RefreshToken, Tokens, bearer, endpoint_table
from handlers.generic.config import Config
from handlers.generic.message import header_text, with_content
from handlers.generic.template import SECRETS, filled
from handlers.generic.token import JTI, JWT, REFRESH_TOKEN, Jwt, Token

_ENDPOINT = endpoint_table(
    "The token endpoint", client="token and the secrets that it names", address="token.url and token.access_token"
)


Made = TypeVar("Made")


def tokens_of(config: Config) -> Tokens | None:
    """Where the account's tokens come from; None: it has none."""
    return None if config.token is None else _tokens(config, config.token)


def key_authorization(config: Config) -> Authorize | None:
    """See `Handler.authorize`. A refresh token that changes with each use is for the owner of the account's calls."""
    token = config.key_token or config.token
    if token is None:
        return config.authorization()
    return None if token.refresh_token is not None else bearer(lambda config: _tokens(config, token))


def _tokens(config: Config, token: Token) -> Tokens:
    secrets = config.secret_values
    if token.url is None:
        return MadeToken(lambda context: _made(partial(_own_jwt, token, secrets, context), secrets))
    refresh = None
    if token.refresh_token is not None:
        initial = secrets[token.refresh_token.initial.removeprefix(SECRETS)]
        refresh = RefreshToken(initial, token.refresh_token.path)
    return FetchedToken(
        request=lambda context: _made(partial(_request, config, token, refresh, context), secrets),
        table=_ENDPOINT,
        access_token=token.access_token,
        expires_in=token.expires_in,
        life_s=token.life_s,
        refresh_token=refresh,
        secrets=tuple(secrets.values()),
    )


def _made(make: Callable[[], Made], secrets: Mapping[str, str]) -> Made | ProbeUnavailable:
    try:
        return make()
    except ExpressionFailed as error:
        words = excerpt(str(error), *secrets.values())
        return ProbeUnavailable(
            f"The call that `token` describes cannot be made, and nothing was sent: {words}.",
            outcome=CancelOutcome.UNAUTHORIZED,
        )


def _own_jwt(token: Token, secrets: Mapping[str, str], context: Context) -> str:
    if token.jwt is None:
        raise AssertionError("a token without url and jwt")
    return _signed(token, token.jwt, secrets, _values(secrets, context))


def _request(config: Config, token: Token, refresh: RefreshToken | None, context: Context) -> HttpRequest:
    """The call to the token endpoint. Raises `ExpressionFailed`."""
    secrets = config.secret_values
    values, scope = _values(secrets, context), token.scope(frozenset(secrets))
    if token.jwt is not None:
        values[JWT] = _signed(token, token.jwt, secrets, values)
        context.conceal(values[JWT])
    if refresh is not None:
        values[REFRESH_TOKEN] = refresh.current(context)
    headers = {name: header_text(name, text, scope, values) for name, text in token.headers.items()}
    # Credentials made of secrets, such as user and password in base64, are secrets too.
    context.conceal(*(headers[name].rpartition(" ")[2] for name, text in token.headers.items() if "{{" in text))
    content = None if token.body is None else filled(token.body, scope, values)
    headers, body = with_content(headers, content, token.encoding)
    return HttpRequest(token.method, str(token.url), headers, body, config.timeout_s)


def _signed(token: Token, jwt: Jwt, secrets: Mapping[str, str], values: Mapping[str, Any]) -> str:
    scope, now = token.claims_scope(frozenset(secrets)), int(values["now"].timestamp())
    claims = {"iat": now, "exp": now + jwt.ttl_s, **filled(jwt.claims, scope, values)}
    claims = {name: claim for name, claim in claims.items() if claim is not None}
    try:
        return sign_jwt(jwt.alg, jwt.key_of(secrets), claims, filled(jwt.header, scope, values))
    except (TypeError, ValueError) as error:
        raise ExpressionFailed(f"the JWT cannot be written ({type(error).__name__})") from None


def _values(secrets: Mapping[str, str], context: Context) -> dict[str, Any]:
    named = {SECRETS + name: secret for name, secret in secrets.items()}
    return {"now": context.now, JTI: context.unique(), **named}
