"""A source's webhooks: their proof, and the events in them."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any

from app.contract import (
    HandshakeResponse,
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    ParsedEvent,
    Phase,
    Unrecognized,
    VerifyOptions,
)
from app.kit.excerpts import shown
from app.kit.form import MEDIA_TYPE, decode_form
from app.kit.keys import read_status
from app.kit.paths.budget import one_budget
from app.kit.paths.path import find, is_plain
from app.kit.payload import decode_any
from app.kit.signing import proven_part, verify_token
from app.kit.times import read_time
from handlers.generic import challenges, cloudevents
from handlers.generic.config import AUTO, FORM, Config
from handlers.generic.payload import UNTRUSTED, facts_of, order_of, status_of, text_at
from handlers.generic.words import IGNORE, ORDER_UPDATED, MappedEvent, type_of

EVENTS_MAX = 1000
_WEBHOOK_ID = "webhook-id"


class _ProvenDigest:
    """The digest of what is proven of a request: made once, when the first of its events needs it."""

    def __init__(self, request: InboundRequest) -> None:
        self._request = request

    @cached_property
    def value(self) -> bytes:
        """Its 16 bytes."""
        return blake2b(proven_part(self._request), digest_size=16).digest()


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:  # noqa: ARG001 - a token has no age
    """Check the token that proves the sender; an endpoint with a `verify.scheme` is checked by that instead."""
    verify_token(request, options)


def handshake(request: InboundRequest, config: Config) -> HandshakeResponse | None:
    """The response to a sender that asks whether its webhooks are wanted; None: it does not ask."""
    response = challenges.respond(request, config.challenges, config.secret_values) if config.challenges else None
    if response is None and request.method == "OPTIONS":
        return cloudevents.handshake(request, config.handshake)
    return response


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The events in a request. Raises `MalformedPayload`.

    If one of them is not recognized, the whole request goes to quarantine, so that nothing of it is lost. All paths
    share one budget.
    """
    with one_budget():
        return _parse(request, config)


def _parse(request: InboundRequest, config: Config) -> Parsed:
    events = None if config.format == FORM else cloudevents.events_in(request, config.fields.order)
    is_cloud = events is not None
    # Of CloudEvents headers and base64 may hold what the raw body does not show.
    raw = UNTRUSTED
    if events is not None:
        documents: list[Any] = list(events)
    else:
        documents, raw = _documents(request, config)
    if len(documents) > EVENTS_MAX:
        raise MalformedPayload(f"it holds {len(documents)} events, and may hold {EVENTS_MAX}: have fewer sent at once")
    if len(documents) > 1:
        # Cleaning the parts of each costs what it holds; looking through the whole body for each is quadratic.
        raw = UNTRUSTED
    digest = _ProvenDigest(request)
    seen: list[ParsedEvent] = []
    ignored: Ignored | None = None
    for number, document in enumerate(documents):
        result = _read(request, document, number, config, raw, digest, is_cloud=is_cloud)
        if isinstance(result, Unrecognized):
            return result
        if isinstance(result, Ignored):
            ignored = result
        else:
            seen.append(result)
    return seen or ignored or Ignored("it holds no events")


def _documents(request: InboundRequest, config: Config) -> tuple[list[Any], bytes]:
    """The events in the body, and the raw bytes whose size and escapes bound theirs."""
    is_form = _is_form(request, config)
    try:
        body = decode_form(request.body) if is_form else decode_any(request.body, cloudevents.SOURCE)
    except MalformedPayload as error:
        if not request.body.strip():
            raise
        raise MalformedPayload(f"{error}; {_format_hint(request, config, is_form=is_form)}") from error
    if is_form and _begins_like_json(request) and _is_json(request.body):
        raise MalformedPayload(f"the body is JSON; {_format_hint(request, config, is_form=True)}")
    # `%00`, and JSON inside of a field, may hold what the raw body of a form does not show.
    raw = UNTRUSTED if is_form else request.body
    if config.events_path is None:
        return [body], raw
    listed = find(config.events_path, body)
    if type(listed) is not list:
        raise MalformedPayload(f"no list of events stands at {config.events_path} (events_path)")
    return listed, raw if is_plain(config.events_path) else UNTRUSTED


def _is_form(request: InboundRequest, config: Config) -> bool:
    if config.format != AUTO:
        return config.format == FORM
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    # Some send JSON under the Content-Type that their HTTP client puts there by itself; no form begins like JSON.
    return media == MEDIA_TYPE and not _begins_like_json(request)


def _begins_like_json(request: InboundRequest) -> bool:
    return request.body.lstrip()[:1] in (b"{", b"[")


def _is_json(body: bytes) -> bool:
    try:
        decode_any(body, cloudevents.SOURCE)
    except MalformedPayload:
        return False
    return True


def _format_hint(request: InboundRequest, config: Config, *, is_form: bool) -> str:
    """Why the body was read as it was, and what to change if that is wrong."""
    why = f"`format` is {config.format}"
    if config.format == AUTO:
        media = request.headers.get("Content-Type")
        why += f", and the Content-Type is {shown(media)}" if media else ", and there is no Content-Type"
    if is_form:
        return f"{why}, so it is read as a form: if the source sends JSON, set format to json"
    return f"{why}, so it is read as JSON: if the source sends forms, set format to form; other formats cannot be read"


