"""What Shoplazza's answers mean, whatever was asked.

“Cancel Order” documents: `errors` (a list of texts; elsewhere also an object of lists by field) or `error` (a text);
404 for a record that is not found; 406; 400 for a bad request and for missing or wrong credentials alike, told apart
by the words only; 500 with a word of gRPC's. “OpenAPI” adds 401, 403, 405, 422 and 429. Some examples show the bare
words in place of JSON, so these are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from app.contract import HttpResponse
from app.kit.excerpts import excerpt
from app.kit.payload import Payload
from app.kit.responses import object_or_none, retry_after_s
from handlers.shoplazza.config import Config


class ResponseKind(Enum):
    """The classes of answers that call for different behavior."""

    DONE = auto()
    UNREADABLE = auto()
    """A success that does not look like Shoplazza's: a proxy may have given it."""
    REJECTED = auto()
    NOT_FOUND = auto()
    """Shoplazza knows no such order or webhook, in its own words."""
    NOT_ALLOWED = auto()
    CLOSED = auto()
    """The shop itself is not active."""
    THROTTLED = auto()
    NOT_OFFERED = auto()
    """The service answered that it does not do this, so it did nothing."""
    OVERLOADED = auto()
    BROKEN = auto()
    """It failed inside, perhaps after it did what was asked."""
    BROKEN_NOT_FOUND = auto()
    BROKEN_NOT_ALLOWED = auto()
    LOST = auto()
    """Something between us and the provider answered in its place."""
    MISDIRECTED = auto()
    """What answered is not the API: the address is wrong."""


INTERNAL_ERRORS = {
    "Aborted": ResponseKind.BROKEN,
    "DeadlineExceeded": ResponseKind.BROKEN,
    # What was not found, or not authenticated, may be a part of the service, behind the order that was canceled.
    "NotFound": ResponseKind.BROKEN_NOT_FOUND,
    "Unauthenticated": ResponseKind.BROKEN_NOT_ALLOWED,
    "Unimplemented": ResponseKind.NOT_OFFERED,
}
"""The words that a 500 may hold, from “Cancel Order”. Any other is `ResponseKind.BROKEN`."""

_BY_CODE: dict[int, ResponseKind] = {
    HTTPStatus.UNAUTHORIZED: ResponseKind.NOT_ALLOWED,
    HTTPStatus.PAYMENT_REQUIRED: ResponseKind.CLOSED,
    HTTPStatus.FORBIDDEN: ResponseKind.NOT_ALLOWED,
    HTTPStatus.METHOD_NOT_ALLOWED: ResponseKind.MISDIRECTED,
    HTTPStatus.REQUEST_TIMEOUT: ResponseKind.LOST,
    HTTPStatus.LOCKED: ResponseKind.CLOSED,
    HTTPStatus.TOO_MANY_REQUESTS: ResponseKind.THROTTLED,
    HTTPStatus.NOT_IMPLEMENTED: ResponseKind.NOT_OFFERED,
    HTTPStatus.SERVICE_UNAVAILABLE: ResponseKind.OVERLOADED,
}
_BY_CLASS = {3: ResponseKind.MISDIRECTED, 4: ResponseKind.REJECTED}
_SUCCESSES = 2

# “Cancel Order” gives the word and the sentence for missing or wrong credentials; which of them a body holds, it leaves
# open.
_UNAUTHORIZED = re.compile(
    r"\W*(unauthori[sz]ed|unauthenticated)\b"
    r"|\W*(the request is missing valid authentication credentials|the credentials provided are invalid)\b"
    r"|.*\baccess[ _-](token|scope)",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"\b(?:read|write)_[a-z_]+\b")
_CLOSED = re.compile(r"\W*(store|shop) is not active\b", re.IGNORECASE)
_NO_ROUTE = re.compile(r".*\bpage not found\b", re.IGNORECASE)
_NO_RECORD = re.compile(r".*\b(record not found|unable to find resource)\b", re.IGNORECASE)
_INTERNAL = re.compile(rf"\b({'|'.join(INTERNAL_ERRORS)})\b")

_BROKEN = "Shoplazza failed inside ({said}), perhaps after it did what was asked."
_DETAILS = {
    ResponseKind.DONE: "Shoplazza accepted it.",
    ResponseKind.UNREADABLE: "The answer was {said}, but not what Shoplazza answers.",
    ResponseKind.NOT_ALLOWED: (
        "Shoplazza does not accept the account's access_token ({said}): set the right one, of an app with the scopes "
        "write_order (to cancel) and read_order (to ask)."
    ),
    ResponseKind.CLOSED: "The shop is not active ({said}): nothing can be done until it is opened again.",
    ResponseKind.MISDIRECTED: (
        "What answered ({said}) is not Shoplazza's API: check shop_domain, base_url and api_version."
    ),
    ResponseKind.LOST: "What answered ({said}) is not Shoplazza, or it gave up waiting: what happened is unknown.",
    ResponseKind.BROKEN: _BROKEN,
    ResponseKind.BROKEN_NOT_FOUND: _BROKEN,
    ResponseKind.BROKEN_NOT_ALLOWED: _BROKEN,
}

_LACKS_SCOPE = (
    "The app lacks the scope {scope} ({said}): grant it, install the app again, and set its new access_token. "
    "It needs write_order (to cancel) and read_order (to ask)."
)

