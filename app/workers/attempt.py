"""One attempt at one or several jobs: claim them, carry out the handler's flow, record the result of each.

Several cancels of one account may leave as one call, if the handler takes them together. They are claimed in one
transaction, and each has its own result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

from app.config.resolve import Account
from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    HttpRequest,
    Order,
)
from app.core.aggregate import Job, JobKind
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation
from app.core.commands import AttemptCommand, CheckFence, ClaimJob, ReleaseClaim
from app.core.lane.unreachable import Unreachable
from app.core.results import Interrupted, RecordProbe, RecordProbeBefore, RecordResult, asked_at
from app.engine.identity import NameClashError
from app.engine.request import LedgerClosedError
from app.kit.storable import storable
from app.runtime import ids, metrics, tracing
from app.runtime.http_client import EXCERPT, CallFailedError, Conversation, Fence, Permit, converse
from app.runtime.redaction import Redactor
from app.runtime.uptime import boottime, uptime
from app.store import StoreError
from app.store.node_protocol import CLAIM_S
from app.workers.flow_memory import FlowMemory
from app.workers.lane_tools import Tools
from app.workers.rate_gate import HeldBackError, RateGate, require_lease
from app.workers.result import (
    Result,
    Sent,
    as_separate_results,
    detail_of,
    no_response,
    outcome_of,
    redacted,
)

LEASE_S = 120.0
STORE_RETRY_S = 1.0
NOT_SENT = "not_sent"
DIED = "An unexpected error ended the attempt"
_CLIENT_ERROR = 4
"""4xx: the call was wrong."""
_ANSWERED = (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED, CancelOutcome.REFUSED)
_UNDERSTOOD = (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED, CancelOutcome.PROBE_FIRST)
_WITHOUT_CALL = (CancelOutcome.REFUSED, CancelOutcome.PROBE_FIRST)
"""Outcomes that a handler may give without a call: then they say nothing about the provider."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Part:
    """One job of the attempt, claimed."""

    job: Job
    record: Attempt
    name: str
    """The attempt's id, as it is shown."""
    order: Order
    cancellation: Cancellation | None
    latest: datetime | None
    """See `Granted.latest`."""
    request: CancelRequest | None
    """See `Granted.request`."""


