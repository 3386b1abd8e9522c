"""The simulated providers: for each its account in Rescind, and how its orders open, close and end."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from app.dev.demo.processes import WINDOW_S
from handlers.generic.simulator import DEFAULT_API_KEY, DEFAULT_SIGNING_SECRET
from handlers.kibo.simulator import DEFAULT_SECRET, DEFAULT_TENANT
from handlers.notpanel.simulator import DEFAULT_KEY
from handlers.planomatic.simulator import DOCUMENTED_API_KEY
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET

Json = dict[str, Any]

LIMIT = 100
"""PlanOmatic's documented number of calls in a window, and the number of orders in one call to NotPanel."""
BUCKET = 40
"""The calls that Shoplazza takes at once."""
PROVIDER_TIMEOUT_S = 3.0
NOTE = "The wrong size."
_FENCE = "```"
_CALLS = {"requests": 60, "per_s": WINDOW_S}


def _readme_account() -> Json:
    """The account in the README of the generic handler: the example that its readers copy."""
    readme = resources.files("handlers.generic").joinpath("README.md").read_text(encoding="utf-8")
    example = next(part for part in readme.split(_FENCE)[1::2] if part.startswith("yaml\n"))
    (account,) = yaml.safe_load(example.removeprefix("yaml\n"))["accounts"]
    return {"config": account["config"] | {"api_key": DEFAULT_API_KEY}, "rules": account["rules"]}


@dataclass(frozen=True, slots=True)
class Provider:
    """One simulated provider."""

    name: str
    """Its name in the sandbox, and the account's `provider`."""
    title: str
    account: str
    """The id of its account in Rescind."""
    settings: Json
    """The account's `config` (without `base_url`), `limits` and `rules`."""
    cancel: Json
    """The body of a cancel request."""
    endpoint: Json | None = field(default_factory=dict)
    """Of its endpoint; without `verify`, a token proves its webhooks. None: no endpoint."""
    cancel_path: str = ""
    opening: str = "order.created"
    """The event of the webhook about a new order."""
    lookups: int = 0
    """How many calls Rescind makes to know the verdict of a new order."""
    canceled: tuple[str, ...] = ("order.canceled",)
    """The events of the webhooks about a canceled order."""
    books: Json = field(default_factory=dict)
    """What the provider's books show of a canceled order."""
    new_order: Json = field(default_factory=dict)
    order_key: str = "order_id"
    """Where the simulator names the order as the webhooks do."""
    booking: str = ""
    """The action that books an appointment."""
    too_late: str = ""
    """The reason of the verdict when an appointment is near."""
    cutoff_h: int = 0
    """How many hours before an appointment the provider cancels no more."""

    @property
    def webhook_path(self) -> str:
        """Where its webhooks go."""
        return f"/webhooks/{self.account}-in"

    def resources(self, base_url: str, token: str, config: Json) -> Json:
        """The account and the endpoint, as `rescind apply` takes them; `config` is added to the account's."""
        whole = {**self.settings["config"], "base_url": base_url, **config}
        made: Json = {"accounts": [{"id": self.account, "provider": self.name, **self.settings, "config": whole}]}
        if self.endpoint is not None:
            endpoint = {"id": f"{self.account}-in", "account": self.account, "verify": {"secrets": [token]}}
            made["endpoints"] = [endpoint | self.endpoint]
        return made


PLANOMATIC = Provider(
    "planomatic",
    "PlanOmatic",
    "acme",
    {
        "config": {"api_key": DOCUMENTED_API_KEY, "timeout_s": PROVIDER_TIMEOUT_S},
        "limits": {"requests": LIMIT, "per_s": WINDOW_S, "concurrency": 8},
    },
    {"reason": "client_requested_cancelation", "note": "The client no longer wants it."},
    cancel_path="/api/v3/orders/cancel",
    opening="order.processed",
    books={"status": "canceled", "cancel_effects": 1},
    booking="schedule_appointment",
    too_late="appointment_confirmed",
)
KIBO = Provider(
    "kibo",
    "Kibo",
    "acme-retail",
    {"config": {"tenant": DEFAULT_TENANT}, "limits": {**_CALLS, "concurrency": 2}},
    {"reason": "other", "note": NOTE},
    {"verify": {"secrets": [DEFAULT_SECRET]}},
    lookups=1,
    books={"status": "Cancelled", "cancel_reason": NOTE},
    order_key="entity_id",
)
SUPERLOOP = Provider(
    "superloop",
    "Superloop",
    "acme-broadband",
    {"config": {"client_id": "acme", "key_id": "demo-1"}, "limits": _CALLS},
    {"reason": "The customer moves."},
    cancel_path="/api/connect/orders/cancel",
    books={"status": "Cancelled", "cancel_effects": 1},
    booking="book_appointment",
    too_late="appointment_near",
    cutoff_h=26,
)
SHOPLAZZA = Provider(
    "shoplazza",
    "Shoplazza",
    "acme-shop",
    {
        "config": {"shop_domain": "acme", "access_token": DEFAULT_ACCESS_TOKEN},
        "limits": {"burst": BUCKET, "rate_per_s": BUCKET / WINDOW_S, "concurrency": 8},
    },
    {"reason": "Ordered twice"},
    {"verify": {"secrets": [DEFAULT_CLIENT_SECRET]}, "keep_registered": True},
    opening="order.paid",
    canceled=("order.canceled", "order.completed"),
    books={"status": "finished", "cancel_effects": 1},
    new_order={"paid": True},
)
SHOP = Provider(
    "generic",
    "Example shop",
    "example-shop",
    {**_readme_account(), "limits": _CALLS},
    {"reason": "mistake", "note": "Two of the same."},
    {"verify": {"scheme": "standard_webhooks", "secrets": [DEFAULT_SIGNING_SECRET]}},
    books={"status": "canceled", "cancel_effects": 1},
    booking="book_delivery",
    too_late="delivery_near",
    cutoff_h=24,
)
NOTPANEL = Provider(
    "notpanel",
    "NotPanel",
    "acme-social",
    {"config": {"key": DEFAULT_KEY}, "limits": {"requests": LIMIT, "per_s": WINDOW_S}, "unknown_orders": "send"},
    {"reason": "The campaign is off."},
    endpoint=None,
)
SENDS_WEBHOOKS = (PLANOMATIC, KIBO, SUPERLOOP, SHOPLAZZA, SHOP)
BOOKS_APPOINTMENTS = (PLANOMATIC, SUPERLOOP, SHOP)
