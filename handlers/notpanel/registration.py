"""NotPanel's webhooks: add one, which shows its secret once; list and remove them.

“Register webhook” documents `webhook.add` with a URL and events, at most five for a key, and that the secret is shown
once. That there are actions to list and to remove them is our inference; their names are configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.contract import Context, Flow, Registration, RegistrationFailed, RegistrationWithSecret
from app.kit.ids import id_or_none
from app.kit.responses import ProviderResponse, ResponseKind
from handlers.notpanel.calls import call
from handlers.notpanel.config import Config
from handlers.notpanel.responses import read

ADD = "webhook.add"
_LISTS = ("webhooks", "data")
"""Under which key a response may have the list, if it is not the list itself."""


def registrations(config: Config, context: Context) -> Flow[list[Registration]]:
    """All webhooks of the key, one registration for each of their events. Raises `RegistrationFailed`."""
    response = read((yield call(config, config.list_webhooks_action, repeatable=True)), config, context)
    listed = _listed(response)
    if listed is None:
        raise RegistrationFailed(
            f"The webhooks cannot be listed: {_why(response, 'list')} If the panel has another action for that, "
            "set config.list_webhooks_action."
        )
    return [
        Registration(id, row["url"], event)
        for row in listed
        if isinstance(row, dict) and isinstance(row.get("url"), str) and (id := _id(row, config)) is not None
        for event in _events(row)
    ]


def register(url: str, topics: Sequence[str], config: Config, context: Context) -> Flow[list[Registration]]:
    """Add one webhook for `url` with `topics`, and those that it had before.

    A webhook that the key has for this URL is removed first: to change its events would be another action, and of
    two for one URL each event would arrive twice, signed by two secrets. Raises `RegistrationFailed`.
    """
    former = [known for known in (yield from registrations(config, context)) if known.url == url]
    events = list(dict.fromkeys([*(known.topic for known in former), *topics]))
    yield from unregister(former, config, context)
    fields = {"url": url, "events": ",".join(events)}
    request = call(config, ADD, repeatable=False, fields=fields, confidential=True)
    response = read((yield request), config, context)
    body = response.body if response.kind is ResponseKind.DONE and isinstance(response.body, dict) else {}
    row = body["webhook"] if isinstance(body.get("webhook"), dict) else body
    id, secret = _id(row, config), row.get("secret")
    if id is None or not isinstance(secret, str) or not secret:
        raise RegistrationFailed(f"The webhook was not added: {_why(response, 'id and secret')}")
    return [RegistrationWithSecret(id, url, event, secret) for event in events]


def unregister(registrations: Sequence[Registration], config: Config, context: Context) -> Flow[None]:
    """Remove the webhooks of these registrations, each once; one that is gone is no failure."""
    for id in dict.fromkeys(registration.id for registration in registrations):
        fields = {config.webhook_id_keys[0]: id}
        request = call(config, config.remove_webhook_action, repeatable=True, fields=fields)
        response = read((yield request), config, context)
        is_gone = response.kind is ResponseKind.REJECTED and "not found" in response.detail.lower()
        if response.kind is not ResponseKind.DONE and not is_gone:
            raise RegistrationFailed(
                f"The webhook {id} was not removed: {response.detail} If the panel has another action for that, set "
                "config.remove_webhook_action."
            )


def _listed(response: ProviderResponse) -> list[Any] | None:
    body = response.body if response.kind is ResponseKind.DONE else None
    if isinstance(body, dict):
        body = next((body[key] for key in _LISTS if isinstance(body.get(key), list)), None)
    return body if isinstance(body, list) else None


def _id(row: dict[str, Any], config: Config) -> str | None:
    return next((id for key in config.webhook_id_keys if (id := id_or_none(row.get(key))) is not None), None)


def _events(row: dict[str, Any]) -> list[str]:
    events = row.get("events")
    if isinstance(events, str):
        events = [event.strip() for event in events.split(",")]
    return [event for event in events if isinstance(event, str) and event] if isinstance(events, list) else []


def _why(response: ProviderResponse, missing: str) -> str:
    return response.detail if response.kind is not ResponseKind.DONE else f"The response shows no {missing}."
