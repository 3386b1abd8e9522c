"""Metrics and log lines of what commits change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from app.core.event import Event
from app.core.policy.decisions import decisions_of
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
            for decision in decisions_of(event):
                self._add_decision(event, decision)
        for pause in changes.pauses:
            metrics.PAUSES.labels(pause.scope).inc()
            log.warning("paused", scope=pause.scope, reason=pause.reason, by=pause.by)

    def _add_decision(self, event: Event, decision: Mapping[str, Any]) -> None:
        policy, outcome = decision["policy"], decision["outcome"]
        metrics.DECISIONS.labels(policy, outcome).inc()
        if outcome == Outcome.FAILED and self._failures.admit(policy) is not None:
            detail = decision.get("detail", "")
            log.warning("policy_failed", policy=policy, account=event.account, order=event.order, detail=detail)