@dataclass(slots=True)
class AttemptRunner:
    """One attempt at `jobs`, which are all of one kind."""

    jobs: Sequence[tuple[int, Job]]
    gate: RateGate
    tools: Tools
    account: Account
    memory: FlowMemory
    """The account's, under that configuration."""
    claimed_at: float = 0.0
    """By `boottime`, from before the claim that is good now."""

    async def run(self) -> Sent:
        """Claim the jobs, send what is granted, and record the results."""
        if not tracing.on:
            return await self._run()
        ids = [job.cancellation for _, job in self.jobs if job.cancellation is not None]
        contexts, first = list((await self.tools.store.trace_contexts(ids)).values()), self.jobs[0][1]
        about = {"account": first.account, "order": first.order, "cancellation": first.cancellation}
        parent, others, attributes = next(iter(contexts), None), contexts[1:], tracing.named(about)
        with tracing.span(f"attempt {first.kind}", parent=parent, others=others, attributes=attributes):
            return await self._run()

    async def _run(self) -> Sent:
        account, began_at, began = self.account, datetime.now(UTC), time.monotonic()
        parts = await self._claim(began_at)
        if not parts:
            return Sent(0, ok=True)
        context = self.memory.context(began_at)
        conversation = Conversation(concealed=context.concealed)
        try:
            return await self._carry_out(account, parts, conversation, context, began)
        except LedgerClosedError:
            raise
        except Exception:
            log.exception("attempt_died", account=account.spec.id, orders=len(parts))
            await self._record_death(parts, conversation)
            return Sent(conversation.calls, ok=None)

    async def _carry_out(
        self, account: Account, parts: Sequence[_Part], conversation: Conversation, context: Context, began: float
    ) -> Sent:
        bind_contextvars(**_ids_of(parts))
        kind, began_at = parts[0].job.kind, context.now
        try:
            results = as_separate_results(await self._converse(account, parts, conversation, context))
        except HeldBackError:
            self.gate.hold(context.hold_s)
            await self._release(parts, conversation)
            return Sent(len(conversation.exchanges), ok=True, held_back=True)
        self.gate.hold(context.hold_s)
        outcomes = [outcome_of(result) for result in results]
        if conversation.calls:  # else the attempt that made the call for this one, too, learns from it
            self._note_outcome(outcomes, results)
        details = ["" if isinstance(result, Facts) else detail_of(result) for result in results]
        if tracing.on:
            tracing.annotate(outcome=outcomes[0])
        for outcome in outcomes:
            metrics.CALLS.labels(account.spec.id, kind, outcome).inc()
        # One moment for all, so that what is due next is due together again.
        now, took_s = datetime.now(UTC), time.monotonic() - began
        records = self._ended(parts, outcomes, details, conversation)
        commands = [
            self._command(part, result, asked_at(began_at, took_s, now, part.latest), now, account.version, record)
            for part, result, record in zip(parts, results, records, strict=True)
        ]
        await self._record(commands)
        without_call = not conversation.exchanges and all(outcome in _WITHOUT_CALL for outcome in outcomes)
        if without_call or not conversation.calls:
            return Sent(0, ok=True)
        failed = all(outcome in (CancelOutcome.RETRY, CancelOutcome.INDETERMINATE) for outcome in outcomes)
        misdirected = failed and any(not isinstance(result, Facts) and result.misdirected for result in results)
        return Sent(
            calls=conversation.calls,
            ok=not failed,
            unreachable=Unreachable.MISDIRECTED if misdirected else conversation.unreachable,
            detail=storable(self.tools.redactor.clean(next(filter(None, details), ""))) if failed else "",
            retry_alone=_to_retry_alone(parts, results, conversation),
        )

    async def _claim(self, began_at: datetime) -> list[_Part]:
        claims = []
        for pk, job in self.jobs:
            number = self.tools.ids.next()
            record = Attempt(number, pk, job.account, job.order, job.kind, job.cancellation, began_at)
            name = ids.show(ids.ATTEMPT, number)
            asked = job.account, job.order, began_at, name, job.kind, job.cancellation, LEASE_S
            claims.append((job, record, ClaimJob(*asked, poll=job.poll, record=record)))
        self.claimed_at = boottime()
        results = await self.tools.ledger.execute_all([claim for _, _, claim in claims])
        return [
            _Part(job, record, claim.attempt, granted.order, granted.cancellation, granted.latest, granted.request)
            for (job, record, claim), granted in zip(claims, results, strict=True)
            if granted is not None
        ]

    async def _converse(
        self, account: Account, parts: Sequence[_Part], conversation: Conversation, context: Context
    ) -> list[Result]:
        """Carry the flow out; whatever goes wrong becomes a result. Raises `HeldBackError`."""
        cancels = parts[0].job.kind is JobKind.CANCEL
        try:
            flow: Any = self._flow(account, parts, context)
            permit, fence = self._permit(parts, conversation), self._fence(parts, conversation)
            shared, save = self.memory.shared, self.memory.durable.save
            results: Sequence[Result] = await converse(
                flow, self.tools.session, conversation, permit, fence, shared=shared, save=save
            )
            if len(results) != len(parts):
                raise ValueError(f"it gave {len(results)} results for {len(parts)} orders")  # noqa: TRY301 - as any failure
        except CallFailedError as error:
            results = [no_response(cancels, str(error), may_have_applied=error.may_have_applied)] * len(parts)
        except HeldBackError:
            raise
        except (StoreError, LedgerClosedError) as error:
            # The fence could not be asked: nothing more was sent.
            raise HeldBackError from error
        except Exception as error:
            log.exception("handler_failed", account=account.spec.id, flow=parts[0].job.kind)
            detail = f"The handler failed: {type(error).__name__}: {error}"
            results = [no_response(cancels, detail, may_have_applied=bool(conversation.exchanges))] * len(parts)
        if context.concealed:
            fetched = Redactor(context.concealed)
            results = [redacted(result, fetched) for result in results]
        return [redacted(result, self.tools.redactor) for result in results]

    def _flow(self, account: Account, parts: Sequence[_Part], context: Context) -> Any:
        handler = account.handler
        if parts[0].job.kind is JobKind.CANCEL:
            requests = [part.request for part in parts if part.request is not None]
            return handler.cancel(requests, account.config, context)
        if handler.probe is None:
            raise CallFailedError("The provider cannot be asked how an order stands.", may_have_applied=False)
        return handler.probe([part.order for part in parts], account.config, context)

    def _permit(self, parts: Sequence[_Part], conversation: Conversation) -> Permit:
        """The first call has the place that its job took; each further call waits for a place of its own."""

        async def permit(_: HttpRequest) -> None:
            if not conversation.exchanges:
                return
            await self.gate.acquire_next()
            # On disk before it is made: a new process counts calls whose end was not recorded.
            await self.tools.ledger.record_attempt(replace(parts[0].record, calls=len(conversation.exchanges) + 1))

        return permit

    def _fence(self, parts: Sequence[_Part], conversation: Conversation) -> Fence:
        """Ask the ledger again before the first byte of a call that may cancel something.

        The moment of sending is the first byte, and since the claim it may have taken long to connect, to wait for a
        place, or for a call that another attempt makes for this one too. If the first call goes out on a connection
        that stood, nothing was awaited: the claim is the fence, and is not asked twice, unless the process was stopped
        meanwhile. What is looked at last, right before the first byte, needs no answer from the database: a process
        that was stopped for long has lost its lease.
        """

        async def fence(request: HttpRequest, waited: bool) -> None:
            if not (request.repeatable or parts[0].job.kind is not JobKind.CANCEL):
                first = not waited and not conversation.exchanges and not conversation.joined
                if not first or self._is_late():
                    await ask()
                if self._is_late():
                    raise HeldBackError
            require_lease(self.tools.store)

        async def ask() -> None:
            now = datetime.now(UTC)
            self.claimed_at = boottime()
            checks = [
                CheckFence(part.job.account, part.job.order, now, part.name, str(part.job.cancellation))
                for part in parts
            ]
            granted = await self.tools.ledger.execute_all(checks)
            if not all(granted):
                raise HeldBackError

        return fence

    def _is_late(self) -> bool:
        return boottime() - self.claimed_at > CLAIM_S

    def _note_outcome(self, outcomes: Sequence[CancelOutcome], results: Sequence[Result]) -> None:
        if CancelOutcome.THROTTLED not in outcomes:
            self.gate.note_outcome(outcomes[0], None)
            return
        waits = [
            result.after_s
            for result, outcome in zip(results, outcomes, strict=True)
            if outcome is CancelOutcome.THROTTLED and not isinstance(result, Facts) and result.after_s is not None
        ]
        self.gate.note_outcome(CancelOutcome.THROTTLED, max(waits, default=None))

    async def _release(self, parts: Sequence[_Part], conversation: Conversation) -> None:
        """The fence held the call back: the cancels wait for their turn again, if the window is still open."""
        records = self._ended(parts, [NOT_SENT] * len(parts), [""] * len(parts), conversation)
        now = datetime.now(UTC)
        await self._record(
            [
                ReleaseClaim(
                    part.job.account, part.job.order, now, part.name, str(part.job.cancellation), record=record
                )
                for part, record in zip(parts, records, strict=True)
            ]
        )

    async def _record_death(self, parts: Sequence[_Part], conversation: Conversation) -> None:
        """Record that an unexpected error ended the attempt: the outcome of its calls is unknown, as after a crash."""
        now, calls = datetime.now(UTC), conversation.calls
        ended = [part.record.interrupted(now, uptime(), f"{DIED}.") for part in parts]
        records = [replace(record, calls=0 if number else calls) for number, record in enumerate(ended)]
        await self._record(
            [
                Interrupted(part.job.account, part.job.order, now, DIED, part.name, record=record)
                for part, record in zip(parts, records, strict=True)
            ]
        )

    def _command(
        self, part: _Part, result: Result, asked: datetime, now: datetime, version: int, record: Attempt
    ) -> AttemptCommand[None]:
        about = part.job.account, part.job.order, now, part.name
        if isinstance(result, CancelResult):
            if result.outcome is CancelOutcome.PROBE_FIRST and result.facts is not None:
                id = str(part.job.cancellation)
                return RecordProbeBefore(*about, asked, result.facts, cancellation=id, record=record)
            pk = part.record.order_pk
            if result.outcome in _ANSWERED:
                self.gate.note_answer(pk)
            others_at, down = self.gate.others_answered_at(pk), self.gate.down
            return RecordResult(*about, str(part.job.cancellation), result, version, others_at, down, record=record)
        if isinstance(result, Facts):
            return RecordProbe(*about, asked, snapshot=result, record=record)
        return RecordProbe(*about, asked, None, str(result), result.outcome, result.after_s, version, record=record)

    def _ended(
        self, parts: Sequence[_Part], outcomes: Sequence[str], details: Sequence[str], conversation: Conversation
    ) -> list[Attempt]:
        """The records of the attempt. Calls made for all orders are counted, and shown, with the first of them."""
        clean = self.tools.redactor.clean
        calls, now, up = conversation.calls, datetime.now(UTC), uptime()
        shown = [self._redact_exchange(exchange) for exchange in conversation.exchanges]
        if all(outcome in _UNDERSTOOD for outcome in outcomes):
            # A response that was understood needs no proof, and may hold people's names and addresses.
            shown = [_without_response(exchange) for exchange in shown]
        brief = [{**_without_response(exchange), "shared_with": parts[0].name} for exchange in shown]
        return [
            part.record.ended(
                now,
                up,
                str(outcomes[number]),
                calls=(len(conversation.exchanges) if outcomes[number] == NOT_SENT else calls) if number == 0 else 0,
                detail=storable(clean(details[number])),
                exchanges=shown if number == 0 else brief,
            )
            for number, part in enumerate(parts)
        ]

    async def _record(self, commands: Sequence[AttemptCommand[None]]) -> None:
        """Record the results of a call, however long the database takes: nobody else knows them."""
        while True:
            try:
                await self.tools.ledger.execute_all(commands)
            except StoreError as error:
                log.warning("result_waits", account=commands[0].account, error=str(error))
                await asyncio.sleep(STORE_RETRY_S)
            except LedgerClosedError:
                raise
            except Exception as error:
                if len(commands) > 1:
                    # One of them may have failed them all.
                    for command in commands:
                        await self._record([command])
                    return
                [command] = commands
                if isinstance(error, NameClashError):
                    # It is about the order that was asked for; that this is another order too is not believed.
                    log.warning("alias_refused", account=command.account, order=command.order, error=str(error))
                    commands = [command.without_aliases()]
                    continue
                # What the handler read cannot be recorded. That there was a call must be.
                log.exception("result_not_recorded", account=command.account)
                bare = command.without_facts(f"The response could not be recorded: {type(error).__name__}")
                if bare == command:
                    raise
                commands = [bare]
            else:
                return

    def _redact_exchange(self, exchange: dict[str, Any]) -> dict[str, Any]:
        """Secrets are taken out before it is cut: a part of a secret would not be recognized."""
        clean = self.tools.redactor.clean
        return {key: clean(value)[:EXCERPT] if isinstance(value, str) else value for key, value in exchange.items()}


def _without_response(exchange: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in exchange.items() if key != "answer"}


def _ids_of(parts: Sequence[_Part]) -> dict[str, str]:
    """What log lines within an attempt are about: the first of its orders."""
    first = parts[0]
    ids = {"account": first.job.account, "order": first.job.order, "attempt": first.name}
    return ids if first.job.cancellation is None else {**ids, "cancellation": first.job.cancellation}


def _to_retry_alone(parts: Sequence[_Part], results: Sequence[Result], conversation: Conversation) -> frozenset[int]:
    rejected = bool(conversation.exchanges) and conversation.exchanges[-1].get("status", 0) // 100 == _CLIENT_ERROR
    if len(parts) == 1 or not rejected:
        return frozenset()
    pairs = zip(parts, results, strict=True)
    return frozenset(part.record.order_pk for part, result in pairs if outcome_of(result) is CancelOutcome.RETRY)
