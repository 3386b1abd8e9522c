"""Shoplazza's webhook subscriptions: list, create and delete them.

Shoplazza sends what is subscribed to, one subscription for each topic and address. A delivery that is not answered
with 2xx is repeated 19 times within two days, and then **the subscription is deleted**.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.contract import Context, Flow, HttpRequest, Registration, RegistrationFailed
from app.kit.excerpts import shown
from app.kit.ids import id_or_none, path_segment
from app.kit.registrations import HOPELESS, in_part
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.shoplazza.cancel import READ_SCOPE, call
from handlers.shoplazza.config import Config
from handlers.shoplazza.responses import read

PAGE_MAX = 250
"""The most webhooks that one page of “Webhook List” holds."""
PAGES_MAX = 20


def registrations(config: Config, _: Context) -> Flow[list[Registration]]:
    """All webhooks that the app has in this shop, wherever they lead. Raises `RegistrationFailed`."""
    by_id: dict[str, Registration] = {}
    for page in range(1, PAGES_MAX + 1):
        reply = yield call(config, "GET", f"/webhooks?limit={PAGE_MAX}&page={page}")
        response = read(reply, config, READ_SCOPE)
        listed = _part_of(response, "webhooks")
        if not isinstance(listed, list):
            raise RegistrationFailed(f"The webhooks cannot be listed: {_why(response, 'list of webhooks')}")
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

    def is_made(topic: str, response: ProviderResponse) -> bool:
        registration = _registration(_part_of(response, "webhook"))
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

    def is_gone(_: str, response: ProviderResponse) -> bool:
        return response.kind in (ResponseKind.DONE, ResponseKind.NOT_FOUND)

    calls, unsendable = [], []
    for registration in registrations:
        segment, topic = path_segment(registration.id), registration.topic
        if segment is None:
            unsendable.append(f"{topic}: its id {shown(registration.id)} fits into no URL.")
        else:
            calls.append((topic, call(config, "DELETE", f"/webhooks/{segment}")))
    yield from _in_turn("deleted", calls, is_gone, config, unsendable)


def _in_turn(
    done: str,
    calls: Sequence[tuple[str, HttpRequest]],
    is_done: Callable[[str, ProviderResponse], bool],
    config: Config,
    unsendable: Sequence[str] = (),
) -> Flow[None]:
    """Make the call of one topic after another, up to a failure that the others would share.

    Raises `RegistrationFailed` where a call failed, or there are `unsendable` ones: sentences that say why.
    """
    failed, succeeded = [*unsendable], list[str]()
    for position, (topic, request) in enumerate(calls, start=1):
        response = read((yield request), config, READ_SCOPE)
        if is_done(topic, response):
            succeeded.append(topic)
            continue
        failed.append(f"{topic}: {_why(response, 'webhook')}")
        if response.kind in HOPELESS:
            left = ", ".join(topic for topic, _ in calls[position:])
            failed += [f"{left}: not tried after that."] if left else []
            break
    if failed:
        raise in_part(done, failed, succeeded)


def _part_of(response: ProviderResponse, key: str) -> Any:
    return response.body.get(key) if response.kind is ResponseKind.DONE and response.body is not None else None


def _registration(body: Any) -> Registration | None:
    """A webhook as Shoplazza shows it; None if its id cannot be a part of a URL's path, or something is missing."""
    if not isinstance(body, dict):
        return None
    id, address, topic = id_or_none(body.get("id")), body.get("address"), body.get("topic")
    if id is None or path_segment(id) is None or not isinstance(address, str) or not isinstance(topic, str):
        return None
    return Registration(id, address, topic)


def _why(response: ProviderResponse, missing: str) -> str:
    return response.detail if response.kind is not ResponseKind.DONE else f"The response shows no {missing}."
