"""Warnings: an account works, but its configuration should be changed, as the configuration or its webhooks show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from app.config.resolve import Account
from app.config.store import ConfigStore
from app.core.event_types import OPENING_UNREADABLE, TIMES_WITHOUT_OFFSET
from app.engine.commit import NO_ORDER
from app.store import Reader, Window
from app.store.filters import EventFilter

NOTICES_MAX = 10_000
_TIMES = (
    "account {account}: config.timezone: {title} states times without an offset (first seen at "
    "{since:%Y-%m-%dT%H:%M:%SZ}). Events with such a time are ordered by their receipt, and other such times are "
    "unknown: set the IANA time zone."
)
_OPENING = (
    "account {account}: config.fields.opened_at: the value there is not a time (first seen at "
    "{since:%Y-%m-%dT%H:%M:%SZ}). The opening time of such orders is unknown, and policies that count from it do not "
    "act: name a field with an ISO 8601, RFC 5322 or unix time, or leave it out."
)


async def noticed(store: Reader, type: str, accounts: Mapping[str, Account]) -> dict[str, datetime]:
    """Account → the time of the first notice of this type about its present configuration; of `accounts` only."""
    account = next(iter(accounts)) if len(accounts) == 1 else None
    rows = await store.events(Window(NOTICES_MAX), EventFilter(account=account, order_pk=NO_ORDER, types=(type,)))
    first_at = {}
    for _, event in rows:  # Newest first: the oldest notice of an account overwrites the others.
        configured = accounts.get(event.account)
        if configured is not None and event.data.get("version", configured.version) == configured.version:
            first_at[event.account] = event.received_at
    return first_at


async def warnings(config: ConfigStore, store: Reader) -> dict[str, tuple[str, ...]]:
    """Account → its warnings, in whole sentences; without accounts that have none."""
    naive = await noticed(store, TIMES_WITHOUT_OFFSET, config.accounts)
    unreadable = await noticed(store, OPENING_UNREADABLE, config.accounts)
    by_account = {}
    for id, account in config.accounts.items():
        texts = account.warnings
        if id in naive and account.config.timezone is None:
            texts += (_TIMES.format(account=id, title=account.handler.title, since=naive[id]),)
        if id in unreadable:
            texts += (_OPENING.format(account=id, since=unreadable[id]),)
        if texts:
            by_account[id] = texts
    return by_account
