"""Metrics and log lines of what commits change."""

from __future__ import annotations

import structlog

from app.core.event import Event
from app.core.event_types import POLICY_PREFIX
from app.core.policy.model import Outcome
from app.runtime import metrics
from app.runtime.log import LogLimiter
from app.store import Changes

FAILURE_LOG_S = 60.0
"""How often the failure of one policy is logged at most: a policy that fails, fails on every order."""

log = structlog.get_logger()


class CommitLog:
    """Counts and logs commits."""

    def __init__(self) -> None:
        self._failures = LogLimiter(FAILURE_LOG_S)

    def add(self, changes: Changes) -> None:
        """Count what a commit changed."""
        metrics.EVENTS.inc(len(changes.events))
        for _, cancellation in changes.cancellations:
            metrics.CANCELLATIONS.labels(cancellation.account, cancellation.state).inc()
        for _, event in changes.events:
            if event.type.startswith(POLICY_PREFIX):
                self._add_decision(event)
        for pause in changes.pauses:
            metrics.PAUSES.labels(pause.scope).inc()
            log.warning("paused", scope=pause.scope, reason=pause.reason, by=pause.by)

    def _add_decision(self, event: Event) -> None:
        policy, outcome = event.data["policy"], event.data["outcome"]
        metrics.DECISIONS.labels(policy, outcome).inc()
        if outcome == Outcome.FAILED and self._failures.admit(policy) is not None:
            detail = event.data.get("detail", "")
            log.warning("policy_failed", policy=policy, account=event.account, order=event.order, detail=detail)
