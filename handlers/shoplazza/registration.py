"""Shoplazza's webhook subscriptions: list, create and delete them.

Shoplazza sends what is subscribed to, one subscription for each topic and address. A delivery that is not answered
with 2xx is repeated 19 times within two days, and then **the subscription is deleted**: it must be looked after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.contract import Context, Flow, HttpRequest, Registration, RegistrationFailed
from app.kit.excerpts import shown
from app.kit.ids import id_or_none, path_segment
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.shoplazza.cancel import READ_SCOPE, call
from handlers.shoplazza.config import Config
from handlers.shoplazza.responses import read

PAGE_MAX = 250
"""How many one page of “Webhook List” holds at most."""
PAGES_MAX = 20

_HOPELESS = frozenset({ResponseKind.NOT_ALLOWED, ResponseKind.CLOSED, ResponseKind.THROTTLED, ResponseKind.MISDIRECTED})
"""After these the calls that would follow have the same answer."""


def registrations(config: Config, _: Context) -> Flow[list[Registration]]:
    """All webhooks that the app has in this shop, wherever they lead. Raises `RegistrationFailed`."""
    by_id: dict[str, Registration] = {}
    for page in range(1, PAGES_MAX + 1):
        response = yield call(config, "GET", f"/webhooks?limit={PAGE_MAX}&page={page}")
        answer = read(response, config, READ_SCOPE)
        listed = _part_of(answer, "webhooks")
        if not isinstance(listed, list):
            raise RegistrationFailed(f"The webhooks cannot be listed: {_why(answer, 'list of webhooks')}")
        count_before = len(by_id)
        by_id |= {registration.id: registration for body in listed if (registration := _registration(body))}
        if len(listed) < PAGE_MAX or len(by_id) == count_before:
            return list(by_id.values())
    raise RegistrationFailed(f"The shop has more than {PAGE_MAX * PAGES_MAX} webhooks: delete those of no use.")


def register(url: str, topics: Sequence[str], config: Config, _: Context) -> Flow[list[Registration]]:
    """Subscribe `url` to `topics`, each by a call of its own.

    Raises:
        RegistrationFailed: one or more were not made; it says which, and which were.
    """
    made: list[Registration] = []

    def is_made(topic: str, answer: ProviderResponse) -> bool:
        registration = _registration(_part_of(answer, "webhook"))
        if registration is None or registration.topic != topic:
            return False
        made.append(registration)
        return True

    calls = [(topic, call(config, "POST", "/webhooks", {"address": url, "topic": topic})) for topic in topics]
    yield from _in_turn("registered", calls, is_made, config)
    return made


def unregister(registrations: Sequence[Registration], config: Config, _: Context) -> Flow[None]:
    """Delete webhooks; one that is not there any more is no failure.

    Raises:
        RegistrationFailed: one or more were not deleted; it says which, and which were.
    """

    def is_gone(_: str, answer: ProviderResponse) -> bool:
        return answer.kind in (ResponseKind.DONE, ResponseKind.NOT_FOUND)

    def deletion(id: str) -> HttpRequest | str:
        segment = path_segment(id)
        if segment is None:
            return f"its id {shown(id)} fits into no URL."
        return call(config, "DELETE", f"/webhooks/{segment}")

    calls = [(registration.topic, deletion(registration.id)) for registration in registrations]
    yield from _in_turn("deleted", calls, is_gone, config)


def _in_turn(
    done: str,
    calls: Sequence[tuple[str, HttpRequest | str]],
    is_done: Callable[[str, ProviderResponse], bool],
    config: Config,
) -> Flow[None]:
    """Make one call after another, up to a failure that the others would share.

    Args:
        done: what becomes of a webhook, for people.
        calls: for each webhook its topic, and its call, or why there can be none.
        is_done: (topic, response) → whether the call succeeded.
        config: the account's.

    Raises:
        RegistrationFailed: one or more calls failed.
    """
    failed, succeeded = list[str](), list[str]()
    for position, (topic, request) in enumerate(calls, start=1):
        if isinstance(request, str):
            failed.append(f"{topic}: {request}")
            continue
        answer = read((yield request), config, READ_SCOPE)
        if is_done(topic, answer):
            succeeded.append(topic)
            continue
        failed.append(f"{topic}: {_why(answer, 'webhook')}")
        if answer.kind in _HOPELESS:
            left = ", ".join(topic for topic, _ in calls[position:])
            failed += [f"{left}: not tried after that."] if left else []
            break
    if failed:
        others = f" {done.capitalize()} were: {', '.join(succeeded)}." if succeeded else ""
        raise RegistrationFailed(f"Not {done}: {' '.join(failed)}{others}")


def _part_of(answer: ProviderResponse, key: str) -> Any:
    return answer.body.get(key) if answer.kind is ResponseKind.DONE and answer.body is not None else None


def _registration(body: Any) -> Registration | None:
    """A webhook as Shoplazza shows it; None if its id cannot be a part of a URL's path, or something is missing."""
    if not isinstance(body, dict):
        return None
    id, address, topic = id_or_none(body.get("id")), body.get("address"), body.get("topic")
    if id is None or path_segment(id) is None or not isinstance(address, str) or not isinstance(topic, str):
        return None
    return Registration(id, address, topic)


def _why(answer: ProviderResponse, missing: str) -> str:
    return answer.detail if answer.kind is not ResponseKind.DONE else f"The answer shows no {missing}."
