"""The policies of an account as an index: which of them may have something to decide on an order.

A set of policies is an integer, with a bit for each. Clauses that read the same stand together: one look-up by the
values that they read gives all policies that have a false one. So an order meets those policies only whose condition
holds, and of them those only whose moment has come; what waits gives the earliest moment at which one will be due.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from app.contract import Cancelable, Phase
from app.core.event import Event
from app.core.policy.model import ACTED, Mode, Outcome, Policy, PolicyState
from app.core.policy.readers import ReadKey, has_unfit_value, readers_of
from app.core.policy.scope import CONTEXT_NAMES, context_values
from app.kit.cel.expression import Expression, ExpressionFailed
from app.kit.cel.order_view import order_values
from app.kit.cel.reads import Read

if TYPE_CHECKING:
    from app.core.unit_of_work import UnitOfWork

RECHECK_AFTER = timedelta(hours=1)
"""How often a condition that reads `now` is evaluated, as the passing of time alone may make it true."""
MEMO_MAX = 1000
"""How many results are remembered for clauses that read the same."""
OVER = (Phase.CANCELED, Phase.COMPLETED)


class Look(Struct):
    """What an index finds for one order at one moment."""

    policies: list[tuple[Policy, bool | None]]
    """Those that may decide something, in the order in which they decide; whether their condition holds, if known."""
    check_at: datetime | None
    """When one of the others may have something to decide although no event comes."""


class PolicyIndex:
    """The index of an account's policies."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = policies
        self.by_id = {policy.id: policy for policy in policies}
        self.reads_duplicates = any(policy.reads_duplicates for policy in policies)
        self.limited = [policy for policy in policies if policy.mode is not Mode.SHADOW and policy.limits.are_set]
        self._bits = {policy.id: 1 << number for number, policy in enumerate(policies)}
        self._computed = self._those(policy.computes_waiting for policy in policies)
        self._triggered = self._those(policy.is_triggered for policy in policies)
        self._may_come_true = self._those(policy.may_come_true for policy in policies)
        self._others = self._those(policy.reads_duplicates and not policy.is_triggered for policy in policies)
        self._since_match = (1 << len(policies)) - 1 & ~(self._computed | self._triggered | self._others)
        self._reads_now = self._those("now" in policy.when.names for policy in policies)
        self._by_type: dict[str, int] = {}
        groups: dict[tuple[Read, ...], _Clauses] = {}
        self._unshared: dict[int, list[Expression]] = {}
        for policy in policies:
            for clause in policy.clauses:
                reads = reads_of(clause)
                readers = None if reads is None else readers_of(reads)
                if reads is None or readers is None:
                    self._unshared.setdefault(self._bits[policy.id], []).append(clause)
                else:
                    group = groups.setdefault(reads, _Clauses(readers))
                    group.add(clause, self._bits[policy.id])
        self._groups = list(groups.values())
        self._unshared_mask = sum(self._unshared)
        moments: dict[tuple[str | None, bool], _Moment] = {}
        for policy in policies:
            if policy.computes_waiting:
                key = (policy.since.text if policy.since else None, policy.before_close is not None)
                moments.setdefault(key, _Moment(policy)).add(policy, self._bits[policy.id])
        self._moments = list(moments.values())

    def look(self, unit: UnitOfWork, events: Sequence[Event]) -> Look:
        """Look at an order after `events` (none: after time has passed)."""
        found = _Found(unit)
        self._take_states(found)
        if found.order.phase in OVER:
            return self._of(found.waited, 0, found)
        unfit = has_unfit_value(found.order, unit.aggregate.tags)
        false, errors = (0, 0) if unfit else self._results(found)
        triggered = self._triggered_by(events) & ~(found.unmatched & false & ~self._may_come_true)
        full = (self._others | triggered | found.triggered | found.stored) & ~found.settled
        plain = (self._computed | self._since_match) & ~found.settled & ~found.stored
        if unfit:
            # A policy that reads what expressions do not take fails, whatever its other clauses say.
            return self._of(full | plain, 0, found)
        may_hold = plain & ~false
        holding = self._holding(may_hold & ~errors, found)
        due = self._due(holding & self._computed, found)
        full |= may_hold & errors | self._since_matched(holding, found)
        self._recheck(plain & self._reads_now & ~holding & ~(errors & ~false) & ~found.failed, false, found)
        return self._of(full | due | found.failed, due & ~found.failed, found)

    def _take_states(self, found: _Found) -> None:
        """Sort policies by what they decided before."""
        for state in found.unit.aggregate.policy_states:
            bit = self._bits.get(state.policy, 0)
            if not bit:
                continue  # it was removed, or applies to this account no more
            policy, outcome = self._at(bit), state.outcome
            if outcome in ACTED or policy.is_settled(state):
                found.settled |= bit
            elif policy.computes_waiting:
                found.stored |= 0 if policy.computes(state) else bit
            elif policy.is_triggered:
                found.triggered |= 0 if state.trigger is None else bit
                found.unmatched |= bit if outcome is Outcome.UNMATCHED else 0
            elif not policy.reads_duplicates:
                found.since_match[bit] = state
            if outcome is Outcome.HELD or (outcome is Outcome.WAITING and not policy.computes_waiting):
                found.waited |= bit

    def _results(self, found: _Found) -> tuple[int, int]:
        """(policies that have a false clause, policies that have one that cannot be evaluated)."""
        false = errors = 0
        for group in self._groups:
            its_false, its_errors = group.results(found)
            false |= its_false
            errors |= its_errors
        return false, errors

    def _holding(self, candidates: int, found: _Found) -> int:
        """Those of the candidates whose other clauses hold, which read what almost every order has of its own."""
        for bit in _bits_of(candidates & self._unshared_mask):
            results = set()
            for clause in self._unshared[bit]:
                results.add(found.evaluate(clause))
                if False in results:
                    break
            if results != {True}:
                candidates &= ~bit
                # What is false decides, whatever cannot be evaluated.
                found.failed |= 0 if False in results else bit
        return candidates

    def _since_matched(self, holding: int, found: _Found) -> int:
        """Policies that wait since their condition began to hold, and may decide something."""
        full = 0
        for bit, state in found.since_match.items():
            waits = state.outcome is Outcome.WAITING and state.due_at is not None and state.due_at > found.now
            if waits and bit & holding and state.condition_hash == self._at(bit).condition_hash:
                found.check(state.due_at)
            elif bit & holding or state.outcome is not Outcome.UNMATCHED:
                full |= bit
        return full | holding & self._since_match & ~sum(found.since_match)

    def _due(self, holding: int, found: _Found) -> int:
        """Those whose moment has come, or cannot be told; the moments of the others are noted."""
        due = 0
        for moment in self._moments:
            mask = moment.mask & holding
            if mask:
                due |= moment.due(mask, found)
        return due

    def _recheck(self, unmatched: int, false: int, found: _Found) -> None:
        """Note when conditions that read the time are to be evaluated again, of which it may make one true.

        Time alone changes nothing for those that have a false clause which does not read it, but for their moment.
        """
        hourly = unmatched & ~false
        for moment in self._moments if unmatched else ():
            mask = moment.mask & unmatched
            if mask and moment.has_base:
                waiting = mask & ~moment.due(mask, found)
                if not found.failed & mask and moment.base(found) is not None:
                    hourly &= ~waiting
        if hourly & ~found.failed:
            found.check(found.now + RECHECK_AFTER)

    def _triggered_by(self, events: Sequence[Event]) -> int:
        if not self._triggered:
            return 0
        mask = 0
        for event in events:
            if event.type not in self._by_type:
                if len(self._by_type) >= MEMO_MAX:
                    self._by_type.clear()
                its = self._those(policy.is_triggered_by(event.type) for policy in self.policies)
                self._by_type[event.type] = its & self._triggered
            mask |= self._by_type[event.type]
        return mask

    def _of(self, mask: int, holding: int, found: _Found) -> Look:
        policies = [(self._at(bit), True if bit & holding else None) for bit in _bits_of(mask)]
        return Look(policies, found.check_at)

    def _at(self, bit: int) -> Policy:
        return self.policies[bit.bit_length() - 1]

    def _those(self, flags: Iterable[bool]) -> int:
        return sum(1 << number for number, flag in enumerate(flags) if flag)


