"""Classes of cancellations."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model
from rescind_client.models.orders import State, Verdict, WaitingFor


class DryRun(Model, kw_only=True):
    """What a request to cancel would lead to."""

    dry_run: bool
    would: str
    """`send`, `probe` (first) or `reject`."""
    verdict: Verdict


class CancellationDetails(Model, kw_only=True):
    """A cancellation, and where it leads."""

    id: str
    """Its id."""
    account: str
    """The account of its order."""
    order: str
    """The order's id."""
    state: State
    """The state that its last step led to."""
    final: bool
    """Whether it stays in that state."""
    reason: str
    """The provider's own word where it has a list of reasons, else free text."""
    note: str | None
    """Free text for the provider."""
    cause: str
    """What its last step was caused by."""
    detail: str
    """A sentence about its last step."""
    evidence: list[str]
    """Ids of the events that its last step rests on."""
    waiting: WaitingFor | None
    """What it waits for; null if it is final."""
    attempts: int
    """How many cancel calls were sent."""
    deadline: datetime | None
    """After this it is not sent any more."""
    forced: bool
    """Whether a `no` was overruled."""
    requested_at: datetime
    """When it was requested."""
    requested_by: str
    """The name of the API key, or `policy <id>`."""
    policy: str | None
    """The policy that requested it."""
    batch: str | None
    """The batch that it came with."""
    closes_at: datetime | None
    """When the order's window closes by time alone."""
    send_by: datetime | None
    """`closes_at` less the latency of the provider's calls: not sent after this."""
    expected_at: datetime | None
    """When it was expected to be sent, as forecast at the request."""
    in_time: bool | None
    """Whether the forecast was in time; null if there was none."""
    updated_at: datetime
    """When its last step happened."""
    verdict: Verdict | None
    """The verdict at the request."""
    events: list[str]
    """Its steps, the latest 100."""
    decision: str | None
    """The event by which a policy decided it."""
    attempt_ids: list[str]
    """The calls to the provider for it, the latest 100."""
    messages: list[str]
    """The messages to subscribers about its steps, the latest 100."""


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
