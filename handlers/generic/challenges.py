"""Challenges: how a source finds out, before it sends webhooks, that the URL is its customer's.

Strangers reach most of them. So what they may cause is limited when a challenge is saved: no secret is shown, only
digests of one; nothing signs what anybody sends unless the configuration says so; and one request costs no more than
one expression may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

import msgspec
from pydantic import AfterValidator, Field, model_validator

from app.contract import HandshakeResponse, InboundRequest, PostHandshakes
from app.kit.cel import expression
from app.kit.cel.cost import COST_MAX_US, ELEMENTS_MAX
from app.kit.cel.expression import Expression, ExpressionFailed, InvalidExpression, Kind, Scope
from app.kit.host_patterns import check_host_pattern, is_allowed_url
from handlers.generic.call import HEADER_NAME
from handlers.generic.template import SECRETS, filled, leaves, template, with_secrets
from handlers.generic.words import Part

REQUEST = Scope.of(
    {
        "request.method": Kind.STRING,
        "request.url": Kind.STRING,
        "request.query": Kind.MAP,
        "request.headers": Kind.MAP,
        "request.json": Kind.MAP,
        "request.form": Kind.MAP,
    }
)
BODY_MAX = 65_536
"""A larger request is no challenge."""
CHALLENGES_MAX = 10
TEXT, JSON = "text/plain", "application/json"
_FORM = "application/x-www-form-urlencoded"
_CONTENT_TYPE = "content-type"
_NOT_OURS = frozenset(
    {
        # They frame the response,
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "server",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # or would act on browsers that have the console open, which has the same origin.
        "alt-svc",
        "clear-site-data",
        "content-disposition",
        "content-location",
        "link",
        "location",
        "nel",
        "refresh",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "set-cookie",
        "sourcemap",
        "strict-transport-security",
        "www-authenticate",
    }
)
_OF_BROWSERS = ("access-control-", "content-security-policy", "cross-origin-")
_NOT_ANSWERED = "This challenge cannot be answered: the request lacks what the response needs."
_NO_PUBLIC_URL = "This challenge cannot be answered: it needs the endpoint's URL, and RESCIND_PUBLIC_URL is not set."


class Confirm(Part):
    """A URL in the request by which the source has the subscription confirmed; it is called once (GET)."""

    url: str = Field(max_length=1000, description="The URL, as a template: {{ request.json.SubscribeURL }}.")
    hosts: tuple[Annotated[str, AfterValidator(check_host_pattern)], ...] = Field(
        min_length=1,
        max_length=20,
        description="The hosts that may be called; * stands for one whole label (sns.*.amazonaws.com).",
    )


class Challenge(Part):
    """A request that is no webhook, and its response. Strings of headers and body are templates."""

    method: Literal["GET", "POST", "OPTIONS"] = Field("GET", description="The method; GET answers HEAD too.")
    when: str | None = Field(
        None, description="CEL over the request: whether it is this challenge. Required for POST; none: any request."
    )
    status: int = Field(200, ge=200, le=499, description="The status of the response: 2xx or 4xx.")
    headers: dict[str, str] = Field({}, max_length=20, description="Headers of the response, by name.")
    body: Any = Field(None, description="The body: one text, or JSON whose strings are templates.")
    verified: bool | None = Field(
        None,
        description="Whether the request must prove its sender by the endpoint's scheme: POST by default; others never "
        "do.",
    )
    signs_for_anyone: bool = Field(
        default=False,
        description="Lets an unverified response hold an HMAC made with a secret, or one to POST any digest: anyone "
        "who asks gets it. Not with a secret that webhooks are signed with.",
    )
    confirm: Confirm | None = Field(
        None, description="The URL that the source wants called; the response is sent when that has succeeded."
    )

    @property
    def is_verified(self) -> bool:
        """Whether only a request that has proved its sender is answered."""
        return self.method == "POST" if self.verified is None else self.verified

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 300 <= self.status < 400:  # noqa: PLR2004
            raise ValueError("status: a challenge is not answered by a redirect: give 2xx or 4xx")
        if self.verified and self.method != "POST":
            raise ValueError("verified: only POST requests prove their sender; leave it out")
        if self.confirm is not None and not self.is_verified:
            raise ValueError("confirm: only a verified POST request may name a URL that is called")
        if self.method == "POST" and self.when is None:
            raise ValueError("when: say which POST requests are the challenge: all others are webhooks")
        if self.body is not None and not isinstance(self.body, str | dict | list):
            raise ValueError("body: give a text, an object or a list")
        for name, text in self.headers.items():
            _check_header(name, text)
        return self


def _check_header(name: str, text: str) -> None:
    lower = name.lower()
    if not re.fullmatch(HEADER_NAME, name):
        raise ValueError(f"headers: {name!r} is no name of a header")
    if lower in _NOT_OURS or lower.startswith(_OF_BROWSERS):
        raise ValueError(f"headers: leave out {name}: the response is for the source, and not for a browser")
    if lower == _CONTENT_TYPE and text.partition(";")[0].strip().lower() not in (TEXT, JSON):
        raise ValueError(f"headers: Content-Type must be {TEXT} or {JSON}, so that no browser renders what is repeated")


def check(challenges: Sequence[Challenge], secrets: frozenset[str]) -> None:
    """Check the expressions; `secrets` are the names of the account's. Raises ValueError, naming the field."""
    scope, cost_us = with_secrets(secrets, REQUEST), 0.0
    for number, challenge in enumerate(challenges):
        where = f"challenges.{number}"
        made = list(_made(challenge, where, scope))
        cost_us += sum(part.cost_us for _, part in made)
        for place, part in made:
            _check_secrets(challenge, place, part, is_response=place != f"{where}.when")
        is_about_request = any(place == f"{where}.when" and part.names & {*_REQUEST_NAMES} for place, part in made)
        if challenge.method == "POST" and not is_about_request:
            raise ValueError(f"{where}.when: it must tell the challenge from webhooks by the request")
    if cost_us > COST_MAX_US:
        raise ValueError(
            f"challenges: their expressions may take {cost_us / 1000:.0f} ms together, and the maximum is "
            f"{COST_MAX_US / 1000:g} ms, as anybody may ask: use fewer, or no loops"
        )


