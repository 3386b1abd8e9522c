"""Classes of attempts."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model
from rescind_client.models.orders import JobKind


class AttemptSummary(Model, kw_only=True):
    """One attempt to send a job to the provider."""

    id: str
    account: str
    order: str
    """The name by which the job refers to the order."""
    kind: JobKind
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None
    """Null while it is under way."""
    calls: int
    """HTTP calls; those of an attempt at several orders are counted with the first of them."""
    outcome: str
    """`succeeded`, `accepted`, `refused`, `retry`, `unauthorized`, `indeterminate` or `interrupted`; empty
    while it is under way.
    """
    detail: str
