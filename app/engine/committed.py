"""What a commit changed, for the workers that act on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store import Changes


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit changed, for the workers that act on it."""

    accounts: frozenset[str]
    """Accounts whose jobs changed."""
    received: frozenset[str]
    """Accounts of which webhooks were recorded."""
    pauses: bool
    """Something was paused or resumed."""
    next_check_at: datetime | None = None
    """The earliest new time at which time alone changes something."""
    subscriptions: frozenset[str] = frozenset()
    """Subscriptions that got deliveries."""
    erased: bool = False
    """Events lost personal data: what was made of them before is not to be shown any more."""

    @classmethod
    def of(cls, changes: Changes) -> Committed:
        """What `changes` mean for workers."""
        # Messages of one type share their targets, which may be a thousand.
        groups = {id(message.targets): message.targets for message in changes.messages}
        times = [write.next_check_at for write in changes.orders] + [recheck.at for recheck in changes.rechecks]
        return cls(
            frozenset(write.aggregate.order.account for write in changes.orders if write.job is not None),
            frozenset(receipt.account for receipt in changes.receipts),
            bool(changes.pauses or changes.resumes),
            min((at for at in times if at is not None), default=None),
            frozenset(target.subscription for targets in groups.values() for target in targets),
            bool(changes.erased),
        )
