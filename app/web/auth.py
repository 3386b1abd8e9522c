"""The API key of a request: `Authorization: Bearer rk_…`."""

from __future__ import annotations

from aiohttp import web

from app.config.keys import Keys
from app.config.scope import Scope
from app.store import ApiKey, StoreError
from app.web.problems import Kind, Problem, busy
from app.web.rate_limits import RATE_LIMITS

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rescind"'}


async def require(keys: Keys, request: web.Request, scope: Scope) -> ApiKey:
    """The request's API key.

    Raises `Problem` if it is missing or invalid, its scope does not include `scope`, or a limit is exceeded.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    try:
        key = await keys.look_up(token)
    except StoreError as error:
        raise busy(f"{error}.") from error
    if key is None:
        request.app[RATE_LIMITS].note_failure(request)
        hint = "Send an API key as `Authorization: Bearer rk_…`; `rescind keys create` creates one."
        detail = f"{keys.why_refused(token)} {hint}" if token else hint
        raise Problem(Kind.UNAUTHORIZED, detail, headers=_CHALLENGE)
    request.app[RATE_LIMITS].admit_request(key.holder)
    require_scope(key, scope)
    return key


def require_scope(key: ApiKey, scope: Scope) -> None:
    """Raise `Problem` if the key's scope does not include `scope`."""
    if not Scope(key.scope).includes(scope):
        detail = f"This requires scope {scope}; the key {key.name!r} has scope {key.scope}."
        raise Problem(Kind.FORBIDDEN, detail)


def require_in_force(keys: Keys, key: ApiKey) -> None:
    """Raise `Problem` if the key of a request was revoked or has expired while the request waited."""
    if not keys.is_in_force(key):
        raise Problem(Kind.UNAUTHORIZED, f"The API key {key.name!r} ({key.id}) is no longer valid.", headers=_CHALLENGE)
