"""What an account at Kibo is configured with.

“Cancel Order” documents the call, its URL and one header. How an order is fetched, and the order itself, are not
documented there; every key and path that we could not read anywhere is configuration here, and marked so.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from app.contract import UNDOCUMENTED, BaseConfig, check_path


class Config(BaseConfig):
    """A tenant of Kibo's that is configured for translated APIs."""

    webhooks_signed_by = "shared_secret"

    base_url: str = Field(
        "",
        description="Where the API is, if not at https://{tenant}-translation.mozu.com "
        "(with sandbox: https://{tenant}-translation.sandbox.mozu.com).",
    )
    tenant: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
        coerce_numbers_to_str=True,
        description="The tenant's id: the first part of the API's host, and sent as x-vol-tenant.",
    )
    sandbox: bool = Field(False, description="Whether the tenant is one of Kibo's sandbox.")
    shared_secret: SecretStr | None = Field(
        None,
        description="The application's shared secret, by which webhooks are verified where their endpoint names no "
        "secrets of its own. No call needs it.",
    )
    credential: SecretStr | None = Field(
        None,
        min_length=1,
        description="What proves the caller besides x-vol-tenant, where a tenant's gateway wants more.",
        json_schema_extra=UNDOCUMENTED,
    )
    credential_header: str = Field(
        "Authorization",
        pattern=r"^[A-Za-z0-9-]+$",
        description="The header in which the credential is sent, as it is (for a token: Bearer and the token).",
        json_schema_extra=UNDOCUMENTED,
    )
    order_path: str = Field(
        "/api/v2/order/{id}",
        description="Where an order is fetched by its orderID.",
        json_schema_extra=UNDOCUMENTED,
    )
    entity_order_path: str = Field(
        "/api/v2/order/{id}",
        description="Where it is fetched by its entityId, the only name that webhooks give.",
        json_schema_extra=UNDOCUMENTED,
    )
    entity_id_keys: tuple[str, ...] = Field(
        ("entityId", "id"),
        description="Where an order states its entityId; the first that does. A whole number makes no name.",
        json_schema_extra=UNDOCUMENTED,
    )
    status_keys: tuple[str, ...] = Field(
        ("orderStatus", "status", "orderState"),
        min_length=1,
        description="Where an order states how it stands; all count, and the first is shown as its status.",
        json_schema_extra=UNDOCUMENTED,
    )
    opened_at_keys: tuple[str, ...] = Field(
        ("submittedDate",),
        description="Where an order states since when it is open; without one, its first event tells.",
        json_schema_extra=UNDOCUMENTED,
    )
    accept_test_events: bool = Field(
        True, description="Whether a webhook with isTest counts like any other; if not, it is ignored."
    )
    probed_topics: tuple[str, ...] = Field(
        (),
        description="Further topics that may move an order, which is then asked for; without it they go to quarantine.",
    )
    ignored_families: tuple[str, ...] = Field(
        ("application", "category", "customeraccount", "discount", "product", "productinventory", "tenant"),
        description="Families of topics (the part before the full stop) that are not about orders.",
        json_schema_extra=UNDOCUMENTED,
    )
    timeout_s: float = Field(15.0, gt=0, le=120, description="How long to wait for Kibo's answer, in seconds.")

    @property
    def api_url(self) -> str:
        """Where the API is, without a slash at the end."""
        host = "sandbox.mozu.com" if self.sandbox else "mozu.com"
        return self.base_url or f"https://{self.tenant}-translation.{host}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """What must not come into our log with Kibo's words."""
        whole = [each.get_secret_value() for each in (self.shared_secret, self.credential) if each is not None]
        # A credential may name its scheme (Bearer …), and be repeated without it.
        return (*whole, *(part for each in whole if (part := each.partition(" ")[2].strip())))

    @field_validator("order_path", "entity_order_path")
    @classmethod
    def _check_path(cls, value: str) -> str:
        return check_path(value)

    @field_validator("credential")
    @classmethod
    def _check_credential(cls, value: SecretStr | None) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value()
        if text != text.strip() or not text.isprintable():
            raise ValueError("remove the white space around the credential (a line end from a file, perhaps)")
        return value
