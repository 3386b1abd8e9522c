"""What a provider's answer, or the lack of one, means for the case."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from msgspec.structs import replace

from app.contract import Cancelable, CancelOutcome, CancelResult, Facts, ParsedEvent, Phase, Source
from app.core.aggregate import PROBE_RETRIES
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import AttemptCommand
from app.core.crash import PROBED_FROM, crashed, decides, end, is_in_vain, settle
from app.core.event import TICK, Event, not_before, to_event
from app.core.event_types import (
    ORDER_CANCELED,
    ORDER_OBSERVED,
    ORDER_PROBED,
    PROBE_ABANDONED,
    PROBE_FAILED,
    PROBE_WANTED,
    ProbeAbandoned,
    ProbeFailed,
    ProbeWanted,
)
from app.core.lane.pacing import RetrySchedule, bounded_wait_s
from app.core.unit_of_work import WEBHOOK_WAIT_S, UnitOfWork, stops

CANCEL_RETRIES = RetrySchedule(first_s=2.0, cap_s=900.0, attempts=30)
"""A provider may be down for an afternoon: what has a deadline is tried until then. Without one, about five hours."""
ACCEPTED_POLLS = RetrySchedule(first_s=2.0, cap_s=3600.0, attempts=150)
"""Five days and more; at the end once an hour."""
THROTTLED_WAIT_S = 1.0
"""The least wait after a 429; how long the whole account waits is for its lane to say."""


class RecordResult(AttemptCommand[None], frozen=True):
    """A cancel call came to an end."""

    attempt: str
    cancellation: str
    result: CancelResult
    version: int | None = None
    """The account's version whose credentials the call had."""
    others_at: datetime | None = None
    """When a cancel of another order of the account was last answered, and not with a failure."""
    down: bool = False
    """The provider fails for all orders."""

    def without_facts(self, problem: str) -> Self:
        return replace(self, result=CancelResult(CancelOutcome.INDETERMINATE, problem))

    def decide(self, unit: UnitOfWork) -> None:
        known = unit.aggregate.cancellation(self.cancellation)
        if known is not None and known.is_out(self.attempt):
            self._settle(unit, known)
        elif self.result.outcome is CancelOutcome.SUCCEEDED and unit.aggregate.order.phase is not Phase.CANCELED:
            # Another attempt was made since, or it was settled otherwise: the order is canceled all the same.
            self._canceled(unit)

    def _settle(self, unit: UnitOfWork, known: Cancellation) -> None:
        result = self.result
        match result.outcome:
            case CancelOutcome.SUCCEEDED:
                unit.step(known, Cause.SUCCEEDED, Source.PROVIDER, detail=result.detail)
                self._canceled(unit)
            case CancelOutcome.ACCEPTED:
                self._accepted(unit, known)
            case CancelOutcome.REFUSED:
                self._refused(unit, known)
            case CancelOutcome.RETRY:
                self._retry(unit, known)
            case CancelOutcome.THROTTLED:
                due_at = unit.later(max(bounded_wait_s(result.after_s) or 0.0, THROTTLED_WAIT_S))
                changes = {"waiting": Waiting.THROTTLED, "due_at": due_at, "detail": result.detail}
                unit.step(known, Cause.THROTTLED, Source.PROVIDER, **changes)
            case CancelOutcome.UNAUTHORIZED if _are_replaced(unit, self.version):
                self._retry(unit, known)
            case CancelOutcome.UNAUTHORIZED:
                changes = {"waiting": Waiting.CREDENTIALS, "due_at": self.now, "detail": result.detail}
                unit.step(known, Cause.UNAUTHORIZED, Source.PROVIDER, **changes)
                unit.pause_reason = result.detail
            case CancelOutcome.INDETERMINATE:
                self._lost(unit, known, Cause.NO_RESPONSE, result.detail)
            case CancelOutcome.PROBE_FIRST:
                self._retry(unit, known, ask_first=True)

    def _accepted(self, unit: UnitOfWork, known: Cancellation) -> None:
        waiting, delay_s = Waiting.PROBE, ACCEPTED_POLLS.delay_s(1, unit.chance)
        if unit.account.handler.probe is None:
            waiting, delay_s = Waiting.WEBHOOK, WEBHOOK_WAIT_S
        changes: dict[str, Any] = {"waiting": waiting, "due_at": unit.later(delay_s), "failures": 0}
        unit.step(known, Cause.ACCEPTED, Source.PROVIDER, detail=self.result.detail, **changes)

    def _canceled(self, unit: UnitOfWork) -> None:
        self._state_fact(unit, replace(self.result.facts or Facts(), phase=Phase.CANCELED), ORDER_CANCELED)

    def _state_fact(self, unit: UnitOfWork, facts: Facts, type: str) -> None:
        seen = ParsedEvent(order=unit.aggregate.order.id, type=type, key=self.attempt.encode(), facts=facts)
        unit.emit(not_before(to_event(seen, self.account, self.now, Source.PROVIDER, None), unit.aggregate.latest))

    def _refused(self, unit: UnitOfWork, known: Cancellation) -> None:
        result = self.result
        if unit.aggregate.order.phase is Phase.CANCELED:
            evidence = unit.aggregate.order.evidence("phase")
            unit.step(known, Cause.ORDER_CANCELED, detail="The order is canceled.", evidence=evidence)
        elif known.may_have_applied or (known.lost_calls and not known.refusal_distrusted):
            # A call that was lost may have taken effect even after the probe that followed it.
            detail = f"Refused ({result.detail}) after a call that may have taken effect."
            unit.lose(known, Cause.OUTCOME_UNCERTAIN, detail, refusal_distrusted=True)
        else:
            unit.step(known, Cause.REFUSED, Source.PROVIDER, detail=result.detail)
        if result.facts is not None:
            self._state_fact(unit, result.facts, ORDER_OBSERVED)
        elif unit.moved[known.id].final and unit.verdict().cancelable is not Cancelable.NO:
            # What we know of the order is behind: the next wish must not be judged by it.
            wanted = ProbeWanted(f"A cancel was refused: {result.detail}")
            unit.record(PROBE_WANTED, self.attempt, Source.PROVIDER, wanted)

    def _retry(self, unit: UnitOfWork, known: Cancellation, *, lost: bool = False, ask_first: bool = False) -> None:
        result, failures = self.result, known.failures + 1
        changes: dict[str, Any] = {
            "failures": failures,
            "may_have_applied": known.may_have_applied or result.doubtful or lost,
        }
        if result.ambiguous and not self.down:
            changes |= crashed(unit, known, result, self.others_at)
            if changes["ambiguous_failures"] >= PROBED_FROM:
                self._ask_after_crash(unit, known, changes)
                return
        if failures < CANCEL_RETRIES.attempts or known.deadline is not None:
            due_at = unit.later(CANCEL_RETRIES.delay_s(failures, unit.chance, result.after_s))
            changes |= {"waiting": Waiting.RETRY, "due_at": due_at, "detail": result.detail}
            if ask_first:
                # Nothing was sent; and the first probe has nothing to wait for.
                changes |= {"waiting": Waiting.PROBE, "attempts": known.attempts - 1}
                changes["due_at"] = self.now if failures == 1 else due_at
            unit.step(known, Cause.RETRY, Source.PROVIDER, **changes)
        elif changes["may_have_applied"]:
            unit.lose(known, Cause.OUTCOME_UNCERTAIN, result.detail, lost_calls=CANCEL_RETRIES.attempts)
        else:
            detail = f"Gave up after {failures} failures; the last: {result.detail}"
            unit.step(known, Cause.ATTEMPTS_USED_UP, failures=failures, detail=detail)

    def _ask_after_crash(self, unit: UnitOfWork, known: Cancellation, changes: dict[str, Any]) -> None:
        counted = {key: changes[key] for key in ("ambiguous_failures", "ambiguous_since", "others_unanswered")}
        lost = unit.lose(known, Cause.OUTCOME_UNCERTAIN, self.result.detail, **counted)
        if unit.account.handler.probe is None and decides(lost):
            settle(unit, lost, CANCEL_RETRIES, self.result.detail)

    def _lost(self, unit: UnitOfWork, known: Cancellation, cause: Cause, detail: str) -> None:
        if unit.account.handler.cancel_is_idempotent:
            self._retry(unit, known, lost=True)
        else:
            unit.lose(known, cause, detail, lost_calls=known.lost_calls + 1, refusal_distrusted=False)


