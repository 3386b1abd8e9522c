"""What the tests of ready policies share: an account whose orders are told of by webhooks, and a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from webhooks import mark, read

from app.config.file import read_resource_file
from app.config.models import PolicySpec
from app.config.registry import handlers
from app.contract import Order, Source
from app.core.aggregate import OrderAggregate, is_fact
from app.core.cancellation import Cancellation
from app.core.commands import ChangeTags, Command, FireTimer, RecordEvents, RequestCancel
from app.core.event import Event, to_event
from app.core.event_types import POLICY_PREFIX
from app.core.history import History
from app.core.policy.context import PolicyContext
from app.core.policy.decide import consider, events_to_consider, next_check_at
from app.core.policy.duplicates import records
from app.core.policy.model import PolicyState
from app.core.policy.preview import state_of
from app.core.results import RecordProbe
from app.core.unit_of_work import AccountView, UnitOfWork

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "policies"
PROVIDERS = {
    "acme-photos": "planomatic",
    "acme-shop": "shoplazza",
    "acme-broadband": "superloop",
    "acme-panel": "notpanel",
}
T0 = datetime(2026, 3, 2, 16, tzinfo=UTC)


def h(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def spec(name: str) -> PolicySpec:
    """The one policy in a file."""
    [given] = read_resource_file(FOLDER / f"{name}.yaml")["policies"]
    return PolicySpec.model_validate(given)


class Scene:
    """An account with a ready policy: every order as the ledger would keep it, with the clock's firings."""

    def __init__(self, name: str, **changes: Any) -> None:
        self.spec = spec(name).model_copy(update=changes)
        [account] = self.spec.accounts
        self.provider = PROVIDERS[account]
        handler = handlers()[self.provider]
        self.policy = self.spec.policy()
        self.account = AccountView(account, handler, handler.rules(), policies=(self.policy,))
        self.now = T0
        self.units: dict[str, UnitOfWork] = {}
        self.log: dict[str, list[Event]] = {}
        self._number = count(1)
        self.context = PolicyContext(self._duplicates, lambda: f"can-{next(self._number)}")

    # -- What happens -----------------------------------------------------------------------------

    def hear(self, now: datetime, fixture: str, **changes: Any) -> str:
        """A webhook comes in: a fixture's, with `changes` in its order. Gives the order's id."""
        self.pass_time(now)
        event = to_event(read(self.provider, fixture, **changes), self.account.id, now, Source.WEBHOOK, None)
        self._enter(RecordEvents(self.account.id, event.order, now, (event,)))
        return event.order

    def poll(self, now: datetime, fixture: str, **changes: Any) -> str:
        """The provider is asked, and shows the order as a fixture's webhook does."""
        self.pass_time(now)
        seen = read(self.provider, fixture, **changes)
        facts = replace(seen.facts, snapshot=True)
        self._enter(RecordProbe(self.account.id, seen.order, now, f"att-{next(self._number)}", now, facts))
        return seen.order

    def tag(self, now: datetime, order: str, *add: str, remove: tuple[str, ...] = ()) -> None:
        self.pass_time(now)
        self._enter(ChangeTags(self.account.id, order, now, add, remove, "ann", f"tag-{next(self._number)}"))

    def request_cancel(self, now: datetime, asked: Cancellation) -> None:
        """A person has the order canceled."""
        self.pass_time(now)
        self._enter(RequestCancel(self.account.id, asked.order, now, asked))

    def pass_time(self, until: datetime) -> None:
        """The clock fires whenever an order asked it to, up to and with `until`."""
        assert until >= self.now
        while True:
            checks = {order: next_check_at(unit) for order, unit in self.units.items()}
            at, order = min(((at, order) for order, at in checks.items() if at is not None), default=(until, ""))
            if not order or at > until:
                self.now = until
                return
            self._enter(FireTimer(self.account.id, order, at))

    def _enter(self, command: Command[Any]) -> None:
        known = self.units.get(command.order)
        aggregate = known.aggregate if known else OrderAggregate(Order(self.account.id, command.order))
        log = self.log.setdefault(command.order, [])
        facts = [each for each in log if is_fact(each)]
        unit = UnitOfWork(
            aggregate,
            self.account,
            command.now,
            history=History(self.account.id, command.order, facts),
            logged={each.id for each in log},
        )
        before = mark(self.provider, aggregate.order)
        self.now, self.units[command.order] = command.now, unit
        command.decide(unit)
        unit.react()
        events = events_to_consider(command, unit.events)
        if events is not None:
            consider(unit, self.context, events)
        log += unit.events
        if mark(self.provider, unit.aggregate.order) != before:
            for other in self._duplicates_of(unit):
                self._enter(FireTimer(self.account.id, other.order.id, command.now))

    def _duplicates(self, unit: UnitOfWork, within: timedelta) -> list[dict[str, str]]:
        return records(unit.aggregate.order, self._duplicates_of(unit), within)

    def _duplicates_of(self, unit: UnitOfWork) -> list[OrderAggregate]:
        found = mark(self.provider, unit.aggregate.order)
        aggregates = [each.aggregate for each in self.units.values() if each is not unit]
        return [each for each in aggregates if found is not None and mark(self.provider, each.order) == found]

    # -- What came of it --------------------------------------------------------------------------

    def outcome(self, order: str) -> str:
        """How the policy stands to the order now; empty where it never had anything to decide."""
        state = self._state(order)
        return "" if state is None else state.outcome.value

    def acted_at(self, order: str) -> datetime | None:
        """When it would have had the order canceled, or has; it does so once."""
        moments = [
            each.occurred_at
            for each in self.log[order]
            if each.type in (f"{POLICY_PREFIX}shadowed", f"{POLICY_PREFIX}acted")
        ]
        assert len(moments) <= 1
        return moments[0] if moments else None

    def detail(self, order: str) -> str:
        state = self._state(order)
        return "" if state is None else state.detail

    def _state(self, order: str) -> PolicyState | None:
        unit = self.units[order]
        unit.now = self.now
        return state_of(self.policy, unit, self.context)
