"""The clauses of a verdict: the conditions that were tested for it, in turn.

A handler tests each condition of its verdict by `clause`, which returns it. While someone asks why the verdict is as it
is (`tracing`), the clauses are recorded as well; and one of them can be taken for its opposite, which shows what
verdict would follow then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from msgspec import Struct

P = ParamSpec("P")
T = TypeVar("T")


class Clause(Struct, frozen=True):
    """One condition that was tested."""

    rule: str
    """Its code, lower_snake_case, the same in all explanations."""
    text: str
    """The condition in a sentence; or in CEL, where it is the account's own."""
    holds: bool
    fields: tuple[str, ...]
    """What it was tested on: fields of the order, `attributes.<key>`, `now`."""
    setting: str | None
    """The rule's parameter that it was compared with."""


class Trace:
    """The clauses of one verdict, each once."""

    def __init__(self, opposite: str | None = None) -> None:
        self.clauses: dict[str, Clause] = {}
        """By rule, in the order in which they were tested."""
        self._opposite = opposite

    def add(self, clause: Clause) -> bool:
        """Record a clause, unless it was recorded before; returns what it is taken for."""
        self.clauses.setdefault(clause.rule, clause)
        return clause.holds is not (clause.rule == self._opposite)


_TRACE: ContextVar[Trace | None] = ContextVar("verdict_trace", default=None)
current_trace = _TRACE.get
"""The trace of the verdict that is being explained, if one is: most verdicts are not, and every webhook has one."""


def clause(rule: str, text: str, holds: bool, *fields: str, setting: str | None = None) -> bool:
    """Whether a condition of a verdict holds.

    Args:
        rule: its code, lower_snake_case: one for each condition of the handler.
        text: the condition, as one sentence that does not depend on the order.
        holds: whether it holds.
        fields: what decides it: fields of the order, one of its attributes as `attributes.<key>`, `now`.
        setting: the field of the handler's `Rules` that it was compared with.
    """
    trace = current_trace()
    return holds if trace is None else trace.add(Clause(rule, text, bool(holds), fields, setting))


def untraced(judge: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `judge`, whose clauses are not those of this verdict: it asks for another time, say."""
    if current_trace() is None:
        return judge(*args, **kwargs)
    token = _TRACE.set(None)
    try:
        return judge(*args, **kwargs)
    finally:
        _TRACE.reset(token)


@contextmanager
def tracing(opposite: str | None = None) -> Iterator[Trace]:
    """Record the clauses that are tested meanwhile; that of the rule `opposite` is taken for its opposite."""
    trace = Trace(opposite)
    token = _TRACE.set(trace)
    try:
        yield trace
    finally:
        _TRACE.reset(token)
