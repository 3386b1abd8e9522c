"""What a database must do for the configuration: resources and their audit trail, API keys, encrypted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from app.store.records import (
    ApiKey,
    RecheckOrders,
    Resource,
    ResourceChange,
    StoredResponse,
    Window,
)
from app.store.sealed import SealedColumn


class ConfigurationReader(Protocol):
    """Queries for what operators configured."""

    async def configuration_version(self) -> int:
        """Raised by every change of resources; on a store with a single writer always 0."""

    async def resources(self) -> list[Resource]: ...

    async def resource_changes(
        self, window: Window, *, kind: str | None = None, id: str | None = None, by: str | None = None
    ) -> list[tuple[int, ResourceChange]]:
        """(position, entry of the audit trail)."""

    async def removed_at(self, kind: str, id: str) -> datetime | None:
        """When a resource of this id was removed the last time; None if none ever was."""

    async def former_bodies(self, kind: str, id: str) -> list[dict[str, Any]]:
        """The bodies of a resource in the audit trail, newest first, without secrets."""

    async def api_keys(self) -> list[ApiKey]: ...

    async def api_key_exists(self, hash: bytes) -> bool:
        """Whether there is a key with this hash, in force or not."""

    async def stored_response(self, key: str) -> StoredResponse | None: ...

    async def count_sealed(self, column: SealedColumn) -> int: ...

    async def sealed_values(
        self, column: SealedColumn, after: tuple[str, ...] | None, limit: int
    ) -> list[tuple[tuple[str, ...], bytes]]:
        """(primary key, encrypted value) of the first rows whose key is above `after`, by key."""


class ConfigurationStore(Protocol):
    """Changes of what operators configured."""

    async def save_resources(
        self,
        put: Sequence[Resource],
        removed: Sequence[tuple[str, str]],
        trail: Sequence[ResourceChange],
        rechecks: Sequence[RecheckOrders] = (),
        response: StoredResponse | None = None,
        expected_version: int = 0,
    ) -> int:
        """Write a change; returns the version of the configuration that it makes.

        Raises `StoreOutdated` if the configuration is not of the expected version (0: whatever it is), `AccountInUse`
        if a removed account has cancellations under way.
        """

    async def save_response(self, response: StoredResponse) -> None: ...

    async def save_key(
        self, key: ApiKey, response: StoredResponse | None, *, retire: tuple[str, datetime] | None = None
    ) -> None:
        """Add a key. `retire` is the id of the key that it replaces, and when that one expires unless it does before.

        Raises `StoreConflict` if that one was revoked meanwhile.
        """

    async def note_key_use(self, last_used: Mapping[str, datetime]) -> None:
        """Store when keys were last used; an earlier time changes nothing."""

    async def revoke_key(self, id: str, at: datetime) -> bool: ...

    async def replace_sealed(
        self, column: SealedColumn, values: Sequence[tuple[tuple[str, ...], bytes, bytes]]
    ) -> None:
        """Replace encrypted values: (primary key, former value, new value); one that changed meanwhile stays."""

    async def keep_key(self, name: str, sealed: bytes) -> bytes:
        """The encrypted key of that name; `sealed`, which is stored, if there was none."""
