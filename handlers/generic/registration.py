"""Webhooks registered through a source's API, by the calls in an account's `registration`.

Each topic is registered by a call of its own if `create` reads `registration.topic`, all by one call otherwise. Where
the source makes a secret for a registration, the endpoint has that one secret only: what was registered for its URL
before is deleted, and everything is registered anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from app.contract import Context, Flow, MalformedPayload, Registration, RegistrationFailed, RegistrationWithSecret
from app.kit.cel.expression import ExpressionFailed
from app.kit.excerpts import excerpt
from app.kit.ids import id_or_none
from app.kit.paths.path import find
from app.kit.registrations import HOPELESS, in_part
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.generic.config import Config
from handlers.generic.registration_calls import ID, TOPIC, TOPICS, URL, RegistrationApi, RegistrationCall
from handlers.generic.request import make_call, url_of

PAGES_MAX = 20
LISTED_MAX, NAMED_MAX = 500, 5000
"""The most registrations on one page, and topics of them: reading them takes some 20 ms."""
CREATED_MAX, CREATED_WITHIN = 3, timedelta(days=1)
"""How often the same is registered: a list that does not show it would have it registered every hour."""
SECRET_CHARS_MAX = 1000

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


def topics(config: Config) -> Sequence[str]:
    """What is to be registered; nothing without `registration`."""
    return () if config.registration is None else config.registration.topics


def registrations(config: Config, context: Context) -> Flow[list[Registration]]:
    """All registrations that the source lists, one for each of their topics. Raises `RegistrationFailed`."""
    api = _api(config)
    found: list[Registration] = []
    values = {"now": context.now}
    url: str | None = None
    for _ in range(PAGES_MAX):
        response = yield from _call(api.list, config, values, context, url=url)
        if response.kind is not ResponseKind.DONE:
            raise RegistrationFailed(f"The webhooks cannot be listed: {response.detail}")
        try:
            found += _listed(response.body, api)
            url = _next_page(find(api.list.next, response.body), url or url_of(api.list, config, values), config)
        except MalformedPayload as error:
            raise RegistrationFailed(f"The webhooks cannot be listed: in the response, {error}.") from error
        if url is None:
            return found
    raise RegistrationFailed(f"The source lists more than {PAGES_MAX} pages of webhooks: delete those of no use.")


def register(url: str, topics: Sequence[str], config: Config, context: Context) -> Flow[list[Registration]]:
    """Register `url` for `topics`.

    Raises:
        RegistrationFailed: one or more were not made; it says which, and which were.
    """
    api = _api(config)
    wanted = list(topics)
    if api.create.secret is not None:
        listed = yield from registrations(config, context)
        former = [known for known in listed if known.url == url]
        wanted = list(dict.fromkeys([*(known.topic for known in former if known.topic in api.topics), *wanted]))
        yield from unregister(former, config, context)
    is_single = TOPIC in api.create.names_read(config.scope_of(api.create))
    groups = [[topic] for topic in wanted] if is_single else [wanted]
    made: list[Registration] = []
    failed: list[str] = []
    for position, group in enumerate(groups, start=1):
        try:
            made += yield from _create(url, group, api, config, context)
        except _CreationError as error:
            failed.append(f"{', '.join(group)}: {error}")
            if error.is_hopeless and position < len(groups):
                left = ", ".join(topic for later in groups[position:] for topic in later)
                failed.append(f"{left}: not tried after that.")
                break
    if failed:
        raise in_part("registered", failed, [registration.topic for registration in made])
    return made


def unregister(registrations: Sequence[Registration], config: Config, context: Context) -> Flow[None]:
    """Delete registrations, each once; one that is not there any more is no failure.

    Raises:
        RegistrationFailed: one or more were not deleted; it says which, and which were.
    """
    api = _api(config)
    by_id: dict[str, list[Registration]] = {}
    for registration in registrations:
        by_id.setdefault(registration.id, []).append(registration)
    failed, deleted = list[str](), list[str]()
    for id, group in by_id.items():
        named = ", ".join(registration.topic for registration in group)
        values = {"now": context.now, ID: id, URL: group[0].url, TOPIC: group[0].topic}
        response = yield from _call(api.delete, config, values, context)
        if response.kind in (ResponseKind.DONE, ResponseKind.NOT_FOUND) or response.status in _GONE:
            deleted.append(named)
            for registration in group:
                context.forget(_created_key(registration.url, registration.topic))
            continue
        failed.append(f"{named}: {response.detail}")
        if response.kind in HOPELESS:
            break
    if failed:
        raise in_part("deleted", failed, deleted)


class _CreationError(Exception):
    """One registration was not made: the message says why."""

    def __init__(self, detail: str, *, is_hopeless: bool = False) -> None:
        super().__init__(detail)
        self.is_hopeless = is_hopeless
        """The other registrations would fail as well."""


def _create(
    url: str, topics: Sequence[str], api: RegistrationApi, config: Config, context: Context
) -> Flow[list[Registration]]:
    """Register by one call. Raises `_CreationError`."""
    _require_few_creations(url, topics, context)
    values = {"now": context.now, URL: url, TOPIC: topics[0], TOPICS: list(topics)}
    try:
        response = yield from _call(api.create, config, values, context, repeatable=False)
    except RegistrationFailed as error:
        raise _CreationError(str(error), is_hopeless=True) from error
    if response.kind is not ResponseKind.DONE:
        raise _CreationError(response.detail, is_hopeless=response.kind in HOPELESS)
    _count_creation(url, topics, context)
    try:
        id = id_or_none(find(api.create.id, response.body))
        secret = find(api.create.secret, response.body)
    except MalformedPayload as error:
        raise _CreationError(f"In the response, {error}.") from error
    if id is None:
        raise _CreationError(f"The response shows no id at {api.create.id} (registration.create.id).")
    made = [Registration(id, url, topic) for topic in topics]
    if api.create.secret is None:
        return made
    if type(secret) is not str or not 0 < len(secret) <= SECRET_CHARS_MAX:
        # It would be listed, and look as if all were well.
        with suppress(RegistrationFailed):
            yield from unregister(made, config, context)
        raise _CreationError(f"The response shows no secret at {api.create.secret} (registration.create.secret).")
    return [RegistrationWithSecret(id, url, topic, secret) for topic in topics]


def _require_few_creations(url: str, topics: Sequence[str], context: Context) -> None:
    """Raise `_CreationError` where a topic was registered too often."""
    number = max(context.recall(_created_key(url, topic)) or 0 for topic in topics)
    if number >= CREATED_MAX:
        raise _CreationError(
            f"It was registered {number} times within a day, and still `list` does not show it: see items, fields "
            "and next in registration.list, or why the source drops it."
        )


def _count_creation(url: str, topics: Sequence[str], context: Context) -> None:
    for topic in topics:
        key = _created_key(url, topic)
        context.keep(key, (context.recall(key) or 0) + 1, context.now + CREATED_WITHIN)


def _created_key(url: str, topic: str) -> str:
    return f"registered {topic} at {url}"


def _call(
    call: RegistrationCall,
    config: Config,
    values: Mapping[str, Any],
    context: Context,
    *,
    repeatable: bool = True,
    url: str | None = None,
) -> Flow[ProviderResponse]:
    """Make one call, to `url` if given. Raises `RegistrationFailed` where it cannot be made: nothing is sent then."""
    # Where the source makes secrets, its list may show them too.
    is_confidential = _api(config).create.secret is not None
    flags = {"repeatable": repeatable, "confidential": is_confidential}
    try:
        return (yield from make_call(call, config, values, context, url=url, **flags))
    except ExpressionFailed as error:
        words = excerpt(str(error), *config.secret_values.values())
        raise RegistrationFailed(f"The call cannot be made: {words}.") from error


def _listed(body: Any, api: RegistrationApi) -> list[Registration]:
    """The registrations on a page; what has no id or no URL is none. Raises `MalformedPayload`."""
    path, fields = api.list.items, api.list.fields
    items = body if path is None else find(path, body)
    if type(items) is not list:
        hint = f"; if the source leaves it out where there are none, write {path} || `[]`" if path else ""
        raise MalformedPayload(f"no list stands at {path or '@'} (registration.list.items){hint}")
    if len(items) > LISTED_MAX:
        raise MalformedPayload(f"a page has {len(items)} webhooks, and may have {LISTED_MAX}: ask for smaller pages")
    found: list[Registration] = []
    for item in items:
        id, url = id_or_none(find(fields.id, item)), find(fields.url, item)
        if id is None or type(url) is not str:
            continue
        given = api.topics if fields.topic is None else find(fields.topic, item)
        named = [given] if type(given) is str else given
        if isinstance(named, list | tuple):
            named = named[: NAMED_MAX - len(found) + 1]
            found += [Registration(id, url, topic) for topic in named if type(topic) is str]
    if len(found) > NAMED_MAX:
        raise MalformedPayload(f"a page has webhooks for more than {NAMED_MAX:,} topics: ask for smaller pages")
    return found


def _next_page(given: Any, current: str, config: Config) -> str | None:
    """The URL of the next page; None if there is none. It gets the account's credentials, so it must be below base_url.

    Raises `MalformedPayload`.
    """
    if given is None or given == "":
        return None
    if type(given) is not str:
        raise MalformedPayload("what stands at registration.list.next is no text")
    try:
        url = urljoin(current, given)
        segments = unquote(urlsplit(url).path).replace("\\", "/").split("/")
    except ValueError:
        segments, url = [".."], ""
    is_plain = url.isascii() and url.isprintable() and " " not in url and "#" not in url
    if not is_plain or ".." in segments or not url.startswith(f"{config.base_url}/"):
        raise MalformedPayload("the next page (registration.list.next) is not below base_url")
    return url


def _api(config: Config) -> RegistrationApi:
    if config.registration is None:
        raise RegistrationFailed("The account's config has no `registration`")
    return config.registration
