"""What policies need to know besides an order, as one batch sees it: pauses, limits, orders that are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil, floor

from app.contract import Source
from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.folding import Folding
from app.core.pauses import BY_ITSELF, POLICIES, POLICY_SCOPE, Pause, Pauses
from app.core.policy.decide import consider, record, review
from app.core.policy.duplicates import fingerprint, records
from app.core.policy.evaluate import Sight
from app.core.policy.model import Mode, Policy, PolicyState
from app.core.unit_of_work import AccountView, UnitOfWork
from app.kit.cel.order_view import as_text
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import PolicyUsage, RecheckOrders, Transaction

ALIKE_MAX = 100
"""So many orders of one fingerprint are looked at, the latest first seen."""


class UnforeseenError(Exception):
    """A policy asks for what was not looked up: the order is weighed again at once, in a transaction of its own."""


@dataclass(slots=True)
class PolicyContext:
    """Lets policies decide, for as long as one batch lasts."""

    ids: Ids
    pauses: Pauses
    """The batch's own, which change as it goes on."""
    pause: Callable[[Pause, Source], None]
    _done: dict[str, list[int]] = field(default_factory=dict)
    """Policy → cancellations in the hour and in the day."""
    _open: dict[str, int] = field(default_factory=dict)
    _alike: dict[tuple[str, int], dict[int, OrderAggregate]] = field(default_factory=dict)
    """(account, fingerprint) → number → case."""
    _stored: dict[int, tuple[int, datetime | None]] = field(default_factory=dict)
    """Number → the fingerprint that the order is stored with, and when it was opened."""

    async def look_up(
        self,
        transaction: Transaction,
        touched: Sequence[tuple[int, UnitOfWork, Sequence[Event]]],
        accounts_of: Mapping[str, Sequence[str]],
        now: datetime,
    ) -> None:
        """Learn what policies will ask about orders (number, desk, what they are about to hear)."""
        views = {desk.account.id: desk.account for _, desk, _ in touched if desk.account.policies}
        limited = {each.id: each for view in views.values() for each in view.policies if _is_limited(each)}
        if limited:
            done = await transaction.policy_usage(list(limited), now)
            self._done = {
                id: [done.get(id, PolicyUsage()).in_hour, done.get(id, PolicyUsage()).in_day] for id in limited
            }
        for id, each in limited.items():
            share = each.limits.open_share
            if share is not None:
                most = ceil((self._done[id][1] + len(touched) + 1) / share)
                self._open[id] = await transaction.count_open_orders(accounts_of.get(id, ()), most)
        alike = [each for each in touched if each[1].account.id in views and _reads_duplicates(each[1].account)]
        if alike:
            stored = await transaction.fingerprints([pk for pk, _, _ in alike])
            self._stored = {pk: (stored[pk], desk.aggregate.order.opened_at) for pk, desk, _ in alike if pk in stored}
            await self._look_up_alike(transaction, alike)

    def consider(self, pk: int, desk: UnitOfWork, woken: Sequence[Event]) -> bool:
        """Let the account's policies decide on an order; False if it must be looked at again at once."""
        self._file(pk, desk)
        try:
            consider(desk, _Around(self, pk), woken)
        except UnforeseenError:
            return False
        return True

    def review(self, pk: int, desk: UnitOfWork) -> None:
        """Take back what a policy wished and is not to be sent any more: the fence's question to policies."""
        if any(each.policy is not None for each in desk.aggregate.live):
            self._file(pk, desk)
            with suppress(UnforeseenError):
                review(desk, _Around(self, pk))

    def awakening(self, pk: int, desk: UnitOfWork) -> RecheckOrders | None:
        """If the order has become one of several that are the same, or their order another: look at the others."""
        found = fingerprint_of(desk)
        if found is None or (found, desk.aggregate.order.opened_at) == self._stored.get(pk):
            return None
        others = self._alike.get((desk.account.id, found), {}).keys() - {pk}
        return RecheckOrders(desk.account.id, desk.now, found, pk) if others else None

    def hold(self, each: Policy, now: datetime) -> str | None:
        """See `Surroundings.hold`."""
        paused = self.pauses.of_policy(each.id)
        if paused is not None:
            who = "All policies are" if paused.scope == POLICIES else "The policy is"
            return f"{who} paused since {as_text(paused.since)}: {paused.reason}"
        reached = self._limit_reached(each)
        if reached is not None:
            self.pause(Pause(POLICY_SCOPE + each.id, reached, now, BY_ITSELF), Source.CLOCK)
            return f"The policy halted itself: {reached}"
        return None

    def acts(self, each: Policy) -> str:
        """See `Surroundings.acts`."""
        if each.id in self._done:
            self._done[each.id] = [count + 1 for count in self._done[each.id]]
        return ids.show(ids.CANCELLATION, self.ids.next())

    def alike(self, pk: int, desk: UnitOfWork) -> Iterable[OrderAggregate]:
        """The other orders of the same fingerprint. Raises `UnforeseenError`."""
        found = fingerprint_of(desk)
        if found is None:
            return ()
        group = self._alike.get((desk.account.id, found))
        if group is None:
            raise UnforeseenError
        return [case for number, case in group.items() if number != pk]

    def _limit_reached(self, each: Policy) -> str | None:
        limits, (in_hour, in_day) = each.limits, self._done.get(each.id, (0, 0))
        if limits.per_hour is not None and in_hour >= limits.per_hour:
            return f"its limit of {limits.per_hour} in an hour is reached"
        if limits.per_day is not None and in_day >= limits.per_day:
            return f"its limit of {limits.per_day} in a day is reached"
        if limits.open_share is not None:
            # One is always allowed: a share of a handful of orders would be none.
            room = max(1, floor(limits.open_share * self._open[each.id]))
            if in_day >= room:
                return (
                    f"its limit of {limits.open_share:.2%} of the open orders in a day is reached ({in_day} of {room})"
                )
        return None

    async def _look_up_alike(
        self, transaction: Transaction, touched: Sequence[tuple[int, UnitOfWork, Sequence[Event]]]
    ) -> None:
        wanted: dict[str, set[int]] = {}
        heard: dict[int, tuple[UnitOfWork, list[Sequence[Event]]]] = {}
        for pk, desk, facts in touched:
            heard.setdefault(pk, (desk, []))[1].append(facts)
        for desk, told in heard.values():
            wanted.setdefault(desk.account.id, set()).update(await _foreseen(desk, told))
        for account, fingerprints in wanted.items():
            for each in fingerprints:
                self._alike[account, each] = {}
            for found, pk, case in await transaction.orders_with_fingerprints(account, sorted(fingerprints), ALIKE_MAX):
                self._alike[account, found][pk] = case

    def _file(self, pk: int, desk: UnitOfWork) -> None:
        """Put the order under its present fingerprint, for the others of this batch."""
        found = fingerprint_of(desk)
        for (account, each), group in self._alike.items():
            if account == desk.account.id:
                group.pop(pk, None)
                if each == found:
                    group[pk] = desk.aggregate


