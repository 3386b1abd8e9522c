"""One transaction's work: the cases it touches, each on its desk, and what is to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.contract import Order
from app.core.cancellation import State
from app.core.case import PAUSED, RESUMED, Case, is_fact, job_for, replay
from app.core.decision import reasons, wakes_at
from app.core.desk import AccountView, Desk
from app.core.entry import Approval, Claim, Elapsed, Entry, Recheck
from app.core.event import Event, Source, noted
from app.core.order import needs_history
from app.governor import BY_ITSELF, POLICIES, POLICY_SCOPE, Governor, fingerprint_of, held_policies
from app.ids import Ids
from app.store import Attempt, Awakening, CaseWrite, Changes, Name, Pause, Receipt, Transaction

NO_ORDER = 0
"""The order number of events that are about no order."""
EVERYTHING = "all"
ACCOUNT_SCOPE = "account:"


@dataclass(slots=True)
class _Slot:
    """An order that the batch touches."""

    pk: int
    desk: Desk
    had_job: bool
    new_names: set[Name]
    changed: bool = False
    """It must be written although no event says so: it was merged, or time has changed its verdict."""
    weighed: bool = False
    """Policies have looked at it in this batch."""
    again: bool = False
    """It is to be looked at again at once."""
    moment: datetime | None = None
    """The latest time of what was folded or will be, while looking for what comes late."""


@dataclass(slots=True)
class Batch:
    """Decides on entries in turn, and gathers what they change."""

    accounts: Callable[[str], AccountView]
    ids: Ids
    pauses: dict[str, Pause]
    """What may not send, by scope; changes as the batch goes on."""
    accounts_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Policy → the accounts that it speaks of."""
    latencies: Mapping[str, float] = field(default_factory=dict)
    """Account → how long its calls have taken of late, in seconds."""
    receipts: list[Receipt] = field(default_factory=list)
    reprocessed: list[Receipt] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    _slots: dict[Name, _Slot] = field(default_factory=dict)
    _events: list[tuple[int, Event]] = field(default_factory=list)
    _pauses: list[Pause] = field(default_factory=list)
    _resumes: list[str] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _awakenings: list[Awakening] = field(default_factory=list)
    _governor: Governor = field(init=False)

    def __post_init__(self) -> None:
        self._governor = Governor(self.ids, self.pauses, self.pause)

    async def look_up(self, transaction: Transaction, entries: Sequence[Entry]) -> None:
        """Put the case of every entry on a desk."""
        names = dict.fromkeys(name for entry in entries for name in _names_of(entry, frozenset()))
        found = await transaction.find(list(names), [event for entry in entries for event in entry.facts()])
        self._known = set(found.seen)
        slots: dict[int, _Slot] = {}
        for name, (pk, case) in found.cases.items():
            if pk not in slots:
                slots[pk] = self._slot(pk, case)
            self._slots[name] = slots[pk]
        for entry in entries:
            await self._link(transaction, entry, _names_of(entry, found.seen))
        await self._load_history(transaction, entries)
        governed = [(entry, slot) for entry in entries if (slot := self._slot_of(entry)).desk.account.policies]
        if governed:
            touched = [(slot.pk, slot.desk, entry.facts()) for entry, slot in governed]
            await self._governor.look_up(transaction, touched, self.accounts_of, governed[-1][0].now)

    def decide(self, entry: Entry, chance: float) -> tuple[Any, int]:
        """What the entry decides, and how many events that made; `chance` is uniform in [0, 1)."""
        slot = self._slot_of(entry)
        desk = slot.desk
        if isinstance(entry, (Claim, Recheck)) and self._is_held(entry, desk):
            return None, 0
        desk.now, desk.chance = entry.now, chance
        slot.changed |= isinstance(entry, Elapsed)
        before = len(desk.events)
        if isinstance(entry, (Claim, Recheck, Approval)):
            self._governor.review(slot.pk, desk)
        result = entry.decide(desk)
        if desk.case.live:
            desk.react()
        if desk.account.policies:
            woken = reasons(entry, desk.events[before:])
            if woken is not None:
                slot.weighed = True
                slot.again = not self._governor.consider(slot.pk, desk, woken)
        new = desk.events[before:]
        self._events.extend((slot.pk, event) for event in new)
        if desk.pause is not None and ACCOUNT_SCOPE + entry.account not in self.pauses:
            self.pause(Pause(ACCOUNT_SCOPE + entry.account, desk.pause, entry.now, BY_ITSELF), Source.PROVIDER)
        desk.pause = None
        return result, len(new)

    def number_of(self, entry: Entry) -> int:
        """The number of the order that the entry is about."""
        return self._slot_of(entry).pk

    def _slot_of(self, entry: Entry) -> _Slot:
        return self._slots[entry.account, entry.order]

    def _is_held(self, entry: Claim | Recheck, desk: Desk) -> bool:
        """Does a pause forbid the call? One of policies does not keep back what was sent from being asked about."""
        if pause_of(self.pauses, entry.account) is not None:
            return True
        known = desk.case.cancellation(entry.cancellation) if entry.cancellation else None
        if known is None or known.policy is None or known.state not in (State.SCHEDULED, State.SENDING):
            return False
        held = held_policies(self.pauses)
        return held is None or known.policy in held

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
        self._awakenings += [Awakening(account, resumption.since) for account in accounts]
        self._events.append((NO_ORDER, self._notice(RESUMED, resumption, Source.OPERATOR)))

    def changes(self) -> Changes:
        """Everything to write."""
        changes = Changes(
            events=self._events,
            receipts=self.receipts,
            reprocessed=self.reprocessed,
            attempts=self.attempts,
            pauses=self._pauses,
            resumes=self._resumes,
            awakenings=self._awakenings,
        )
        for slot in {id(slot): slot for slot in self._slots.values()}.values():
            desk = slot.desk
            if not desk.events and not slot.changed:
                continue
            changes.cases.append(
                CaseWrite(
                    slot.pk,
                    desk.case,
                    desk.verdict().cancelable,
                    desk.now if slot.again else wakes_at(desk),
                    job_for(desk.case),
                    slot.had_job,
                    fingerprint_of(desk),
                    weighed=slot.weighed or not desk.account.policies,
                )
            )
            alike = self._governor.awakening(slot.pk, desk)
            if alike is not None:
                changes.awakenings.append(alike)
            changes.names.extend((account, name, slot.pk) for account, name in sorted(slot.new_names))
            changes.cancellations.extend((slot.pk, moved) for moved in desk.moved.values())
        return changes

    def _slot(self, pk: int, case: Case) -> _Slot:
        account = self.accounts(case.order.account)
        now, latency_s = datetime.min, self.latencies.get(account.id, 0.0)  # noqa: DTZ901 - set for each entry
        desk = Desk(case, account, now, latency_s=latency_s, known=self._known)
        moment = case.head[0] if case.head else None
        return _Slot(pk, desk, had_job=job_for(case) is not None, new_names=set(), moment=moment)

    async def _link(self, transaction: Transaction, entry: Entry, names: list[Name]) -> None:
        """All names of an entry lead to one order; orders that it shows to be the same are made one."""
        known = list({id(slot): slot for name in names if (slot := self._slots.get(name))}.values())
        if not known:
            blank = Case(Order(account=entry.account, id=entry.order))
            known = [self._slot(self.ids.next(), blank)]
        keep, *drops = sorted(known, key=lambda slot: slot.pk)
        for drop in drops:
            await self._merge(transaction, keep, drop)
        for name in names:
            if name not in self._slots:
                keep.new_names.add(name)
                self._slots[name] = keep

    async def _merge(self, transaction: Transaction, keep: _Slot, drop: _Slot) -> None:
        await transaction.merge(keep.pk, drop.pk)
        # As a rebuild will: from the two logs in one, not from the two cases (guarantee I8).
        log = (await transaction.history([keep.pk]))[keep.pk]
        merged = replay(log)
        if merged is not None:
            keep.desk.case = merged.case
        keep.desk.history = [event for event in log if is_fact(event)]
        keep.had_job |= drop.had_job
        keep.changed = True
        keep.new_names |= drop.new_names
        self._slots.update((name, keep) for name, slot in self._slots.items() if slot is drop)

    async def _load_history(self, transaction: Transaction, entries: Sequence[Entry]) -> None:
        """Fetch the history of orders for which something comes late, in this batch or against what is stored."""
        late: dict[int, _Slot] = {}
        for entry in entries:
            slot = self._slots[entry.account, entry.order]
            for moment, snapshot in _moments(entry, self._known, slot.moment):
                if slot.moment is not None and needs_history(slot.moment, moment, snapshot):
                    late[slot.pk] = slot
                if slot.moment is None or moment > slot.moment:
                    slot.moment = moment
        wanted = [pk for pk, slot in late.items() if slot.desk.history is None]
        stored = [pk for pk in wanted if late[pk].desk.case.order.version]
        found = await transaction.history(stored) if stored else {}
        for pk in wanted:
            late[pk].desk.history = [event for event in found.get(pk, ()) if is_fact(event)]

    def _notice(self, type: str, pause: Pause, source: Source) -> Event:
        account = pause.scope.removeprefix(ACCOUNT_SCOPE) if pause.scope.startswith(ACCOUNT_SCOPE) else ""
        data = {"scope": pause.scope, "reason": pause.reason, "by": pause.by}
        return noted(account, "", type, str(self.ids.next()), pause.since, source, data)


def pause_of(pauses: Mapping[str, Pause], account: str) -> Pause | None:
    """What keeps an account from sending, if anything does."""
    return pauses.get(EVERYTHING) or pauses.get(ACCOUNT_SCOPE + account)


def _names_of(entry: Entry, seen: frozenset[str]) -> list[Name]:
    """The names that an entry uses.

    An event that is in the log already is dropped, and so must be what it names: read again under
    other settings, it may name more than it did.
    """
    names = {(entry.account, entry.order): None}
    for event in entry.facts():
        if event.id in seen:
            continue
        names[event.account, event.order] = None
        for alias in event.facts.aliases:
            names[event.account, alias] = None
    return list(names)


def _moments(entry: Entry, known: set[str], latest: datetime | None) -> Iterable[tuple[datetime, bool]]:
    """When what the entry brings happened, and whether it is a snapshot."""
    facts = entry.facts(latest)
    if not facts:
        return ((entry.now, False),)
    return [(event.occurred_at, event.facts.snapshot) for event in facts if event.id not in known]
