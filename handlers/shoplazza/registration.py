"""Shoplazza's webhook subscriptions: list, create and delete them.

Shoplazza sends what is subscribed to, one subscription for each topic and address. A delivery that is not answered
with 2xx is repeated 19 times within two days, and then **the subscription is deleted**: it must be looked after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from app.contract import Context, Flow, Registration, RegistrationFailed
from app.kit.ids import id_or_none, path_segment
from handlers.shoplazza.cancel import READ_SCOPE, call
from handlers.shoplazza.config import Config
from handlers.shoplazza.responses import Answer, ResponseKind, read

PAGE_MAX = 250
"""How many one page of “Webhook List” holds at most."""
PAGES_MAX = 20
_SHOWN_CHARS = 80

_HOPELESS = frozenset({ResponseKind.NOT_ALLOWED, ResponseKind.CLOSED, ResponseKind.THROTTLED, ResponseKind.MISDIRECTED})
"""After these the calls that would follow have the same answer."""


def registrations(config: Config, _: Context) -> Flow[list[Registration]]:
    """All webhooks that the app has in this shop, wherever they lead. Raises `RegistrationFailed`."""
    found: dict[str, Registration] = {}
    for page in range(1, PAGES_MAX + 1):
        response = yield call(config, "GET", f"/webhooks?limit={PAGE_MAX}&page={page}")
        answer = read(response, config, READ_SCOPE)
        listed = answer.body.get("webhooks") if answer.kind is ResponseKind.DONE and answer.body is not None else None
        if not isinstance(listed, list):
            raise RegistrationFailed(f"The webhooks cannot be listed: {_why(answer, 'list of webhooks')}")
        known = len(found)
        for each in listed:
            registration = _read(each)
            if registration is not None:
                found[registration.id] = registration
        if len(listed) < PAGE_MAX or len(found) == known:
            return list(found.values())
    raise RegistrationFailed(f"The shop has more than {PAGE_MAX * PAGES_MAX} webhooks: delete those of no use.")


def register(url: str, topics: Sequence[str], config: Config, _: Context) -> Flow[list[Registration]]:
    """Subscribe `url` to `topics`, each by a call of its own.

    Raises:
        RegistrationFailed: one or more were not made; it says which, and which were.
    """
    made: list[Registration] = []
    failed: list[str] = []
    for position, topic in enumerate(topics):
        response = yield call(config, "POST", "/webhooks", {"address": url, "topic": topic})
        answer = read(response, config, READ_SCOPE)
        created = answer.body.get("webhook") if answer.kind is ResponseKind.DONE and answer.body is not None else None
        registration = _read(created)
        if registration is not None and registration.topic == topic:
            made.append(registration)
            continue
        failed.append(f"{topic}: {_why(answer, 'webhook')}")
        if answer.kind in _HOPELESS:
            failed += _not_tried(topics[position + 1 :])
            break
    if failed:
        _report("registered", failed, [each.topic for each in made])
    return made


def unregister(registrations: Sequence[Registration], config: Config, _: Context) -> Flow[None]:
    """Delete webhooks; one that is not there any more is no failure.

    Raises:
        RegistrationFailed: one or more were not deleted; it says which, and which were.
    """
    gone: list[str] = []
    failed: list[str] = []
    for position, each in enumerate(registrations):
        segment = path_segment(each.id)
        if segment is None:
            failed.append(f"{each.topic}: its id {ascii(each.id)[:_SHOWN_CHARS]} fits into no URL.")
            continue
        response = yield call(config, "DELETE", f"/webhooks/{segment}")
        answer = read(response, config, READ_SCOPE)
        if answer.kind in (ResponseKind.DONE, ResponseKind.NOT_FOUND):
            gone.append(each.topic)
            continue
        failed.append(f"{each.topic}: {answer.detail}")
        if answer.kind in _HOPELESS:
            failed += _not_tried([later.topic for later in registrations[position + 1 :]])
            break
    if failed:
        _report("deleted", failed, gone)


def _read(listed: Any) -> Registration | None:
    """A webhook as Shoplazza shows it; None if its id cannot be a part of a URL's path, or something is missing."""
    if not isinstance(listed, dict):
        return None
    id, address, topic = id_or_none(listed.get("id")), listed.get("address"), listed.get("topic")
    if id is None or path_segment(id) is None or not isinstance(address, str) or not isinstance(topic, str):
        return None
    return Registration(id, address, topic)


def _why(answer: Answer, missing: str) -> str:
    return answer.detail if answer.kind is not ResponseKind.DONE else f"The answer shows no {missing}."


def _not_tried(topics: Sequence[str]) -> list[str]:
    return [f"{', '.join(topics)}: not tried after that."] if topics else []


def _report(done: str, failed: list[str], succeeded: list[str]) -> NoReturn:
    others = f" {done.capitalize()} were: {', '.join(succeeded)}." if succeeded else ""
    raise RegistrationFailed(f"Not {done}: {' '.join(failed)}{others}")
