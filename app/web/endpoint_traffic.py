"""What came to an endpoint: when last, how many by status, and why some failed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from app.config.resolve import Endpoint
from app.node import Node
from app.store.traffic import EndpointCount, EndpointState
from app.workers.traffic import AUTHENTIC, REFUSED, RETIRED_SECRET


class Failures(Struct):
    """Requests that were refused or quarantined for one cause."""

    count: int
    last_at: datetime


class RetiredSecretUse(Struct):
    """Whether a former secret is still used."""

    until: datetime
    """Until when it is valid."""
    last_used_at: datetime | None
    uses: int


class EndpointTraffic(Struct):
    """What came to an endpoint since it was created."""

    last_received_at: datetime | None
    """The last authentic request."""
    counts: dict[str, int]
    """Requests by status: accepted, duplicate, ignored, quarantined, refused."""
    failures: dict[str, Failures]
    """Of the refused and quarantined ones, by cause: bad_signature, missing_signature, too_old, unknown_event,
    malformed, wrong_address, disabled and others."""
    refused_since_last_received: int
    """Refused requests after the last authentic one: if there are some, the secret or the header may be wrong."""
    failing_since: datetime | None
    """The first of them, once there are so many that `endpoint.failing` was recorded."""
    silent_since: datetime | None
    """When `endpoint.silent` was recorded, unless something authentic has come since."""
    retired_secrets: list[RetiredSecretUse]
    """Former secrets that are still valid."""


async def traffic_of(node: Node, ids: Iterable[str]) -> dict[str, EndpointTraffic]:
    """Endpoint → its traffic, with what this node has not saved yet."""
    await node.traffic.flush()
    wanted = [endpoint for id in ids if (endpoint := node.config.endpoints.get(id))]
    only = wanted[0].spec.id if len(wanted) == 1 else None
    counts: dict[tuple[str, str], list[EndpointCount]] = {}
    for row in await node.store.endpoint_counts(only):
        counts.setdefault((row.account, row.endpoint), []).append(row)
    states = {(state.account, state.endpoint): state for state in await node.store.endpoint_states(only)}
    return {
        endpoint.spec.id: _traffic(endpoint, counts.get(_key(endpoint), []), states.get(_key(endpoint)))
        for endpoint in wanted
    }


def _key(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.spec.account, endpoint.spec.id


def _traffic(endpoint: Endpoint, counts: list[EndpointCount], state: EndpointState | None) -> EndpointTraffic:
    by_status = dict.fromkeys((*sorted(AUTHENTIC), REFUSED), 0)
    for row in counts:
        if row.status in by_status:
            by_status[row.status] += row.count
    uses = {row.cause: row for row in counts if row.status == RETIRED_SECRET}
    retired = []
    for _, until in endpoint.retired:
        use = uses.get(until.isoformat())
        retired.append(RetiredSecretUse(until, use.last_at if use else None, use.count if use else 0))
    return EndpointTraffic(
        last_received_at=state.authentic_at if state else None,
        counts=by_status,
        failures=_failures(counts),
        refused_since_last_received=state.refused_run if state else 0,
        failing_since=state.refused_since if state and state.failing_at else None,
        silent_since=state.silent_at if state else None,
        retired_secrets=retired,
    )


def _failures(counts: Iterable[EndpointCount]) -> dict[str, Failures]:
    failures: dict[str, Failures] = {}
    for row in counts:
        if row.cause and row.status != RETIRED_SECRET:
            # A handler may fail both at verifying and at parsing.
            former = failures.get(row.cause, Failures(0, row.last_at))
            failures[row.cause] = Failures(former.count + row.count, max(former.last_at, row.last_at))
    return failures
