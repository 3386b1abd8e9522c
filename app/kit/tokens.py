"""Access tokens: how a flow comes by the credentials of its calls, and what happens where it gets none.

A token is fetched once for all flows of an account, remembered, replaced shortly before it expires, and replaced once
more if a call is answered 401, or 403 where the source says so of an expired token. Without a token nothing is sent. A
refresh token that changes with each use is kept durably: it is stored before anything is sent with the token that came
with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Protocol

from msgspec.structs import replace

from app.contract import (
    Authorize,
    CancelResult,
    Context,
    Flow,
    HttpRequest,
    HttpResponse,
    MalformedPayload,
    ProbeUnavailable,
)
from app.kit.paths.path import find
from app.kit.responses import ResponseKind, ResponseTable, Row, error_words, json_or_none, told_wait

LIFE_S = 60.0
"""The life of a token if its response does not give it; RFC 6749 only recommends that it does."""
LIFE_MAX_S = 24 * 3600.0
EARLY_S = 30.0
"""A token is replaced so long before it expires, or from half of its life on if that is shorter."""

_MEMORY_KEY = "access_token"
_TOKEN = re.compile(r"[!-~]{1,16384}")
"""What can stand in an `Authorization` header, as RFC 6750 has it."""
_CONCEALED_CHARS_MIN = 6
"""Shorter ones would be removed from innocent words."""
_ERRORS = {
    "temporarily_unavailable": ResponseKind.UNAVAILABLE,
    "server_error": ResponseKind.UNAVAILABLE,
    "slow_down": ResponseKind.THROTTLED,
}
"""RFC 6749 and RFC 8628: errors that pass, whatever the status. Any other means that the client is refused."""
_FAILED = Row("{provider} failed ({said}).")


def endpoint_table(name: str, *, client: str, address: str) -> ResponseTable:
    """What responses of a token endpoint mean.

    Args:
        name: of the endpoint, for sentences ("Superloop's token endpoint").
        client: what to check if it does not accept the account ("client_id and private_key").
        address: what to check if something else answers ("token_url").
    """
    no_token = Row(f"What answered at the token endpoint ({{said}}) gave no token: check {address}.")
    refused = Row(f"{{provider}} does not accept the client ({{said}}): check {client}, and this machine's clock.")
    return ResponseTable(
        name,
        kinds={HTTPStatus.BAD_REQUEST: ResponseKind.NOT_ALLOWED},
        rows={
            ResponseKind.NOT_ALLOWED: refused,
            **dict.fromkeys((ResponseKind.CRASHED, ResponseKind.UNAVAILABLE, ResponseKind.LOST), _FAILED),
            **dict.fromkeys((ResponseKind.UNREADABLE, ResponseKind.REJECTED, ResponseKind.MISDIRECTED), no_token),
        },
    )


class Tokens(Protocol):
    """Where an account's tokens come from."""

    def get(self, context: Context) -> Flow[str | ProbeUnavailable]:
        """A token, which is concealed from now on; or why there is none."""

    def refuse(self, token: str, context: Context) -> bool:
        """`token` was answered 401 or the like: forget it. Returns whether another one may be accepted."""


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that is configured."""

    token: str = field(repr=False)

    def get(self, context: Context) -> Flow[str | ProbeUnavailable]:
        """See `Tokens.get`."""
        context.conceal(self.token)
        return self.token
        yield

    def refuse(self, token: str, context: Context) -> bool:  # noqa: ARG002 - of the protocol
        """There is no other."""
        return False


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token that the account makes itself, for each call: a JWT."""

    make: Callable[[Context], str | ProbeUnavailable] = field(repr=False)

    def get(self, context: Context) -> Flow[str | ProbeUnavailable]:
        """See `Tokens.get`."""
        token = self.make(context)
        if isinstance(token, str):
            context.conceal(token)
        return token
        yield

    def refuse(self, token: str, context: Context) -> bool:  # noqa: ARG002 - of the protocol
        """Another one would say the same."""
        return False


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token that may be good once: each response of the endpoint may have the next one."""

    initial: str = field(repr=False)
    path: str
    """Where a response has the next one, in JMESPath."""

    @property
    def key(self) -> str:
        """What the current one is kept under: another initial one does not find it."""
        return f"refresh_token {sha256(self.initial.encode()).hexdigest()[:32]}"

    def current(self, context: Context) -> str:
        """The one to send now."""
        kept: str | None = context.recall(self.key)
        token = self.initial if kept is None else kept
        context.conceal(token)
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedToken:
    """A token that an endpoint gives, and that is used until shortly before it expires."""

    request: Callable[[Context], HttpRequest | ProbeUnavailable] = field(repr=False)
    """Makes the call to the endpoint, and conceals the credentials that it makes for it; or says why it cannot."""
    table: ResponseTable
    """By `endpoint_table`."""
    access_token: str = "access_token"  # noqa: S105 - a path
    """Where a response has the token, in JMESPath."""
    expires_in: str = "expires_in"
    """Where it says for how many seconds the token is good."""
    life_s: float = LIFE_S
    """For how long it is good where it does not say."""
    refresh_token: RefreshToken | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Configured credentials, which a response may repeat."""

    def get(self, context: Context) -> Flow[str | ProbeUnavailable]:
        """See `Tokens.get`."""
        remembered: str | None = context.recall(_MEMORY_KEY)
        if remembered is not None:
            context.conceal(remembered)
            return remembered
        request = self.request(context)
        if isinstance(request, ProbeUnavailable):
            return request
        response = yield replace(request, repeatable=True, confidential=True, shared=_MEMORY_KEY)
        return self._read(response, context)

    def refuse(self, token: str, context: Context) -> bool:
        """See `Tokens.refuse`. Where another flow has replaced it meanwhile, the newer one stays."""
        if context.recall(_MEMORY_KEY) == token:
            context.forget(_MEMORY_KEY)
        return True

    def _read(self, response: HttpResponse, context: Context) -> str | ProbeUnavailable:
        body = json_or_none(response, self.table.provider)
        token = _at(self.access_token, body)
        if type(token) is str and len(token) >= _CONCEALED_CHARS_MIN:
            # Before it is looked at: what cannot be used may be repeated in the same response.
            context.conceal(token)
        if response.status // 100 != 2 or type(token) is not str or not _TOKEN.fullmatch(token):  # noqa: PLR2004 - successes
            return self._no_token(response, body, context)
        _, known = context.memory.get(_MEMORY_KEY, (None, None))
        if known != token:
            # The token was issued after this flow began: by our clock it may live longer, but not shorter. Flows that
            # share the response, and may have begun after it was issued, find it here.
            life_s = _life_s(_at(self.expires_in, body), self.life_s)
            context.keep(_MEMORY_KEY, token, context.now + timedelta(seconds=life_s - min(EARLY_S, life_s / 2)))
        if self.refresh_token is not None:
            following = _at(self.refresh_token.path, body)
            if type(following) is str and _TOKEN.fullmatch(following):
                context.conceal(following)
                context.keep(self.refresh_token.key, following, durable=True)
        return token

    def _no_token(self, response: HttpResponse, body: Any, context: Context) -> ProbeUnavailable:
        error = body.get("error") if type(body) is dict else None
        kind = _ERRORS.get(str(error)) or self.table.kind_of(response.status, readable=False)
        secrets = (*self.secrets, *context.concealed)
        read = self.table.read(response, kind, None, error_words(body), secrets=secrets)
        outcome = self.table.probe_unavailable(read).outcome
        return ProbeUnavailable(read.detail, outcome=outcome, after_s=told_wait(outcome, read.after_s))