def _read(
    request: InboundRequest,
    document: Any,
    number: int,
    config: Config,
    raw: bytes,
    digest: _ProvenDigest,
    *,
    is_cloud: bool,
) -> ParsedEvent | Ignored | Unrecognized:
    if type(document) is not dict:
        raise MalformedPayload("the event is JSON, but no object")
    event = _event_of(request, document, config, is_cloud=is_cloud)
    meaning = None if event is None else config.events.get(event)
    if meaning == IGNORE:
        return Ignored(f"{event} is ignored by `events`")
    phase: Phase | None = None
    type_ = ORDER_UPDATED if event is None else type_of(event)
    if isinstance(meaning, MappedEvent):
        phase, type_ = meaning.phase, meaning.type or type_
    elif config.events and event is not None:
        if config.unknown_events == IGNORE:
            return Ignored(f"{shown(event)} is not listed in `events`")
        if config.unknown_events == "quarantine":
            return Unrecognized(f"`events` does not list {shown(event)}: add it, with its phase or as {IGNORE}")
        phase = Phase.UNKNOWN
    order = order_of(document, config)
    status = status_of(document, config)
    if status is None and (event is None or meaning is None) and phase is None:
        return Unrecognized(_nothing_said(event, config))
    if status is not None and config.unknown_statuses == "quarantine" and status not in config.phases:
        return Unrecognized(f"`phases` does not list the status {shown(status)}: add it")
    facts = facts_of(document, phase, config, raw)
    occurred_at = _occurred_at(document, config, is_cloud=is_cloud)
    key = _key(request, document, number, config, occurred_at, digest, is_cloud=is_cloud)
    return ParsedEvent(order, type_, key, facts, occurred_at)


def _event_of(request: InboundRequest, document: Any, config: Config, *, is_cloud: bool) -> str | None:
    """The event's name. Raises `MalformedPayload` for what can be none."""
    if config.fields.event is not None:
        name = text_at(config.fields.event, document)
    elif is_cloud:
        name = read_status(document["type"])
    else:
        name = _name_in_header(request, config)
    if name is not None and not name.isprintable():
        raise MalformedPayload("the event's name holds characters that cannot be printed")
    return name


def _name_in_header(request: InboundRequest, config: Config) -> str | None:
    return read_status(request.headers.get(config.event_header, "").strip()) if config.event_header else None


def _nothing_said(event: str | None, config: Config) -> str:
    looked = f"no status stands at {config.fields.status}" if config.fields.status else "fields.status is not set"
    named = "it names no event" if event is None else f"`events` does not list {shown(event)}"
    return f"it says nothing of the order's standing: {named}, and {looked}; see fields.event and fields.status"


def _key(
    request: InboundRequest,
    document: Any,
    number: int,
    config: Config,
    occurred_at: datetime | None,
    digest: _ProvenDigest,
    *,
    is_cloud: bool,
) -> bytes:
    """The idempotency key: what is configured outranks the standards, and both outrank a digest of the body.

    Anyone who has a copy of a request can change the headers that its proof does not cover. An id in one of those
    counts only if the event itself says when it occurred: then a repetition changes nothing.
    """
    own = text_at(config.fields.event_id, document)
    if own is not None:
        return b"id\0" + own.encode("utf-8", "surrogatepass")
    is_binary = is_cloud and cloudevents.is_binary(request)
    # Where all headers are proven, nothing depends on it.
    is_timed = request.proven_headers is not None and _is_timed(document, config, occurred_at, is_binary=is_binary)
    name = config.key_header
    header = request.headers.get(name) if name and (is_timed or _is_proven(request, name.lower())) else None
    if header:
        return f"header\0{header}\0{number}".encode("utf-8", "surrogatepass")
    if is_cloud and (is_timed or not is_binary or _is_proven(request, *cloudevents.IDENTITY)):
        return b"cloudevent\0" + cloudevents.identity(document)
    webhook_id = request.headers.get(_WEBHOOK_ID) if _is_proven(request, _WEBHOOK_ID) else None
    if webhook_id:
        return f"webhook\0{webhook_id}\0{number}".encode("utf-8", "surrogatepass")
    key = b"body\0" + digest.value + str(number).encode()
    # A body may come with two names: an order as it is, once for `paid` and once for `updated`.
    event = None if is_cloud or config.fields.event is not None else _name_in_header(request, config)
    return key + b"\0" + event.encode("utf-8", "surrogatepass") if event else key


def _is_proven(request: InboundRequest, *headers: str) -> bool:
    return request.proven_headers is None or request.proven_headers.issuperset(headers)


def _is_timed(document: Any, config: Config, occurred_at: datetime | None, *, is_binary: bool) -> bool:
    """Whether what is proven says when the event occurred: its place among others is then the same at any receipt."""
    if config.fields.time is None or occurred_at is None or occurred_at.tzinfo is None:
        return False
    if not is_binary:
        return True
    # All but the data of such an event stands in headers.
    by_data = find(config.fields.time, {"data": document.get("data")})
    return by_data is not None and read_time(by_data, config.zone) == occurred_at


def _occurred_at(document: Any, config: Config, *, is_cloud: bool) -> datetime | None:
    path = config.fields.time or ("time" if is_cloud else None)
    value = find(path, document)
    if value is None:
        return None
    moment = read_time(value, config.zone)
    if moment is None:
        raise MalformedPayload(f"what stands at {path} (fields.time) is no time of ISO 8601 or RFC 5322, nor unix time")
    return moment