def _are_replaced(unit: UnitOfWork, version: int | None) -> bool:
    """Had a call other credentials than the account has now? Then that they were refused says nothing of these."""
    return version is not None and version != unit.account.version


class Interrupted(AttemptCommand[None], frozen=True):
    """Who made a cancel call came to an end while it was out: whatever came of it was not recorded."""

    what: str = "The process ended"
    """What happened."""
    attempt: str | None = None
    """Whose call it was; without one, whichever is out."""

    def decide(self, unit: UnitOfWork) -> None:
        for each in unit.aggregate.live:
            if not (each.state is State.SENDING if self.attempt is None else each.is_out(self.attempt)):
                continue
            if unit.account.handler.cancel_is_idempotent:
                changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": self.now, "may_have_applied": True}
                unit.step(each, Cause.RETRY, detail=f"{self.what} while the call was out.", **changes)
            else:
                detail = f"{self.what} while the call was out."
                unit.lose(each, Cause.INTERRUPTED, detail, lost_calls=each.lost_calls + 1, refusal_distrusted=False)


def asked_at(began_at: datetime, took_s: float, now: datetime, latest: datetime | None) -> datetime:
    """When a probe was asked for, on the clock as it is when its answer comes: what came in since counts as newer.

    Args:
        began_at: by our clock as it was then.
        took_s: how long ago that is, by a clock that nobody sets.
        now: by our clock, which may have been set back meanwhile.
        latest: when the latest of what the order was known by when it was asked happened; that counts as older.
    """
    found = min(began_at, now - timedelta(seconds=took_s))
    return found if latest is None else max(found, latest + TICK)