@dataclass(slots=True)
class Session:
    """The calls of one flow, each with a token."""

    tokens: Tokens
    context: Context
    refresh_on: Collection[int] = (HTTPStatus.UNAUTHORIZED,)
    """Statuses by which the source says that a token is not good any more: 401, and perhaps 403."""
    token: str = field(default="", repr=False)
    """The one that was last used."""

    def call(self, build: Callable[[str], HttpRequest]) -> Flow[HttpResponse | ProbeUnavailable]:
        """Send what `build` makes of a token. A token that is refused is replaced, once, and the call made again.

        Nothing was done by a call that was answered 401 or 403. A 403 may mean any other refusal too, so a token that
        was fetched for this very call, and cannot have expired, is not replaced for one: each call of a source that
        refuses the account costs one fetch at most. Without a token nothing is sent, and the result says why.
        """
        is_last = False
        while True:
            is_new = self.context.recall(_MEMORY_KEY) is None
            token = yield from self.tokens.get(self.context)
            if isinstance(token, ProbeUnavailable):
                return token
            self.token = token
            response = yield build(token)
            expired = response.status in self.refresh_on and not (is_new and response.status == HTTPStatus.FORBIDDEN)
            if not expired or is_last or not self.tokens.refuse(token, self.context):
                return response
            is_last = True


def send_authorized(
    request: HttpRequest, authorize: Authorize, config: Any, context: Context
) -> Flow[HttpResponse | ProbeUnavailable]:
    """Send `request` with the credentials that `authorize` gives it; after a 401 once more, with others."""
    context.refused = None
    authorized = yield from authorize(request, config, context)
    if isinstance(authorized, ProbeUnavailable):
        return authorized
    response = yield authorized
    if response.status != HTTPStatus.UNAUTHORIZED:
        return response
    context.refused = authorized
    again = yield from authorize(request, config, context)
    if isinstance(again, ProbeUnavailable):
        return again
    return response if again == authorized else (yield again)


def bearer(tokens: Callable[[Any], Tokens]) -> Authorize:
    """The `Authorize` that sends a token of `tokens(config)` as `Authorization: Bearer …`."""

    def authorize(request: HttpRequest, config: Any, context: Context) -> Flow[HttpRequest | ProbeUnavailable]:
        source, refused = tokens(config), context.refused
        if refused is not None:
            source.refuse(refused.headers.get("Authorization", "").removeprefix("Bearer "), context)
        token = yield from source.get(context)
        if isinstance(token, ProbeUnavailable):
            return token
        return replace(request, headers={**request.headers, "Authorization": f"Bearer {token}"})

    return authorize


def unsent_cancel(unavailable: ProbeUnavailable) -> CancelResult:
    """The result of a cancel that was not sent, as there was no token."""
    return CancelResult(unavailable.outcome, str(unavailable), unavailable.after_s)


def _at(path: str, body: Any) -> Any:
    try:
        return find(path, body)
    except MalformedPayload:
        return None


def _life_s(given: Any, otherwise_s: float) -> float:
    try:
        life_s = float(given)
    except (TypeError, ValueError, OverflowError):
        return otherwise_s
    return min(life_s, LIFE_MAX_S) if life_s > 0 else otherwise_s
