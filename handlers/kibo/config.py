"""What an account at Kibo is configured with.

“Cancel Order” documents the call, its URL and one header. How an order is fetched, and the order itself, are not
documented there; every key and path that we could not read anywhere is configuration here, and marked so.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from app.contract import BaseConfig
from app.kit.config import PathTemplate, secret_values, timeout_s, undocumented


def _check_credential(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip() or not text.isprintable():
        raise ValueError("remove the white space around the credential (a line end from a file, perhaps)")
    return value


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
    credential: Annotated[SecretStr, Field(min_length=1), AfterValidator(_check_credential)] | None = undocumented(
        None, "What proves the caller besides x-vol-tenant, where a tenant's gateway wants more."
    )
    credential_header: str = undocumented(
        "Authorization",
        "The header in which the credential is sent, as it is (for a token: Bearer and the token).",
        pattern=r"^[A-Za-z0-9-]+$",
    )
    order_path: PathTemplate = undocumented("/api/v2/order/{id}", "Where an order is fetched by its orderID.")
    entity_order_path: PathTemplate = undocumented(
        "/api/v2/order/{id}", "Where it is fetched by its entityId, the only name that webhooks give."
    )
    entity_id_keys: tuple[str, ...] = undocumented(
        ("entityId", "id"), "Where an order states its entityId; the first that does. A whole number makes no name."
    )
    status_keys: tuple[str, ...] = undocumented(
        ("orderStatus", "status", "orderState"),
        "Where an order states how it stands; all count, and the first is shown as its status.",
        min_length=1,
    )
    opened_at_keys: tuple[str, ...] = undocumented(
        ("submittedDate",), "Where an order states since when it is open; without one, its first event tells."
    )
    accept_test_events: bool = Field(
        True, description="Whether a webhook with isTest counts like any other; if not, it is ignored."
    )
    probed_topics: tuple[str, ...] = Field(
        (),
        description="Further topics that may move an order, which is then asked for; without it they go to quarantine.",
    )
    ignored_families: tuple[str, ...] = undocumented(
        ("application", "category", "customeraccount", "discount", "product", "productinventory", "tenant"),
        "Families of topics (the part before the full stop) that are not about orders.",
    )
    timeout_s: float = timeout_s("Kibo")

    @property
    def api_url(self) -> str:
        """Where the API is, without a slash at the end."""
        host = "sandbox.mozu.com" if self.sandbox else "mozu.com"
        return self.base_url or f"https://{self.tenant}-translation.{host}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The secrets to remove from Kibo's words before they are logged."""
        whole = secret_values(self)
        # A credential may name its scheme (Bearer …), and be repeated without it.
        return (*whole, *(part for secret in whole if (part := secret.partition(" ")[2].strip())))
