"""What an account at NotPanel is configured with.

NotPanel documents its calls, and of its webhooks the registration only. Every key of a webhook's body that
we could not read anywhere is configuration here, with the most likely spellings as the default.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from app.contract import UNDOCUMENTED, BaseConfig, Phase

PRODUCTION_URL = "https://notpanel.com"
API_PATH = "/api/v2"


class Config(BaseConfig):
    """An account at NotPanel. Keys of a payload may be dotted (`data.order`) to reach into an object."""

    webhooks_signed_by = "webhook_secret"

    base_url: str = Field(
        PRODUCTION_URL, description="Where the panel is, without /api/v2; other panels of the same API work too."
    )
    key: SecretStr = Field(min_length=1, description="The API key, from the dashboard's API page; shown there once.")
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=1,
        description="The secret that registering the webhook showed, by which webhooks are verified where their "
        "endpoint names no secrets of its own.",
    )
    event_keys: tuple[str, ...] = Field(
        ("event", "event_type", "type"),
        description="Where a webhook's body names its event; the first that does.",
        json_schema_extra=UNDOCUMENTED,
    )
    order_keys: tuple[str, ...] = Field(
        ("order", "order_id", "order.id", "data.id"),
        description="Where a webhook names its order; looked for in the body and in its objects data and order.",
        json_schema_extra=UNDOCUMENTED,
    )
    status_keys: tuple[str, ...] = Field(
        ("order_status", "status"),
        description="Where a webhook states the order's status; looked for as order_keys are.",
        json_schema_extra=UNDOCUMENTED,
    )
    service_keys: tuple[str, ...] = Field(
        ("service", "service_id", "service.service", "service.id"),
        description="Where a webhook or an answer to status names the order's service; without it the catalog's "
        "cancel flag cannot be looked up.",
        json_schema_extra=UNDOCUMENTED,
    )
    flag_keys: tuple[str, ...] = Field(
        ("service_cancel", "service.cancel"),
        description="Where a webhook or an answer to status says whether the order's service supports canceling in "
        "flight: true or false. It outranks the catalog.",
        json_schema_extra=UNDOCUMENTED,
    )
    time_keys: tuple[str, ...] = Field(
        ("occurred_at", "created_at", "timestamp"),
        description="Where a webhook's body says when it happened; without one, the time of receipt counts.",
        json_schema_extra=UNDOCUMENTED,
    )
    id_keys: tuple[str, ...] = Field(
        ("event_id", "id"),
        description="Where a webhook's body has the event's own id, by which redeliveries are known; "
        "without one, the whole body is.",
        json_schema_extra=UNDOCUMENTED,
    )
    phases: dict[str, Phase] = Field(
        {},
        description="What statuses mean that NotPanel does not document, or that shall mean something else here.",
        json_schema_extra=UNDOCUMENTED,
    )
    event_phases: dict[str, Phase] = Field(
        {},
        description="What events mean that are not known here, or that shall mean something else.",
        json_schema_extra=UNDOCUMENTED,
    )
    queued_texts: tuple[str, ...] = Field(
        ("already requested", "already queued", "cancel request pending", "cancellation pending"),
        description="Errors with one of these words mean that a cancel is queued upstream already, and are no refusal.",
        json_schema_extra=UNDOCUMENTED,
    )
    catalog_ttl_s: float = Field(
        3600.0, ge=60, le=7 * 86_400, description="For how long the catalog's cancel flags are remembered, in seconds."
    )
    timeout_s: float = Field(15.0, gt=0, le=120, description="How long to wait for NotPanel's answer, in seconds.")

    @property
    def hidden(self) -> tuple[str, ...]:
        """What must not come into our log with the panel's words."""
        return tuple(each.get_secret_value() for each in (self.key, self.webhook_secret) if each is not None)

    @field_validator("base_url")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if value.endswith(API_PATH):
            raise ValueError(f"leave {API_PATH} out of the URL: it is added to every call")
        return value

    @field_validator("key")
    @classmethod
    def _check_key(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if key != key.strip():
            raise ValueError("remove the white space around the key (a line end from a file, perhaps)")
        return value

    @field_validator("queued_texts")
    @classmethod
    def _check_queued_texts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in value):
            raise ValueError("an empty text would be in every error: take it out")
        return value
