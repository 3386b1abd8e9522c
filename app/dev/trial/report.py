"""What a trial finds, as data: the command line prints it, and scripts read it as JSON. It holds no secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from app.core.representation import Verdict


class Proof(Struct, kw_only=True):
    """Whether a request proves who sent it."""

    ok: bool
    scheme: str
    checked: bool = True
    """False: it was taken for authentic, for the reason in `detail`."""
    detail: str = ""
    """Why it does not, in a sentence; where it does, with which keys that the source publishes."""
    cause: str = ""
    """bad_signature, missing_signature, too_old, key_unavailable, or handler_failed."""
    expected: list[str] = field(default_factory=list)
    """What the endpoint looks for, and what the request has in its place."""
    retired_until: datetime | None = None
    """The secret was rotated out; it is accepted until then."""
    hints: list[str] = field(default_factory=list)
    """What would make it verify, where that can be told."""


class TrialEvent(Struct, kw_only=True):
    """An event that a webhook gave."""

    order: str
    type: str
    key: str
    """What is the same in every redelivery of it."""
    id: str
    occurred_at: datetime
    facts: dict[str, Any]
    duplicate: bool = False
    """An earlier webhook gave the same event: it is dropped."""


class TrialHandshake(Struct, kw_only=True):
    """The response to a request by which a sender finds out whether its webhooks are wanted."""

    headers: dict[str, str]
    body: str
    confirm: str = ""
    """The URL that is called first."""


class TrialWebhook(Struct, kw_only=True):
    """What became of one request."""

    name: str
    """Of its file."""
    status: Literal["accepted", "duplicate", "ignored", "quarantined", "refused", "handshake"]
    http_status: int
    """What the sender would get."""
    proof: Proof | None = None
    """None: none was asked for."""
    handshake: TrialHandshake | None = None
    reason: str = ""
    """Why it is ignored or quarantined."""
    cause: str = ""
    """Why it is quarantined, in a word: unknown_event, malformed, handler_failed, not_recorded."""
    notices: list[str] = field(default_factory=list)
    """What would be recorded for the operator to mend."""
    events: list[TrialEvent] = field(default_factory=list)


class TrialCall(Struct, kw_only=True):
    """One call to the source, as it would be sent. Secrets are masked."""

    purpose: Literal["token", "read", "cancel", "probe"]
    """`read`: a look-up before the cancel."""
    method: str
    url: str
    headers: dict[str, str]
    body: str
    answer: str = ""
    """The response that it was given: a status and where it is from. Empty: none, so the calls end with it."""


class Consequence(Struct, kw_only=True):
    """What a cancellation would do next."""

    state: str
    waiting: str
    due_in_s: float | None
    """When the next step is due, in seconds from the answer."""
    detail: str


class TrialOutcome(Struct, kw_only=True):
    """What the source's answer means."""

    outcome: str
    detail: str
    after_s: float | None = None
    """How long the answer asks to wait, in seconds."""
    hold_s: float = 0.0
    """For how long the whole account makes no call, as the answer's headers ask."""
    may_have_applied: bool = False
    facts: dict[str, Any] | None = None
    """What the answer says of the order."""
    next: Consequence | None = None
    verdict: Verdict | None = None
    """On the order as it is then."""
    phase: str = ""
    """Of the order as it is then."""


class TrialFlow(Struct, kw_only=True):
    """A cancel or a probe of one order: its calls, and what came of them."""

    ok: bool
    """Whether the call can be made, and its answer, if one was given, could be read."""
    admitted: str = ""
    """Of a cancel: `sent`, `probed` (first) or `rejected`, by what is known of the order. Empty: it was not asked."""
    problem: str = ""
    """Why there is no call, or no result of one that was answered, in a sentence."""
    reason: str = ""
    note: str | None = None
    calls: list[TrialCall] = field(default_factory=list)
    result: TrialOutcome | None = None


class TrialOrder(Struct, kw_only=True):
    """An order, as it is after all webhooks."""

    id: str
    phase: str
    order: dict[str, Any]
    verdict: Verdict
    closes_at: datetime | None
    """When time alone closes the window."""
    then: Verdict | None = None
    """The verdict as of its `changes_at`."""
    cancel: TrialFlow | None = None
    probe: TrialFlow | None = None
    probed_first: bool = False
    """Whether the probe was answered first: the cancel is then that of the order as the answer shows it."""

    @property
    def flows(self) -> list[tuple[str, TrialFlow | None]]:
        """Its flows by name, in the order in which they were tried."""
        flows = [("cancel", self.cancel), ("probe", self.probe)]
        return flows[::-1] if self.probed_first else flows


class Trial(Struct, kw_only=True):
    """All of a trial."""

    ok: bool
    failure: str
    """The first thing that failed, in a sentence; empty where all worked."""
    source: str
    endpoint: str
    """Empty: the account has none."""
    account: str
    provider: str
    at: datetime
    webhooks: list[TrialWebhook] = field(default_factory=list)
    orders: list[TrialOrder] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a person should know besides: warnings of the configuration, values that stand in for others."""
