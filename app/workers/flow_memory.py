"""What the flows of one account share: memory, calls that are made once for several, and what is stored encrypted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
import structlog

from app.config.secrets import Vault
from app.contract import Context
from app.runtime.http_client import CallFailedError, SharedCalls
from app.store import Store, StoreError

VALUES_MAX = 8
"""How many values are stored for an account; older ones belonged to former configurations."""

log = structlog.get_logger()


class DurableMemory:
    """What flows of one account keep durably: one encrypted row, which only the lane's owner reads and writes.

    A new value is on disk before the next call of any of the account's flows leaves. What remains is a process that is
    killed between a response and the write: the value in that response is lost.
    """

    def __init__(self, account: str, store: Store, vault: Vault) -> None:
        self._account, self._store, self._vault = account, store, vault
        self.values: dict[str, str] = {}
        """Those of `Context.durable`, the newest last."""
        self._stored: dict[str, str] = {}
        self._loaded = False
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read what is stored, the first time. Raises `StoreError`, `WrongSecretKeyError`."""
        if self._loaded:
            return
        sealed = await self._store.account_secrets(self._account)
        stored = {} if sealed is None else msgspec.json.decode(self._vault.open(sealed), type=dict[str, str])
        self._stored = stored
        self.values.update({key: value for key, value in stored.items() if key not in self.values})
        self._loaded = True

    async def save(self) -> None:
        """Write what is new. Raises `CallFailedError`: nothing may be sent with it then."""
        if self.values == self._stored:
            return
        async with self._lock:
            while len(self.values) > VALUES_MAX:
                del self.values[next(iter(self.values))]
            values = dict(self.values)
            if values == self._stored:
                return
            if not self._loaded:
                raise CallFailedError("The account was removed, so nothing was sent", may_have_applied=False)
            try:
                sealed = self._vault.seal(msgspec.json.encode(values))
                await self._store.save_account_secrets(self._account, sealed)
            except StoreError as error:
                log.warning("account_secrets_not_saved", account=self._account, error=str(error))
                raise CallFailedError(
                    "The new refresh token could not be stored, so nothing was sent: see account_secrets_not_saved "
                    "in the log",
                    may_have_applied=False,
                ) from error
            self._stored = values

    def forget(self) -> None:
        """The account was removed, and its row with it: a later account of the same id must not inherit it."""
        self._loaded = False
        self.values.clear()
        self._stored = {}


@dataclass(frozen=True, slots=True)
class FlowMemory:
    """What the flows under one configuration of an account share."""

    durable: DurableMemory
    memory: dict[str, tuple[datetime, Any]] = field(default_factory=dict, repr=False)
    shared: SharedCalls = field(default_factory=SharedCalls, repr=False)

    def context(self, began: datetime) -> Context:
        """The context of a flow that begins."""
        return Context(began, uuid4().hex, self.memory, self.durable.values)
