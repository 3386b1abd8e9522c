"""Who plays: the providers, and the account and endpoint by which Rescind deals with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

YOU, SANDBOX = "you > Rescind", "you > sandbox"


@dataclass(frozen=True, slots=True)
class Cast:
    """One provider, and Rescind's account and endpoint for it."""

    provider: str
    """As the sandbox and the account's `provider` call it."""
    title: str
    account: str
    wish: Json
    """What a cancel says unless a chapter has other words."""
    cancel_path: str = ""
    """What faults befall; empty: any call."""
    has_token: bool = False
    """A token proves its webhooks. Else they are signed."""

    @property
    def endpoint(self) -> str:
        """Where its webhooks go."""
        return f"{self.account}-in"

    @property
    def webhook_path(self) -> str:
        """The same as a path."""
        return f"/webhooks/{self.endpoint}"

    @property
    def inbound(self) -> str:
        """The caller of its webhooks, as told."""
        return f"{self.title} > Rescind"

    @property
    def outbound(self) -> str:
        """The caller of its API, as told."""
        return f"Rescind > {self.title}"


PLANOMATIC = Cast(
    "planomatic",
    "PlanOmatic",
    "acme",
    {"reason": "client_requested_cancelation", "note": "The client no longer wants it."},
    cancel_path="/api/v3/orders/cancel",
    has_token=True,
)
