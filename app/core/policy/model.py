"""A policy: which orders an operator wants canceled, and when; checked and ready to be evaluated.

A policy has a condition in CEL (`when`) and a moment: at once, some time after something (`wait`), or some time before
the window closes (`before_close`). Its *state* for one order is the fold of its decisions on that order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from app.contract import OpenEnum
from app.core.policy import expression
from app.core.policy.expression import InvalidPolicy
from app.core.policy.limits import Limits
from app.core.policy.scope import CONTEXT_NAMES
from app.kit.cel.expression import Expression
from app.kit.cel.order_view import Reader, reader_of
from app.kit.duration import format_duration

_DURATIONS = ("approve_within", "duplicates_within")


class Mode(StrEnum):
    """What a policy may do."""

    SHADOW = "shadow"
    """It only records what it would do."""
    APPROVE = "approve"
    """It cancels what a person approves."""
    ENFORCE = "enforce"
    """It has the order canceled."""


class Outcome(OpenEnum):
    """What a policy decided on an order."""

    UNMATCHED = "unmatched"
    """Its condition does not hold."""
    WAITING = "waiting"
    """Its condition holds, and its moment has not come yet."""
    FAILED = "failed"
    """Its condition cannot be evaluated on this order."""
    HELD = "held"
    """It would act, but is paused or has reached a limit."""
    REFRAINED = "refrained"
    """It would act, but the order cannot be canceled, or a person revoked the cancel."""
    JOINED = "joined"
    """The order is being canceled already."""
    SHADOWED = "shadowed"
    """It would have canceled the order."""
    PROPOSED = "proposed"
    """It waits for a person to approve the cancel."""
    ACTED = "acted"
    """It had the order canceled."""


HOLDING = frozenset({Outcome.WAITING, Outcome.HELD, Outcome.REFRAINED, Outcome.JOINED, Outcome.SHADOWED})
"""The condition holds, and the policy has started no cancel."""
ACTED = frozenset({Outcome.PROPOSED, Outcome.ACTED})
COMPUTED = frozenset({Outcome.UNMATCHED, Outcome.WAITING})
"""Nothing follows from these: where they rest on no history, they are computed when somebody asks, and not stored."""


class Trigger(Struct, frozen=True):
    """The event that triggered a policy, as conditions see it."""

    id: str
    """The event's id."""
    type: str
    """Its type."""
    source: str
    """Its source: `webhook` or `provider`."""
    occurred_at: datetime
    """When it happened."""
    received_at: datetime
    """When it was received."""


