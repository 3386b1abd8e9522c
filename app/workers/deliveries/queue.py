"""One subscription's queue, as far as it is in memory: the page of due deliveries, and what is under way.

The store is the truth: what is in memory is what this process has taken and not yet recorded. Messages of one order
that are sent in turn form a sequence; of each only the first pending one is ready, and when it is delivered, the next
one is. Others that are due are remembered, a few of them, or put off in the store: a look at the queue must not read
thousands that cannot be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.core.outbound.delivery import Delivery, DeliveryState, DeliveryUpdate, Postponement, QueuedDelivery
from app.store import Store

PAGE = 100
BEHIND_MAX = 200
"""How many deliveries that wait for another are kept in memory."""
CHUNK = 20
PUT_OFF = timedelta(seconds=60)
"""What is behind a delivery that is under way is not looked at for so long; it is sent when its turn comes."""


@dataclass(slots=True)
class _Sequence:
    """A sequence of which something is ready, under way, or not recorded yet."""

    current: int | None
    """The message that is ready or under way."""
    unrecorded: int = 0
    blocked_until: datetime | None = None
    """When the delivery that failed is due again; the others wait for it."""
    behind: set[int] = field(default_factory=set)
    """Messages that are due and wait for their turn."""
    more: bool = False
    """There may be others, which are not remembered."""
    following: deque[Delivery] = field(default_factory=deque)
    """The next ones, in turn."""
    advances: int = 0
    """How often the next ones are being read: a second time if one was found due, and settled, meanwhile."""


class DeliveryQueue:
    """What is ready, and what is under way."""

    def __init__(self, subscription: str, store: Store) -> None:
        self._subscription, self._store = subscription, store
        self._ready: deque[Delivery] = deque()
        self._taken: dict[int, int | None] = {}
        """Message → sequence, of what is ready, under way or not recorded yet."""
        self._put_off: set[int] = set()
        """Messages that are being put off in the store."""
        self._sequences: dict[int, _Sequence] = {}

    def __len__(self) -> int:
        """How many are ready."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Whether nothing is ready, under way or unrecorded: then the store says when something is due."""
        return not self._taken and not self._put_off

    async def refill(self, now: datetime) -> tuple[bool, list[Postponement]]:
        """Read a page of due deliveries; returns whether to read the next one, and what is to be put off."""
        behind = [message for sequence in self._sequences.values() for message in sequence.behind]
        skip = [*self._taken, *self._put_off, *behind]
        rows = await self._store.due_deliveries(self._subscription, now, PAGE, skip)
        before, room = len(self._ready), BEHIND_MAX - len(behind)
        waiting = [row for row in rows if not self._take_first(row)]
        postponed: list[Postponement] = []
        for row in waiting:
            message, number = row.delivery.message.id, row.delivery.sequence
            if message in self._taken or number is None or row.turn is None:
                continue  # it was taken while the page was read
            if row.turn.due_at > now:
                postponed.append(Postponement(self._subscription, message, row.turn.due_at))
                continue
            sequence = self._sequences.get(number) or await self._load_first(number, now)
            if sequence is None:
                continue
            if sequence.blocked_until is not None:
                postponed.append(Postponement(self._subscription, message, sequence.blocked_until))
            elif room > 0:
                sequence.behind.add(message)
                room -= 1
            elif sequence.current is not None:
                sequence.more = True
                postponed.append(Postponement(self._subscription, message, now + PUT_OFF))
        self._put_off.update(row.message for row in postponed)
        return len(rows) == PAGE and (len(self._ready) > before or bool(postponed)), postponed

    def take(self) -> Delivery | None:
        """The next delivery to send."""
        return self._ready.popleft() if self._ready else None

    def take_all(self, joins: Callable[[Delivery], bool]) -> list[Delivery]:
        """All that are ready and of which `joins` is true."""
        taken = [delivery for delivery in self._ready if joins(delivery)]
        self._ready = deque(delivery for delivery in self._ready if not joins(delivery))
        return taken

    def put_back(self, delivery: Delivery) -> None:
        """It was taken and not sent."""
        self._ready.appendleft(delivery)

    def clear(self) -> None:
        """Forget what is ready: nothing is sent for a while, and the store may change meanwhile."""
        for delivery in self._ready:
            self._taken.pop(delivery.message.id, None)
            sequence = None if delivery.sequence is None else self._sequences.get(delivery.sequence)
            if sequence is not None:
                sequence.current = None
                sequence.behind.clear()
                sequence.following.clear()
                self._forget_if_done(delivery.sequence)
        self._ready.clear()

    async def settled(self, delivery: Delivery, update: DeliveryUpdate, now: datetime) -> list[Postponement]:
        """A delivery was tried; returns what is to be put off until it is due again.

        If it is settled for good, the next one of its sequence gets ready.
        """
        if delivery.sequence is None:
            return []
        sequence = self._sequences[delivery.sequence]
        sequence.current = None
        sequence.unrecorded += 1
        if update.state is not DeliveryState.PENDING:
            # What was delivered may be recorded before the next ones are read: what is known of the others must stay.
            sequence.advances += 1
            try:
                await self._advance(delivery.sequence, sequence, delivery.message.id, now)
            finally:
                sequence.advances -= 1
                self._forget_if_done(delivery.sequence)
            return []
        sequence.blocked_until = update.due_at
        behind, sequence.behind = sequence.behind, set()
        sequence.following.clear()
        self._put_off |= behind
        return [Postponement(self._subscription, message, update.due_at) for message in sorted(behind)]

    def recorded(self, message: int) -> None:
        """What became of a delivery is on disk."""
        number = self._taken.pop(message, None)
        if number is not None and number in self._sequences:
            self._sequences[number].unrecorded -= 1
            self._forget_if_done(number)

    def put_off(self, postponed: Sequence[Postponement]) -> None:
        """These were put off in the store."""
        self._put_off.difference_update(row.message for row in postponed)

    def _take_first(self, row: QueuedDelivery) -> bool:
        """Take a delivery that waits for no other; False if it does."""
        message, number = row.delivery.message.id, row.delivery.sequence
        if number is not None and (row.turn is None or row.turn.message != message):
            return False
        return self._push(row.delivery)

    def _push(self, delivery: Delivery) -> bool:
        message, number = delivery.message.id, delivery.sequence
        if message in self._taken:
            return True
        if number is not None:
            sequence = self._sequences.setdefault(number, _Sequence(None))
            if sequence.current is not None or sequence.blocked_until is not None:
                return False
            sequence.current = message
            sequence.behind.discard(message)
        self._taken[message] = number
        self._ready.append(delivery)
        return True

    async def _load_first(self, number: int, now: datetime) -> _Sequence | None:
        """Take the first pending delivery of a sequence, which is due and was not on the page."""
        first = await self._store.deliveries_in_turn(self._subscription, number, 0, 1)
        if first and (first[0].due_at <= now or not first[0].tries):
            self._push(first[0])
        return self._sequences.get(number)

    async def _advance(self, number: int, sequence: _Sequence, after: int, now: datetime) -> None:
        """Get the next delivery of a sequence ready, if any waits."""
        if not sequence.following and (sequence.behind or sequence.more):
            page = await self._store.deliveries_in_turn(self._subscription, number, after, CHUNK)
            if sequence.current is not None:
                return  # the next one was found due meanwhile
            sequence.following.extend(page)
            sequence.more = bool(page)
        if not sequence.following:
            sequence.behind.clear()
            return
        following = sequence.following[0]
        if following.tries and following.due_at > now:
            sequence.following.clear()
            sequence.behind.clear()
            return
        sequence.following.popleft()
        self._push(following)

    def _forget_if_done(self, number: int | None) -> None:
        if number is not None:
            sequence = self._sequences[number]
            if sequence.current is None and sequence.unrecorded == 0 and not sequence.advances:
                del self._sequences[number]
