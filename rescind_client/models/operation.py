"""Classes of operation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from rescind_client.model import Model


class Difference(Model, kw_only=True):
    """One entry of a plan: how a resource would change, or has changed."""

    kind: str
    id: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    warnings: list[str] = field(default_factory=list)
    secret: str | None = None


class Plan(Model, kw_only=True):
    """What applying would change, or changed."""

    dry_run: bool
    changes: list[Difference]


class Pause(Model, kw_only=True):
    """Sending is stopped for a scope: `all`, `account:<id>`, `policies` or `policy:<id>`."""

    scope: str
    reason: str
    since: datetime
    by: str


class Paused(Model, kw_only=True):
    """Everything that is paused."""

    paused: list[Pause]


class Resumed(Model, kw_only=True):
    """The pause that was ended, if any, and what is still paused."""

    resumed: list[Pause]
    paused: list[Pause]


class Finding(Model, kw_only=True):
    """One thing that an operator should know."""

    code: str
    """`paused`, `credentials_refused`, `policy_halted`, `policy_failing`, `breaker_open`, `throttled`,
    `quarantined`, `approvals`, `account`, `endpoint_failing`, `endpoint_silent`, `registrations`.
    """
    what: str
    """The subject, such as `account acme`."""
    state: str
    """`fault`: it needs a person. `notice`: it ends without one, or does no harm."""
    detail: str
    do: str


class Status(Model, kw_only=True):
    """The number of resources, and all findings."""

    version: str
    accounts: int
    endpoints: int
    policies: int
    subscriptions: int
    needs_attention: bool
    """Whether anything needs a person."""
    findings: list[Finding]
