"""What an account at NotPanel is configured with.

NotPanel documents its calls, and of its webhooks the registration only. Every key of a webhook's body that
we could not read anywhere is configuration here, with the most likely spellings as the default.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from app.contract import BaseConfig, Phase
from app.kit.config import Secret, timeout_s, undocumented

PRODUCTION_URL = "https://notpanel.com"
API_PATH = "/api/v2"


class Config(BaseConfig):
    """An account at NotPanel. Keys of a payload may be dotted (`data.order`) to reach into an object."""

    webhooks_signed_by = "webhook_secret"

    base_url: str = Field(
        PRODUCTION_URL, description="Where the panel is, without /api/v2; other panels of the same API work too."
    )
    key: Secret = Field(description="The API key, from the dashboard's API page; shown there once.")
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=1,
        description="The secret that registering the webhook showed, by which webhooks are verified where their "
        "endpoint names no secrets of its own.",
    )
    event_keys: tuple[str, ...] = undocumented(
        ("event", "event_type", "type"), "Where a webhook's body names its event; the first that does."
    )
    order_keys: tuple[str, ...] = undocumented(
        ("order", "order_id", "order.id", "data.id"),
        "Where a webhook names its order; looked for in the body and in its objects data and order.",
    )
    status_keys: tuple[str, ...] = undocumented(
        ("order_status", "status"), "Where a webhook states the order's status; looked for as order_keys are."
    )
    service_keys: tuple[str, ...] = undocumented(
        ("service", "service_id", "service.service", "service.id"),
        "Where a webhook or an answer to status names the order's service; without it the catalog's cancel flag cannot "
        "be looked up.",
    )
    flag_keys: tuple[str, ...] = undocumented(
        ("service_cancel", "service.cancel"),
        "Where a webhook or an answer to status says whether the order's service supports canceling in flight: true or "
        "false. It outranks the catalog.",
    )
    time_keys: tuple[str, ...] = undocumented(
        ("occurred_at", "created_at", "timestamp"),
        "Where a webhook's body says when it happened; without one, the time of receipt counts.",
    )
    id_keys: tuple[str, ...] = undocumented(
        ("event_id", "id"),
        "Where a webhook's body has the event's own id, by which redeliveries are known; without one, the whole body "
        "is.",
    )
    phases: dict[str, Phase] = undocumented(
        {}, "What statuses mean that NotPanel does not document, or that shall mean something else here."
    )
    event_phases: dict[str, Phase] = undocumented(
        {}, "What events mean that are not known here, or that shall mean something else."
    )
    queued_texts: tuple[str, ...] = undocumented(
        ("already requested", "already queued", "cancel request pending", "cancellation pending"),
        "Errors with one of these words mean that a cancel is queued upstream already, and are no refusal.",
    )
    list_webhooks_action: str = undocumented(
        "webhook.list", "The action that lists the registered webhooks; webhook.add alone is documented."
    )
    remove_webhook_action: str = undocumented(
        "webhook.delete", "The action that removes a registered webhook by its id."
    )
    webhook_id_keys: tuple[str, ...] = undocumented(
        ("webhook", "webhook_id", "id"), "Where a registered webhook has its id; the first is also how it is named."
    )
    catalog_ttl_s: float = Field(
        3600.0, ge=60, le=7 * 86_400, description="For how long the catalog's cancel flags are remembered, in seconds."
    )
    timeout_s: float = timeout_s("NotPanel")

    @field_validator("base_url")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if value.endswith(API_PATH):
            raise ValueError(f"leave {API_PATH} out of the URL: it is added to every call")
        return value

    @field_validator("queued_texts")
    @classmethod
    def _check_queued_texts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(text.strip() for text in value):
            raise ValueError("an empty text would be in every error: take it out")
        return value