class _Found:
    """What is found of one order while it is looked at."""

    def __init__(self, unit: UnitOfWork) -> None:
        self.unit, self.order, self.now = unit, unit.aggregate.order, unit.now
        self.settled = self.stored = self.triggered = self.unmatched = self.waited = 0
        self.failed = 0
        """Policies of which something cannot be evaluated."""
        self.since_match: dict[int, PolicyState] = {}
        """States of policies that wait since their condition began to hold."""
        self.check_at: datetime | None = None
        self._results: dict[str, bool | None] = {}

    def check(self, at: datetime | None) -> None:
        """Note a moment at which a policy may have something to decide."""
        if at is not None and (self.check_at is None or at < self.check_at):
            self.check_at = at

    def evaluate(self, clause: Expression) -> bool | None:
        """Whether a clause holds, None if it cannot be evaluated; once, however many policies have it."""
        if clause.text not in self._results:
            try:
                result: bool | None = bool(clause.evaluate(self.values(clause)))
            except (ExpressionFailed, OverflowError):
                result = None
            self._results[clause.text] = result
        return self._results[clause.text]

    def values(self, expression: Expression) -> dict[str, Any]:
        """The values of the names that it reads."""
        values = order_values(self.order, self.now, expression.names)
        context = expression.names & CONTEXT_NAMES
        if context:
            tags, verdict = self.unit.aggregate.tags, self.unit.verdict()
            values |= context_values(context, tags, verdict, self.now, [], None)
        return values