@dataclass(frozen=True, slots=True)
class _Around:
    """`Surroundings` of one order."""

    governor: PolicyContext
    pk: int

    def hold(self, policy: Policy, now: datetime) -> str | None:
        return self.governor.hold(policy, now)

    def acts(self, policy: Policy) -> str:
        return self.governor.acts(policy)

    def duplicates(self, desk: UnitOfWork, within: timedelta) -> list[dict[str, str]]:
        return records(desk.aggregate.order, self.governor.alike(self.pk, desk), within)

    def note(self, desk: UnitOfWork, policy: Policy, decided: PolicyState, sight: Sight) -> None:
        record(desk, policy, decided, sight)


def fingerprint_of(desk: UnitOfWork) -> int | None:
    """What the order is stored with; None also where no policy asks for it."""
    return fingerprint(desk.aggregate.order, _keys(desk.account)) if _reads_duplicates(desk.account) else None


def _is_limited(each: Policy) -> bool:
    limits = each.limits
    return each.mode is not Mode.SHADOW and (limits.per_hour, limits.per_day, limits.open_share) != (None, None, None)


def _reads_duplicates(account: AccountView) -> bool:
    return any(each.reads_duplicates for each in account.policies)


def _keys(account: AccountView) -> Sequence[str]:
    return tuple(account.rules.duplicate_keys)


async def _foreseen(desk: UnitOfWork, told: Iterable[Sequence[Event]]) -> set[int]:
    """The fingerprints that the order may have while the batch lasts: now, and after each time it is told of."""
    keys, breather = _keys(desk.account), TimeSlice()
    folding = Folding(desk.aggregate, history=None if desk.history is None else desk.history.copy())
    found, seen = {fingerprint(folding.aggregate.order, keys)}, set(desk.logged)
    for facts in told:
        for event in facts:
            if event.id not in seen:
                seen.add(event.id)
                folding.add(event)
        while folding.fold():
            await breather.pause()
        found.add(fingerprint(folding.aggregate.order, keys))
    return found - {None}  # type: ignore[return-value]
