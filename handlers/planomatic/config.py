"""What an account at PlanOmatic is configured with.

PlanOmatic documents the order object of its webhooks in outline only. Every key that we could not
read anywhere is configuration here, with the most likely spellings as the default.
"""

from __future__ import annotations

from pydantic import Field

from app.contract import BaseConfig
from app.kit.config import Secret, timeout_s, undocumented

PRODUCTION_URL = "https://api.planomatic.com"


class Config(BaseConfig):
    """An account at PlanOmatic. Keys of a payload may be dotted (`event.name`) to reach into an object."""

    base_url: str = Field(
        PRODUCTION_URL,
        description="Where the API is; the provider's sandbox is https://api-sandbox.planomatic.com.",
    )
    api_key: Secret = Field(
        description="The integration's API key, from its page in PlanOintegrate; the sandbox has its own."
    )
    event_keys: tuple[str, ...] = undocumented(
        ("event", "event_type", "type"), "Where a webhook's body names its event; the first that does."
    )
    time_keys: tuple[str, ...] = undocumented(
        ("occurred_at", "timestamp", "updated_at"),
        "Where a webhook's body says when it happened; without one, the time of receipt counts.",
    )
    status_keys: tuple[str, ...] = undocumented(
        ("order_status", "status"), "Where an order states its status; the first that does."
    )
    appointment_start_keys: tuple[str, ...] = undocumented(
        ("start_datetime", "starts_at", "start_time"), "Where an appointment states its start."
    )
    appointment_end_keys: tuple[str, ...] = undocumented(
        ("end_datetime", "ends_at", "end_time"), "Where an appointment states its end."
    )
    external_ids_are_aliases: bool = Field(
        False,
        description="Whether an order can be looked up by its external_order_id and external_id. Where several orders "
        "have one in common (one sent twice by mistake does), the answer lists them.",
    )
    timeout_s: float = timeout_s("PlanOmatic")
