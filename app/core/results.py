"""The results of calls to a provider, or the lack of one: what they mean for an order and its cancellations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from msgspec.structs import replace

from app.contract import Cancelable, CancelOutcome, CancelResult, Facts, ParsedEvent, Phase, Source
from app.core.aggregate import PROBE_RETRIES
from app.core.ambiguous import (
    PROBED_FROM,
    after_ambiguous_failure,
    decides_without_probe,
    end_in_vain,
    is_in_vain,
    retry_or_end,
)
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import AttemptCommand
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
from app.core.unit_of_work import WEBHOOK_WAIT_S, UnitOfWork, forbids_sending

CANCEL_RETRIES = RetrySchedule(first_s=2.0, cap_s=900.0, attempts=30)
"""A provider may be down for an afternoon: a cancel is retried until its deadline; without one, about five hours."""
ACCEPTED_POLLS = RetrySchedule(first_s=2.0, cap_s=3600.0, attempts=150)
"""More than five days; at the end once an hour."""
THROTTLED_WAIT_S = 1.0
"""The least wait after a 429; how long the whole account waits is up to its lane."""


class RecordResult(AttemptCommand[None], frozen=True):
    """A cancel call ended."""

    attempt: str
    cancellation: str
    result: CancelResult
    version: int | None = None
    """The version of the account's configuration whose credentials the call had."""
    others_at: datetime | None = None
    """When a cancel of another order of the account was last answered, other than with a failure."""
    down: bool = False
    """The provider fails for all orders."""

    def without_facts(self, problem: str) -> Self:
        return replace(self, result=CancelResult(CancelOutcome.INDETERMINATE, problem))

    def decide(self, unit: UnitOfWork) -> None:
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is not None and cancel.is_out(self.attempt):
            self._settle(unit, cancel)
        elif self.result.outcome is CancelOutcome.SUCCEEDED and unit.aggregate.order.phase is not Phase.CANCELED:
            # Another attempt was made since, or it was resolved otherwise: the order is canceled all the same.
            self._canceled(unit)

    def _settle(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        result = self.result
        match result.outcome:
            case CancelOutcome.SUCCEEDED:
                unit.advance(cancel, Cause.SUCCEEDED, Source.PROVIDER, detail=result.detail)
                self._canceled(unit)
            case CancelOutcome.ACCEPTED:
                self._accepted(unit, cancel)
            case CancelOutcome.REFUSED:
                self._refused(unit, cancel)
            case CancelOutcome.RETRY:
                self._retry(unit, cancel)
            case CancelOutcome.THROTTLED:
                due_at = unit.later(max(bounded_wait_s(result.after_s) or 0.0, THROTTLED_WAIT_S))
                changes = {"waiting": Waiting.THROTTLED, "due_at": due_at, "detail": result.detail}
                unit.advance(cancel, Cause.THROTTLED, Source.PROVIDER, **changes)
            case CancelOutcome.UNAUTHORIZED if _are_replaced(unit, self.version):
                self._retry(unit, cancel)
            case CancelOutcome.UNAUTHORIZED:
                changes = {"waiting": Waiting.CREDENTIALS, "due_at": self.now, "detail": result.detail}
                unit.advance(cancel, Cause.UNAUTHORIZED, Source.PROVIDER, **changes)
                unit.pause_reason = result.detail
            case CancelOutcome.INDETERMINATE:
                self._lost(unit, cancel, Cause.NO_RESPONSE, result.detail)
            case CancelOutcome.PROBE_FIRST:
                self._retry(unit, cancel, ask_first=True)

    def _accepted(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        waiting, delay_s = Waiting.PROBE, ACCEPTED_POLLS.delay_s(1, unit.chance)
        if unit.account.handler.probe is None:
            waiting, delay_s = Waiting.WEBHOOK, WEBHOOK_WAIT_S
        changes: dict[str, Any] = {"waiting": waiting, "due_at": unit.later(delay_s), "failures": 0}
        unit.advance(cancel, Cause.ACCEPTED, Source.PROVIDER, detail=self.result.detail, **changes)

    def _canceled(self, unit: UnitOfWork) -> None:
        self._state_fact(unit, replace(self.result.facts or Facts(), phase=Phase.CANCELED), ORDER_CANCELED)

    def _state_fact(self, unit: UnitOfWork, facts: Facts, type: str) -> None:
        seen = ParsedEvent(order=unit.aggregate.order.id, type=type, key=self.attempt.encode(), facts=facts)
        unit.emit(not_before(to_event(seen, self.account, self.now, Source.PROVIDER, None), unit.aggregate.latest))

    def _refused(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        result = self.result
        if unit.aggregate.order.phase is Phase.CANCELED:
            evidence = unit.aggregate.order.evidence("phase")
            unit.advance(cancel, Cause.ORDER_CANCELED, detail="The order is canceled.", evidence=evidence)
        elif cancel.may_have_applied or (cancel.lost_calls and not cancel.refusal_distrusted):
            # A lost call may have taken effect even after the probe that followed it.
            detail = f"Refused ({result.detail}) after a call that may have taken effect."
            unit.mark_indeterminate(cancel, Cause.OUTCOME_UNCERTAIN, detail, refusal_distrusted=True)
        else:
            unit.advance(cancel, Cause.REFUSED, Source.PROVIDER, detail=result.detail)
        if result.facts is not None:
            self._state_fact(unit, result.facts, ORDER_OBSERVED)
        elif unit.moved[cancel.id].final and unit.verdict().cancelable is not Cancelable.NO:
            # What is known of the order is outdated: the next cancel request must not be judged by it.
            wanted = ProbeWanted(f"A cancel was refused: {result.detail}")
            unit.record(PROBE_WANTED, self.attempt, Source.PROVIDER, wanted)

    def _retry(self, unit: UnitOfWork, cancel: Cancellation, *, lost: bool = False, ask_first: bool = False) -> None:
        result, failures = self.result, cancel.failures + 1
        changes: dict[str, Any] = {
            "failures": failures,
            "may_have_applied": cancel.may_have_applied or result.may_have_applied or lost,
        }
        if result.ambiguous and not self.down:
            changes |= after_ambiguous_failure(unit, cancel, result, self.others_at)
            if changes["ambiguous_failures"] >= PROBED_FROM:
                self._probe_after_failure(unit, cancel, changes)
                return
        if failures < CANCEL_RETRIES.attempts or cancel.deadline is not None:
            due_at = unit.later(CANCEL_RETRIES.delay_s(failures, unit.chance, result.after_s))
            changes |= {"waiting": Waiting.RETRY, "due_at": due_at, "detail": result.detail}
            if ask_first:
                # Nothing was sent, and the first probe has nothing to wait for.
                changes |= {"waiting": Waiting.PROBE, "attempts": cancel.attempts - 1}
                changes["due_at"] = self.now if failures == 1 else due_at
            unit.advance(cancel, Cause.RETRY, Source.PROVIDER, **changes)
        elif changes["may_have_applied"]:
            unit.mark_indeterminate(cancel, Cause.OUTCOME_UNCERTAIN, result.detail, lost_calls=CANCEL_RETRIES.attempts)
        else:
            detail = f"Gave up after {failures} failures; the last: {result.detail}"
            unit.advance(cancel, Cause.ATTEMPTS_USED_UP, failures=failures, detail=detail)

    def _probe_after_failure(self, unit: UnitOfWork, cancel: Cancellation, changes: dict[str, Any]) -> None:
        counted = {key: changes[key] for key in ("ambiguous_failures", "ambiguous_since", "others_unanswered")}
        lost = unit.mark_indeterminate(cancel, Cause.OUTCOME_UNCERTAIN, self.result.detail, **counted)
        if unit.account.handler.probe is None and decides_without_probe(lost):
            retry_or_end(unit, lost, CANCEL_RETRIES, self.result.detail)

    def _lost(self, unit: UnitOfWork, cancel: Cancellation, cause: Cause, detail: str) -> None:
        if unit.account.handler.cancel_is_idempotent:
            self._retry(unit, cancel, lost=True)
        else:
            unit.mark_indeterminate(cancel, cause, detail, lost_calls=cancel.lost_calls + 1, refusal_distrusted=False)


def _are_replaced(unit: UnitOfWork, version: int | None) -> bool:
    """Whether a call had other credentials than the account has now: then their refusal says nothing of these."""
    return version is not None and version != unit.account.version


class Interrupted(AttemptCommand[None], frozen=True):
    """The process or attempt that made a cancel call ended while it was out: its result was not recorded."""

    what: str = "The process ended"
    """What happened."""
    attempt: str | None = None
    """The attempt that made the call; None: whichever call is out."""

    def decide(self, unit: UnitOfWork) -> None:
        for cancel in unit.aggregate.live:
            if not (cancel.state is State.SENDING if self.attempt is None else cancel.is_out(self.attempt)):
                continue
            if unit.account.handler.cancel_is_idempotent:
                changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": self.now, "may_have_applied": True}
                unit.advance(cancel, Cause.RETRY, detail=f"{self.what} while the call was out.", **changes)
            else:
                detail = f"{self.what} while the call was out."
                unit.mark_indeterminate(
                    cancel,
                    Cause.INTERRUPTED,
                    detail,
                    lost_calls=cancel.lost_calls + 1,
                    refusal_distrusted=False,
                )


def asked_at(began_at: datetime, took_s: float, now: datetime, latest: datetime | None) -> datetime:
    """When a probe was sent, by the clock as it is when its response comes: facts received since count as newer.

    Args:
        began_at: by this machine's clock as it was then.
        took_s: how long ago that is in seconds, by the monotonic clock.
        now: by this machine's clock, which may have been set back meanwhile.
        latest: when the latest fact happened that was known when the probe was sent; that fact counts as older.
    """
    sent_at = min(began_at, now - timedelta(seconds=took_s))
    return sent_at if latest is None else max(sent_at, latest + TICK)


class RecordProbe(AttemptCommand[None], frozen=True):
    """A probe ended."""

    attempt: str
    asked_at: datetime
    """When it was sent: the snapshot counts as taken then, so what happened since outranks it."""
    snapshot: Facts | None = None
    """The order as the provider describes it; None if it did not, for the reason in `failure`."""
    failure: str = ""
    outcome: CancelOutcome = CancelOutcome.RETRY
    after_s: float | None = None
    version: int | None = None
    """The version of the account's configuration whose credentials the call had."""

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
            for cancel in unit.aggregate.live:
                self._reject(unit, cancel, event.id)
        unit.react()
        for cancel in unit.aggregate.live:
            self._on_snapshot(unit, cancel)

    def _reject(self, unit: UnitOfWork, cancel: Cancellation, probed: str) -> None:
        """Reject a cancel that waited for this probe and must not be sent, as if that had been known at its request."""
        verdict, asked_first = (
            unit.verdict(),
            cancel.state is State.SCHEDULED and cancel.waiting is Waiting.PROBE,
        )
        sent = cancel.attempts or cancel.lost_calls or cancel.may_have_applied
        if asked_first and not sent and forbids_sending(cancel, verdict):
            evidence = tuple(dict.fromkeys([*verdict.evidence, probed]))
            explained = {"detail": verdict.explanation, "evidence": evidence, "verdict": verdict}
            unit.advance(cancel, Cause.NOT_CANCELABLE, Source.PROVIDER, **explained)

    def _on_snapshot(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        verdict = unit.verdict()
        if cancel.state is State.SCHEDULED and cancel.waiting is Waiting.PROBE:
            # If the verdict is still unknown, only the provider can tell: the cancel is sent.
            is_cancelable = verdict.cancelable is Cancelable.YES
            cause = Cause.PROBED if is_cancelable else Cause.PROBE_INCONCLUSIVE
            detail = "" if is_cancelable else "The probe did not settle it; the provider's response to the cancel will."
            # After a call that could not be made, failures go on counting: the probe may not help with the next call.
            failures = cancel.failures if cancel.cause is Cause.RETRY else 0
            unit.advance(cancel, cause, waiting=Waiting.SEND_SLOT, due_at=unit.now, failures=failures, detail=detail)
        elif cancel.state is State.ACCEPTED:
            self._again(unit, cancel, Cause.PROBE_INCONCLUSIVE, "The provider has not finished.", counts=True)
        elif cancel.state is State.INDETERMINATE and self.asked_at >= cancel.updated_at:
            if verdict.cancelable is Cancelable.YES:
                self._had_no_effect(unit, cancel)
            elif verdict.cancelable is Cancelable.NO:
                unit.advance(cancel, Cause.ORDER_CLOSED, detail=verdict.explanation, evidence=verdict.evidence)
            elif decides_without_probe(cancel):
                retry_or_end(unit, cancel, CANCEL_RETRIES, cancel.detail)
            else:
                self._again(unit, cancel, Cause.PROBE_INCONCLUSIVE, verdict.explanation, counts=True)

    def _had_no_effect(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        if decides_without_probe(cancel) and is_in_vain(unit, cancel):
            end_in_vain(unit, cancel, cancel.detail)
            return
        if cancel.lost_calls >= CANCEL_RETRIES.attempts and cancel.deadline is None:
            detail = f"Gave up after {cancel.attempts} calls; the last had no response and no effect."
            unit.advance(cancel, Cause.ATTEMPTS_USED_UP, detail=detail)
            return
        # The first retry goes at once; an order that loses or fails call after call must not be a burden.
        times = cancel.lost_calls + cancel.ambiguous_failures
        due_at = unit.now if times <= 1 else unit.later(CANCEL_RETRIES.delay_s(times, unit.chance))
        changes: dict[str, Any] = {
            "waiting": Waiting.SEND_SLOT,
            "due_at": due_at,
            "failures": 0,
            "may_have_applied": False,
        }
        cancel = unit.advance(cancel, Cause.STILL_CANCELABLE, detail="The earlier call had no effect.", **changes)
        if cancel.revoke_requested:
            unit.advance(cancel, Cause.REVOKE_REQUESTED, detail="Revoked; the earlier call had no effect.")

    def _on_failure(self, unit: UnitOfWork) -> None:
        unknown = self.outcome is CancelOutcome.REFUSED
        counts = unknown or self.outcome is CancelOutcome.RETRY
        blind = self.outcome is CancelOutcome.INDETERMINATE
        for cancel in unit.aggregate.live:
            if blind and cancel.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                self._cannot_tell(unit, cancel)
                return
            if cancel.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                if unknown and cancel.state is State.SCHEDULED and not cancel.may_have_applied:
                    unit.advance(cancel, Cause.ORDER_UNKNOWN, Source.PROVIDER, detail=self.failure)
                    return
                self._again(unit, cancel, Cause.PROBE_FAILED, self.failure, counts)
                return
        pending = unit.aggregate.pending_probe
        if pending is not None and (unknown or blind):
            unit.record(PROBE_ABANDONED, self.attempt, Source.PROVIDER, ProbeAbandoned(self.failure))
        elif pending is not None:
            failures = pending.failures + (1 if counts else 0)
            due_at = unit.later(PROBE_RETRIES.delay_s(max(failures, 1), unit.chance, self.after_s))
            failed = ProbeFailed(due_at, counts, self.failure)
            unit.record(PROBE_FAILED, self.attempt, Source.PROVIDER, failed)

    def _cannot_tell(self, unit: UnitOfWork, cancel: Cancellation) -> None:
        if cancel.state is State.INDETERMINATE and decides_without_probe(cancel):
            retry_or_end(unit, cancel, CANCEL_RETRIES, cancel.detail)
        elif cancel.state is State.SCHEDULED and not cancel.may_have_applied:
            # Only the provider can tell: the cancel is sent.
            changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": unit.now, "failures": 0}
            unit.advance(cancel, Cause.PROBE_INCONCLUSIVE, detail=self.failure, **changes)
        elif cancel.waiting is Waiting.WEBHOOK:
            detail = f"No webhook told its outcome; settle it by hand. {self.failure}"
            unit.advance(cancel, Cause.ATTEMPTS_USED_UP, detail=detail)
        else:
            waits: dict[str, Any] = {"waiting": Waiting.WEBHOOK, "due_at": unit.later(WEBHOOK_WAIT_S)}
            unit.advance(cancel, Cause.PROBE_FAILED, detail=self.failure, **waits)

    def _again(self, unit: UnitOfWork, cancel: Cancellation, cause: Cause, detail: str, counts: bool) -> None:
        schedule = ACCEPTED_POLLS if cancel.state is State.ACCEPTED else PROBE_RETRIES
        failures = cancel.failures + (1 if counts else 0)
        if failures >= schedule.attempts and cancel.state is State.INDETERMINATE and decides_without_probe(cancel):
            retry_or_end(unit, cancel, CANCEL_RETRIES, detail)
            return
        to_go_on = cancel.state is not State.ACCEPTED and cancel.deadline is not None and cancel.deadline > unit.now
        if failures >= schedule.attempts and not to_go_on:
            text = f"Its outcome could not be learned in {failures} probes; the last: {detail}"
            unit.advance(cancel, Cause.ATTEMPTS_USED_UP, failures=failures, detail=text)
            return
        due_at = unit.later(schedule.delay_s(max(failures, 1), unit.chance, self.after_s))
        unit.advance(cancel, cause, waiting=Waiting.PROBE, due_at=due_at, failures=failures, detail=detail)


class RecordProbeBefore(RecordProbe, frozen=True, kw_only=True):
    """The attempt at a cancel ended with the probe that comes before it: the verdict on what that said decides.

    It is decided as if the cancel had waited for this probe; if it may be sent, it is claimed again, and the fence is
    asked with the probe's facts known.
    """

    cancellation: str

    def decide(self, unit: UnitOfWork) -> None:
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is not None and cancel.is_out(self.attempt):
            changes: dict[str, Any] = {"waiting": Waiting.PROBE, "due_at": self.now, "attempts": cancel.attempts - 1}
            unit.advance(cancel, Cause.RETRY, detail="The order was probed before the cancel is sent.", **changes)
        super().decide(unit)
