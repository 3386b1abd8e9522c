"""What the operator writes of an account, an endpoint and a policy: the shape of resource files and of the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.contract import Limits, VerifyOptions
from app.core.policy import model
from app.core.policy.model import InvalidPolicy, Mode, Policy

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
EventPattern = Annotated[str, StringConstraints(pattern=r"^[^\s*]{1,100}\*?$|^\*$")]
Words = Annotated[str, StringConstraints(max_length=4000)]
WORDS_CHARS_MAX = 10_000
"""A bound against abuse, beyond what any provider takes: how long a cancel's words may be, its handler says."""
CancelText = Annotated[str, StringConstraints(max_length=WORDS_CHARS_MAX)]
Span = Annotated[str, StringConstraints(max_length=100)]


class Polling(BaseModel):
    """Orders that nothing was heard of are asked about, with what cancels leave of the limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_s: float = Field(900.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """An order that is not over, and was not heard of for so long, is asked about."""
    when: Literal["always", "quiet"] = "always"
    """`quiet`: only while the account gets no webhooks at all."""
    quiet_after_s: float = Field(3600.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """An account has gone quiet when no webhook came for so long."""
    share: float = Field(0.5, gt=0, le=1)
    """No question is asked while more than this share of the limit is used: the rest is for cancels."""


class AccountSpec(BaseModel):
    """One merchant at one provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    provider: str
    config: dict[str, Any] = Field({}, repr=False)
    """Of the handler's own `Config`; here its secrets are plain."""
    rules: dict[str, Any] = {}
    """Overrides of the handler's `Rules`."""
    limits: Limits | None = None
    unknown_orders: Literal["probe", "send", "reject"] = "probe"
    deadline_h: float = Field(72.0, gt=0, le=24 * 365)
    """How long a cancellation without a deadline of its own is tried."""
    polling: Polling | None = None
    stale_after_s: float | None = Field(None, gt=0, le=366 * 86_400, allow_inf_nan=False)
    """A verdict `yes` that rests on nothing newer than this is `unknown`: a cancel is preceded by a probe."""


class EndpointSpec(BaseModel):
    """An inbound webhook URL of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    account: Slug
    verify: VerifyOptions = VerifyOptions()
    keep_registered: bool = False
    """Register the URL at the provider through its API, and again whenever the provider has dropped it."""
    quarantine_status: Literal[200, 202] = 202
    """How a webhook that is kept in quarantine is answered: 200 for a provider that takes nothing else for received."""


class CancelWords(BaseModel):
    """With what words a policy has an order canceled; the provider's handler checks them, as those of any cancel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: CancelText = ""
    note: CancelText | None = None


class PolicyLimits(BaseModel):
    """How much a policy may do before it halts itself, in any hour and any day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_hour: int | None = Field(None, ge=1, le=1_000_000)
    per_day: int | None = Field(None, ge=1, le=1_000_000)
    open_share: float | None = Field(None, gt=0, le=1)
    """In a day, of the orders that are open; one is always allowed."""


class PolicySpec(BaseModel):
    """A standing wish: which orders are to be canceled, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    description: Words = ""
    accounts: tuple[Slug, ...] = Field(min_length=1, max_length=1000)
    on: tuple[EventPattern, ...] = Field((), max_length=100)
    """Types of events that wake it (`appointment.*`); none: all."""
    when: Words
    """The condition, in CEL."""
    wait: Words | None = None
    """`48h since order.opened_at`, or `6h`: for so long the condition must hold."""
    before_close: Span | None = None
    """`30m`: so long before the window closes by the passing of time."""
    duplicates_within: Span = "24h"
    """How near to each other orders are opened that count as duplicates."""
    cancel: CancelWords = CancelWords()
    mode: Mode = Mode.SHADOW
    approve_within: Span = "24h"
    """How long a person has to approve, where `mode` is `approve`."""
    limits: PolicyLimits = PolicyLimits()

    def made(self) -> Policy:
        """The policy, ready to be weighed. Raises `InvalidPolicy`."""
        decisive = (
            self.accounts,
            self.on,
            self.when,
            self.wait,
            self.before_close,
            self.duplicates_within,
            self.cancel,
        )
        made = model.make(
            id=self.id,
            when=self.when,
            wait=self.wait,
            before_close=self.before_close,
            reason=self.cancel.reason,
            note=self.cancel.note,
            mode=self.mode,
            on=self.on,
            limits=model.Limits(**self.limits.model_dump()),
            approve_within=self.approve_within,
            duplicates_within=self.duplicates_within,
            condition_hash=model.condition_hash_of(*decisive),
        )
        if made.approve_within < timedelta(minutes=1):
            raise InvalidPolicy("approve_within", "give a person a minute at the least")
        return made


Spec = AccountSpec | EndpointSpec | PolicySpec
