"""What works, and should be changed all the same: by the configuration of accounts, and by what came in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.config.resolve import Account
from app.config.store import ConfigStore
from app.core.event_types import OPENING_UNREADABLE, TIMES_WITHOUT_OFFSET
from app.engine.commit import NO_ORDER
from app.store import Reader

NOTICES_MAX = 10_000
_TIMES = (
    "account {account}: config.timezone: {title} states times without an offset (first seen at "
    "{since:%Y-%m-%dT%H:%M:%SZ}): events that do are ordered by their receipt, and other such times are unknown; set "
    "the IANA zone that they are in."
)
_OPENING = (
    "account {account}: config.fields.opened_at: what stands there is no time that can be read (first seen at "
    "{since:%Y-%m-%dT%H:%M:%SZ}): when such an order was opened is not known, and no policy that counts from it acts; "
    "name a place with an ISO 8601 or unix time, or leave it out."
)


async def noticed(store: Reader, type: str, accounts: Mapping[str, Account]) -> dict[str, datetime]:
    """Account → since when the log says so of it, as it is configured now; only of those in `accounts`."""
    rows = await store.events(
        account=next(iter(accounts)) if len(accounts) == 1 else None,
        order_pk=NO_ORDER,
        type=type,
        since=None,
        until=None,
        text=None,
        before=None,
        limit=NOTICES_MAX,
    )
    found = {}
    # The newest come first: of several of one account the first that was noted stays.
    for _, event in rows:
        account = accounts.get(event.account)
        if account is not None and event.data.get("version", account.version) == account.version:
            found[event.account] = event.received_at
    return found


async def warnings(directory: ConfigStore, store: Reader) -> dict[str, tuple[str, ...]]:
    """Account → what its operator should change, in whole sentences; an account without any is not named."""
    naive = await noticed(store, TIMES_WITHOUT_OFFSET, directory.accounts)
    unreadable = await noticed(store, OPENING_UNREADABLE, directory.accounts)
    found = {}
    for id, account in directory.accounts.items():
        said = account.warnings
        if id in naive and account.config.timezone is None:
            said += (_TIMES.format(account=id, title=account.handler.title, since=naive[id]),)
        if id in unreadable:
            said += (_OPENING.format(account=id, since=unreadable[id]),)
        if said:
            found[id] = said
    return found
