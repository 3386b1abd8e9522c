"""What an account at PlanOmatic is configured with.

PlanOmatic documents the order object of its webhooks in outline only. Every key that we could not
read anywhere is configuration here, with the most likely spellings as the default.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from app.contract import UNDOCUMENTED, BaseConfig

PRODUCTION_URL = "https://api.planomatic.com"


class Config(BaseConfig):
    """An account at PlanOmatic. Keys of a payload may be dotted (`event.name`) to reach into an object."""

    base_url: str = Field(
        PRODUCTION_URL,
        description="Where the API is; the provider's sandbox is https://api-sandbox.planomatic.com.",
    )
    api_key: SecretStr = Field(
        min_length=1,
        description="The integration's API key, from its page in PlanOintegrate; the sandbox has its own.",
    )
    event_keys: tuple[str, ...] = Field(
        ("event", "event_type", "type"),
        description="Where a webhook's body names its event; the first that does.",
        json_schema_extra=UNDOCUMENTED,
    )
    time_keys: tuple[str, ...] = Field(
        ("occurred_at", "timestamp", "updated_at"),
        description="Where a webhook's body says when it happened; without one, the time of receipt counts.",
        json_schema_extra=UNDOCUMENTED,
    )
    status_keys: tuple[str, ...] = Field(
        ("order_status", "status"),
        description="Where an order states its status; the first that does.",
        json_schema_extra=UNDOCUMENTED,
    )
    appointment_start_keys: tuple[str, ...] = Field(
        ("start_datetime", "starts_at", "start_time"),
        description="Where an appointment states its start.",
        json_schema_extra=UNDOCUMENTED,
    )
    appointment_end_keys: tuple[str, ...] = Field(
        ("end_datetime", "ends_at", "end_time"),
        description="Where an appointment states its end.",
        json_schema_extra=UNDOCUMENTED,
    )
    external_ids_are_aliases: bool = Field(
        False,
        description="Whether an order can be looked up by its external_order_id and external_id. Where several orders "
        "have one in common (one sent twice by mistake does), the answer lists them.",
    )
    timeout_s: float = Field(15.0, gt=0, le=120, description="How long to wait for PlanOmatic's answer, in seconds.")

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if key != key.strip():
            raise ValueError("remove the white space around the key (a line end from a file, perhaps)")
        return value
