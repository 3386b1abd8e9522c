"""What Shoplazza's responses mean, whatever was asked.

“Cancel Order” documents: `errors` (a list of texts; elsewhere also an object of lists by field) or `error` (a text);
404 for a record that is not found; 406; 400 for a bad request and for missing or wrong credentials, told apart by the
words only; 500 with a word of gRPC's. “OpenAPI” adds 401, 403, 405, 422 and 429. Some examples show the bare
words in place of JSON, so these are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from msgspec.structs import replace

from app.contract import CancelOutcome, HttpResponse
from app.kit.config import secret_values
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row, object_or_none
from handlers.shoplazza.config import Config

INTERNAL_ERRORS = {
    "Aborted": ResponseKind.CRASHED,
    "DeadlineExceeded": ResponseKind.CRASHED,
    "NotFound": ResponseKind.CRASHED_NOT_FOUND,
    "Unauthenticated": ResponseKind.CRASHED_NOT_ALLOWED,
    "Unimplemented": ResponseKind.NOT_OFFERED,
}
"""The words that a 500 may hold, from “Cancel Order”."""

# “Cancel Order” gives the word and the sentence for missing or wrong credentials; which of them a body holds, it leaves
# open.
_UNAUTHORIZED = re.compile(
    r"^\W*(unauthori[sz]ed|unauthenticated)\b"
    r"|^\W*(the request is missing valid authentication credentials|the credentials provided are invalid)\b"
    r"|\baccess[ _-](token|scope)",
    re.IGNORECASE,
)
_NO_RECORD = re.compile(r"\b(record not found|unable to find resource)\b", re.IGNORECASE)
_SCOPE = re.compile(r"\b(?:read|write)_[a-z_]+\b")
_CRASHED = "Shoplazza failed inside ({said}), perhaps after it did what was asked."

RESPONSES = ResponseTable(
    "Shoplazza",
    kinds={
        402: ResponseKind.CLOSED,
        (404, _NO_RECORD): ResponseKind.NOT_FOUND,
        (404, re.compile(r"\bpage not found\b", re.IGNORECASE)): ResponseKind.MISDIRECTED,
        404: ResponseKind.NOT_FOUND,
        405: ResponseKind.MISDIRECTED,
        423: ResponseKind.CLOSED,
        **{(500, re.compile(rf"\b{word}\b")): kind for word, kind in INTERNAL_ERRORS.items()},
        501: ResponseKind.NOT_OFFERED,
        # 400 stands for a wrong request, for wrong credentials and for a closed shop.
        _UNAUTHORIZED: ResponseKind.NOT_ALLOWED,
        re.compile(r"^\W*(store|shop) is not active\b", re.IGNORECASE): ResponseKind.CLOSED,
    },
    rows={
        ResponseKind.UNREADABLE: Row("The response was {said}, but not what Shoplazza answers."),
        ResponseKind.NOT_ALLOWED: Row(
            "Shoplazza does not accept the account's access_token ({said}): set the right one, of an app with the "
            "scopes write_order (to cancel) and read_order (to ask)."
        ),
        ResponseKind.CLOSED: Row("The shop is not active ({said}): nothing can be done until it is opened again."),
        ResponseKind.CRASHED: Row(_CRASHED, CancelOutcome.INDETERMINATE),
        ResponseKind.CRASHED_NOT_FOUND: Row(_CRASHED),
        ResponseKind.CRASHED_NOT_ALLOWED: Row(_CRASHED),
        ResponseKind.LOST: Row(
            "What answered ({said}) is not Shoplazza, or it gave up waiting: what happened is unknown."
        ),
        ResponseKind.MISDIRECTED: Row(
            "What answered ({said}) is not Shoplazza's API: check shop_domain, base_url and api_version."
        ),
    },
)

ARGUMENTS = frozenset({"reason", "address", "topic"})
"""What calls send: an error about one of them may repeat what was sent, so its words count for nothing else."""

_PLAIN_CHARS_MAX = 300
_MESSAGES_MAX = 20


class Message(NamedTuple):
    """One error, and the field that it is about, if any."""

    text: str
    field: str = ""


def read(response: HttpResponse, config: Config, scope: str) -> ProviderResponse:
    """What a response means; `scope` is what the call needs."""
    body = object_or_none(response, RESPONSES.provider)
    messages = list(_messages_of(response, body))
    errors = [message.text for message in messages if message.field not in ARGUMENTS]
    is_readable = (body is not None and not messages) or not response.body.strip()
    # Without Shoplazza's own words a 404 may be anybody's: another host's, or of another version of the API.
    is_genuine = (
        response.status != HTTPStatus.NOT_FOUND
        or (body is not None and bool(messages))
        or any(map(_NO_RECORD.search, errors))
    )
    kind = RESPONSES.kind_of(response.status, errors, readable=is_readable, genuine=is_genuine)
    words = "; ".join(f"{message.field}: {message.text}" if message.field else message.text for message in messages)
    parsed = RESPONSES.read(response, kind, body, words, secrets=secret_values(config))
    scopes = missing_scopes(parsed, scope)
    return name_scopes(parsed, parsed.said, *scopes) if scopes else parsed


def missing_scopes(response: ProviderResponse, scope: str) -> tuple[str, ...]:
    """The scopes that the app lacks: those that the response names, or else the call's own where the token is right."""
    if response.kind is not ResponseKind.NOT_ALLOWED:
        return ()
    named = tuple(dict.fromkeys(_SCOPE.findall(response.words)))
    return named or ((scope,) if response.status == HTTPStatus.FORBIDDEN else ())


def name_scopes(response: ProviderResponse, said: str, *scopes: str) -> ProviderResponse:
    """The response with a sentence that names the scopes that the app lacks; `said` is what tells that it does."""
    detail = (
        f"The app lacks the scope {' and '.join(scopes)} ({said}): grant it, install the app again, and set its new "
        "access_token. It needs write_order (to cancel) and read_order (to ask)."
    )
    return replace(response, detail=detail)


def _messages_of(response: HttpResponse, body: Payload | None) -> Iterator[Message]:
    if body is None:
        plain = response.body[: _PLAIN_CHARS_MAX + 1].decode("utf-8", "replace").strip()
        is_page = plain.startswith(("<", "{", "[")) or len(plain) > _PLAIN_CHARS_MAX
        if plain and not is_page and not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            yield Message(plain.strip('"'))
        return
    errors = body.get("errors")
    by_field = errors if isinstance(errors, dict) else {"": errors}
    for field, listed in list(by_field.items())[:_MESSAGES_MAX]:
        yield from (Message(text, field) for text in _texts(listed))
    yield from (Message(text) for text in _texts(body.get("error")))


def _texts(listed: Any) -> Iterable[str]:
    texts = listed if isinstance(listed, list) else [listed]
    return (text for text in texts[:_MESSAGES_MAX] if isinstance(text, str) and text.strip())
