"""Resources as the API shows them: without secrets, and with their state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.core.event import Event
from app.core.policy.limits import PolicyUsage
from app.engine.warnings import warnings
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web.delivery_states import shown_subscriptions
from app.web.endpoint_traffic import traffic_of
from app.web.routes import Call

READ_ONLY = {
    "accounts": ("version", "lane", "warnings"),
    "endpoints": ("version", "url", "traffic"),
    "policies": ("version", "paused", "failing", "usage"),
    "subscriptions": ("version", "public_key", "delivery"),
}
"""Members of a shown resource that a PUT ignores, by kind."""


def webhook_url(call: Call, id: str) -> str:
    """The URL at which a provider reaches an endpoint; by the request's own address if no PUBLIC_URL is set."""
    base = call.node.settings.public_url or str(call.request.url.origin())
    return f"{base.rstrip('/')}/webhooks/{id}"


async def shown_resources(call: Call, kind: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The resources of those ids, with their state."""
    node = call.node
    if kind == "endpoints":
        traffic = await traffic_of(node, ids)
        return [
            {**(node.config.shown(kind, id) or {}), "url": webhook_url(call, id), "traffic": traffic[id]} for id in ids
        ]
    if kind == "subscriptions":
        return await shown_subscriptions(node, ids)
    warned = await warnings(node.config, node.store) if kind == "accounts" else {}
    failing = await node.store.failing_policies(ids) if kind == "policies" else {}
    usage = await node.store.policy_usage(ids, datetime.now(UTC)) if kind == "policies" else {}
    rows, time_slice = [], TimeSlice()
    for id in ids:
        rows.append(_shown_one(node, kind, id, warned.get(id, ()), failing.get(id)))
        if kind == "policies":
            used = usage.get(id, PolicyUsage())
            rows[-1]["usage"] = {"in_hour": used.in_hour, "in_day": used.in_day}
        await time_slice.pause()
    return rows


def _shown_one(node: Node, kind: str, id: str, warned: Sequence[str], failed: Event | None) -> dict[str, Any]:
    """The resource, with the warnings of an account or the latest failure of a policy."""
    shown = node.config.shown(kind, id) or {}
    lane = node.lane_status(id) if kind == "accounts" else None
    if lane is not None:
        shown["lane"] = lane
        shown["warnings"] = list(warned)
    if kind == "policies" and shown:
        # With the defaults of what was not written.
        shown = {**node.config.policies[id].model_dump(mode="json", exclude_none=True), **shown}
        paused = node.ledger.pauses.of_policy(id)
        if paused is not None:
            shown["paused"] = paused
        if failed is not None:
            about = {"account": failed.account, "order": failed.order, "at": failed.received_at}
            shown["failing"] = {**about, "detail": failed.data.get("detail", "")}
    return shown