ARGUMENTS = frozenset({"reason", "address", "topic"})
"""What calls send: an error about one of them may repeat what was sent, so its words count for nothing else."""

_PLAIN_CHARS_MAX = 300
_MESSAGES_MAX = 20


class Message(Struct, frozen=True):
    """One error."""

    text: str
    field: str = ""
    """What it is about, if it is about an argument."""


class Answer(Struct, frozen=True):
    """A response, read."""

    kind: ResponseKind
    detail: str
    """One sentence for people, without secrets."""
    body: Payload | None = None
    after_s: float | None = None
    scopes: tuple[str, ...] = ()
    """For NOT_ALLOWED: the scopes that the app lacks, as far as the answer tells."""
    said: str = ""
    """The status and Shoplazza's words, fit for the log."""


def read(response: HttpResponse, config: Config, scope: str) -> Answer:
    """What a response means; `scope` is what the call needs."""
    body = object_or_none(response, "Shoplazza")
    messages = list(_messages_of(response, body))
    kind = _kind_of(response, body, messages)
    words = "; ".join(f"{each.field}: {each.text}" if each.field else each.text for each in messages)
    # A provider that repeats what it was sent must not bring a secret into our log.
    safe = excerpt(words, *config.secrets).rstrip(". ")
    scopes = _lacking(response.status, kind, safe, scope)
    said = f"{response.status}, {safe}" if safe else str(response.status)
    detail = lacks_scope(said, *scopes) if scopes else _detail(kind, said)
    return Answer(kind, detail, body, retry_after_s(response), scopes, said)


def lacks_scope(said: str, *scopes: str) -> str:
    """A sentence that names the scopes that the app lacks; `said` is what Shoplazza answered."""
    return _LACKS_SCOPE.replace("{scope}", " and ".join(scopes)).replace("{said}", said)


def _lacking(code: int, kind: ResponseKind, words: str, scope: str) -> tuple[str, ...]:
    """The scopes that the app lacks: those that the answer names, or the call's own where the token itself is good."""
    if kind is not ResponseKind.NOT_ALLOWED:
        return ()
    named = tuple(dict.fromkeys(_SCOPE.findall(words)))
    return named or ((scope,) if code == HTTPStatus.FORBIDDEN else ())


def _kind_of(response: HttpResponse, body: Payload | None, messages: list[Message]) -> ResponseKind:
    code = response.status
    if code // 100 == _SUCCESSES:
        return _success(response, body, messages)
    if code == HTTPStatus.INTERNAL_SERVER_ERROR:
        found = next((word[1] for each in messages if (word := _INTERNAL.search(each.text))), "")
        return INTERNAL_ERRORS.get(found, ResponseKind.BROKEN)
    if code == HTTPStatus.NOT_FOUND:
        # Without Shoplazza's own words it may be anybody's: another host, or another version of the API.
        is_ours = _says(_NO_RECORD, messages) or (body is not None and messages and not _says(_NO_ROUTE, messages))
        return ResponseKind.NOT_FOUND if is_ours else ResponseKind.MISDIRECTED
    kind = _BY_CODE.get(code) or _BY_CLASS.get(code // 100, ResponseKind.LOST)
    return _by_words(messages) or kind if kind is ResponseKind.REJECTED else kind


def _success(response: HttpResponse, body: Payload | None, messages: list[Message]) -> ResponseKind:
    if body is not None and not messages:
        return ResponseKind.DONE
    if not response.body.strip():
        return ResponseKind.DONE
    return _by_words(messages) or ResponseKind.UNREADABLE


def _by_words(messages: list[Message]) -> ResponseKind | None:
    """What only the words tell: 400 stands for a wrong request and for wrong credentials."""
    if _says(_UNAUTHORIZED, messages):
        return ResponseKind.NOT_ALLOWED
    return ResponseKind.CLOSED if _says(_CLOSED, messages) else None


def _says(what: re.Pattern[str], messages: list[Message]) -> bool:
    """Does a message say so by itself? What is about an argument may repeat the words of the request."""
    return any(what.match(each.text) for each in messages if each.field not in ARGUMENTS)


def _messages_of(response: HttpResponse, body: Payload | None) -> Iterator[Message]:
    if body is None:
        plain = response.body[: _PLAIN_CHARS_MAX + 1].decode("utf-8", "replace").strip()
        is_page = plain.startswith(("<", "{", "[")) or len(plain) > _PLAIN_CHARS_MAX
        if plain and not is_page and response.status // 100 != _SUCCESSES:
            yield Message(plain.strip('"'))
        return
    errors = body.get("errors")
    if isinstance(errors, dict):
        for field, said in list(errors.items())[:_MESSAGES_MAX]:
            yield from (Message(text, field) for text in _texts(said))
    else:
        yield from (Message(text) for text in _texts(errors))
    yield from (Message(text) for text in _texts(body.get("error")))


def _texts(said: Any) -> Iterable[str]:
    listed = said if isinstance(said, list) else [said]
    return (each for each in listed[:_MESSAGES_MAX] if isinstance(each, str) and each.strip())


def _detail(kind: ResponseKind, said: str) -> str:
    return _DETAILS.get(kind, "Shoplazza answered {said}.").replace("{said}", said)
