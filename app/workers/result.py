"""The results of an attempt's parts: read, cleaned, and cut to what can be recorded."""

from __future__ import annotations

from typing import Any

import msgspec

from app.contract import CancelOutcome, CancelResult, Facts, ProbeUnavailable
from app.core.commands import Command
from app.core.results import RecordProbe, RecordResult
from app.runtime.redaction import Redactor

Result = CancelResult | Facts | ProbeUnavailable


def cleaned(result: Result, redactor: Redactor) -> Result:
    """The same without any secret that is known."""
    if isinstance(result, Facts):
        return redactor.clean_facts(result)
    if isinstance(result, ProbeUnavailable):
        more: dict[str, Any] = {"outcome": result.outcome, "after_s": result.after_s, "misdirected": result.misdirected}
        return ProbeUnavailable(redactor.clean(str(result)), **more)
    facts = None if result.facts is None else redactor.clean_facts(result.facts)
    return msgspec.structs.replace(result, detail=redactor.clean(result.detail), facts=facts)


def no_answer(cancels: bool, detail: str, *, lost: bool) -> Result:
    """What it comes to that no answer came, or none that could be read; `lost`: it may have taken effect."""
    if not cancels:
        return ProbeUnavailable(detail)
    return CancelResult(CancelOutcome.INDETERMINATE if lost else CancelOutcome.RETRY, detail)


def outcome_of(result: Result) -> CancelOutcome:
    """What came of it, in the words of a cancel."""
    return CancelOutcome.SUCCEEDED if isinstance(result, Facts) else result.outcome


def detail_of(result: CancelResult | ProbeUnavailable) -> str:
    """One sentence for people."""
    return result.detail if isinstance(result, CancelResult) else str(result)


def of_each(results: list[Result]) -> list[Result]:
    """Where several orders left as one call, its failure tells nothing of any one of them."""
    if len(results) == 1:
        return results
    return [
        msgspec.structs.replace(each, ambiguous=False) if isinstance(each, CancelResult) else each for each in results
    ]


def without_aliases(entry: Command) -> Command:
    """The same answer, which names the order as it was asked for and no other."""
    if isinstance(entry, RecordProbe) and entry.snapshot is not None:
        return msgspec.structs.replace(entry, snapshot=msgspec.structs.replace(entry.snapshot, aliases=()))
    return entry


def without_facts(entry: Command, error: Exception) -> Command:
    """The same call, of which only is said that nothing could be made of its answer."""
    detail = f"The answer could not be recorded: {type(error).__name__}"
    if isinstance(entry, RecordResult):
        lost = CancelResult(CancelOutcome.INDETERMINATE, detail)
        return msgspec.structs.replace(entry, result=lost)
    return msgspec.structs.replace(entry, snapshot=None, failure=detail) if isinstance(entry, RecordProbe) else entry
