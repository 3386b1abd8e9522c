"""Classes of cancellations."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model
from rescind_client.models.orders import Verdict


class DryRun(Model, kw_only=True):
    """What a request to cancel would lead to."""

    dry_run: bool
    would: str
    """`send`, `probe` (first) or `reject`."""
    verdict: Verdict


class BatchResult(Model, kw_only=True):
    """What one cancel request of a batch led to."""

    account: str
    order: str
    outcome: str = "invalid"
    """scheduled, rejected (not cancelable), exists (another cancellation is live) or invalid"""
    cancellation: str | None = None
    detail: str = ""
    expected_at: datetime | None = None
    in_time: bool | None = None
    """Whether it can be sent in time, by the forecast; null if there is none."""


class Batch(Model, kw_only=True):
    """A batch as it was accepted; `results` are in the order of the request."""

    id: str
    total: int
    outcomes: dict[str, int]
    in_time: int
    too_late: int
    """Scheduled cancellations that will expire without a call unless others make room."""
    results: list[BatchResult]


class BatchItem(Model, kw_only=True, omit_defaults=True):
    """One cancel request of a batch."""

    reason: str | None = None
    """One of the provider's reasons, if it has a list; else free text. The provider decides whether it is
    required, and its length.
    """
    note: str | None = None
    """Free text. Required if the provider requires it, refused if the provider takes none."""
    deadline: datetime | None = None
    """Not sent after this time."""
    account: str
    order: str


class BatchProgress(Model, kw_only=True):
    """How far a batch is."""

    id: str
    total: int
    final: bool
    states: dict[str, int]
