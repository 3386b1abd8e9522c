"""Classes of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rescind_client.model import Model
from rescind_client.models.explanations import PolicyTest


class Fixture(Model, kw_only=True, omit_defaults=True):
    """A made-up order."""

    account: str
    order: Mapping[str, Any]
    """As the API shows orders. Missing fields are empty."""
    tags: Sequence[str] | None = None
    duplicates: Sequence[Mapping[str, str]] | None = None
    event: Mapping[str, Any] | None = None
    """The event that triggers the policy: `type`, `occurred_at`."""


class OrderPolicies(Model, kw_only=True):
    """The state of all policies of the account for an order."""

    data: list[PolicyTest]


class Backtest(Model, kw_only=True):
    """A backtest, its progress and its report."""

    id: str
    policy: str
    state: str
    since: datetime | None = None
    until: datetime | None = None
    by: str
    done: int = 0
    """Orders processed."""
    orders: int = 0
    report: dict[str, Any] | None = None
    failure: str = ""


class Backtests(Model, kw_only=True):
    """The completed backtests of a policy, newest first."""

    data: list[Backtest]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None
