"""What policies decide by besides the order: pauses, usage, duplicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from app.core.pauses import BY_ITSELF, POLICIES, POLICY_SCOPE, Pause, Pauses
from app.core.policy.limits import PolicyUsage
from app.core.policy.model import Policy
from app.core.unit_of_work import UnitOfWork
from app.kit.cel.order_view import as_text


def _no_duplicates(_unit: UnitOfWork, _within: timedelta) -> list[dict[str, str]]:
    return []


def _no_id() -> NoReturn:
    raise AssertionError("a policy in shadow mode starts no cancel")


@dataclass(slots=True)
class PolicyContext:
    """What policies know besides the order. Policies in shadow mode need no more than `find_duplicates`."""

    find_duplicates: Callable[[UnitOfWork, timedelta], list[dict[str, str]]] = _no_duplicates
    """The records of the other orders that are the same to the provider, opened within so long of this one."""
    new_id: Callable[[], str] = _no_id
    """Gives the id of a new cancellation."""
    pauses: Pauses = field(default_factory=Pauses)
    usage: dict[str, PolicyUsage] = field(default_factory=dict)
    """What the policies that have limits have done, by id."""
    halts: list[Pause] = field(default_factory=list)
    """Pauses of policies that halted themselves, for the caller to record."""
    counts_exactly: bool = True
    """Whether nobody else counts in `usage` meanwhile; if not, policies that have limits do not act yet."""
    postponed: bool = False
    """Such a policy was about to act: let it decide again at once, where it counts exactly."""
    records_decisions: bool = True
    """Whether decisions are written into the log with the value of every clause, or only folded."""

    def held(self, policy: Policy, now: datetime) -> str | None:
        """Why a policy may not act now, if it may not: it is paused, or has reached a limit and halts itself."""
        paused = self.pauses.of_policy(policy.id)
        if paused is not None:
            who = "All policies are" if paused.scope == POLICIES else "The policy is"
            return f"{who} paused since {as_text(paused.since)}: {paused.reason}"
        limit = policy.limits.reached(self.usage.get(policy.id, PolicyUsage()))
        if limit is None:
            return None
        self.halts.append(Pause(POLICY_SCOPE + policy.id, limit.explanation, now, BY_ITSELF))
        return f"The policy halted itself: {limit.explanation}"

    def count(self, policy: Policy) -> None:
        """Count a cancel that the policy starts."""
        usage = self.usage.get(policy.id)
        if usage is not None:
            self.usage[policy.id] = PolicyUsage(usage.in_hour + 1, usage.in_day + 1, usage.open_orders)