class RecordProbe(AttemptCommand[None], frozen=True):
    """A probe came to an end."""

    attempt: str
    asked_at: datetime
    """The snapshot counts as taken when it was asked for: what happened since outranks it."""
    snapshot: Facts | None = None
    """The provider's word on the order; None where it gave none, for the reason in `failure`."""
    failure: str = ""
    outcome: CancelOutcome = CancelOutcome.RETRY
    after_s: float | None = None
    version: int | None = None
    """The account's version whose credentials the call had."""

    def without_aliases(self) -> Self:
        return self if self.snapshot is None else replace(self, snapshot=replace(self.snapshot, aliases=()))

    def without_facts(self, problem: str) -> Self:
        return replace(self, snapshot=None, failure=problem)

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:  # noqa: ARG002 - it is of when it was asked
        if self.snapshot is None:
            return ()
        facts = replace(self.snapshot, snapshot=True)
        seen = ParsedEvent(self.order, ORDER_PROBED, self.attempt.encode(), facts, self.asked_at)
        return (to_event(seen, self.account, max(self.now, self.asked_at), Source.PROVIDER, None),)

    def decide(self, unit: UnitOfWork) -> None:
        if self.snapshot is None:
            self._on_failure(unit)
            if self.outcome is CancelOutcome.UNAUTHORIZED and not _are_replaced(unit, self.version):
                unit.pause_reason = self.failure
            return
        for event in self.facts():
            unit.emit(event)
            for each in unit.aggregate.live:
                self._reject(unit, each, event)
        unit.react()
        for each in unit.aggregate.live:
            self._on_snapshot(unit, each)

    def _reject(self, unit: UnitOfWork, known: Cancellation, found: Event) -> None:
        """End what waited for this probe to tell whether it may be sent, and may not: as if that had been known."""
        verdict, asked_first = unit.verdict(), known.state is State.SCHEDULED and known.waiting is Waiting.PROBE
        sent = known.attempts or known.lost_calls or known.may_have_applied
        if asked_first and not sent and stops(known, verdict):
            evidence = tuple(dict.fromkeys([*verdict.evidence, found.id]))
            explained = {"detail": verdict.explanation, "evidence": evidence, "verdict": verdict}
            unit.step(known, Cause.NOT_CANCELABLE, Source.PROVIDER, **explained)

    def _on_snapshot(self, unit: UnitOfWork, known: Cancellation) -> None:
        verdict = unit.verdict()
        if known.state is State.SCHEDULED and known.waiting is Waiting.PROBE:
            # Still unknown: then only the provider's answer can tell, so it is sent.
            known_now = verdict.cancelable is Cancelable.YES
            cause = Cause.PROBED if known_now else Cause.PROBE_INCONCLUSIVE
            detail = "" if known_now else "The probe did not settle it; the provider's answer will."
            # After a call that could not be made the tries go on counting: the probe may not help with the next.
            failures = known.failures if known.cause is Cause.RETRY else 0
            unit.step(known, cause, waiting=Waiting.SEND_SLOT, due_at=unit.now, failures=failures, detail=detail)
        elif known.state is State.ACCEPTED:
            self._again(unit, known, Cause.PROBE_INCONCLUSIVE, "The provider has not finished.", counts=True)
        elif known.state is State.INDETERMINATE and self.asked_at >= known.updated_at:
            if verdict.cancelable is Cancelable.YES:
                self._had_no_effect(unit, known)
            elif verdict.cancelable is Cancelable.NO:
                unit.step(known, Cause.ORDER_CLOSED, detail=verdict.explanation, evidence=verdict.evidence)
            elif decides(known):
                settle(unit, known, CANCEL_RETRIES, known.detail)
            else:
                self._again(unit, known, Cause.PROBE_INCONCLUSIVE, verdict.explanation, counts=True)

    def _had_no_effect(self, unit: UnitOfWork, known: Cancellation) -> None:
        if decides(known) and is_in_vain(unit, known):
            end(unit, known, known.detail)
            return
        if known.lost_calls >= CANCEL_RETRIES.attempts and known.deadline is None:
            detail = f"Gave up after {known.attempts} calls; the last had no answer and no effect."
            unit.step(known, Cause.ATTEMPTS_USED_UP, detail=detail)
            return
        # The first time it may go at once; an order that loses or fails call after call is to be no burden.
        times = known.lost_calls + known.ambiguous_failures
        due_at = unit.now if times <= 1 else unit.later(CANCEL_RETRIES.delay_s(times, unit.chance))
        changes: dict[str, Any] = {
            "waiting": Waiting.SEND_SLOT,
            "due_at": due_at,
            "failures": 0,
            "may_have_applied": False,
        }
        known = unit.step(known, Cause.STILL_CANCELABLE, detail="The earlier call had no effect.", **changes)
        if known.revoke_requested:
            unit.step(known, Cause.REVOKE_REQUESTED, detail="Revoked; the earlier call had no effect.")

    def _on_failure(self, unit: UnitOfWork) -> None:
        unknown = self.outcome is CancelOutcome.REFUSED
        counts = unknown or self.outcome is CancelOutcome.RETRY
        blind = self.outcome is CancelOutcome.INDETERMINATE
        for each in unit.aggregate.live:
            if blind and each.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                self._cannot_tell(unit, each)
                return
            if each.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                if unknown and each.state is State.SCHEDULED and not each.may_have_applied:
                    unit.step(each, Cause.ORDER_UNKNOWN, Source.PROVIDER, detail=self.failure)
                    return
                self._again(unit, each, Cause.PROBE_FAILED, self.failure, counts)
                return
        doubt = unit.aggregate.pending_probe
        if doubt is not None and (unknown or blind):
            unit.record(PROBE_ABANDONED, self.attempt, Source.PROVIDER, ProbeAbandoned(self.failure))
        elif doubt is not None:
            failures = doubt.failures + (1 if counts else 0)
            due_at = unit.later(PROBE_RETRIES.delay_s(max(failures, 1), unit.chance, self.after_s))
            failed = ProbeFailed(due_at, counts, self.failure)
            unit.record(PROBE_FAILED, self.attempt, Source.PROVIDER, failed)

    def _cannot_tell(self, unit: UnitOfWork, known: Cancellation) -> None:
        if known.state is State.INDETERMINATE and decides(known):
            settle(unit, known, CANCEL_RETRIES, known.detail)
        elif known.state is State.SCHEDULED and not known.may_have_applied:
            # Then only the provider's answer can tell, so it is sent.
            changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": unit.now, "failures": 0}
            unit.step(known, Cause.PROBE_INCONCLUSIVE, detail=self.failure, **changes)
        elif known.waiting is Waiting.WEBHOOK:
            detail = f"Nobody told what became of it; settle it by hand. {self.failure}"
            unit.step(known, Cause.ATTEMPTS_USED_UP, detail=detail)
        else:
            waits: dict[str, Any] = {"waiting": Waiting.WEBHOOK, "due_at": unit.later(WEBHOOK_WAIT_S)}
            unit.step(known, Cause.PROBE_FAILED, detail=self.failure, **waits)

    def _again(self, unit: UnitOfWork, known: Cancellation, cause: Cause, detail: str, counts: bool) -> None:
        schedule = ACCEPTED_POLLS if known.state is State.ACCEPTED else PROBE_RETRIES
        failures = known.failures + (1 if counts else 0)
        if failures >= schedule.attempts and known.state is State.INDETERMINATE and decides(known):
            settle(unit, known, CANCEL_RETRIES, detail)
            return
        to_go_on = known.state is not State.ACCEPTED and known.deadline is not None and known.deadline > unit.now
        if failures >= schedule.attempts and not to_go_on:
            text = f"Its outcome could not be learned in {failures} probes; the last: {detail}"
            unit.step(known, Cause.ATTEMPTS_USED_UP, failures=failures, detail=text)
            return
        due_at = unit.later(schedule.delay_s(max(failures, 1), unit.chance, self.after_s))
        unit.step(known, cause, waiting=Waiting.PROBE, due_at=due_at, failures=failures, detail=detail)