class PolicyState(Struct, frozen=True, omit_defaults=True):
    """The state of a policy for one order, as of its latest decision."""

    policy: str
    """The policy's id."""
    outcome: Outcome
    """What was decided."""
    condition_hash: str
    """A digest of everything that decides what the policy cancels, and when: 12 hex digits."""
    number: int = 1
    """Counts the policy's decisions on this order, from 1."""
    detail: str = ""
    """Why, in a sentence."""
    trigger: Trigger | None = None
    """The event that triggered the policy, where it has `on:` or reads `event`."""
    matched_since: datetime | None = None
    """Since when the condition has held without a break."""
    due_at: datetime | None = None
    """When it will act, if nothing changes."""
    cancellation: str | None = None
    """The cancellation that it requested, or joined."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy, made by `make`."""

    id: str
    when: Expression
    clauses: tuple[Expression, ...]
    """The parts of `when` that `&&` joins."""
    reason: str
    note: str | None = None
    mode: Mode = Mode.SHADOW
    on: tuple[str, ...] = ()
    """Types of events that trigger it (`appointment.*`); none: all."""
    wait: timedelta | None = None
    since: Expression | None = None
    """The moment from which it waits; None: from when the condition began to hold."""
    before_close: timedelta | None = None
    limits: Limits = field(default_factory=Limits)
    approve_within: timedelta = timedelta(hours=24)
    duplicates_within: timedelta = timedelta(hours=24)
    condition_hash: str = ""
    """A hash of everything that decides which orders it would cancel, and when."""

    names: frozenset[str] = field(init=False)
    """The names that its expressions read."""
    context_names: frozenset[str] = field(init=False)
    """Those of them that are not part of the order itself."""
    reads_event: bool = field(init=False)
    """Whether it reads the event that triggered it."""
    reads_duplicates: bool = field(init=False)
    """Whether it reads the other orders that are the same to the provider."""
    since_reader: Reader | None = field(init=False, compare=False, repr=False)
    """Reads `since` from an order, if that is a name and nothing more."""
    why: str = field(init=False, compare=False, repr=False)
    """A sentence that names the moment for which it waits."""
    is_triggered: bool = field(init=False)
    """Whether it decides only after an event triggered it."""
    may_come_true: bool = field(init=False)
    """Whether its moment tells when to evaluate a condition again that is false so far."""
    computes_waiting: bool = field(init=False)
    """Whether what it waits for follows from the order, the policy and the time, without any history."""

    def __post_init__(self) -> None:
        names = self.when.names | (self.since.names if self.since else frozenset())
        derived: dict[str, Any] = {
            "names": names,
            "context_names": names & CONTEXT_NAMES,
            "reads_event": any(name.startswith("event.") for name in names),
            "reads_duplicates": "order.duplicates" in names,
            "since_reader": reader_of(self.since.text.strip()) if self.since else None,
            "why": f"{format_duration(self.wait)} since {self.since.text}." if self.wait and self.since else "",
        }
        derived["may_come_true"] = "now" in self.when.names and (
            self.since is not None or self.before_close is not None
        )
        derived["is_triggered"] = bool(self.on) or bool(derived["reads_event"])
        derived["computes_waiting"] = not (
            derived["is_triggered"] or derived["reads_duplicates"] or (self.wait is not None and self.since is None)
        )
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def is_settled(self, state: PolicyState) -> bool:
        """Whether a policy in shadow mode has said what it would do; it says so again only after it was changed."""
        return (
            state.outcome is Outcome.SHADOWED
            and self.mode is Mode.SHADOW
            and state.condition_hash == self.condition_hash
        )

    def computes(self, state: PolicyState) -> bool:
        """Whether the policy computes what a stored state says, so that the state itself does not count.

        A state with a trigger, or with the time since which the condition holds, is of a former version of the policy.
        It counts until another one is stored: that version, if it came back, would go on from it.
        """
        rests_on_history = state.trigger is not None or state.matched_since is not None
        return self.computes_waiting and state.outcome in COMPUTED and not rests_on_history

    def is_triggered_by(self, type: str) -> bool:
        """Whether an event of this type triggers it."""
        return not self.on or any(matches(pattern, type) for pattern in self.on)


def make(*, id: str, when: str, wait: str | None = None, before_close: str | None = None, **more: Any) -> Policy:
    """The policy that a resource file describes. Raises `InvalidPolicy`."""
    if wait is not None and before_close is not None:
        raise InvalidPolicy("before_close", "give either wait or before_close: a policy has one moment")
    condition = expression.condition(when)
    length, since = expression.wait(wait) if wait is not None else (None, None)
    durations: dict[str, Any] = {name: expression.duration(name, more.pop(name)) for name in _DURATIONS if name in more}
    return Policy(
        id=id,
        when=condition,
        clauses=expression.clauses(when),
        wait=length,
        since=since,
        before_close=expression.duration("before_close", before_close) if before_close is not None else None,
        **durations,
        **more,
    )


def condition_hash_of(*decisive: object) -> str:
    """A hash that two versions of a policy share if they cancel the same orders at the same time."""
    return blake2b(repr(decisive).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def matches(pattern: str, type: str) -> bool:
    """Whether `pattern`, which may end with `*`, matches the type of an event."""
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern
