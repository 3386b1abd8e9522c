"""One attempt at one or several jobs: claim them, carry the handler's flow out, record what came of each.

Several cancels of one account may leave as one call, where the handler takes them together. They are
claimed in one transaction, and each has its own result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import aiohttp
import structlog

from app.config.resolve import Account
from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    HttpRequest,
)
from app.core.aggregate import Job, JobKind
from app.core.attempt import Attempt
from app.core.commands import CheckFence, ClaimJob, Command, Granted, ReleaseClaim
from app.core.lane.unreachable import Unreachable
from app.core.results import Interrupted, RecordProbe, RecordResult, asked_at
from app.engine.ledger import Ledger, LedgerClosedError, Submission
from app.engine.linking import NameClashError
from app.runtime import ids, metrics
from app.runtime.http_client import EXCERPT, CallFailedError, Conversation, Fence, Permit, converse
from app.runtime.redaction import Redactor
from app.runtime.uptime import uptime
from app.store import Store, StoreError
from app.workers.result import (
    Result,
    cleaned,
    detail_of,
    no_answer,
    of_each,
    outcome_of,
    without_aliases,
    without_facts,
)

LEASE_S = 120.0
STORE_RETRY_S = 1.0
NOT_SENT = "not_sent"
DIED = "An error that nobody foresaw ended the attempt"
_TURNED_DOWN = 4
"""The class of HTTP statuses that say: the call was wrong."""
_ANSWERED = (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED, CancelOutcome.REFUSED)
_UNDERSTOOD = (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED)
_UNSENT = (CancelOutcome.REFUSED, CancelOutcome.PROBE_FIRST)
"""What a handler may say of an order without a call, which is no word of the provider's."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What every lane works with."""

    store: Store
    ledger: Ledger
    session: aiohttp.ClientSession
    redactor: Redactor
    ids: ids.Ids


class Pace(Protocol):
    """The lane's side of an attempt."""

    account: Account
    """As it is now; it may change while a call is out."""

    async def another(self) -> None:
        """Wait for a place for one more call, in exchange for the place of the call before."""
        ...

    @property
    def down(self) -> bool:
        """The provider fails, whichever order is asked about."""
        ...

    def answered(self, order: int) -> None:
        """A cancel of the order of that number was answered, and not with a failure."""
        ...

    def others_at(self, order: int) -> datetime | None:
        """When a cancel of any other order last was."""
        ...

    def heed(self, outcome: CancelOutcome, after_s: float | None) -> None:
        """An answer says this of the account as a whole."""
        ...

    def hold(self, wait_s: float) -> None:
        """The provider asks the account not to call for so long."""
        ...


class HeldBackError(Exception):
    """The fence did not let the call pass."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of an attempt, for the lane."""

    calls: int
    ok: bool | None
    """The provider worked; None: nobody knows."""
    unreachable: Unreachable | None = None
    """What kept the last call from the provider."""
    detail: str = ""
    """What went wrong, if it did."""
    apart: frozenset[int] = frozenset()
    """Numbers of orders that were turned down together: perhaps only one was at fault, so each is tried alone."""
    held_back: bool = False
    """The place that was taken last was not used: its call was not made."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One job of the attempt, claimed."""

    job: Job
    row: Attempt
    name: str
    order: Any
    cancellation: Any
    latest: datetime | None
    """See `Granted.latest`."""


