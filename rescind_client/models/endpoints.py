"""Classes of endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from rescind_client.model import Model


class SetupField(Model, kw_only=True):
    """One field of the provider's form."""

    name: str
    """As the form labels it."""
    value: str
    """The text to paste."""


class Setup(Model, kw_only=True):
    """How a provider is told of an endpoint's URL. It may hold the endpoint's secret."""

    where: str
    """Where the form is, in a sentence."""
    fields: list[SetupField]
    notes: list[str] = field(default_factory=list)
    """What else to know or to do, a sentence each."""


class EndpointSetup(Model, kw_only=True):
    """An endpoint, with what to enter at the provider. The secret is shown only in this response."""

    id: str
    account: str
    url: str
    """Where the provider sends its webhooks."""
    setup: Setup
    """What to paste into the provider's form."""
    verify: dict[str, Any]
    """How requests are verified, without secrets."""
    version: int
    secret: str | None = None
    """The new secret; absent where it was not generated here."""
    former_valid_until: datetime | None = None
    """Until when the former secret is accepted, after a rotation."""


class Refusal(Model, kw_only=True):
    """A refused request, without its content."""

    at: datetime
    cause: str
    detail: str
    headers: list[str]
    """Names of its headers."""
    address: str
    """Of the client, as far as trusted proxies tell."""


class Refusals(Model, kw_only=True):
    """The last refused requests of an endpoint, newest first."""

    data: list[Refusal]
    has_more: bool = False
    next_cursor: str | None = None


class SampleStep(Model, kw_only=True):
    """One step of a test."""

    step: str
    ok: bool
    detail: str


class SampleEvent(Model, kw_only=True):
    """An event that the sample would have given."""

    type: str
    order: str
    occurred_at: datetime | None
    phase: str | None
    provider_status: str | None


class SampleResult(Model, kw_only=True):
    """How a sample webhook fared. Nothing of it is recorded."""

    ok: bool
    """Whether every step succeeded."""
    url: str
    steps: list[SampleStep]
    """In turn, up to the first that failed."""
    status: str = ""
    """What would have become of it: `accepted`, `ignored` or `quarantined`."""
    events: list[SampleEvent] = field(default_factory=list)
    """The events that it would have given."""


class Registration(Model, kw_only=True):
    """One webhook that the provider sends, as its registration API knows it."""

    id: str
    url: str
    topic: str


class RegistrationStatus(Model, kw_only=True):
    """The registrations for an endpoint at the last check."""

    checked_at: datetime
    url: str
    registered: list[Registration] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Topics that are not registered."""
    foreign: list[Registration] = field(default_factory=list)
    """Registrations of this account that lead to none of this server's endpoints."""
    replaced: list[Registration] = field(default_factory=list)
    """Registrations of this endpoint at another server's URL, which were removed."""
    restored: list[str] = field(default_factory=list)
    """Missing topics that the check registered."""
    error: str = ""


class Removed(Model, kw_only=True):
    """The registrations that were removed."""

    removed: list[Registration]
