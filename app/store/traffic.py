"""What a store keeps of the traffic of endpoints: counts, the last refusals, and whether they fail or are silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from app.store import codec

REFUSALS_KEPT = 20
"""Refusals that are kept of each endpoint."""


class EndpointCount(Struct, frozen=True):
    """How many requests of an endpoint came to a status for a cause."""

    account: str
    endpoint: str
    status: str
    """accepted, duplicate, ignored, quarantined, refused; or retired_secret, whose cause is until when it is valid."""
    cause: str
    count: int
    last_at: datetime


class EndpointRefusal(Struct, frozen=True):
    """A refused request, without its content."""

    id: int
    account: str
    endpoint: str
    at: datetime
    cause: str
    detail: str
    headers: tuple[str, ...]
    """Names of its headers."""
    address: str
    """The client's address, as far as trusted proxies tell."""


class EndpointRun(Struct, frozen=True):
    """What came to an endpoint since the last save, as far as it tells whether the endpoint fails or is silent."""

    account: str
    endpoint: str
    authentic_at: datetime | None
    """The last authentic request, if there was one."""
    refused: int
    """Refused requests: since the last authentic one if there was one."""
    refused_since: datetime | None
    """The first of them."""


class EndpointState(Struct, frozen=True):
    """Whether an endpoint fails or is silent."""

    account: str
    endpoint: str
    authentic_at: datetime | None = None
    """The last authentic request."""
    refused_run: int = 0
    """Refused requests since then."""
    refused_since: datetime | None = None
    """The first of them."""
    failing_at: datetime | None = None
    """When a notice of this run of refusals was recorded."""
    silent_at: datetime | None = None
    """When a notice of the silence since `authentic_at` was recorded."""


STATE_COLUMNS = "account, endpoint, authentic_at, refused_run, refused_since, failing_at, silent_at"


def read_state(row: Sequence[Any]) -> EndpointState:
    """A row of `STATE_COLUMNS`."""
    account, endpoint, authentic_at, refused_run, *times = row
    moments = [codec.moment_or_none(at) for at in times]
    return EndpointState(account, endpoint, codec.moment_or_none(authentic_at), refused_run, *moments)


def count_row(count: EndpointCount) -> tuple[Any, ...]:
    """The row of `endpoint_counts`, in the order of its columns."""
    return (count.account, count.endpoint, count.status, count.cause, count.count, codec.micros(count.last_at))


def refusal_row(refusal: EndpointRefusal) -> tuple[Any, ...]:
    """The row of `endpoint_refusals`, in the order of its columns."""
    return (
        refusal.account,
        refusal.endpoint,
        refusal.id,
        codec.micros(refusal.at),
        refusal.cause,
        refusal.detail,
        codec.to_json(refusal.headers),
        refusal.address,
    )


def run_row(run: EndpointRun) -> tuple[Any, ...]:
    """What is added to a row of `endpoint_states`: account, endpoint, authentic at, refused, refused since."""
    since = codec.micros_or_none(run.refused_since)
    return (run.account, run.endpoint, codec.micros_or_none(run.authentic_at), run.refused, since)


class TrafficReader(Protocol):
    """Queries about the traffic of endpoints."""

    async def endpoint_counts(self, endpoint: str | None = None) -> list[EndpointCount]:
        """The counts of one endpoint, or of all."""

    async def endpoint_states(self, endpoint: str | None = None) -> list[EndpointState]:
        """The state of one endpoint, or of all that ever got a request."""

    async def endpoint_refusals(self, account: str, endpoint: str) -> list[EndpointRefusal]:
        """The endpoint's last refusals, newest first."""


class TrafficStore(Protocol):
    """Writes of the traffic of endpoints."""

    async def add_traffic(
        self, counts: Sequence[EndpointCount], runs: Sequence[EndpointRun], refusals: Sequence[EndpointRefusal]
    ) -> list[EndpointState]:
        """Add counts, and refusals in place of older ones. Returns the new states of the endpoints in `runs`."""

    async def mark_failing(self, account: str, endpoint: str, at: datetime) -> None:
        """A notice of the present run of refusals is in the log."""

    async def mark_silent(self, account: str, endpoint: str, at: datetime) -> None:
        """A notice of the present silence is in the log."""
