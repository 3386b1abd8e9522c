"""Models of subscriptions: who receives which messages, where, and how."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from app.config import formats
from app.config.formats import Format, QuietHoursSpec, TemplateSpec
from app.config.models import RETIRED_MAX, EventPattern, RetiredSecret, Slug, Span, Words, retire
from app.core.outbound.schedule import Schedule
from app.kit.duration import parse_duration

HMAC_PREFIX, ED25519_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
_HMAC_BYTES = range(24, 65)
"""Sizes of a symmetric secret, by Standard Webhooks 1.0."""
_SEED_BYTES = 32
_ED25519_BYTES = (_SEED_BYTES, 64)
"""A private key: the seed, or the seed with the public key behind it."""
LEAD_MIN, LEAD_MAX = timedelta(minutes=1), timedelta(days=30)
AccountPattern = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9._-]{0,62})?\*?$", min_length=1)]


class SubscriptionSpec(BaseModel):
    """A URL that receives messages about orders, cancellations and policies; or, without one, a queue to be pulled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    description: Words = ""
    format: Format = "standard"
    """`standard`: webhooks by Standard Webhooks. The others are notices to people."""
    url: str | None = Field(None, max_length=2000, repr=False)
    """Where messages are sent; `mailto:ops@example.com` with format email. Without it they wait to be pulled
    (`POST /v1/subscriptions/{id}/pull`). With formats slack and template it is shown without its path: anyone who has
    it can post."""
    events: tuple[EventPattern, ...] = Field(("*",), min_length=1, max_length=100)
    """Types of messages, `cancellation.*` for a family of them."""
    accounts: tuple[AccountPattern, ...] = Field(("*",), min_length=1, max_length=1000)
    """Accounts, `acme-*` for all that begin so. Messages about no account go to subscriptions with `*`."""
    payload: Literal["thin", "full"] = "thin"
    """`full` adds the order as it was at that moment."""
    enabled: bool = True
    """While it is false, messages are held."""
    secret: SecretStr | None = None
    """Signs deliveries: `whsec_` and base64 (HMAC-SHA256) or `whsk_` and base64 (ed25519). Default: generated."""
    retired_secrets: tuple[RetiredSecret, ...] = Field((), max_length=RETIRED_MAX)
    """Secrets that were rotated out: until their time deliveries are signed with them too."""
    headers: dict[str, SecretStr] = Field({}, max_length=20, repr=False)
    """Sent with each delivery, such as an Authorization that the receiver requires."""
    ordered: bool = False
    """Send the messages of one order in the order of their causes: one that fails holds back its successors."""
    concurrency: int = Field(4, ge=1, le=64)
    """Most deliveries under way at a time."""
    rate_per_s: float | None = Field(None, gt=0, le=10_000, allow_inf_nan=False)
    """Most deliveries in a second."""
    timeout_s: float = Field(15.0, ge=1, le=60, allow_inf_nan=False)
    """Time limit of one delivery, in seconds."""
    closing_soon: Span = "1h"
    """How long before its window closes `order.closing_soon` is sent."""
    routing_key: SecretStr | None = Field(None, min_length=8, max_length=200)
    """Integration key, for format pagerduty."""
    template: TemplateSpec | None = None
    """The request, for format template."""
    digest: Annotated[Span | None, AfterValidator(formats.check_digest)] = None
    """`1h`: gather what is not urgent for so long, and tell it as one."""
    quiet_hours: Annotated[QuietHoursSpec | None, AfterValidator(formats.check_quiet_hours)] = None
    """When only what is urgent is sent; the rest is told as one when they end."""
    urgent: tuple[EventPattern, ...] | None = Field(None, max_length=100)
    """Types that are sent at once, `cancellation.*` for a family of them. Default: those marked so in the reference."""
    approval_links: Literal["act", "view"] = "act"
    """`view`: the link of a proposed cancel shows it, and leaves approving to those who have an API key."""
    expires_at: AwareDatetime | None = None
    """When it is deleted, with what was not delivered; for `rescind listen`."""

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and not _is_secret(given.get_secret_value()):
            raise ValueError(
                "must be whsec_ and the base64 of 24 to 64 bytes, or whsk_ and the base64 of an ed25519 key; "
                "leave it out to have one generated"
            )
        return given

    @model_validator(mode="before")
    @classmethod
    def _add_defaults(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("format") == "pagerduty" and given.get("url") is None:
            given = {**given, "url": formats.PAGERDUTY_URL}
        if isinstance(given, dict) and given.get("format") == "pagerduty":
            # One at a time: what ends an alert must not overtake what began it.
            return {"concurrency": 1, **given}
        return given

    @field_validator("url")
    @classmethod
    def _check_url(cls, given: str | None, info: ValidationInfo) -> str | None:
        if given is not None and "format" in info.data:
            formats.check_url(info.data["format"], given)
        return given

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, given: dict[str, SecretStr]) -> dict[str, SecretStr]:
        formats.check_header_names(given)
        formats.check_header_values(given)
        return given

    @field_serializer("url", when_used="json-unless-none")
    def _show_url(self, url: str) -> str:
        return formats.shown_url(self.format, url)

    @field_validator("closing_soon")
    @classmethod
    def _check_lead(cls, given: str) -> str:
        lead = parse_duration(given)
        if lead is None or not LEAD_MIN <= lead <= LEAD_MAX:
            raise ValueError("must be a duration from 1m to 30d, such as 90m")
        return given

    @model_validator(mode="after")
    def _check_pull(self) -> SubscriptionSpec:
        if self.url is None and (self.headers or self.rate_per_s is not None):
            raise ValueError("headers and rate_per_s need a url: without one messages wait to be pulled")
        return self

    @model_validator(mode="after")
    def _check_format(self) -> SubscriptionSpec:
        given = [name for name in self.model_fields_set if getattr(self, name) not in (None, (), {})]
        formats.check_options(self.format, sorted(given))
        if self.ordered and self.schedule.gathers:
            raise ValueError(
                "ordered needs no digest and no quiet_hours: what they gather is told in the order of time"
            )
        if self.url is None and self.format != "standard":
            raise ValueError(f"format {self.format} needs a url")
        return self

    @property
    def schedule(self) -> Schedule:
        """When it is told what."""
        quiet = self.quiet_hours.quiet_hours() if self.quiet_hours is not None else None
        digest = parse_duration(self.digest) if self.digest is not None else None
        return Schedule(digest, quiet, self.urgent)

    @property
    def delays(self) -> Schedule | None:
        """Its schedule, if that delays anything."""
        return self.schedule if self.schedule.gathers else None

    @property
    def lead(self) -> timedelta:
        """`closing_soon` as a duration."""
        lead = parse_duration(self.closing_soon)
        assert lead is not None  # noqa: S101 - validated
        return lead


