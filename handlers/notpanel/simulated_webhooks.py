"""The simulated NotPanel's webhooks: what “Register webhook” says of registering them, and what is sent."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import json_response, utc_time
from handlers.notpanel.simulated import MISSING, failure

# Written down once more: a slip in the handler must not be made here as well.
EVENTS = ("order.completed", "order.failed", "order.refunded", "order.cancelled", "balance.low")
SIGNATURE_HEADER = "X-NotPanel-Signature"
TIMESTAMP_HEADER = "X-NotPanel-Timestamp"
ENDPOINTS_MAX = 5

_LOCAL_HOSTS = ("localhost", "localhost.localdomain")


@dataclass(slots=True)
class Endpoint:
    """One registered webhook."""

    id: str
    key: str
    url: str
    events: tuple[str, ...]
    secret: str

    def summary(self) -> dict[str, Any]:
        """What may be shown of it at any time."""
        return {"webhook": self.id, "url": self.url, "events": list(self.events)}

    def delivery(self, body: dict[str, Any], now: float) -> HttpRequest:
        """A webhook as this endpoint is sent it: signed with its own secret, over the time and the body."""
        raw, timestamp = msgspec.json.encode(body), str(int(now))
        headers = {"Content-Type": "application/json", "User-Agent": "NotPanel (simulated)"}
        return HttpRequest("POST", "", {**headers, **self.proof(raw, timestamp)}, raw)

    def proof(self, raw: bytes, timestamp: str) -> dict[str, str]:
        """The headers that prove who sent a body, and when."""
        signature = hmac.digest(self.secret.encode(), f"{timestamp}.".encode() + raw, hashlib.sha256).hex()
        return {SIGNATURE_HEADER: signature, TIMESTAMP_HEADER: timestamp}


@dataclass(slots=True)
class Endpoints:
    """All that are registered, and the webhooks that wait to be sent."""

    registered: list[Endpoint] = field(default_factory=list)
    waiting: list[HttpRequest] = field(default_factory=list)
    made: int = 0
    sent: int = 0

    def add(self, form: dict[str, str]) -> HttpResponse:
        """Register one, as `webhook.add` asks."""
        if not form.get("url"):
            return failure(400, MISSING.format(name="url"))
        wrong = url_error(form["url"])
        if wrong is not None:
            return failure(400, wrong)
        try:
            events = chosen_events(form.get("events", ""))
        except ValueError as unknown:
            return failure(400, f"Unknown event: {unknown}")
        if sum(each.key == form["key"] for each in self.registered) >= ENDPOINTS_MAX:
            return failure(400, f"Maximum {ENDPOINTS_MAX} webhooks per API key")
        self.made += 1
        secret = secret_for(form["key"], self.made)
        added = Endpoint(f"wh_{self.made}", form["key"], form["url"], events, secret)
        self.registered.append(added)
        return json_response(200, {**added.summary(), "secret": secret})

    def show(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """All that are registered, without their secrets: each was shown once."""
        return {"webhooks": [each.summary() for each in self.registered]}

    def remove(self, params: dict[str, Any], now: float) -> dict[str, Any]:
        """Forget one. Raises ValueError if there is none of that id."""
        left = [each for each in self.registered if each.id != params.get("webhook")]
        if len(left) == len(self.registered):
            raise ValueError(f"there is no webhook {params.get('webhook')!r}")
        self.registered = left
        return self.show({}, now)

    def emit(self, event: str, key: str, data: dict[str, Any], now: float) -> None:
        """Send an event of the key's account to each of its endpoints that wants it."""
        self.sent += 1
        happened = utc_time(now).isoformat(timespec="microseconds")
        body = {"id": f"evt_{self.sent:08d}", "event": event, "created_at": happened, "data": data}
        for each in self.registered:
            if each.key == key and event in each.events:
                self.waiting.append(each.delivery(body, now))

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The webhook signed anew by the endpoint that it is for; as it was, if that is gone."""
        given = webhook.headers[TIMESTAMP_HEADER]
        for each in self.registered:
            if each.proof(webhook.body, given)[SIGNATURE_HEADER] == webhook.headers[SIGNATURE_HEADER]:
                return replace(webhook, headers={**webhook.headers, **each.proof(webhook.body, str(int(now)))})
        return webhook

    def drain(self) -> list[HttpRequest]:
        """Take out what waits, oldest first."""
        taken, self.waiting = self.waiting, []
        return taken


def url_error(url: str) -> str | None:
    """Why a URL may not be registered: it must be https, and reachable by the public."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not host:
        return "URL must be https"
    try:
        public = ip_address(host).is_global
    except ValueError:
        public = host not in _LOCAL_HOSTS
    return None if public else "URL must not resolve to a private address"


def chosen_events(csv: str) -> tuple[str, ...]:
    """The events in a list, all where it is empty. Raises ValueError with the one that there is not."""
    chosen = tuple(each.strip() for each in csv.split(",") if each.strip()) or EVENTS
    for each in chosen:
        if each not in EVENTS:
            raise ValueError(each)
    return chosen


def secret_for(key: str, number: int) -> str:
    """An endpoint's secret: the same in every run, and different for every endpoint."""
    return hashlib.sha256(f"{key}/{number}".encode()).hexdigest()
