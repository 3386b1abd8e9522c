"""What a provider's answer, or the lack of one, means for the case."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from app.contract import Cancelable, CancelOutcome, CancelResult, Facts, ParsedEvent, Phase, Source
from app.core.aggregate import PROBE_ABANDONED, PROBE_FAILED, PROBE_RETRIES, PROBE_WANTED
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import Command
from app.core.crash import PROBED_FROM, crashed, decides, end, is_in_vain, settle
from app.core.event import TICK, Event, internal_event, not_before, to_event
from app.core.lane.pacing import RetrySchedule, bounded_wait_s
from app.core.unit_of_work import WEBHOOK_WAIT_S, UnitOfWork, stops

CANCEL_RETRIES = RetrySchedule(first_s=2.0, cap_s=900.0, attempts=30)
"""A provider may be down for an afternoon: what has a deadline is tried until then. Without one, about five hours."""
ACCEPTED_POLLS = RetrySchedule(first_s=2.0, cap_s=3600.0, attempts=150)
"""Five days and more; at the end once an hour."""
THROTTLED_WAIT_S = 1.0
"""The least wait after a 429; how long the whole account waits is for its lane to say."""


class RecordResult(Command, frozen=True):
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

    def decide(self, desk: UnitOfWork) -> None:
        known = desk.aggregate.cancellation(self.cancellation)
        if known is not None and known.is_out(self.attempt):
            self._settle(desk, known)
        elif self.result.outcome is CancelOutcome.SUCCEEDED and desk.aggregate.order.phase is not Phase.CANCELED:
            # Another attempt was made since, or it was settled otherwise: the order is canceled all the same.
            self._canceled(desk)

    def _settle(self, desk: UnitOfWork, known: Cancellation) -> None:
        result = self.result
        match result.outcome:
            case CancelOutcome.SUCCEEDED:
                desk.step(known, Cause.SUCCEEDED, Source.PROVIDER, detail=result.detail)
                self._canceled(desk)
            case CancelOutcome.ACCEPTED:
                self._accepted(desk, known)
            case CancelOutcome.REFUSED:
                self._refused(desk, known)
            case CancelOutcome.RETRY:
                self._retry(desk, known)
            case CancelOutcome.THROTTLED:
                due_at = desk.later(max(bounded_wait_s(result.after_s) or 0.0, THROTTLED_WAIT_S))
                changes = {"waiting": Waiting.THROTTLED, "due_at": due_at, "detail": result.detail}
                desk.step(known, Cause.THROTTLED, Source.PROVIDER, **changes)
            case CancelOutcome.UNAUTHORIZED if _are_replaced(desk, self.version):
                self._retry(desk, known)
            case CancelOutcome.UNAUTHORIZED:
                changes = {"waiting": Waiting.CREDENTIALS, "due_at": self.now, "detail": result.detail}
                desk.step(known, Cause.UNAUTHORIZED, Source.PROVIDER, **changes)
                desk.pause = result.detail
            case CancelOutcome.INDETERMINATE:
                self._lost(desk, known, Cause.NO_RESPONSE, result.detail)
            case CancelOutcome.PROBE_FIRST:
                self._retry(desk, known, ask_first=True)

    def _accepted(self, desk: UnitOfWork, known: Cancellation) -> None:
        waiting, delay_s = Waiting.PROBE, ACCEPTED_POLLS.delay_s(1, desk.chance)
        if desk.account.handler.probe is None:
            waiting, delay_s = Waiting.WEBHOOK, WEBHOOK_WAIT_S
        changes: dict[str, Any] = {"waiting": waiting, "due_at": desk.later(delay_s), "failures": 0}
        desk.step(known, Cause.ACCEPTED, Source.PROVIDER, detail=self.result.detail, **changes)

    def _canceled(self, desk: UnitOfWork) -> None:
        self._state_fact(desk, replace(self.result.facts or Facts(), phase=Phase.CANCELED), "order.canceled")

    def _state_fact(self, desk: UnitOfWork, facts: Facts, type: str) -> None:
        seen = ParsedEvent(order=desk.aggregate.order.id, type=type, key=self.attempt.encode(), facts=facts)
        desk.emit(not_before(to_event(seen, self.account, self.now, Source.PROVIDER, None), desk.aggregate.latest))

    def _refused(self, desk: UnitOfWork, known: Cancellation) -> None:
        result = self.result
        if desk.aggregate.order.phase is Phase.CANCELED:
            evidence = desk.aggregate.order.evidence("phase")
            desk.step(known, Cause.ORDER_CANCELED, detail="The order is canceled.", evidence=evidence)
        elif known.may_have_applied or (known.lost_calls and not known.refusal_distrusted):
            # A call that was lost may have taken effect even after the probe that followed it.
            detail = f"Refused ({result.detail}) after a call that may have taken effect."
            desk.lose(known, Cause.OUTCOME_UNCERTAIN, detail, refusal_distrusted=True)
        else:
            desk.step(known, Cause.REFUSED, Source.PROVIDER, detail=result.detail)
        if result.facts is not None:
            self._state_fact(desk, result.facts, "order.observed")
        elif desk.moved[known.id].final and desk.verdict().cancelable is not Cancelable.NO:
            # What we know of the order is behind: the next wish must not be judged by it.
            reason = {"reason": f"A cancel was refused: {result.detail}"}
            order = desk.aggregate.order.id
            desk.emit(
                internal_event(self.account, order, PROBE_WANTED, self.attempt, self.now, Source.PROVIDER, reason)
            )

    def _retry(self, desk: UnitOfWork, known: Cancellation, *, lost: bool = False, ask_first: bool = False) -> None:
        result, failures = self.result, known.failures + 1
        changes: dict[str, Any] = {
            "failures": failures,
            "may_have_applied": known.may_have_applied or result.doubtful or lost,
        }
        if result.ambiguous and not self.down:
            changes |= crashed(desk, known, result, self.others_at)
            if changes["ambiguous_failures"] >= PROBED_FROM:
                self._ask_after_crash(desk, known, changes)
                return
        if failures < CANCEL_RETRIES.attempts or known.deadline is not None:
            due_at = desk.later(CANCEL_RETRIES.delay_s(failures, desk.chance, result.after_s))
            changes |= {"waiting": Waiting.RETRY, "due_at": due_at, "detail": result.detail}
            if ask_first:
                # Nothing was sent; and the first probe has nothing to wait for.
                changes |= {"waiting": Waiting.PROBE, "attempts": known.attempts - 1}
                changes["due_at"] = self.now if failures == 1 else due_at
            desk.step(known, Cause.RETRY, Source.PROVIDER, **changes)
        elif changes["may_have_applied"]:
            desk.lose(known, Cause.OUTCOME_UNCERTAIN, result.detail, lost_calls=CANCEL_RETRIES.attempts)
        else:
            detail = f"Gave up after {failures} failures; the last: {result.detail}"
            desk.step(known, Cause.ATTEMPTS_USED_UP, failures=failures, detail=detail)

    def _ask_after_crash(self, desk: UnitOfWork, known: Cancellation, changes: dict[str, Any]) -> None:
        counted = {key: changes[key] for key in ("ambiguous_failures", "ambiguous_since", "others_unanswered")}
        lost = desk.lose(known, Cause.OUTCOME_UNCERTAIN, self.result.detail, **counted)
        if desk.account.handler.probe is None and decides(lost):
            settle(desk, lost, CANCEL_RETRIES, self.result.detail)

    def _lost(self, desk: UnitOfWork, known: Cancellation, cause: Cause, detail: str) -> None:
        if desk.account.handler.cancel_is_idempotent:
            self._retry(desk, known, lost=True)
        else:
            desk.lose(known, cause, detail, lost_calls=known.lost_calls + 1, refusal_distrusted=False)


def _are_replaced(desk: UnitOfWork, version: int | None) -> bool:
    """Had a call other credentials than the account has now? Then that they were refused says nothing of these."""
    return version is not None and version != desk.account.version


class Interrupted(Command, frozen=True):
    """Who made a cancel call came to an end while it was out: whatever came of it was not recorded."""

    what: str = "The process ended"
    """What happened."""
    attempt: str | None = None
    """Whose call it was; without one, whichever is out."""

    def decide(self, desk: UnitOfWork) -> None:
        for each in desk.aggregate.live:
            if not (each.state is State.SENDING if self.attempt is None else each.is_out(self.attempt)):
                continue
            if desk.account.handler.cancel_is_idempotent:
                changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": self.now, "may_have_applied": True}
                desk.step(each, Cause.RETRY, detail=f"{self.what} while the call was out.", **changes)
            else:
                detail = f"{self.what} while the call was out."
                desk.lose(each, Cause.INTERRUPTED, detail, lost_calls=each.lost_calls + 1, refusal_distrusted=False)


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


class RecordProbe(Command, frozen=True):
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

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:  # noqa: ARG002 - it is of when it was asked
        if self.snapshot is None:
            return ()
        facts = replace(self.snapshot, snapshot=True)
        seen = ParsedEvent(self.order, "order.probed", self.attempt.encode(), facts, self.asked_at)
        return (to_event(seen, self.account, max(self.now, self.asked_at), Source.PROVIDER, None),)

    def decide(self, desk: UnitOfWork) -> None:
        if self.snapshot is None:
            self._on_failure(desk)
            if self.outcome is CancelOutcome.UNAUTHORIZED and not _are_replaced(desk, self.version):
                desk.pause = self.failure
            return
        for event in self.facts():
            desk.emit(event)
            for each in desk.aggregate.live:
                self._reject(desk, each, event)
        desk.react()
        for each in desk.aggregate.live:
            self._on_snapshot(desk, each)

    def _reject(self, desk: UnitOfWork, known: Cancellation, found: Event) -> None:
        """End what waited for this probe to tell whether it may be sent, and may not: as if that had been known."""
        verdict, asked_first = desk.verdict(), known.state is State.SCHEDULED and known.waiting is Waiting.PROBE
        sent = known.attempts or known.lost_calls or known.may_have_applied
        if asked_first and not sent and stops(known, verdict):
            evidence = tuple(dict.fromkeys([*verdict.evidence, found.id]))
            explained = {"detail": verdict.explanation, "evidence": evidence, "verdict": verdict}
            desk.step(known, Cause.NOT_CANCELABLE, Source.PROVIDER, **explained)

    def _on_snapshot(self, desk: UnitOfWork, known: Cancellation) -> None:
        verdict = desk.verdict()
        if known.state is State.SCHEDULED and known.waiting is Waiting.PROBE:
            # Still unknown: then only the provider's answer can tell, so it is sent.
            known_now = verdict.cancelable is Cancelable.YES
            cause = Cause.PROBED if known_now else Cause.PROBE_INCONCLUSIVE
            detail = "" if known_now else "The probe did not settle it; the provider's answer will."
            # After a call that could not be made the tries go on counting: the probe may not help with the next.
            failures = known.failures if known.cause is Cause.RETRY else 0
            desk.step(known, cause, waiting=Waiting.SEND_SLOT, due_at=desk.now, failures=failures, detail=detail)
        elif known.state is State.ACCEPTED:
            self._again(desk, known, Cause.PROBE_INCONCLUSIVE, "The provider has not finished.", counts=True)
        elif known.state is State.INDETERMINATE and self.asked_at >= known.updated_at:
            if verdict.cancelable is Cancelable.YES:
                self._had_no_effect(desk, known)
            elif verdict.cancelable is Cancelable.NO:
                desk.step(known, Cause.ORDER_CLOSED, detail=verdict.explanation, evidence=verdict.evidence)
            elif decides(known):
                settle(desk, known, CANCEL_RETRIES, known.detail)
            else:
                self._again(desk, known, Cause.PROBE_INCONCLUSIVE, verdict.explanation, counts=True)

    def _had_no_effect(self, desk: UnitOfWork, known: Cancellation) -> None:
        if decides(known) and is_in_vain(desk, known):
            end(desk, known, known.detail)
            return
        if known.lost_calls >= CANCEL_RETRIES.attempts and known.deadline is None:
            detail = f"Gave up after {known.attempts} calls; the last had no answer and no effect."
            desk.step(known, Cause.ATTEMPTS_USED_UP, detail=detail)
            return
        # The first time it may go at once; an order that loses or fails call after call is to be no burden.
        times = known.lost_calls + known.ambiguous_failures
        due_at = desk.now if times <= 1 else desk.later(CANCEL_RETRIES.delay_s(times, desk.chance))
        changes: dict[str, Any] = {
            "waiting": Waiting.SEND_SLOT,
            "due_at": due_at,
            "failures": 0,
            "may_have_applied": False,
        }
        known = desk.step(known, Cause.STILL_CANCELABLE, detail="The earlier call had no effect.", **changes)
        if known.revoke_requested:
            desk.step(known, Cause.REVOKE_REQUESTED, detail="Revoked; the earlier call had no effect.")

    def _on_failure(self, desk: UnitOfWork) -> None:
        unknown = self.outcome is CancelOutcome.REFUSED
        counts = unknown or self.outcome is CancelOutcome.RETRY
        blind = self.outcome is CancelOutcome.INDETERMINATE
        for each in desk.aggregate.live:
            if blind and each.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                self._cannot_tell(desk, each)
                return
            if each.waiting in (Waiting.PROBE, Waiting.WEBHOOK):
                if unknown and each.state is State.SCHEDULED and not each.may_have_applied:
                    desk.step(each, Cause.ORDER_UNKNOWN, Source.PROVIDER, detail=self.failure)
                    return
                self._again(desk, each, Cause.PROBE_FAILED, self.failure, counts)
                return
        doubt, order = desk.aggregate.pending_probe, desk.aggregate.order.id
        if doubt is not None and (unknown or blind):
            data: dict[str, Any] = {"detail": self.failure}
            desk.emit(
                internal_event(self.account, order, PROBE_ABANDONED, self.attempt, self.now, Source.PROVIDER, data)
            )
        elif doubt is not None:
            failures = doubt.failures + (1 if counts else 0)
            due_at = desk.later(PROBE_RETRIES.delay_s(max(failures, 1), desk.chance, self.after_s))
            data = {"due_at": due_at.isoformat(), "counts": counts, "detail": self.failure}
            desk.emit(internal_event(self.account, order, PROBE_FAILED, self.attempt, self.now, Source.PROVIDER, data))

    def _cannot_tell(self, desk: UnitOfWork, known: Cancellation) -> None:
        if known.state is State.INDETERMINATE and decides(known):
            settle(desk, known, CANCEL_RETRIES, known.detail)
        elif known.state is State.SCHEDULED and not known.may_have_applied:
            # Then only the provider's answer can tell, so it is sent.
            changes: dict[str, Any] = {"waiting": Waiting.SEND_SLOT, "due_at": desk.now, "failures": 0}
            desk.step(known, Cause.PROBE_INCONCLUSIVE, detail=self.failure, **changes)
        elif known.waiting is Waiting.WEBHOOK:
            detail = f"Nobody told what became of it; settle it by hand. {self.failure}"
            desk.step(known, Cause.ATTEMPTS_USED_UP, detail=detail)
        else:
            waits: dict[str, Any] = {"waiting": Waiting.WEBHOOK, "due_at": desk.later(WEBHOOK_WAIT_S)}
            desk.step(known, Cause.PROBE_FAILED, detail=self.failure, **waits)

    def _again(self, desk: UnitOfWork, known: Cancellation, cause: Cause, detail: str, counts: bool) -> None:
        schedule = ACCEPTED_POLLS if known.state is State.ACCEPTED else PROBE_RETRIES
        failures = known.failures + (1 if counts else 0)
        if failures >= schedule.attempts and known.state is State.INDETERMINATE and decides(known):
            settle(desk, known, CANCEL_RETRIES, detail)
            return
        to_go_on = known.state is not State.ACCEPTED and known.deadline is not None and known.deadline > desk.now
        if failures >= schedule.attempts and not to_go_on:
            text = f"Its outcome could not be learned in {failures} probes; the last: {detail}"
            desk.step(known, Cause.ATTEMPTS_USED_UP, failures=failures, detail=text)
            return
        due_at = desk.later(schedule.delay_s(max(failures, 1), desk.chance, self.after_s))
        desk.step(known, cause, waiting=Waiting.PROBE, due_at=due_at, failures=failures, detail=detail)