def is_signed(body: Mapping[str, Any]) -> bool:
    """Whether the deliveries of a subscription, given as it is stored, are signed."""
    return str(body.get("format", "standard")) in formats.SIGNED


def make_secret(like: str = HMAC_PREFIX) -> str:
    """A new signing secret: symmetric, or an ed25519 key if `like` is one."""
    prefix = ED25519_PREFIX if like.startswith(ED25519_PREFIX) else HMAC_PREFIX
    return prefix + b64encode(secrets.token_bytes(32)).decode()


def public_key(secret: str) -> str | None:
    """The key by which receivers verify an ed25519 signature, as `whpk_…`; None for a symmetric secret."""
    if not secret.startswith(ED25519_PREFIX):
        return None
    seed = b64decode(secret.removeprefix(ED25519_PREFIX))[:_SEED_BYTES]
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return PUBLIC_PREFIX + b64encode(public.public_bytes_raw()).decode()


def rotated(body: dict[str, Any], secret: str, overlap_h: float, now: datetime) -> dict[str, Any]:
    """A subscription's body with `secret`; the former one signs too for the overlap."""
    earlier = [RetiredSecret.model_validate(retired) for retired in body.get("retired_secrets", ())]
    return {**body, "secret": secret, "retired_secrets": retire([body["secret"]], earlier, secret, overlap_h, now)}


def _is_secret(text: str) -> bool:
    for prefix, sizes in ((HMAC_PREFIX, _HMAC_BYTES), (ED25519_PREFIX, _ED25519_BYTES)):
        if text.startswith(prefix):
            try:
                return len(b64decode(text.removeprefix(prefix), validate=True)) in sizes
            except ValueError:
                return False
    return False