@dataclass(slots=True)
class AttemptRunner:
    """One attempt at `jobs`, which are all of one kind."""

    jobs: Sequence[tuple[int, Job]]
    pace: Pace
    tools: Tools
    memory: dict[str, tuple[datetime, Any]]

    async def run(self) -> Sent:
        """Claim the jobs, send what is granted, and record what came of it."""
        account, began_at, began = self.pace.account, datetime.now(UTC), time.monotonic()
        parts = await self._claim(began_at)
        if not parts:
            return Sent(0, ok=True)
        conversation = Conversation()
        try:
            return await self._carry_out(account, parts, conversation, began_at, began)
        except LedgerClosedError:
            raise
        except Exception:
            log.exception("attempt_died", account=account.spec.id, orders=len(parts))
            await self._bury(parts, conversation)
            return Sent(max(1, len(conversation.exchanges)), ok=None)

    async def _carry_out(
        self, account: Account, parts: Sequence[_Part], conversation: Conversation, began_at: datetime, began: float
    ) -> Sent:
        context, kind = Context(began_at, uuid4().hex, self.memory), parts[0].job.kind
        try:
            results = of_each(await self._talk(account, parts, conversation, context))
        except HeldBackError:
            self.pace.hold(context.hold_s)
            entries: list[Command] = [
                ReleaseClaim(each.job.account, each.job.order, datetime.now(UTC), each.name, str(each.job.cancellation))
                for each in parts
            ]
            await self._settle(entries, self._ended(parts, [NOT_SENT] * len(parts), [""] * len(parts), conversation))
            return Sent(len(conversation.exchanges), ok=True, held_back=True)
        self.pace.hold(context.hold_s)
        outcomes = [outcome_of(each) for each in results]
        self._heed(outcomes, results)
        details = ["" if isinstance(each, Facts) else detail_of(each) for each in results]
        for outcome in outcomes:
            metrics.CALLS.labels(account.spec.id, kind, outcome).inc()
        # All of one moment, so that what is due next is due together again.
        now = datetime.now(UTC)
        took_s = time.monotonic() - began
        asked = [asked_at(began_at, took_s, now, each.latest) for each in parts]
        entries = [self._entry(*each, now, account.version) for each in zip(parts, results, asked, strict=True)]
        await self._settle(entries, self._ended(parts, outcomes, details, conversation))
        if not conversation.exchanges and all(each in _UNSENT for each in outcomes):
            return Sent(0, ok=True)
        failed = all(each in (CancelOutcome.RETRY, CancelOutcome.INDETERMINATE) for each in outcomes)
        astray = failed and any(not isinstance(each, Facts) and each.misdirected for each in results)
        unreachable = Unreachable.MISDIRECTED if astray else conversation.unreachable
        detail = next((each for each in details if each), "") if failed else ""
        apart = _to_part(parts, results, conversation)
        return Sent(
            max(1, len(conversation.exchanges)), not failed, unreachable, self.tools.redactor.clean(detail), apart
        )

    async def _claim(self, began_at: datetime) -> list[_Part]:
        rows, claims = [], []
        for pk, job in self.jobs:
            number = self.tools.ids.next()
            rows.append(Attempt(number, pk, job.account, job.order, job.kind, job.cancellation, began_at))
            name = ids.show(ids.ATTEMPT, number)
            claims.append(
                ClaimJob(job.account, job.order, began_at, name, job.kind, job.cancellation, LEASE_S, poll=job.poll)
            )
        recorded = await self.tools.ledger.record(Submission(claims, attempts=rows))
        parts = []
        for (_, job), row, claim, granted in zip(self.jobs, rows, claims, recorded.results, strict=True):
            if isinstance(granted, Granted):
                parts.append(_Part(job, row, claim.attempt, granted.order, granted.cancellation, granted.latest))
        return parts

    async def _talk(
        self, account: Account, parts: Sequence[_Part], conversation: Conversation, context: Context
    ) -> list[Result]:
        """Carry the flow out; whatever goes wrong becomes a result. Raises `HeldBackError`."""
        cancels = parts[0].job.kind is JobKind.CANCEL
        try:
            flow: Any = self._flow(account, parts, context)
            permit, fence = self._permit(parts, conversation), self._fence(parts, conversation)
            found: Sequence[Result] = await converse(flow, self.tools.session, conversation, permit, fence)
            if len(found) != len(parts):
                raise ValueError(f"it gave {len(found)} results for {len(parts)} orders")  # noqa: TRY301 - as any failure
        except CallFailedError as error:
            found = [no_answer(cancels, str(error), lost=error.lost)] * len(parts)
        except HeldBackError:
            raise
        except (StoreError, LedgerClosedError) as error:
            # The fence could not be asked: nothing more was sent.
            raise HeldBackError from error
        except Exception as error:
            log.exception("handler_failed", account=account.spec.id, flow=parts[0].job.kind)
            detail = f"The handler failed: {type(error).__name__}: {error}"
            found = [no_answer(cancels, detail, lost=bool(conversation.exchanges))] * len(parts)
        return [cleaned(each, self.tools.redactor) for each in found]

    def _flow(self, account: Account, parts: Sequence[_Part], context: Context) -> Any:
        handler = account.handler
        if parts[0].job.kind is JobKind.CANCEL:
            wishes = [CancelRequest(each.order, each.cancellation.reason, each.cancellation.note) for each in parts]
            return handler.cancel(wishes, account.config, context)
        if handler.probe is None:
            raise CallFailedError("The provider cannot be asked how an order stands.", lost=False)
        return handler.probe([each.order for each in parts], account.config, context)

    def _permit(self, parts: Sequence[_Part], conversation: Conversation) -> Permit:
        """The first call has the place that its job took; each further one waits for a place of its own."""

        async def permit(_: HttpRequest) -> None:
            if not conversation.exchanges:
                return
            await self.pace.another()
            # On disk before it is made: a new process counts what it was not told the end of.
            made = replace(parts[0].row, calls=len(conversation.exchanges) + 1)
            await self.tools.ledger.record(Submission(attempts=[made]))

        return permit

    def _fence(self, parts: Sequence[_Part], conversation: Conversation) -> Fence:
        """Ask the ledger again before the first byte of a call that may cancel something.

        The moment of sending is the first byte, and connecting or waiting for a place may have taken long since the
        claim. Where the first call goes out on a connection that stood, nothing was awaited since: the claim is the
        fence, and is not asked twice.
        """

        async def fence(request: HttpRequest, waited: bool) -> None:
            if request.repeatable or parts[0].job.kind is not JobKind.CANCEL:
                return
            if not waited and not conversation.exchanges:
                return
            now = datetime.now(UTC)
            checks = [
                CheckFence(each.job.account, each.job.order, now, each.name, str(each.job.cancellation))
                for each in parts
            ]
            if not all((await self.tools.ledger.record(Submission(checks))).results):
                raise HeldBackError

        return fence

    def _heed(self, outcomes: Sequence[CancelOutcome], results: Sequence[Result]) -> None:
        throttled = [
            each for each, outcome in zip(results, outcomes, strict=True) if outcome is CancelOutcome.THROTTLED
        ]
        if throttled:
            waits = [each.after_s for each in throttled if not isinstance(each, Facts) and each.after_s is not None]
            self.pace.heed(CancelOutcome.THROTTLED, max(waits, default=None))
        else:
            self.pace.heed(outcomes[0], None)

    async def _bury(self, parts: Sequence[_Part], conversation: Conversation) -> None:
        """It failed in a way that nobody foresaw: what came of the calls is as unknown as after a crash."""
        now, calls = datetime.now(UTC), max(1, len(conversation.exchanges))
        entries = [Interrupted(each.job.account, each.job.order, now, DIED, each.name) for each in parts]
        rows = [each.row.interrupted(now, uptime(), f"{DIED}.") for each in parts]
        counted = [replace(each, calls=0 if number else calls) for number, each in enumerate(rows)]
        await self._settle(entries, counted)

    def _entry(self, part: _Part, result: Result, asked: datetime, now: datetime, version: int) -> Command:
        job = part.job
        if isinstance(result, CancelResult):
            pk, told = part.row.order_pk, (part.name, str(job.cancellation), result, version)
            if result.outcome in _ANSWERED:
                self.pace.answered(pk)
            return RecordResult(job.account, job.order, now, *told, self.pace.others_at(pk), self.pace.down)
        if isinstance(result, Facts):
            return RecordProbe(job.account, job.order, now, part.name, asked, snapshot=result)
        said: dict[str, Any] = {"failure": str(result), "outcome": result.outcome, "after_s": result.after_s}
        said["version"] = version
        return RecordProbe(job.account, job.order, now, part.name, asked, **said)

    def _ended(
        self, parts: Sequence[_Part], outcomes: Sequence[str], details: Sequence[str], conversation: Conversation
    ) -> list[Attempt]:
        """The rows of the attempt. Calls made for all are counted, and their answers kept, with the first."""
        clean = self.tools.redactor.clean
        calls, now, up = len(conversation.exchanges), datetime.now(UTC), uptime()
        shown = [self._clean(each) for each in conversation.exchanges]
        if all(outcome in _UNDERSTOOD for outcome in outcomes):
            # What was understood needs no proof, and may hold people's names and addresses.
            shown = [{key: value for key, value in each.items() if key != "answer"} for each in shown]
        brief = [{**{k: v for k, v in each.items() if k != "answer"}, "shared_with": parts[0].name} for each in shown]
        return [
            each.row.ended(
                now,
                up,
                str(outcomes[number]),
                calls=(calls if outcomes[number] == NOT_SENT else max(1, calls)) if number == 0 else 0,
                detail=clean(details[number]),
                exchanges=shown if number == 0 else brief,
            )
            for number, each in enumerate(parts)
        ]

    async def _settle(self, entries: Sequence[Command], rows: Sequence[Attempt]) -> None:
        """Record what came of a call, however long the database takes: nobody else knows it."""
        while True:
            try:
                await self.tools.ledger.record(Submission(entries, attempts=rows))
            except StoreError as error:
                log.warning("answer_waits", account=rows[0].account, error=str(error))
                await asyncio.sleep(STORE_RETRY_S)
            except LedgerClosedError:
                raise
            except Exception as error:
                if len(entries) > 1:
                    # One may have spoiled it for all.
                    for entry, row in zip(entries, rows, strict=True):
                        await self._settle([entry], [row])
                    return
                if isinstance(error, NameClashError):
                    # It answered about the order that it was asked for; that this is another one too is not believed.
                    log.warning("alias_refused", account=rows[0].account, order=rows[0].order, error=str(error))
                    entries = [without_aliases(entries[0])]
                    continue
                # What the handler read out of it cannot be recorded. That there was a call must be.
                log.exception("answer_unfit", account=rows[0].account)
                bare = without_facts(entries[0], error)
                if bare == entries[0]:
                    raise
                entries = [bare]
            else:
                return

    def _clean(self, exchange: dict[str, Any]) -> dict[str, Any]:
        """Secrets are taken out before it is cut: a part of one would not be known any more."""
        clean = self.tools.redactor.clean
        return {key: clean(value)[:EXCERPT] if isinstance(value, str) else value for key, value in exchange.items()}


def _to_part(parts: Sequence[_Part], results: Sequence[Result], conversation: Conversation) -> frozenset[int]:
    refused = bool(conversation.exchanges) and conversation.exchanges[-1].get("status", 0) // 100 == _TURNED_DOWN
    if len(parts) == 1 or not refused:
        return frozenset()
    pairs = zip(parts, results, strict=True)
    return frozenset(part.row.order_pk for part, each in pairs if outcome_of(each) is CancelOutcome.RETRY)
