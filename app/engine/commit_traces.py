"""Traces through commits: what a commit leaves for later continues the trace of its cause."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.event_types import POLICY_PREFIX
from app.core.policy.decisions import decisions_of
from app.runtime import ids, tracing
from app.store import Changes


def contexts_of(changes: Changes, traces: Mapping[int, str]) -> dict[str, str]:
    """Id → context, of the cancellations and messages about orders that have one."""
    cancellations = ((cancellation.id, number) for number, cancellation in changes.cancellations)
    messages = ((ids.show(ids.MESSAGE, message.id), message.order_pk) for message in changes.messages)
    return {id: traces[number] for id, number in (*cancellations, *messages) if number in traces}


def trace_changes(changes: Changes, traces: Mapping[int, str]) -> None:
    """Make a span for each decision of a policy and each step of a cancellation."""
    for number, event in changes.events:
        for decision in decisions_of(event) if number in traces else ():
            about = {"account": event.account, "order": event.order, "policy": decision["policy"]}
            _mark(POLICY_PREFIX + decision["outcome"], traces[number], {**about, "outcome": decision["outcome"]})
    for number, cancellation in changes.cancellations:
        if number in traces:
            about = {"account": cancellation.account, "order": cancellation.order, "cancellation": cancellation.id}
            _mark(f"cancellation.{cancellation.state}", traces[number], {**about, "policy": cancellation.policy})


def _mark(name: str, parent: str, about: Mapping[str, str | None]) -> None:
    with tracing.span(name, parent=parent, attributes=tracing.named(about)):
        pass