_REQUEST_NAMES = tuple(name for name, _ in REQUEST.names)


def _made(challenge: Challenge, where: str, scope: Scope) -> Iterator[tuple[str, Expression]]:
    """(field, expression) of all expressions of a challenge. Raises ValueError."""
    place = f"{where}.when"
    try:
        if challenge.when is not None:
            yield place, expression.compile(challenge.when, scope, Kind.BOOL)
        for place, text in _texts(challenge, where):
            for part in template(text, scope).parts:
                if isinstance(part, Expression):
                    yield place, part
    except InvalidExpression as error:
        raise ValueError(f"{place}: {error}") from None


def _texts(challenge: Challenge, where: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{where}.headers.{name}", text) for name, text in challenge.headers.items())
    yield from leaves(challenge.body, f"{where}.body")
    if challenge.confirm is not None:
        yield f"{where}.confirm.url", challenge.confirm.url


def _check_secrets(challenge: Challenge, place: str, part: Expression, *, is_response: bool) -> None:
    bare = sorted(part.bare_names(SECRETS))
    if bare:
        raise ValueError(
            f"{place}: strangers may ask, so {bare[0]} may stand only in sha256(…), hmac(…) or same(…, …), which "
            "compares in a time that tells nothing"
        )
    shown = sorted(part.shown_digests(SECRETS)) if not is_response and not challenge.is_verified else []
    if shown:
        raise ValueError(
            f"{place}: strangers may ask, so compare {shown[0]}(…) of a secret by same(…, …): anything else may tell "
            "the digest piece by piece"
        )
    uses_secret = is_response and any(name.startswith(SECRETS) for name in part.names)
    is_guarded = challenge.method != "POST" and "hmac" not in part.functions
    if uses_secret and not (challenge.is_verified or is_guarded or challenge.signs_for_anyone):
        raise ValueError(
            f"{place}: an unverified request gets a digest made with a secret here, so anybody could have texts "
            "signed: set verified: true, or signs_for_anyone: true where no webhook is signed with that secret"
        )


def methods(challenges: Sequence[Challenge]) -> frozenset[str]:
    """Methods besides POST of which some requests are responded to; CloudEvents ask by OPTIONS."""
    asking = {challenge.method for challenge in challenges} - {"POST"}
    return frozenset({"OPTIONS", *asking, *({"HEAD"} if "GET" in asking else ())})


def post_handshakes(challenges: Sequence[Challenge]) -> PostHandshakes:
    """Which POST requests may be challenges."""
    posts = [challenge for challenge in challenges if challenge.method == "POST"]
    if not posts:
        return ""
    return "proven" if all(challenge.is_verified for challenge in posts) else "any"


def respond(
    request: InboundRequest, challenges: Sequence[Challenge], secrets: Mapping[str, str]
) -> HandshakeResponse | None:
    """The response to a challenge: that of the first which the request is. None: it is none of them."""
    method = "GET" if request.method == "HEAD" else request.method
    asked = _Asked(request, {SECRETS + name: value for name, value in secrets.items()})
    scope = with_secrets(frozenset(secrets), REQUEST)
    for challenge in challenges if len(request.body) <= BODY_MAX else ():
        if challenge.method != method or challenge.is_verified != request.proven:
            continue
        if _applies(challenge, asked, scope):
            return _response(challenge, asked, scope)
    return None


def _applies(challenge: Challenge, asked: _Asked, scope: Scope) -> bool:
    if challenge.when is None:
        return True
    try:
        when = expression.compile(challenge.when, scope, Kind.BOOL)
        return bool(when.evaluate(asked.values(when.names)))
    except (ExpressionFailed, RecursionError):
        return False  # What it speaks of is missing.


def _response(challenge: Challenge, asked: _Asked, scope: Scope) -> HandshakeResponse | None:
    """The response; None for a POST request that lacks what it needs, which is a webhook then."""
    try:
        values = asked.values(frozenset(name for name, _ in scope.names))
        headers = {name: template(text, scope).text(values) for name, text in challenge.headers.items()}
        body = _body(challenge.body, headers, scope, values)
        confirm = "" if challenge.confirm is None else template(challenge.confirm.url, scope).text(values)
    except (ExpressionFailed, RecursionError, TypeError, ValueError):
        if challenge.method == "POST":
            return None
        uses_url = any("request.url" in part.names for _, part in _made(challenge, "", scope))
        text = _NO_PUBLIC_URL if uses_url and not asked.url else _NOT_ANSWERED
        return HandshakeResponse(400, {"Content-Type": TEXT}, text.encode())
    if challenge.confirm is not None and not is_allowed_url(confirm, challenge.confirm.hosts):
        return None  # It goes to quarantine, where a person sees it.
    return HandshakeResponse(challenge.status, headers, body, confirm)


def _body(body: Any, headers: dict[str, str], scope: Scope, values: Mapping[str, Any]) -> bytes:
    """The body; adds its Content-Type to `headers`."""
    if body is None:
        return b""
    is_typed = any(name.lower() == _CONTENT_TYPE for name in headers)
    if not is_typed:
        headers["Content-Type"] = TEXT if isinstance(body, str) else JSON
    if isinstance(body, str):
        return template(body, scope).text(values).encode()
    return msgspec.json.encode(filled(body, scope, values))


class _Asked:
    """A request as expressions read it. What none reads is not made.

    Values with NUL are left out: the library of CEL cuts texts off there, so that another text would be compared.
    """

    def __init__(self, request: InboundRequest, secrets: Mapping[str, str]) -> None:
        self._request, self._secrets = request, secrets

    def values(self, names: frozenset[str]) -> dict[str, Any]:
        """The values of these names; a URL that is not known is left out."""
        values = {name: value for name, value in self._secrets.items() if name in names}
        for name in _REQUEST_NAMES:
            if name in names:
                values[name] = getattr(self, name.partition(".")[2])
        if not self.url:
            values.pop("request.url", None)
        return values

    @cached_property
    def method(self) -> str:
        return self._request.method

    @cached_property
    def url(self) -> str:
        """The endpoint's URL, without the query; "" where RESCIND_PUBLIC_URL is not set."""
        return self._request.url.partition("?")[0] if "://" in self._request.url else ""

    @cached_property
    def query(self) -> dict[str, str]:
        return _without_nul(self._request.query)

    @cached_property
    def headers(self) -> dict[str, str]:
        return _without_nul({name.lower(): value for name, value in self._request.headers.items()})

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body, whatever its Content-Type says; empty if it is no JSON object."""
        body = self._request.body
        if body.lstrip()[:1] != b"{" or b"\\u0000" in body:
            return {}
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return decoded if type(decoded) is dict else {}

    @cached_property
    def form(self) -> dict[str, str]:
        if self._request.headers.get("Content-Type", _FORM).partition(";")[0].strip().lower() != _FORM:
            return {}
        try:
            text = self._request.body.decode("utf-8", "replace")
            return _without_nul(dict(parse_qsl(text, keep_blank_values=True, max_num_fields=ELEMENTS_MAX)))
        except ValueError:
            return {}


def _without_nul(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if "\0" not in value}