class _Clauses:
    """Clauses that read the same, and their results by the values that they read."""

    def __init__(self, readers: tuple[ReadKey, ...]) -> None:
        self._readers = readers
        self._clauses: dict[str, tuple[Expression, int]] = {}
        """By text: the clause, and the policies that have it."""
        self._memo: dict[tuple[Any, ...], tuple[int, int]] = {}

    def add(self, clause: Expression, policy: int) -> None:
        """Add a clause of a policy."""
        _, policies = self._clauses.get(clause.text, (clause, 0))
        self._clauses[clause.text] = (clause, policies | policy)

    def results(self, found: _Found) -> tuple[int, int]:
        """(policies that have a false one of these clauses, policies that have one that cannot be evaluated)."""
        key = tuple([read(found.order, found.unit) for read in self._readers])
        try:
            results = self._memo.get(key)
        except TypeError:  # a list or a map, or a long text
            return self._evaluate(found)
        if results is None:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            results = self._memo[key] = self._evaluate(found)
        return results

    def _evaluate(self, found: _Found) -> tuple[int, int]:
        false = errors = 0
        for clause, policies in self._clauses.values():
            result = found.evaluate(clause)
            if result is None:
                errors |= policies
            elif not result:
                false |= policies
        return false, errors


class _Moment:
    """Policies that wait since the same moment, or until some time before the window closes."""

    def __init__(self, policy: Policy) -> None:
        self.has_base = policy.since is not None or policy.before_close is not None
        self.mask = 0
        self._since, self._reader = policy.since, policy.since_reader
        self._waits: list[tuple[timedelta, int]] = []
        self._sorted: dict[int, tuple[list[timedelta], list[int]]] = {}
        """Some of the policies → how long they wait, the shortest first, and which they are."""

    def add(self, policy: Policy, bit: int) -> None:
        """Add a policy."""
        wait = -policy.before_close if policy.before_close is not None else policy.wait or timedelta(0)
        self._waits.append((wait, bit))
        self.mask |= bit

    def base(self, found: _Found) -> datetime | None:
        """The moment from which they wait; None if there is none. Raises `ExpressionFailed`."""
        if self._since is None:
            return found.unit.closes_at()
        if self._reader is not None:
            moment: datetime | None = self._reader(found.order)
        else:
            moment = self._since.evaluate(found.values(self._since))
        return moment

    def due(self, policies: int, found: _Found) -> int:
        """Those of the policies whose moment has come; notes when that of the next one comes."""
        if not self.has_base:
            return policies
        waits, bits = self._in_turn(policies)
        try:
            base = self.base(found)
            if base is None:
                closed = self._since is None and found.unit.verdict().cancelable is Cancelable.NO
                return policies if closed else 0
            base + waits[-1]  # an overflow is a failure of the policy
        except (ExpressionFailed, OverflowError):
            found.failed |= policies
            return 0
        passed = bisect_right(waits, found.now - base)
        if passed < len(waits):
            found.check(base + waits[passed])
        return sum(bits[:passed])

    def _in_turn(self, policies: int) -> tuple[list[timedelta], list[int]]:
        in_turn = self._sorted.get(policies)
        if in_turn is None:
            if len(self._sorted) >= MEMO_MAX:
                self._sorted.clear()
            waits = sorted(wait for wait in self._waits if wait[1] & policies)
            in_turn = self._sorted[policies] = [wait for wait, _ in waits], [bit for _, bit in waits]
        return in_turn


@lru_cache(maxsize=4096)
def reads_of(expression: Expression) -> tuple[Read, ...] | None:
    """Everything that an expression reads, sorted; None if that cannot be told."""
    reads = expression.reads()
    return None if reads is None else tuple(sorted(reads))


def _bits_of(mask: int) -> Iterator[int]:
    """The bits of a mask, from the lowest."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit
