"""The results of an attempt: redacted, and reduced to what can be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.contract import CancelOutcome, CancelResult, Facts, ProbeUnavailable
from app.core.lane.unreachable import Unreachable
from app.runtime.redaction import Redactor

Result = CancelResult | Facts | ProbeUnavailable


def redacted(result: Result, redactor: Redactor) -> Result:
    """The result without any known secret."""
    if isinstance(result, Facts):
        return redactor.clean_facts(result)
    if isinstance(result, ProbeUnavailable):
        more: dict[str, Any] = {"outcome": result.outcome, "after_s": result.after_s, "misdirected": result.misdirected}
        return ProbeUnavailable(redactor.clean(str(result)), **more)
    facts = None if result.facts is None else redactor.clean_facts(result.facts)
    return msgspec.structs.replace(result, detail=redactor.clean(result.detail), facts=facts)


def no_response(cancels: bool, detail: str, *, may_have_applied: bool) -> Result:
    """The result of a call without a response that could be read. `may_have_applied`: it may have taken effect."""
    if not cancels:
        return ProbeUnavailable(detail)
    return CancelResult(CancelOutcome.INDETERMINATE if may_have_applied else CancelOutcome.RETRY, detail)


def outcome_of(result: Result) -> CancelOutcome:
    """The outcome of a result; a snapshot counts as success."""
    return CancelOutcome.SUCCEEDED if isinstance(result, Facts) else result.outcome


def detail_of(result: CancelResult | ProbeUnavailable) -> str:
    """One sentence that explains a result."""
    return result.detail if isinstance(result, CancelResult) else str(result)


def as_separate_results(results: list[Result]) -> list[Result]:
    """The results of a call; those of a shared call are not ambiguous: its failure says nothing of any one order."""
    if len(results) == 1:
        return results
    return [
        msgspec.structs.replace(result, ambiguous=False) if isinstance(result, CancelResult) else result
        for result in results
    ]


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of an attempt, for the lane."""

    calls: int
    ok: bool | None
    """Whether the provider worked; None: nobody knows."""
    unreachable: Unreachable | None = None
    """What kept the last call from the provider."""
    detail: str = ""
    """What went wrong, if anything did."""
    retry_alone: frozenset[int] = frozenset()
    """Numbers of orders whose shared call was rejected: perhaps only one is at fault, so each is retried alone."""
    held_back: bool = False
    """The last place was not used: its call was not made."""
