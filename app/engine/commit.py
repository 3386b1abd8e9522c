"""One group commit: decides the commands of several callers in one transaction, and gathers what is to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

from app.contract import Source
from app.core.aggregate import OrderAggregate, job_for
from app.core.attempt import Attempt
from app.core.commands import Command
from app.core.erasure import EraseOrder
from app.core.event import Event, internal_event
from app.core.event_types import LIMIT_NEAR, SENDING_PAUSED, SENDING_RESUMED, LimitNear, SendingChange
from app.core.limit_watch import LimitWatch
from app.core.outbound import examples
from app.core.outbound.message import Message
from app.core.outbound.outbox import Outbox, with_ids
from app.core.outbound.routing import Router
from app.core.outbound.types import CLOSING_SOON, QuarantineAdded
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, POLICIES, POLICY_SCOPE, Pause, Pauses
from app.core.policy.decide import events_to_consider
from app.core.policy.limits import PolicyUsage
from app.core.policy.model import Policy
from app.core.receipt_status import ReceiptStatus
from app.core.unit_of_work import AccountView
from app.engine.commit_traces import contexts_of
from app.engine.erasure import ErasedOrder, Erasures, PreparedErasure, erase, prepare
from app.engine.hot_orders import HotOrders
from app.engine.identity import TouchedOrders, names_of
from app.engine.order_unit import OrderUnit
from app.engine.policy_context import CommitPolicies
from app.kit.storable import storable
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import Changes, Expunged, FoundOrder, Receipt, RecheckOrders, Transaction

NO_ORDER = 0
"""The order number of events that are about no order."""
_UNSET = datetime.min  # noqa: DTZ901 - the time of a unit of work, until a command gives it one

R = TypeVar("R")


def no_latency(_account: str) -> float:
    """The latency where no lane measures any."""
    return 0.0


@dataclass(slots=True)
class Commit:
    """Decides on commands in turn. `changes` is what they change."""

    accounts: Callable[[str], AccountView]
    ids: Ids
    pauses: Pauses
    """What may not be sent; it changes as the commit goes on."""
    hot: HotOrders
    """Orders that need not be looked up in the store."""
    accounts_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Policy → the accounts that it applies to."""
    latency_s: Callable[[str], float] = no_latency
    """How long an account's calls have recently taken, in seconds."""
    router: Router = field(default_factory=Router)
    """Who receives which messages."""
    limits: LimitWatch = field(default_factory=LimitWatch)
    """Which limits of policies were said to be near; it changes as the commit goes on."""
    changes: Changes = field(default_factory=Changes)
    trace: str | None = None
    """The context of the trace that the present request belongs to, while tracing is on."""
    traces: dict[int, str] = field(default_factory=dict)
    """Order number → the context of the last request about it."""
    _orders: TouchedOrders = field(init=False)
    _stored: Mapping[int, FoundOrder] = field(default_factory=dict)
    _merged: set[int] = field(default_factory=set)
    _logged: set[str] = field(default_factory=set)
    """Ids of events that are in the log, those of this commit included."""
    _owned: frozenset[str] | None = None
    """The accounts for which this node may send; None: all."""
    _policies: CommitPolicies = field(init=False)
    _quarantined: list[tuple[int, Receipt]] = field(default_factory=list)
    """New receipts in quarantine, with the number of events before them."""
    _tests: list[Message] = field(default_factory=list)
    _slice: TimeSlice = field(default_factory=TimeSlice)

    def __post_init__(self) -> None:
        self._policies = CommitPolicies(self.ids, self.pauses, self.pause, self._note_usage)

    async def look_up(self, transaction: Transaction, commands: Sequence[Command[Any]]) -> None:
        """Load the order of every command. Raises `RefusedCommandsError` if some commands name two orders as one."""
        names_of_all = [names_of(command, frozenset()) for command in commands]
        names = dict.fromkeys(chain.from_iterable(names_of_all))
        facts = [event for command in commands for event in command.facts()]
        found = await self.hot.look_up(transaction, names, facts)
        self._logged = set(found.logged)
        orders = self._orders = TouchedOrders(transaction, self.ids, self._open, found.logged)
        self._stored, self._merged = orders.stored, orders.merged
        self._owned = transaction.owned
        await orders.add_stored(found.orders)
        await orders.resolve(commands, names_of_all)
        await orders.load_history(commands)
        governed = [(command, unit) for command in commands if (unit := self._unit_of(command)).account.policies]
        if governed:
            touched = [(unit, command.facts()) for command, unit in governed]
            await self._policies.look_up(transaction, touched, self.accounts_of, governed[-1][0].now)

    async def decide_all(self, commands: Sequence[Command[R]], chance: float) -> list[R]:
        """The results of one caller's commands, decided in turn.

        `chance` is uniform in [0, 1). The commands share it: orders that were sent as one call are probed as one.
        """
        results, shares_call = [], False
        for command in commands:
            result = await self._decide(command, chance)
            results.append(result)
            attempt = command.attempt_after(result)
            if attempt is not None:
                # Its order may have been merged since into one with another number.
                self.add_attempt(replace(attempt, order_pk=self._unit_of(command).number), shares_call=shares_call)
                shares_call = True
            if self._slice.is_over:
                await self._slice.pause()
        return results

    async def _decide(self, command: Command[R], chance: float) -> R:
        unit = self._unit_of(command)
        unit.now, unit.chance = command.now, chance
        unit.must_write |= command.forces_write
        if self.trace is not None:
            self.traces[unit.number] = self.trace
        before = len(unit.events)
        if command.reviews_policies:
            self._policies.review(unit)
        result = command.decide(unit)
        if unit.is_behind and (unit.live or unit.account.policies):
            await self._fold(unit)
        if unit.live:
            unit.react()
        if unit.account.policies:
            events = events_to_consider(command, unit.events[before:])
            if events is not None:
                unit.policies_decided = True
                unit.recheck_now = not self._policies.consider(unit, events)
        self.changes.events += [(unit.number, event) for event in unit.events[before:]]
        reason, unit.pause_reason = unit.pause_reason, None
        if reason is not None and ACCOUNT_SCOPE + command.account not in self.pauses:
            self.pause(
                Pause(ACCOUNT_SCOPE + command.account, storable(reason), command.now, BY_ITSELF), Source.PROVIDER
            )
        return result

    async def erase(
        self, commands: Sequence[EraseOrder], by: str, prepared: Sequence[PreparedErasure] = ()
    ) -> Erasures:
        """Erase orders. The commit must be about nothing else.

        Args:
            commands: name the orders.
            by: id of the event that records it.
            prepared: for each command; empty to prepare them here, while all others wait.

        Raises:
            ErasureOutdatedError: the log of an order is not what its erasure was prepared for.
        """
        erasures = Erasures()
        units = [self._unit_of(command) for command in commands]
        numbers = [unit.number for unit in units]
        marks = await self._orders.transaction.log_marks(numbers)
        logs = {} if prepared else await self._orders.transaction.logged(numbers)
        for place, (command, unit) in enumerate(zip(commands, units, strict=True)):
            unit.now = command.now
            mark, personal = marks[unit.number], unit.account.handler.personal
            if prepared:
                ready = prepared[place]
            else:
                ready = await prepare(unit.number, personal, mark, logs[unit.number], by)
            result = erase(unit, mark, ready, command)
            if not isinstance(result, ErasedOrder):
                erasures.refused.append(result)
                continue
            erasures.orders.append(result)
            self.changes.erased += result.events
            self.changes.cancellations += [(unit.number, cancellation) for cancellation in result.cancellations]
        return erasures

    def expunge(self, expunged: Expunged) -> None:
        """Expunge what is beside the log."""
        self.changes.expunged.append(expunged)

    def order_of(self, command: Command[Any]) -> tuple[int, str]:
        """(number, id) of the command's order."""
        unit = self._unit_of(command)
        return unit.number, unit.aggregate.order.id

    def add_own(self, command: Command[Any], event: Event) -> None:
        """Record an event of Rescind's own about the command's order."""
        unit = self._unit_of(command)
        unit.emit(event)
        self.changes.events.append((unit.number, event))

    def is_erased(self, commands: Sequence[Command[Any]]) -> bool:
        """Whether the personal data of an order that the commands are about was erased on request."""
        return any(self._unit_of(command).aggregate.erased_at is not None for command in commands)

    async def finish(self) -> Changes:
        """Fold late facts, once for all that came in this commit, and return everything to write."""
        for unit in self._orders.by_number.values():
            if self._slice.is_over:
                await self._slice.pause()
            if unit.is_behind:
                await self._fold(unit)
            if unit.is_changed:
                self._write(unit)
        if self.router:
            await self._tell()
        if self.traces:
            self.changes.traces = contexts_of(self.changes, self.traces)
        return self.changes

    def release(self) -> None:
        """Let go of what leads back to the commit: all of it is then freed at once.

        Left to the garbage collector, the commits of a second are a pause of a tenth.
        """
        with suppress(AttributeError):  # a commit that could not look up its orders has none
            del self._policies, self._orders

    async def write(self, transaction: Transaction) -> None:
        """Write all changes to disk."""
        self.hot.begin_writing()
        await transaction.commit(self.changes)

    def keep_hot(self) -> None:
        """Keep the orders for the next commits, once the transaction has ended well."""
        self.hot.update(self._stored, self.changes, self._merged)

    def add_receipt(self, receipt: Receipt, *, stored: bool = False) -> None:
        """Store a webhook's receipt; or, if it is `stored`, its new status and reason."""
        (self.changes.reprocessed if stored else self.changes.receipts).append(receipt)
        if receipt.status == ReceiptStatus.QUARANTINED and not stored:
            self._quarantined.append((len(self.changes.events), receipt))

    def add_attempt(self, attempt: Attempt, *, shares_call: bool = False) -> None:
        """Store an attempt, begun or ended. A call that several attempts share is counted with the first of them."""
        begun = attempt.ended_at is None
        self.changes.attempts.append(replace(attempt, calls=0) if shares_call and begun else attempt)

    def add_notice(self, event: Event) -> None:
        """Store an event that is about no order."""
        self.changes.events.append((NO_ORDER, event))

    def add_test(self, type: str, account: str | None, subscription: str | None, now: datetime) -> Message | None:
        """Send an example message, and return it; None if nobody receives it. See `Ledger.send_test`."""
        if subscription is None:
            targets = self.router.targets(type, account or "")
        else:
            target = self.router.target(subscription)
            targets = () if target is None else (target,)
        if not targets:
            return None
        message = examples.message(self.ids.next(), type, now, account, targets, test=True)
        self._tests.append(message)
        return message

    def pause(self, pause: Pause, source: Source = Source.OPERATOR) -> None:
        """Stop sending for a scope, from the next claim on."""
        self.pauses[pause.scope] = pause
        self.changes.pauses.append(pause)
        # What was paused last stays paused: all resumes are written after all pauses.
        self.changes.resumes = [scope for scope in self.changes.resumes if scope != pause.scope]
        self.add_notice(self._pause_event(SENDING_PAUSED, pause, source))

    def resume(self, resumption: Pause) -> None:
        """Send again for a scope."""
        scope = resumption.scope
        self.pauses.pop(scope, None)
        self.changes.resumes.append(scope)
        # Late rather than never: orders that policies could not act upon are checked again.
        policies = self.accounts_of if scope == POLICIES else {scope.removeprefix(POLICY_SCOPE)} & set(self.accounts_of)
        accounts = dict.fromkeys(account for policy in policies for account in self.accounts_of[policy])
        self.changes.rechecks += [RecheckOrders(account, resumption.since) for account in accounts]
        self.add_notice(self._pause_event(SENDING_RESUMED, resumption, Source.OPERATOR))

    def _unit_of(self, command: Command[Any]) -> OrderUnit:
        return self._orders.by_name[command.account, command.order]

    def _open(self, number: int, aggregate: OrderAggregate) -> OrderUnit:
        account = self.accounts(aggregate.order.account)
        return OrderUnit(
            aggregate,
            account,
            _UNSET,
            latency_s=self.latency_s(account.id),
            logged=self._logged,
            pauses=self.pauses,
            owned=self._owned is None or account.id in self._owned,
            number=number,
            had_job=job_for(aggregate) is not None,
            newest_at=aggregate.latest,
            stored_shared=frozenset(aggregate.order.shared_aliases),
            leads=self.router.leads(CLOSING_SOON, account.id) if self.router else (),
        )

    async def _tell(self) -> None:
        """Make the messages that follow from all changes."""
        outbox = Outbox(self.router, self.accounts_of, [event for _, event in self.changes.events])
        for unit in self._orders.by_number.values():
            if unit.is_changed and not unit.quiet:
                outbox.add_order(unit, unit.told, unit.closes_at(), unit.closing.due)
                await self._slice.pause()
        for number, event in self.changes.events:
            if number == NO_ORDER:
                outbox.add_notice(event)
        for place, receipt in self._quarantined:
            shown = ids.show(ids.RECEIPT, receipt.id)
            quarantined = QuarantineAdded(
                receipt=shown, endpoint=receipt.endpoint, reason=receipt.reason, received_at=receipt.received_at
            )
            outbox.add_quarantined(place, receipt.account, quarantined)
        self.changes.messages = [*with_ids(outbox.messages(), iter(self.ids.next, None)), *self._tests]

    async def _fold(self, unit: OrderUnit) -> None:
        time_slice = TimeSlice()
        while unit.fold():
            await time_slice.pause()

    def _write(self, unit: OrderUnit) -> None:
        changes = self.changes
        changes.orders.append(unit.write())
        recheck = self._policies.recheck(unit)
        if recheck is not None:
            changes.rechecks.append(recheck)
        if unit.new_names:
            changes.names.extend((account, name, unit.number) for account, name in sorted(unit.new_names))
        changes.shared_aliases.extend(set(unit.new_shared_aliases()))
        if unit.moved:
            changes.cancellations.extend((unit.number, cancellation) for cancellation in unit.moved.values())

    def _note_usage(self, policy: Policy, usage: PolicyUsage, now: datetime) -> None:
        """Record that a policy has used up most of a limit."""
        for name, used, maximum, period in policy.limits.used(usage):
            if self.limits.note(f"{policy.id} {name}", used, maximum, period, now):
                data = LimitNear(name, used, maximum, period.total_seconds(), policy.id)
                self.add_notice(internal_event("", "", LIMIT_NEAR, str(self.ids.next()), now, Source.CLOCK, data))

    def _pause_event(self, type: str, pause: Pause, source: Source) -> Event:
        account = pause.scope.removeprefix(ACCOUNT_SCOPE) if pause.scope.startswith(ACCOUNT_SCOPE) else ""
        data = SendingChange(pause.scope, pause.reason, pause.by)
        return internal_event(account, "", type, str(self.ids.next()), pause.since, source, data)
