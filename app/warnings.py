"""What works, and should be changed all the same: by the configuration of accounts, and by what came in."""

from __future__ import annotations

from datetime import datetime

from app.batch import NO_ORDER
from app.core.case import TIMES_WITHOUT_OFFSET
from app.resources import Directory
from app.store import Reader

NOTICES_MAX = 10_000
_TIMES = (
    "account {account}: config.timezone: {title} states times without an offset (first seen at "
    "{since:%Y-%m-%dT%H:%M:%SZ}): events that do are ordered by their receipt, and other such times are unknown; set "
    "the IANA zone that they are in."
)


async def naive_times(store: Reader, account: str | None = None) -> dict[str, datetime]:
    """Account → since when its provider is known to state times without an offset; of all accounts, or of one."""
    rows = await store.events(
        account=account,
        order_pk=NO_ORDER,
        type=TIMES_WITHOUT_OFFSET,
        since=None,
        until=None,
        text=None,
        before=None,
        limit=NOTICES_MAX,
    )
    # The newest come first: of several of one account the first that was noted stays.
    return {event.account: event.received_at for _, event in rows}


async def warnings(directory: Directory, store: Reader) -> dict[str, tuple[str, ...]]:
    """Account → what its operator should change, in whole sentences; an account without any is not named."""
    naive = await naive_times(store)
    found = {}
    for id, account in directory.accounts.items():
        said = account.warnings
        if id in naive and account.config.timezone is None:
            said += (_TIMES.format(account=id, title=account.handler.title, since=naive[id]),)
        if said:
            found[id] = said
    return found
