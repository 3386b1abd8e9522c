"""A policy: the operator's standing wish, checked and ready to be weighed.

A policy has a condition in CEL (`when`) and a moment: at once, some time after something (`wait`), or some time before
the window closes (`before_close`). How it stands to one order is its *standing*, the fold of its decisions on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from app.contract import OpenEnum
from app.kit.cel import expression
from app.kit.cel.expression import Expression, InvalidExpression, Kind
from app.kit.cel.order_view import NOT_OF_THE_ORDER, POLICY, Reader, memo_readers, reader_of
from app.kit.duration import MAX, format_duration, parse_duration

_SPANS = ("approve_within", "duplicates_within")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_TOKEN = re.compile(
    r"""[rRbB]{0,2}(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*|&&|\|\||.""", re.DOTALL
)


class InvalidPolicy(Exception):
    """A policy cannot be used: `field` is at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Mode(StrEnum):
    """What a policy may do."""

    SHADOW = "shadow"
    """It only says what it would do."""
    APPROVE = "approve"
    """It asks, and a person lets it."""
    ENFORCE = "enforce"


class Outcome(OpenEnum):
    """How a policy stands to an order."""

    UNMATCHED = "unmatched"
    """Its condition does not hold."""
    WAITING = "waiting"
    """Its condition holds, and it is not yet time."""
    FAILED = "failed"
    """Its condition cannot be evaluated on this order."""
    HELD = "held"
    """It would act, but is paused or has reached a limit."""
    REFRAINED = "refrained"
    """It would act, but a cancel would be in vain, or a person said no."""
    JOINED = "joined"
    """The order is being canceled already."""
    SHADOWED = "shadowed"
    """It would have canceled the order."""
    PROPOSED = "proposed"
    """It asked a person to approve the cancel."""
    ACTED = "acted"
    """It had the order canceled."""


HOLDING = frozenset({Outcome.WAITING, Outcome.HELD, Outcome.REFRAINED, Outcome.JOINED, Outcome.SHADOWED})
"""The condition held, and nothing has come of it yet."""
ACTED = frozenset({Outcome.PROPOSED, Outcome.ACTED})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a policy may do; beyond it, it halts itself."""

    per_hour: int | None = None
    per_day: int | None = None
    open_share: float | None = None
    """Of the orders that are open, in a day."""


class Trigger(Struct, frozen=True):
    """The event that woke a policy, as conditions see it."""

    id: str
    type: str
    source: str
    occurred_at: datetime
    received_at: datetime


class PolicyState(Struct, frozen=True, omit_defaults=True):
    """How a policy stands to one order, as of its latest decision."""

    policy: str
    outcome: Outcome
    condition_hash: str
    number: int = 1
    """Of this policy's decisions on this order."""
    detail: str = ""
    trigger: Trigger | None = None
    matched_since: datetime | None = None
    """From when on the condition has held without a break."""
    due_at: datetime | None = None
    cancellation: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy; `make` makes it."""

    id: str
    when: Expression
    clauses: tuple[Expression, ...]
    """`when`, taken apart where it is joined by `&&`."""
    reason: str
    note: str | None = None
    mode: Mode = Mode.SHADOW
    on: tuple[str, ...] = ()
    """Types of events that wake it (`appointment.*`); none: all."""
    wait: timedelta | None = None
    since: Expression | None = None
    """From when on it waits; None: from when the condition began to hold."""
    before_close: timedelta | None = None
    limits: Limits = Limits()
    approve_within: timedelta = timedelta(hours=24)
    duplicates_within: timedelta = timedelta(hours=24)
    condition_hash: str = ""
    """A digest of everything that decides what it would cancel, and when."""

    names: frozenset[str] = field(init=False)
    """What it reads."""
    besides: frozenset[str] = field(init=False)
    """What it reads that is not of the order itself."""
    reads_event: bool = field(init=False)
    """Does it read the event that woke it?"""
    reads_duplicates: bool = field(init=False)
    """Does it need to know the orders that are the same to the provider?"""
    since_reader: Reader | None = field(init=False, compare=False, repr=False)
    """How `since` is read, if it is a name and nothing more."""
    why: str = field(init=False, compare=False, repr=False)
    """The moment for which it waits, in a sentence."""
    memo_readers: tuple[Reader, ...] | None = field(init=False, compare=False, repr=False)
    """How all that the condition reads is read, if its value is worth remembering by it."""
    memo: dict[Any, bool] = field(init=False, compare=False, repr=False)
    """What the condition gave."""

    def __post_init__(self) -> None:
        names = self.when.names | (self.since.names if self.since else frozenset())
        derived = {
            "names": names,
            "besides": names & NOT_OF_THE_ORDER,
            "reads_event": any(name.startswith("event.") for name in names),
            "reads_duplicates": "order.duplicates" in names,
            "since_reader": reader_of(self.since.text.strip()) if self.since else None,
            "why": f"{format_duration(self.wait)} since {self.since.text}." if self.wait and self.since else "",
            "memo_readers": memo_readers(self.when.names),
            "memo": {},
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def is_woken_by(self, type: str) -> bool:
        """Does an event of this type concern it?"""
        return not self.on or any(matches(pattern, type) for pattern in self.on)


def make(*, id: str, when: str, wait: str | None = None, before_close: str | None = None, **more: Any) -> Policy:
    """A policy as it is written in a resource file. Raises `InvalidPolicy`."""
    if wait is not None and before_close is not None:
        raise InvalidPolicy("before_close", "give either wait or before_close: a policy has one moment")
    condition = _compiled("when", when, Kind.BOOL)
    length, since = _wait(wait) if wait is not None else (None, None)
    given: dict[str, Any] = {name: _span(name, value) if name in _SPANS else value for name, value in more.items()}
    return Policy(
        id=id,
        when=condition,
        clauses=tuple(_compiled("when", clause, Kind.BOOL) for clause in split(when)),
        wait=length,
        since=since,
        before_close=_span("before_close", before_close) if before_close is not None else None,
        **given,
    )


def condition_hash_of(*decisive: object) -> str:
    """A digest by which two versions of a policy are told to decide the same."""
    return blake2b(repr(decisive).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def matches(pattern: str, type: str) -> bool:
    """Is `type` what `pattern` names? A pattern may end with `*`."""
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern


def split(text: str) -> list[str]:
    """A condition, taken apart where `&&` joins it on the outermost level."""
    parts, open_brackets, start = [], list[str](), 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in _BRACKETS:
            open_brackets.append(_BRACKETS[word])
        elif open_brackets and word == open_brackets[-1]:
            open_brackets.pop()
        elif not open_brackets and word in ("||", "?"):
            # They bind less than &&: what stands beside them is not a condition of the whole.
            return [text.strip()]
        elif not open_brackets and word == "&&":
            parts.append(text[start : token.start()].strip())
            start = token.end()
    return [*parts, text[start:].strip()]


def _compiled(field: str, text: str, wanted: Kind) -> Expression:
    try:
        return expression.compile(text, POLICY, wanted)
    except InvalidExpression as error:
        raise InvalidPolicy(field, str(error)) from None


def _wait(text: str) -> tuple[timedelta, Expression | None]:
    length, since, moment = text.strip().partition(" since ")
    if not since:
        return _span("wait", length), None
    return _span("wait", length.strip()), _compiled("wait", moment.strip(), Kind.TIMESTAMP)


def _span(field: str, text: Any) -> timedelta:
    if isinstance(text, timedelta):
        return text
    length = parse_duration(str(text))
    if length is None or length > MAX:
        hint = "; or with a time: 48h since order.opened_at; or leave it out, to act at once" if field == "wait" else ""
        raise InvalidPolicy(field, f"{text!r} is no span of time: give one such as 30m, 48h or 3d{hint}")
    return length
