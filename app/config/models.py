"""Models of accounts, endpoints and policies: with `subscriptions`, the schema of resource files and of the API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
)

from app.contract import Limits, VerifyOptions
from app.core.policy import limits, model
from app.core.policy.expression import InvalidPolicy
from app.core.policy.model import Mode, Policy
from app.kit.duration import parse_duration


def _check_network(value: str) -> str:
    try:
        return str(ip_network(value.strip()))
    except ValueError as error:
        raise ValueError(f"give a network such as 203.0.113.0/24 or one address: {error}") from None


Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
EventPattern = Annotated[str, StringConstraints(pattern=r"^[^\s*]{1,100}\*?$|^\*$")]
Words = Annotated[str, StringConstraints(max_length=4000)]
Network = Annotated[str, StringConstraints(max_length=50), AfterValidator(_check_network)]
SILENCE_MIN, SILENCE_MAX = timedelta(minutes=1), timedelta(days=90)
WORDS_CHARS_MAX = 10_000
"""A bound against abuse, above every provider's own limit, which its handler checks."""
CancelText = Annotated[str, StringConstraints(max_length=WORDS_CHARS_MAX)]
Span = Annotated[str, StringConstraints(max_length=100)]


class Polling(BaseModel):
    """Probe quiet orders with the part of the limit that cancels leave over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_s: float = Field(900.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """Probe an open order after so long without events."""
    when: Literal["always", "quiet"] = "always"
    """`quiet`: only while the account receives no webhooks."""
    quiet_after_s: float = Field(3600.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """The account is quiet after so long without a webhook."""
    share: float = Field(0.5, gt=0, le=1)
    """Probe only while at most this share of the limit is used; the rest is for cancels."""


class AccountSpec(BaseModel):
    """One merchant at one provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    provider: str
    config: dict[str, Any] = Field({}, repr=False)
    """For the handler's `Config`; secrets are in plain text here."""
    rules: dict[str, Any] = {}
    """Overrides of the handler's `Rules`."""
    limits: Limits | None = None
    unknown_orders: Literal["probe", "send", "reject"] = "probe"
    deadline_h: float = Field(72.0, gt=0, le=24 * 365)
    """Deadline of a cancellation that has none of its own, in hours."""
    polling: Polling | None = None
    stale_after_s: float | None = Field(None, gt=0, le=366 * 86_400, allow_inf_nan=False)
    """A verdict `yes` on older evidence is `unknown`, so that a probe precedes the cancel."""


class RetiredSecret(BaseModel):
    """A secret that was rotated out, and stays valid for the overlap."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: SecretStr
    until: AwareDatetime


RETIRED_MAX = 10
"""Retired secrets that a resource may have; a rotation drops the oldest beyond."""


def retire(
    former: Iterable[str], earlier: Iterable[RetiredSecret], secret: str, overlap_h: float, now: datetime
) -> list[dict[str, Any]]:
    """The retired secrets after a rotation to `secret`, the latest first, without those that have expired."""
    until = now + timedelta(hours=overlap_h)
    added = [RetiredSecret(secret=SecretStr(value), until=until) for value in former] if overlap_h else []
    valid = [
        retired for retired in (*added, *earlier) if retired.until > now and retired.secret.get_secret_value() != secret
    ]
    return [
        {**retired.model_dump(mode="json"), "secret": retired.secret.get_secret_value()}
        for retired in valid[:RETIRED_MAX]
    ]


class EndpointSpec(BaseModel):
    """An inbound webhook URL of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    account: Slug
    verify: VerifyOptions = VerifyOptions()
    enabled: bool = True
    """While it is false, the URL returns 404, and nothing is recorded."""
    allow_from: tuple[Network, ...] = Field((), max_length=200)
    """Networks (CIDR) from which requests are taken; default: all. Others get 403 before their body is read. Behind a
    proxy, name it in `RESCIND_TRUSTED_PROXIES`: the client's address is then the one that the proxy states."""
    retired_secrets: tuple[RetiredSecret, ...] = Field((), max_length=RETIRED_MAX)
    """Secrets that were rotated out: until their time they are accepted too."""
    keep_registered: bool = False
    """Register the URL through the provider's API, and again whenever the provider has dropped it."""
    silent_after: Span | None = None
    """After so long without an authentic request, such as `6h`, the notice `endpoint.silent` is recorded."""
    quarantine_status: Literal[200, 202] = 202
    """HTTP status for a quarantined webhook: 200 for a provider that accepts no other."""

    @field_validator("silent_after")
    @classmethod
    def _check_silence(cls, value: str | None) -> str | None:
        length = None if value is None else parse_duration(value)
        if value is not None and (length is None or not SILENCE_MIN <= length <= SILENCE_MAX):
            raise ValueError("must be a duration from 1m to 90d, such as 6h")
        return value

    @property
    def silence(self) -> timedelta | None:
        """`silent_after` as a duration."""
        return None if self.silent_after is None else parse_duration(self.silent_after)


class CancelWords(BaseModel):
    """The arguments of a policy's cancels; the provider's handler checks them, as for any cancel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: CancelText = ""
    note: CancelText | None = None


class PolicyLimits(BaseModel):
    """How many orders a policy may cancel in any hour and any day before it is paused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_hour: int | None = Field(None, ge=1, le=1_000_000)
    per_day: int | None = Field(None, ge=1, le=1_000_000)
    open_share: float | None = Field(None, gt=0, le=1)
    """Share of the open orders in a day; one is always allowed."""


class PolicySpec(BaseModel):
    """Which orders to cancel, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    description: Words = ""
    accounts: tuple[Slug, ...] = Field(min_length=1, max_length=1000)
    on: tuple[EventPattern, ...] = Field((), max_length=100)
    """Types of the events that trigger it (`appointment.*`); default: all."""
    when: Words
    """The condition, in CEL."""
    wait: Words | None = None
    """`48h since order.opened_at`, or `6h`: how long the condition must hold."""
    before_close: Span | None = None
    """`30m`: how long before time closes the window."""
    duplicates_within: Span = "24h"
    """Orders are duplicates only if opened within this time of each other."""
    cancel: CancelWords = CancelWords()
    mode: Mode = Mode.SHADOW
    approve_within: Span = "24h"
    """How long a person has to approve, with mode `approve`."""
    limits: PolicyLimits = PolicyLimits()

    def policy(self) -> Policy:
        """The compiled policy. Raises `InvalidPolicy`."""
        # Their `repr` is hashed, and hashes are stored: renaming `CancelWords` would change those of all policies.
        decisive = (
            self.accounts,
            self.on,
            self.when,
            self.wait,
            self.before_close,
            self.duplicates_within,
            self.cancel,
        )
        policy = model.make(
            id=self.id,
            when=self.when,
            wait=self.wait,
            before_close=self.before_close,
            reason=self.cancel.reason,
            note=self.cancel.note,
            mode=self.mode,
            on=self.on,
            limits=limits.Limits(**self.limits.model_dump()),
            approve_within=self.approve_within,
            duplicates_within=self.duplicates_within,
            condition_hash=model.condition_hash_of(*decisive),
        )
        if policy.approve_within < timedelta(minutes=1):
            raise InvalidPolicy("approve_within", "give a person at least a minute")
        return policy
