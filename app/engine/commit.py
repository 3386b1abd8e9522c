"""One transaction's work: the cases it touches, each on its desk, and what is to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.contract import Source
from app.core.aggregate import PAUSED, RESUMED, OrderAggregate, job_for
from app.core.attempt import Attempt
from app.core.cancellation import State
from app.core.commands import Approve, CheckFence, ClaimJob, Command, FireTimer
from app.core.event import Event, internal_event
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, POLICIES, POLICY_SCOPE, Pause, Pauses
from app.core.policy.decide import events_to_consider, next_check_at
from app.core.policy.duplicates import fingerprint_of
from app.core.unit_of_work import AccountView, UnitOfWork
from app.engine.linking import Links, Slot, names_of
from app.engine.policy_context import CommitPolicies
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import Changes, Name, OrderWrite, Receipt, RecheckOrders, Transaction

NO_ORDER = 0
"""The order number of events that are about no order."""


@dataclass(slots=True)
class Commit:
    """Decides on entries in turn, and gathers what they change."""

    accounts: Callable[[str], AccountView]
    ids: Ids
    pauses: Pauses
    """What may not send, by scope; changes as the batch goes on."""
    accounts_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Policy → the accounts that it speaks of."""
    latencies: Mapping[str, float] = field(default_factory=dict)
    """Account → how long its calls have taken of late, in seconds."""
    receipts: list[Receipt] = field(default_factory=list)
    reprocessed: list[Receipt] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    _slots: dict[Name, Slot] = field(default_factory=dict)
    _events: list[tuple[int, Event]] = field(default_factory=list)
    _pauses: list[Pause] = field(default_factory=list)
    _resumes: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _rechecks: list[RecheckOrders] = field(default_factory=list)
    _policies: CommitPolicies = field(init=False)

    def __post_init__(self) -> None:
        self._policies = CommitPolicies(self.ids, self.pauses, self.pause)

    async def look_up(self, transaction: Transaction, entries: Sequence[Command]) -> None:
        """Put the case of every entry on a desk. Raises `ClashesError` if some entries name two orders as one."""
        names = dict.fromkeys(name for entry in entries for name in names_of(entry, frozenset()))
        found = await transaction.find(list(names), [event for entry in entries for event in entry.facts()])
        self._known = set(found.logged)
        links = Links(transaction, self.ids, self._desk, found.logged)
        links.take(found.orders)
        await links.link(entries)
        await links.load_history(entries)
        self._slots = links.slots
        governed = [(entry, slot) for entry in entries if (slot := self._slot_of(entry)).desk.account.policies]
        if governed:
            touched = [(slot.pk, slot.desk, entry.facts()) for entry, slot in governed]
            await self._policies.look_up(transaction, touched, self.accounts_of, governed[-1][0].now)

    async def decide(self, entry: Command, chance: float) -> tuple[Any, int]:
        """What the entry decides, and how many events that made; `chance` is uniform in [0, 1)."""
        slot = self._slot_of(entry)
        desk = slot.desk
        if isinstance(entry, (ClaimJob, CheckFence)) and self._is_held(entry, desk):
            return None, 0
        desk.now, desk.chance = entry.now, chance
        slot.changed |= isinstance(entry, FireTimer)
        before = len(desk.events)
        if isinstance(entry, (ClaimJob, CheckFence, Approve)):
            self._policies.review(desk)
        result = entry.decide(desk)
        if desk.is_behind and (desk.live or desk.account.policies):
            await self._catch_up(desk)
        if desk.live:
            desk.react()
        if desk.account.policies:
            events = events_to_consider(entry, desk.events[before:])
            if events is not None:
                slot.weighed = True
                slot.again = not self._policies.consider(desk, events)
        new = desk.events[before:]
        self._events.extend((slot.pk, event) for event in new)
        if desk.pause is not None and ACCOUNT_SCOPE + entry.account not in self.pauses:
            self.pause(Pause(ACCOUNT_SCOPE + entry.account, desk.pause, entry.now, BY_ITSELF), Source.PROVIDER)
        desk.pause = None
        return result, len(new)

    async def settle(self) -> None:
        """Fold what came late, once for all that the batch brought; to be done before `changes`."""
        for slot in self._slots.values():
            if slot.desk.is_behind:
                await self._catch_up(slot.desk)

    async def _catch_up(self, desk: UnitOfWork) -> None:
        breather = TimeSlice()
        while desk.fold():
            await breather.pause()

    def number_of(self, entry: Command) -> int:
        """The number of the order that the entry is about."""
        return self._slot_of(entry).pk

    def _slot_of(self, entry: Command) -> Slot:
        return self._slots[entry.account, entry.order]

    def _is_held(self, entry: ClaimJob | CheckFence, desk: UnitOfWork) -> bool:
        """Does a pause forbid the call? One of policies does not keep back what was sent from being asked about."""
        if self.pauses.of_account(entry.account) is not None:
            return True
        known = desk.aggregate.cancellation(entry.cancellation) if entry.cancellation else None
        if known is None or known.policy is None or known.state not in (State.SCHEDULED, State.SENDING):
            return False
        held = self.pauses.held_policies
        return held is None or known.policy in held

    def note(self, event: Event) -> None:
        """Keep an event that is about no order."""
        self._events.append((NO_ORDER, event))

    def pause(self, pause: Pause, source: Source = Source.OPERATOR) -> None:
        """Stop sending for a scope, from the next claim on."""
        self.pauses[pause.scope] = pause
        self._pauses.append(pause)
        self._events.append((NO_ORDER, self._notice(PAUSED, pause, source)))

    def resume(self, resumption: Pause) -> None:
        """Start sending again for a scope."""
        self.pauses.pop(resumption.scope, None)
        self._resumes.append(resumption.scope)
        # Late rather than never: what policies could not act upon is looked at again.
        scope = resumption.scope
        policies = self.accounts_of if scope == POLICIES else {scope.removeprefix(POLICY_SCOPE)} & set(self.accounts_of)
        accounts = dict.fromkeys(account for policy in policies for account in self.accounts_of[policy])
        self._rechecks += [RecheckOrders(account, resumption.since) for account in accounts]
        self._events.append((NO_ORDER, self._notice(RESUMED, resumption, Source.OPERATOR)))

    async def changes(self) -> Changes:
        """Everything to write."""
        breather = TimeSlice()
        changes = Changes(
            events=self._events,
            receipts=self.receipts,
            reprocessed=self.reprocessed,
            attempts=self.attempts,
            pauses=self._pauses,
            resumes=self._resumes,
            rechecks=self._rechecks,
        )
        for slot in {id(slot): slot for slot in self._slots.values()}.values():
            await breather.pause()
            desk = slot.desk
            if not desk.events and not slot.changed:
                continue
            changes.orders.append(
                OrderWrite(
                    slot.pk,
                    desk.aggregate,
                    desk.verdict().cancelable,
                    desk.now if slot.again else next_check_at(desk),
                    job_for(desk.aggregate),
                    slot.had_job,
                    fingerprint_of(desk),
                    evaluated=slot.weighed or not desk.account.policies,
                )
            )
            recheck = self._policies.recheck(slot.pk, desk)
            if recheck is not None:
                changes.rechecks.append(recheck)
            changes.names.extend((account, name, slot.pk) for account, name in sorted(slot.new_names))
            changes.shared_aliases.extend(_new_shared(slot))
            changes.cancellations.extend((slot.pk, moved) for moved in desk.moved.values())
        return changes

    def _desk(self, case: OrderAggregate) -> UnitOfWork:
        account = self.accounts(case.order.account)
        now, latency_s = datetime.min, self.latencies.get(account.id, 0.0)  # noqa: DTZ901 - set for each entry
        return UnitOfWork(case, account, now, latency_s=latency_s, logged=self._known)

    def _notice(self, type: str, pause: Pause, source: Source) -> Event:
        account = pause.scope.removeprefix(ACCOUNT_SCOPE) if pause.scope.startswith(ACCOUNT_SCOPE) else ""
        data = {"scope": pause.scope, "reason": pause.reason, "by": pause.by}
        return internal_event(account, "", type, str(self.ids.next()), pause.since, source, data)


def _new_shared(slot: Slot) -> set[tuple[str, str, int]]:
    """The shared aliases that the order has carried since this batch."""
    return {
        (event.account, alias, slot.pk)
        for event in slot.desk.events
        if event.facts.shared_aliases
        for alias in event.facts.shared_aliases
        if alias not in slot.carried
    }
